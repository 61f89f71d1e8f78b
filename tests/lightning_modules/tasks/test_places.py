import pytest
import torch

from lightning_modules import PlacesModule
from lightning_modules.tasks.places import PlaceRecall


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


def test_a_student_is_tested_by_recall(blobs, data_args, adam, trainer):
    cfg = blobs.input_cfg | {"positions": [[0.0, 0.0], [9.0, 0.0], [18.0, 0.0]], "tolerance": 10.0}
    module = PlacesModule(model="spiking_vgg_tiny", optimizer=adam, **data_args | {"input_cfg": cfg})
    results = trainer().test(module, blobs, verbose=False)[0]
    assert results["test/recall_at_1"] >= results["test/acc"]
    assert "test/recall_at_5" not in results  # of three places
    with torch.no_grad():
        answers = torch.cat([module.eval()(x).argmax(1) for x, _ in blobs.test_dataloader()])
    places = torch.cat([y for _, y in blobs.test_dataloader()])
    assert results["test/recall_at_1"] == pytest.approx(((answers - places).abs() <= 1).float().mean().item())


def test_other_data_have_no_places(data_args, adam):
    with pytest.raises(ValueError, match="PlacesModule trains a student on data of places. Use PlacesDataModule"):
        PlacesModule(model="spiking_vgg_tiny", optimizer=adam, **data_args)
