import pytest
import timm
import torch
from torch import nn

import zoo
from zoo.early_exit import EarlyExit
from zoo.model import silent_layers
from zoo.sequence import to_sequence

PUBLISHED = [
    ("delay_mlp_2x256", 1, 214_016),
    ("delay_mlp_2x512", 1, 705_536),
    ("delay_mlp_2x512", 2, 1_409_024),
    ("delay_mlp_3x512", 1, 1_230_848),
    ("delay_mlp_3x512", 2, 2_458_624),
]


def spikes(*shape, rate=0.2):
    return (torch.rand(*shape) < rate).float()


@pytest.fixture
def model():
    """A small network, norms calibrated, in which every layer fires."""
    model = timm.create_model("delay_mlp_tiny", in_chans=12, num_classes=5)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm1d)):
        norm.momentum = None
    x = spikes(20, 8, 12)
    with torch.no_grad():
        for _ in range(2):
            model.train()(x)
    assert silent_layers(model.eval(), x) == []
    return model


@pytest.mark.parametrize(("name", "taps", "count"), PUBLISHED)
def test_parameters(name, taps, count):
    with torch.device("meta"):
        model = timm.create_model(name, kernel_count=taps)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_equals_its_parts_neuron_by_neuron(model):
    """A double-precision walk through the layers: gathers, norm, LIF, gathers, leak."""
    x = spikes(20, 3, 12)
    with torch.no_grad():
        logits = model.double().forward_sequence(x.double())
    seen = x.double()
    layers = [*((block.synapses, block.bn) for block in model.blocks), (model.fc, None)]
    for synapses, norm in layers:
        weight, delay = synapses.weight[..., 0].detach(), synapses.delay[..., 0].detach().round().long()
        steps, out = len(seen) + 5, []
        potential = torch.zeros(3, len(weight), dtype=torch.float64)
        for t in range(steps):
            current = torch.zeros_like(potential)
            for i in range(weight.shape[1]):
                source = t - delay[:, i]  # [F']
                there = (source >= 0) & (source < len(seen))
                current += weight[:, i] * there * seen[source.clamp(0, len(seen) - 1), :, i].T
            if norm is not None:
                current = norm(current).detach()
            potential = potential * (1 - 1 / 1.5) + current
            fired = (potential >= 1).double() if norm is not None else potential
            potential = potential * (1 - fired) if norm is not None else potential
            out.append(fired)
        seen = torch.stack(out)
    torch.testing.assert_close(logits, 35 * seen.softmax(-1), atol=1e-9, rtol=1e-9)


def test_the_softmax_readout_gives_the_loss_of_the_released_code(model):
    x, target = spikes(20, 4, 12), torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        answer = model(x)
        model.readout = "potential"
        m = model.forward_sequence(x).softmax(-1).sum(0)
    torch.testing.assert_close(answer, m)
    reference = nn.CrossEntropyLoss()(m, nn.functional.one_hot(target, 5).float())
    torch.testing.assert_close(nn.functional.cross_entropy(answer, target), reference)


def test_shapes_and_contract(model):
    x = spikes(20, 4, 12)
    final, features = model.forward_intermediates(x)
    assert [tuple(feature.shape) for feature in features] == [(25, 4, 24), (30, 4, 16)]
    assert model.forward_head(final).shape == (35, 4, 5)
    torch.testing.assert_close(model(x), model.forward_sequence(x).mean(0))
    torch.testing.assert_close(model(x)[2:3], model(x[:, 2:3]), atol=1e-4, rtol=1e-4)
    assert set(features[0].unique().tolist()) == {0.0, 1.0}
    with pytest.raises(ValueError, match=r"input: expected spike trains \[T, N, F\]"):
        to_sequence(torch.zeros(4, 1, 8, 8), model.kind)
    maps = timm.create_model("delay_mlp_tiny", features_only=True, out_indices=(0,), in_chans=12)(x)
    assert [tuple(feature.shape) for feature in maps] == [(4, 24)]


def test_classifier(model):
    x = spikes(20, 4, 12)
    model.reset_classifier(0)
    assert model(x).shape == (4, model.num_features)
    model.double().reset_classifier(3)
    assert model(x.double()).shape == (4, 3)
    with pytest.raises(ValueError, match="nothing to pool, found global_pool='avg'"):
        model.reset_classifier(3, "avg")


@pytest.mark.parametrize("neuron", ["adlif", "recurrent_lif", "radlif"])
def test_neurons_with_numbers_for_every_unit(neuron):
    model = timm.create_model("delay_mlp_tiny", in_chans=12, num_classes=5, neuron=neuron)
    assert [block.act.num_features for block in model.blocks] == [24, 16]
    assert model(spikes(20, 4, 12)).shape == (4, 5)


def test_gradient_reaches_every_parameter(model):
    logits = model.train().forward_sequence(spikes(20, 8, 12))
    nn.functional.cross_entropy(logits.mean(0), torch.arange(8) % 5).backward()
    assert all(parameter.grad.any() for parameter in model.parameters())


def test_checkpointed_gradients_are_equal(model):
    x, gradients = spikes(20, 8, 12), []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model.train()(x).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_delays_have_a_rate_of_their_own_and_do_not_decay(model):
    delays = {name for name, _ in model.named_parameters() if name.endswith(".delay")}
    assert len(delays) == 3
    assert model.lr_factors() == dict.fromkeys(delays, 100.0)
    assert delays <= model.no_weight_decay()


def test_publish_verify_and_another_classifier(tmp_path):
    model = zoo.create_model("delay_mlp_tiny", in_chans=12, num_classes=5, num_steps=20).eval()
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm1d)):
        nn.init.constant_(norm.bias, 1.0)
    zoo.publish(model, tmp_path / "delay_mlp_tiny.noise", license="mit")
    zoo.verify("delay_mlp_tiny.noise", registry=tmp_path)  # raises if the logits differ
    again = zoo.create_model("delay_mlp_tiny.noise", pretrained=True, registry=tmp_path).eval()
    x = spikes(20, 4, 12)
    assert torch.equal(again(x), model(x))
    other = zoo.create_model("delay_mlp_tiny.noise", pretrained=True, registry=tmp_path, num_classes=3).eval()
    assert other(x).shape == (4, 3)
    assert torch.equal(other.forward_features(x), model.forward_features(x))


def test_cannot_be_run_step_by_step(model):
    with pytest.raises(ValueError, match=r"blocks\.0\.synapses \(DelayedLinear\) needs whole sequences"):
        EarlyExit(model)(spikes(20, 4, 12))
    assert not any(neuron.carries for neuron in zoo.spiking_neurons(model).values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": ()}, "hidden .* each >= 1"),
        ({"hidden": (8, 0)}, r"hidden .* found \[8, 0\]"),
        ({"readout": "softmx"}, "Unknown readout 'softmx'. Did you mean 'softmax'"),
        ({"readout_tau": 0.5}, "readout_tau .* >= 1, found 0.5"),
        ({"delay_lr": -1.0}, "delay_lr .* >= 0, found -1"),
        ({"kernel_size": 10}, "kernel_size .* odd number, found 10"),
    ],
)
def test_what_it_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model("delay_mlp_tiny", **changes)
