"""Metrics that torchmetrics lacks; one metric, one file."""
