import pytest
import torch

from lightning_modules.metrics.anytime_accuracy import AnytimeAccuracy


def test_is_the_accuracy_of_the_mean_so_far():
    metric, logits, target = AnytimeAccuracy(4), torch.randn(4, 30, 5), torch.randint(5, (30,))
    for part in (slice(0, 11), slice(11, 30)):
        metric.update(logits[:, part], target[part])
    for t, found in enumerate(metric.compute().tolist(), 1):
        right = sum(logits[:t, n].sum(0).argmax() == y for n, y in enumerate(target))
        assert found == pytest.approx(right / 30)


def test_sequences_may_be_shorter_than_the_longest():
    metric = AnytimeAccuracy(4)
    metric.update(torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]]]), torch.tensor([1]))
    assert metric.compute().tolist() == [0.0, 1.0]
