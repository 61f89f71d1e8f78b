"""The real data: scikit-learn brings them along."""

import lightning as L
import pytest
import torch
from sklearn.datasets import load_digits

from datamodules import DigitsDataModule


def split(data, name):
    return data.splits[name].source.tensors


def test_splits_are_the_whole_data_set_stratified_and_fixed():
    data, other = DigitsDataModule(), DigitsDataModule(seed=5, val_fraction=0.3)
    data.setup("fit")
    other.setup("test")
    parts = {name: split(data, name) for name in ("train", "val", "test")}
    assert [len(y) for _, y in parts.values()] == [1294, 144, 359]
    whole = sorted(map(bytes, load_digits().images.astype("uint8")))
    assert sorted(bytes((16 * x).byte().numpy()) for part, _ in parts.values() for x in part) == whole
    for _, labels in parts.values():
        assert torch.bincount(labels).min() >= 0.09 * len(labels)
    assert torch.equal(split(other, "test")[0], split(data, "test")[0])


def test_batches_are_normalised():
    data = DigitsDataModule(augment=False)
    data.setup("fit")
    batches = list(data.train_dataloader())
    x = torch.cat([x for x, _ in batches], dim=1)
    assert x.shape == (1, 1280, 1, 8, 8)
    assert abs(x.mean()) < 0.02
    assert abs(x.std() - 1) < 0.02


def test_augmentation_is_small_and_for_training_only():
    data = DigitsDataModule()
    data.setup("fit")
    source, (index, seed) = split(data, "train")[0], (7, 1234)
    x, _ = data.splits["train"][index, seed, 0]
    plain = (source[index] - 0.3058) / 0.3762
    assert not torch.equal(x, plain)
    assert torch.corrcoef(torch.stack([x.flatten(), plain.flatten()]))[0, 1] > 0.5
    x, _ = data.splits["val"][7]
    assert torch.allclose(x, (split(data, "val")[0][7] - 0.3058) / 0.3762)


def test_the_labels_belong_to_the_images():
    data = DigitsDataModule()
    data.setup("fit")
    (train, labels), (val, truth) = split(data, "train"), split(data, "val")
    nearest = torch.cdist(val.flatten(1), train.flatten(1)).argmin(1)
    assert (labels[nearest] == truth).float().mean() > 0.95


class Probe(L.LightningModule):
    def test_step(self, batch):
        pass


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # lightning 2.6 with torch 2.15
def test_no_advice_about_workers_on_a_large_machine(monkeypatch):
    monkeypatch.setattr("lightning.pytorch.trainer.connectors.data_connector.suggested_max_num_workers", lambda _: 64)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    L.Trainer(**quiet, enable_checkpointing=False).test(Probe(), datamodule=DigitsDataModule(), verbose=False)
