import pytest
import torch

from lightning_modules import PlacesModule


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
    with pytest.raises(ValueError, match="expected data with the positions of places, found none"):
        PlacesModule(model="spiking_vgg_tiny", optimizer=adam, **data_args)
