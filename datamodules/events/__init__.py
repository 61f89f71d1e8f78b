"""Datasets of event cameras: x [T, N, C, H, W] or clouds [T, N, P, D]."""
