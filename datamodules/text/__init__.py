"""Datasets of text: x [T, N] of tokens."""
