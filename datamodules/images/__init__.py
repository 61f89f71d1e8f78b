"""Datasets of images: x [T=1, N, C, H, W]."""
