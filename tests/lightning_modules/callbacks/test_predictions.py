import csv

import torch

from lightning_modules import ClassificationModule
from lightning_modules.callbacks import PredictionWriter


def test_one_row_a_test_image(blobs, data_args, adam, trainer, tmp_path, capsys):
    module = ClassificationModule(model="spiking_vgg_tiny", optimizer=adam, **data_args)
    trainer(callbacks=[PredictionWriter()]).predict(module, blobs, return_predictions=False)
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    with torch.no_grad():
        logits = torch.cat([module.eval()(x) for x, _ in blobs.predict_dataloader()])
    names = ("top", "middle", "bottom")
    assert [row["label"] for row in rows] == [names[index] for index in logits.argmax(-1)]
    assert [int(row["index"]) for row in rows] == list(range(24))
    probability, _ = logits.softmax(-1).max(-1)
    torch.testing.assert_close(
        torch.tensor([float(row["probability"]) for row in rows]), probability, atol=1e-4, rtol=0
    )
    out = capsys.readouterr().out
    assert "24 predictions" in out
    assert f"index: 2\nlabel: {rows[2]['label']}\nprobability: {rows[2]['probability']}\n" in out
    assert "index: 3" not in out
