"""Layers over sequences [T, N, ...]."""
