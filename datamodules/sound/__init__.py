"""Datasets of sound: x [T, N, F]."""
