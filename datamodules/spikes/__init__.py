"""Datasets of spike trains: x [T, N, F]."""
