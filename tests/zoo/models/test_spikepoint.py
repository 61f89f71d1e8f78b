import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.model import silent_layers

PUBLISHED = [  # data set, classes, parameters without the leaks of PLIF, one a layer
    ("spikepoint_s", 12, 164_432),
    ("spikepoint_s", 10, 159_272),
    ("spikepoint_l", 10, 580_488),
    ("spikepoint_l", 51, 791_228),
    ("spikepoint_l", 101, 1_048_228),
]


@pytest.mark.parametrize(("name", "classes", "count"), PUBLISHED)
def test_parameters(name, classes, count):
    with torch.device("meta"):
        model = zoo.create_model(name, num_classes=classes)
    numbers = {key: parameter.numel() for key, parameter in model.named_parameters()}
    leaks = [key for key in numbers if key.endswith(".act.w")]
    assert len(leaks) == len(zoo.spiking_neurons(model)) == 13
    assert sum(numbers.values()) == count + 13
    assert not [key for key in numbers if key.endswith("synapses.bias")]


@pytest.fixture
def model():
    """The tiny one, its norms calibrated."""
    model = zoo.create_model("spikepoint_tiny", num_classes=5)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm1d)):
        norm.momentum = None
    with torch.no_grad():
        for _ in range(3):
            model.train()(torch.rand(8, 80, 3))
    return model.eval()


def walk(model, groups, centroids):
    """The layer table in float64, step by step: PLIF of tau 2, input undivided; residuals after the neuron."""
    potentials = {}

    def layer(name, x):
        part = model.get_submodule(name)
        y = F.linear(x, part.synapses.weight.flatten(1))  # [N, ..., C']
        scale = part.bn.weight / (part.bn.running_var + part.bn.eps).sqrt()
        y = (y - part.bn.running_mean) * scale + part.bn.bias
        h = potentials.get(name, torch.zeros_like(y)) * (1 - part.act.w.sigmoid()) + y
        spikes = (h >= 1).double()
        potentials[name] = h * (1 - spikes)
        return spikes

    logits = []
    for g, c in zip(groups, centroids, strict=True):  # one step: [N, 6, G k] and [N, 3, G]
        branches = []
        for name, x in (("groups", g.transpose(1, 2)), ("centroids", c.transpose(1, 2))):
            x = layer(f"{name}.0", x)
            branches.append(layer(f"{name}.1.1", layer(f"{name}.1.0", x)) + x)
        of_groups = torch.stack([part.amax(1) for part in branches[0].split(8, dim=1)], 1)  # k = 8: [N, G, C]
        x = of_groups + branches[1]
        x = layer("stage1.0", x)
        x = layer("stage1.1.0", x) + x
        x = layer("stage2.0", x)
        x = layer("stage2.1.0", x) + x
        x = layer("stage3.0", x).amax(1)
        votes = layer("fc", layer("hidden", x))  # [N, 10 K]
        logits.append(torch.stack([votes[:, 10 * k : 10 * k + 10].mean(1) for k in range(5)], 1))
    return torch.stack(logits)


def test_equals_the_layer_table_step_by_step(model):
    model, x = model.double(), torch.rand(1, 3, 80, 3, dtype=torch.float64)
    assert silent_layers(model, x) == []
    with torch.no_grad():
        logits = model.forward_sequence(x)
        torch.testing.assert_close(logits, walk(model, *model.encoder(x, 4)), atol=1e-9, rtol=1e-9)
    assert logits.shape == (4, 3, 5)
    torch.testing.assert_close(logits * 10, (logits * 10).round())
    assert logits.min() >= 0
    assert logits.max() <= 1


def test_a_cloud_is_a_sequence_that_stands_still(model):
    x = torch.rand(3, 80, 3)
    with torch.no_grad():
        assert torch.equal(model(x), model(x[None]))
        assert torch.equal(model(x), model(x.expand(4, 3, 80, 3)))


def test_neither_order_nor_padding_matter(model):
    """To the bit; and not in training, where every pass draws other points."""
    x = torch.rand(3, 50, 3)
    shuffled = x[:, torch.randperm(50)]
    padded = torch.cat([torch.full((3, 37, 3), -1.0), shuffled], 1)
    with torch.no_grad():
        assert torch.equal(model(shuffled), model(x))
        assert torch.equal(model(padded), model(x))
        assert not torch.equal(model.train()(x), model(x))


def test_the_maximum_over_all_points_says_something_at_the_start():
    """With the usual bias of 0 it is 1 everywhere, and all that follows is silent."""
    model, x = (
        zoo.create_model("spikepoint_s", num_points=256, neighbours=8, num_steps=4).train(),
        torch.rand(4, 256, 3),
    )
    assert silent_layers(model, x) == []
    maximum = model.forward_features(x[None]).amax(-1).mean()
    assert 0.05 < maximum < 0.95
    nn.init.zeros_(model.stage3[0].bn.bias)
    assert silent_layers(model, x) == ["hidden.act", "fc.act"]


def test_another_seed_is_another_draw(model):
    x, answers = torch.rand(3, 80, 3), []
    with torch.no_grad():
        for seed in (0, 0, 1):
            model.encoder.seed = seed
            answers.append(model(x))
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])


def test_every_parameter_learns_from_rates(model):
    loss = F.mse_loss(model.train()(torch.rand(8, 80, 3)), F.one_hot(torch.arange(8) % 5, 5).float())
    loss.backward()
    assert not [key for key, parameter in model.named_parameters() if not parameter.grad.any()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (8, 16, 24)}, r"widths must be four even numbers >= 2, found \(8, 16, 24\)"),
        ({"widths": (8, 16, 24, 31)}, "four even numbers"),
        ({"neighbours": 100}, "neighbours: expected at least 2 and at most num_points, 64, found 100"),
        ({"num_centroids": 65}, "num_centroids: .* found 65"),
    ],
)
def test_what_it_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model("spikepoint_tiny", **changes)


def test_clouds_it_refuses(model):
    few = torch.rand(2, 80, 3)
    few[1, 7:] = -1
    for x, message in (
        (few, "at least 8 events, .* found one with 7"),
        (torch.full((2, 80, 3), -1.0), "found one with 0"),
        (torch.rand(2, 80, 4), r"3 coordinates .* \(1, 2, 80, 4\), with 4"),
        (torch.rand(2, 80, 3) * 34, r"in \[0, 1\], found .* size of the sensor"),
        (torch.rand(80, 3), r"event clouds .* found shape \(80, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model(x)
