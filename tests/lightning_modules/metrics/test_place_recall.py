import pytest
import torch

from lightning_modules.metrics.place_recall import PlaceRecall


def test_recall_is_counted_within_the_tolerance():
    logits, target = torch.randn(40, 12), torch.randint(12, (40,))
    positions = torch.rand(12, 2) * 100
    for top, tolerance in ((1, 0.0), (5, 0.0), (1, 30.0), (3, 15.0)):
        metric = PlaceRecall(top, positions.tolist(), tolerance)
        for part in (slice(0, 13), slice(13, 40)):
            metric.update(logits[part], target[part])
        right = 0
        for row, place in zip(logits.tolist(), target.tolist(), strict=True):
            best = sorted(range(12), key=lambda p, row=row: -row[p])[:top]
            right += any(torch.dist(positions[p], positions[place]) <= tolerance for p in best)
        assert metric.compute().item() == pytest.approx(right / 40)
