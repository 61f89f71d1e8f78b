from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
from matplotlib.image import imread

from lightning_modules import ClassificationModule
from lightning_modules.callbacks import Plots
from lightning_modules.callbacks.plots import (
    draw_confusion,
    draw_firing_rates,
    draw_learning_curves,
    draw_raster,
    read_curves,
    save,
)


def test_draws_a_tested_student(blobs, data_args, adam, trainer, tmp_path):
    module = ClassificationModule(model="spiking_vgg_tiny", optimizer=adam, **data_args)
    trainer(callbacks=[Plots()]).test(module, blobs, verbose=False)
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert names == {"confusion_matrix.png", "early_exit.png", "firing_rates.png", "spike_raster.png"}
    assert all((tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG") for name in names)
    assert not any(layer._forward_hooks for layer in module.modules())


def test_a_teacher_has_no_spikes_to_draw(blobs, data_args, adam, trainer, tmp_path):
    module = ClassificationModule(model="test_resnet", optimizer=adam, **data_args)
    trainer(callbacks=[Plots()]).test(module, blobs, verbose=False)
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["confusion_matrix.png"]


def test_a_vocabulary_is_too_large_for_a_confusion_matrix(blobs, data_args, adam, trainer, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_modules.callbacks.plots.MOST_CLASSES", 2)
    module = ClassificationModule(model="test_resnet", optimizer=adam, **data_args)
    trainer(callbacks=[Plots()]).test(module, blobs, verbose=False)
    assert not (tmp_path / "plots").exists()


def test_curves_of_a_resumed_run_are_one(tmp_path):
    for version, rows in (("fit_0", "0,0.9,\n1,0.5,0.1"), ("fit_1", "1,0.4,0.2\n2,0.3,0.3"), ("fit_10", "3,0.2,")):
        folder = tmp_path / "logs" / version
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(f"epoch,train/loss,val/acc\n{rows}\n")
    curves = read_curves(tmp_path)
    assert curves["train/loss"] == {0: 0.9, 1: 0.4, 2: 0.3, 3: 0.2}
    assert curves["val/acc"] == {1: 0.2, 2: 0.3}
    assert [axes.get_title() for axes in draw_learning_curves(curves).axes] == ["loss", "accuracy"]


def test_confusion_states_the_accuracy():
    counts = torch.tensor([[8, 2], [1, 9]])
    axes = draw_confusion(counts, ["cat", "dog"]).axes[0]
    assert axes.get_title() == "85.00% of 20 right"
    assert sorted(text.get_text() for text in axes.texts) == ["1", "2", "8", "9"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]


def test_raster_shows_every_spike_once():
    spikes = torch.tensor([[1.0, 0, 0], [0, 1, 1]])  # [T=2, 3 neurons]
    points = draw_raster({"act": spikes}).axes[0].collections[0].get_offsets().tolist()
    assert sorted(points) == [[1, 0], [2, 1], [2, 2]]


def test_every_process_asks_for_the_confusion():
    """Its counts are added up over processes, which waits for all of them."""
    plots = Plots()
    plots.confusion = MagicMock()
    plots.on_test_end(SimpleNamespace(is_global_zero=False, fast_dev_run=False), None)
    plots.confusion.compute.assert_called_once()


def test_a_row_that_an_interruption_left_without_its_header_is_skipped(tmp_path):
    log = tmp_path / "logs/fit_0/metrics.csv"
    log.parent.mkdir(parents=True)
    log.write_text("epoch,step,val/loss\n0,9,2.5\n0,9,2.2,0.1,2.2\n")
    assert read_curves(tmp_path) == {"val/loss": {0: 2.5}}


def test_no_line_hides_another():
    """In a student that equals its teacher, agreement and accuracy do: each has a panel of its own."""
    curve = {0: 0.5, 1: 0.75}
    figure = draw_learning_curves({"train/acc": {0: 0.4, 1: 0.6}, "val/acc": curve, "val/agreement": curve})
    shown = {axes.get_title(): [line.get_label() for line in axes.lines] for axes in figure.axes}
    assert shown == {"accuracy": ["train/acc", "val/acc"], "agreement with the teacher": ["val/agreement"]}


def test_the_raster_says_which_neurons_and_which_sample_it_shows(blobs, data_args, adam, trainer, monkeypatch):
    figures = {}
    monkeypatch.setattr(
        "lightning_modules.callbacks.plots.save", lambda figure, _, name: figures.setdefault(name, figure)
    )
    module = ClassificationModule(model="spiking_vgg_tiny", optimizer=adam, **data_args)
    trainer(callbacks=[Plots()]).test(module, blobs, verbose=False)
    x, label = blobs.splits["test"][0]
    with torch.no_grad():
        answer = int(module.eval()(x[:, None]).argmax())
    names = blobs.input_cfg["label_names"]
    title = f"first sample of the test split: class {names[int(label)]}, answer {names[answer]}"
    assert figures["spike_raster"].get_suptitle() == title
    size = x.shape[-1]
    first = figures["spike_raster"].axes[0].get_title()
    assert first.endswith(f"\n100 of {32 * size * size:,} neurons")  # the encoder: 32 maps


@pytest.mark.parametrize(("neurons", "words"), [(3, "3 neurons"), (100, "100 neurons"), (4096, "100 of 4,096 neurons")])
def test_raster_counts_the_neurons_of_a_layer(neurons, words):
    axes = draw_raster({"act": torch.ones(1, neurons)}).axes[0]
    assert axes.get_title() == f"act\n{words}"
    assert len(axes.collections[0].get_offsets()) == min(neurons, 100)


def test_no_text_is_cut(tmp_path):
    """However long the names of the layers are: the outermost pixels of what is saved are white."""
    name = "blocks.11.attention.projection.with_a_name_of_fifty_letters"
    for figure in (draw_firing_rates({name: [0.1, 0.2]}), draw_raster({name: torch.ones(2, 3)}, title=name * 2)):
        save(figure, SimpleNamespace(default_root_dir=tmp_path), "picture")
        pixels = imread(tmp_path / "plots/picture.png")
        assert all(edge.min() == 1 for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
