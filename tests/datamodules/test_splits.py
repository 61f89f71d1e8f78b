"""Stratified, exact in size, and the same in every run and version."""

import hashlib

import numpy as np
import pytest

from datamodules.splits import stratified_split


@pytest.mark.parametrize("fraction", [0.01, 0.1, 1 / 3, 0.5, 0.9])
def test_each_class_gives_its_share(fraction):
    labels = np.random.default_rng(3).choice(7, size=2_000, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05])
    keep, held_out = stratified_split(labels, fraction)
    assert sorted([*keep, *held_out]) == list(range(2_000))
    assert len(held_out) == round(2_000 * fraction)
    share = np.bincount(labels[held_out], minlength=7) - fraction * np.bincount(labels)
    assert np.abs(share).max() <= 1


def test_the_split_never_changes():
    """A new numpy that shuffled otherwise would move test images into the training set of old checkpoints."""
    _, held_out = stratified_split(np.arange(1_000) % 10, 0.1)
    assert hashlib.sha256(held_out.astype("<i8").tobytes()).hexdigest()[:16] == "bba2812437219b3c"


@pytest.mark.parametrize("fraction", [0.04, 0.96])
def test_an_empty_part(fraction):
    with pytest.raises(ValueError, match=f"Holding out {fraction} of 10 samples"):
        stratified_split(np.zeros(10), fraction)
