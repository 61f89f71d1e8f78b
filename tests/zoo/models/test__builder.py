import pytest
import timm
import torch
from timm.models import get_pretrained_cfg
from torch import nn

import zoo
from zoo.model import SpikingModel, TimeMeanFeatures
from zoo.models._builder import Origin, create, frames, images, make_default_cfgs, origin_of, spike_trains
from zoo.models.spiking_vgg import SpikingVGG


def on_meta(name, **arguments):
    with torch.device("meta"):
        return timm.create_model(name, **arguments)


@pytest.mark.parametrize("name", ["cifar_resnet20", *zoo.list_models("*tiny")])
def test_features_of_every_architecture(name):
    """All of them, whatever their number, or those asked for; with their channels, and no layer behind the last."""
    features = on_meta(name).feature_info
    every = on_meta(name, features_only=True)
    assert isinstance(every, TimeMeanFeatures) == isinstance(every.model, SpikingModel)
    assert every.feature_info.out_indices == tuple(range(len(features)))
    assert every.feature_info.channels() == [info["num_chs"] for info in features]
    first = on_meta(name, features_only=True, out_indices=(0,))
    assert first.feature_info.channels() == [features[0]["num_chs"]]
    assert first.feature_info.module_name() == [features[0]["module"]]
    last = on_meta(name, features_only=True, out_indices=(-1,))
    assert last.feature_info.channels() == [features[-1]["num_chs"]]
    for getter in (every, first, last):
        assert isinstance(getter.model.get_classifier(), nn.Identity)
    for info in features[1:]:
        assert isinstance(first.model.get_submodule(info["module"]), nn.Identity)


@pytest.mark.parametrize(
    ("name", "arguments", "count"),
    [
        ("spikformer_tiny", {"depth": 3}, 4),
        ("sew_resnet_tiny", {"layers": (1, 1), "widths": (8, 16)}, 3),
        ("spiking_vgg_tiny", {"stages": ((8,), (8,), (8,), (8,))}, 4),
        ("radlif_mlp_tiny", {"hidden": (5, 4, 3)}, 3),
    ],
)
def test_arguments_change_the_number_of_features(name, arguments, count):
    assert len(on_meta(name, features_only=True, **arguments).feature_info.channels()) == count


def test_arguments_of_the_user_go_before_those_of_the_variant():
    model = create(SpikingVGG, "spiking_vgg_tiny", False, {"num_steps": 7}, stages=((8,), (16,)), num_steps=2)
    assert model.num_steps == 7
    assert [info["num_chs"] for info in model.feature_info] == [8, 16]
    assert model.pretrained_cfg["architecture"] == "spiking_vgg_tiny"


def test_weights_are_adapted_before_they_are_loaded():
    """The released SpikeGPT calls its classifier `head`, and its mixes have three axes."""
    model = timm.create_model("spikegpt_tiny")
    released = {
        name.replace("fc.", "head."): weight.view(1, 1, -1) if ".time_mix" in name else weight
        for name, weight in model.state_dict().items()
    }
    again = timm.create_model("spikegpt_tiny", pretrained=True, pretrained_cfg_overlay={"state_dict": released})
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in model.state_dict().items())


def test_rows(monkeypatch):
    monkeypatch.setattr("zoo.models._builder.ORIGINS", {})
    origin = Origin("doi:10.1/x", kind="convolutional", code="MIT", title="On spikes")
    rows = {"net_a": images(32, 10, published="9 %"), "net_a.tag": images(32, 7), "net_b": frames(8, 3, first_conv="b")}
    cfgs = make_default_cfgs(origin, rows, first_conv="conv1", crop_pct=1.0)
    assert list(cfgs) == ["net_a", "net_b"]
    first, tagged, events = cfgs["net_a"].cfgs[""], cfgs["net_a"].cfgs["tag"], cfgs["net_b"].cfgs[""]
    assert (first.num_classes, first.input_size, first.min_input_size) == (10, (3, 32, 32), None)
    assert (first.classifier, first.first_conv, first.crop_pct) == ("fc", "conv1", 1.0)
    assert (first.paper_ids, first.paper_name, first.description) == ("doi:10.1/x", "On spikes", "9 %")
    assert first.notes == ("kind: convolutional", "original code: MIT")
    assert (tagged.num_classes, tagged.description) == (7, None)
    assert (events.input_size, events.min_input_size, events.first_conv) == ((2, 8, 8), (2, 8, 8), "b")
    assert (events.mean, events.std) == ((0.0, 0.0), (1.0, 1.0))
    assert origin_of("net_a").published == "9 %"
    assert origin_of("net_a").url == "https://doi.org/10.1/x"
    assert origin_of("net_b") == origin
    assert origin_of("net_c") == Origin()


def test_sides_and_channels():
    assert images(64, 10, min_side=16)["min_input_size"] == (3, 16, 16)
    assert frames(64, 10, min_side=16)["min_input_size"] == (2, 16, 16)
    trains = spike_trains(4, 3, published="1 %")
    assert trains["input_size"] == (4, 1, 1)
    assert (trains["mean"], trains["std"], trains["published"]) == ((0.0,) * 4, (1.0,) * 4, "1 %")


def test_nothing_is_stated_of_an_origin_without_a_paper():
    assert Origin().url == ""
    assert set(Origin().cfg().values()) == {None}


def test_every_student_states_its_origin():
    for name in zoo.list_models():
        origin, cfg = origin_of(name), get_pretrained_cfg(name)
        assert origin.url.startswith(("https://arxiv.org/abs/", "https://doi.org/10.")), name
        assert (cfg.paper_ids, cfg.description) == (origin.paper, origin.published or None)
        if not name.startswith("cifar_resnet"):
            assert origin.kind, name
            assert origin.code, name
            assert cfg.notes == (f"kind: {origin.kind}", f"original code: {origin.code}")
