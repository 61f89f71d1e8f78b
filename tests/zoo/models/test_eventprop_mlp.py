"""The contract of a student, for those of spike trains; tests/zoo/test_model.py has that of images."""

import copy
import pickle
from itertools import chain

import pytest
import timm
import torch
from timm.models import group_parameters

import zoo
from zoo.energy import measure
from zoo.layers.eventprop import EventPropLIF
from zoo.model import TimeMeanFeatures, silent_layers, spiking_neurons
from zoo.neurons import carry_state

STEPS, CLASSES, CHANS = 40, 4, 6
VARIANTS = {
    "mlp": ("eventprop_mlp_tiny", {}),
    "delays": ("eventprop_mlp_tiny", {"max_delay": 5.0}),
    "first spikes": ("eventprop_mlp_tiny", {"readout": "spike"}),
    "recurrent": ("eventprop_rnn_256", {"hidden": [24]}),
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def make(variant, **changes):
    """A student in float64 and spike trains [T, 4, F] that make it spike."""
    torch.manual_seed(0)
    name, options = VARIANTS[variant]
    arguments = {"num_classes": CLASSES, "in_chans": CHANS, "num_steps": STEPS, **options, **changes}
    model = zoo.create_model(name, **arguments).double().eval()
    return model, (torch.rand(STEPS, 4, CHANS) < 0.3).double()


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("eventprop_mlp_200", 5 * 200 + 200 * 3),
        ("eventprop_rnn_256", 5 * 256 + 256 * 256 + 256 * 3),
        ("eventprop_mlp_tiny", 5 * 24 + 24 * 16 + 16 * 3),
    ],
)
def test_parameters(name, count):
    assert name in zoo.list_models()
    model = timm.create_model(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    delayed = timm.create_model(name, max_delay=4.0)
    hidden = sum(layer.synapses.weight.numel() for layer in model.layers)
    assert sum(parameter.numel() for parameter in delayed.parameters()) == count + hidden


@every_variant
def test_a_sample_does_not_depend_on_its_batch(variant):
    model, x = make(variant)
    with torch.no_grad():
        together = model(x)
        alone = torch.cat([model(x[:, n : n + 1]) for n in range(4)])
    assert silent_layers(model, x) == [], "the test would see nothing"
    assert together.std(0).max() > 1e-3, "all samples give the same: the test would see nothing"
    torch.testing.assert_close(together, alone, atol=1e-9, rtol=1e-9)


@every_variant
def test_no_state_survives_a_forward(variant):
    model, x = make(variant)
    keys = set(model.state_dict())
    with torch.no_grad():
        first = model(x)
        assert torch.equal(model(x), first)
        assert torch.equal(copy.deepcopy(model)(x), first)
        assert torch.equal(pickle.loads(pickle.dumps(model))(x), first)
    assert set(model.state_dict()) == keys


@every_variant
def test_no_step_sees_a_later_one(variant):
    model, x = make(variant)
    with torch.no_grad():
        whole, half = model.forward_sequence(x), model.forward_sequence(x[: STEPS // 2])
    assert whole.shape == (STEPS, 4, CLASSES)
    scale = 0.5 if variant == "first spikes" else 1.0  # in units of the length of the trial
    torch.testing.assert_close(scale * whole[: STEPS // 2], half, atol=1e-9, rtol=1e-9)


@every_variant
def test_gradient_reaches_every_parameter(variant):
    model, x = make(variant)
    logits = model.train()(x)
    torch.nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.any(), name
        assert parameter.grad.isfinite().all(), name


@every_variant
def test_the_parts_make_the_whole(variant):
    model, x = make(variant)
    with torch.no_grad():
        final, features = model.forward_intermediates(x)
        torch.testing.assert_close(model.forward_head(final), model.forward_sequence(x))
        torch.testing.assert_close(model.forward_features(x), final)
        assert model.forward_head(final, pre_logits=True).shape == (STEPS, 4, model.head_hidden_size)
    for feature, info in zip(features, model.feature_info, strict=True):
        assert feature.shape == (STEPS, 4, info["num_chs"])
        assert set(feature.unique().tolist()) == {0.0, 1.0}


def test_features_only():
    model, x = make("mlp")
    getter = timm.create_model("eventprop_mlp_tiny", features_only=True, in_chans=CHANS).double().eval()
    assert isinstance(getter, TimeMeanFeatures)
    getter.model.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        _, features = model.forward_intermediates(x)
        for found, feature in zip(getter(x), features, strict=True):
            torch.testing.assert_close(found, feature.mean(0))


@every_variant
def test_classifier(variant):
    model, x = make(variant, num_classes=0)
    with torch.no_grad():
        assert model(x).shape == (4, model.num_features)
        model.reset_classifier(7)
        assert model(x).shape == (4, 7)
    assert model.get_classifier().synapses.out_features == 7
    with pytest.raises(ValueError, match="global_pool='max'"):
        model.reset_classifier(10, "max")


@every_variant
def test_parameter_groups_of_timm(variant):
    model, _ = make(variant)
    groups = group_parameters(model, model.group_matcher())
    assert sorted(chain(*groups.values())) == sorted(dict(model.named_parameters()))
    layer_of = group_parameters(model, model.group_matcher(), reverse=True)
    assert layer_of["fc.synapses.weight"] == max(layer_of.values())
    delays = {f"layers.{index}.synapses.delay" for index in range(2)} if variant == "delays" else set()
    assert model.no_weight_decay() == delays


@every_variant
def test_round_trip_through_timm(variant, tmp_path):
    model, x = make(variant)
    folder = tmp_path / f"{VARIANTS[variant][0]}.mine"
    zoo.publish(model.float(), folder)
    again = zoo.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(again(x.float()), model(x.float()))


@pytest.mark.parametrize("variant", ["mlp", "recurrent", "delays"])
def test_products_are_spikes_times_their_targets(variant):
    """Every spike adds one weight for each synapse that it leaves by; nothing is multiplied."""
    model, x = make(variant)
    widths = [layer.synapses.out_features for layer in model.layers] + [CLASSES]
    with torch.no_grad():
        spikes = [x, *model.forward_intermediates(x)[1]]
    expected = sum(float(s.sum()) * width for s, width in zip(spikes, widths, strict=True))
    if variant == "recurrent":
        expected += float(spikes[1].sum()) * 24
    measured = measure(model, [x])
    assert measured.macs == 0
    assert measured.acs == pytest.approx(expected / 4)
    assert measured.spikes == pytest.approx(sum(float(s.sum()) for s in spikes[1:]) / 4)
    assert set(measured.firing_rates) == set(spiking_neurons(model))


def test_delays_reach_the_logits():
    model, x = make("delays")
    with torch.no_grad():
        before = model(x)
        for layer in model.layers:
            layer.synapses.delay.zero_()
        assert not torch.equal(model(x), before)
    assert all(isinstance(layer, EventPropLIF) and layer.synapses.max_delay == 5.0 for layer in model.layers)


def test_first_spikes_decide():
    model, x = make("first spikes")
    with torch.no_grad():
        spikes = model.fc(model.forward_features(x))
        times = [
            [(s[:, k].nonzero()[:1].sum().item() if s[:, k].any() else STEPS) for k in range(4)]
            for s in spikes.unbind(1)
        ]
        torch.testing.assert_close(model(x), -torch.tensor(times).double())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": []}, "hidden is the number of neurons"),
        ({"hidden": [5, 0]}, "hidden is the number of neurons"),
        ({"readout": "lif"}, "Unknown readout 'lif'"),
        ({"init": [[1.0, 0.1]]}, "init is one pair"),
        ({"init": [[1.0], [1.0, 0.1], [1.0, 0.1]]}, "init is one pair"),
        ({"tau_mem": 0.0}, "tau_mem of an EventProp layer"),
        ({"tau_syn": -5.0}, "tau_syn of an EventProp layer"),
        ({"dt": 0.0}, "dt of an EventProp layer"),
        ({"max_delay": -1.0}, "max_delay is a time in ms"),
        ({"min_slope": 0.0}, "min_slope of an EventProp layer"),
        ({"spike_count": {"above": -1.0}}, "above of spike_count"),
        ({"v_threshold": 0.0}, "v_threshold must lie above"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model("eventprop_mlp_tiny", **changes)


def test_bad_input():
    model, x = make("mlp")
    with pytest.raises(ValueError, match=r"spike trains \[T, N, F\], T >= 1, found shape"):
        model(torch.zeros(4, 1, 8, 8))
    with pytest.raises(ValueError, match="expected binary spikes"):
        model(x / 2)
    with pytest.raises(ValueError, match="needs whole sequences"), carry_state(model):
        model(x)
