import pytest
import torch

from lightning_modules.metrics.bits import Bits


def test_bits_of_unequal_batches_are_the_mean_over_tokens():
    metric, logits, target = Bits(), torch.randn(10, 7), torch.randint(7, (10,))
    for part in (slice(0, 7), slice(7, 10)):
        metric.update(logits[part], target[part])
    expected = -logits.double().softmax(-1)[range(10), target].log2().mean().item()
    assert metric.compute().item() == pytest.approx(expected, rel=1e-6)
