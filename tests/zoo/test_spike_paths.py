"""What a trace finds in small networks, and what it refuses, by the name of the layer."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.layers.stateless import MatMul, Residual, over_time
from zoo.neurons import ReLU
from zoo.spike_paths import plan_absorption


class Net(nn.Module):
    """A stem of spikes, and a body behind it, over [T, N, C, H, W]."""

    def __init__(self, body):
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), ReLU()
        self.body = body

    def forward(self, x):
        return self.body(self.act(over_time(x, self.conv, self.bn)))


class Frames(nn.Module):
    """Stateless layers, frame by frame."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return over_time(x, *self.layers)


class Function(nn.Module):
    """A function outside of any module of torch."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.child = nn.Identity()  # with a child it is not a leaf

    def forward(self, x):
        return self.function(self.child(x))


class SqueezeExcite(nn.Module):
    """Channels times their gates."""

    def __init__(self):
        super().__init__()
        self.fc, self.gate = nn.Conv2d(4, 4, 1), nn.Sigmoid()

    def forward(self, x):
        return x * self.gate(over_time(x.mean((-2, -1), keepdim=True), self.fc))


class Attention(nn.Module):
    """q @ k^T of spikes."""

    def __init__(self):
        super().__init__()
        self.product = MatMul()

    def forward(self, x):
        return self.product(x, x.transpose(-2, -1))


def clear_a_corner(x):
    """A function that changes a tensor and returns nothing."""
    x[..., 0, 0] = 0
    return x


def plan_of(body):
    with torch.no_grad():
        return plan_absorption(Net(body).eval(), torch.randn(1, 2, 3, 8, 8))


def second(act="act"):
    return nn.Sequential(Frames(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)), ReLU())


def test_a_chain():
    plan = plan_of(nn.Sequential(second(), Frames(nn.AvgPool2d(2), nn.Conv2d(4, 5, 1))))
    assert plan.chans == {"act": 4, "body.0.1": 4}
    assert plan.reads == {"body.0.0.layers.0": "act", "body.1.layers.1": "body.0.1"}
    assert plan.gives == {"bn": "act", "body.0.0.layers.1": "body.0.1"}
    assert plan.absorbed
    assert plan.givers == {"act": "bn", "body.0.1": "body.0.0.layers.1"}


def test_a_residual_of_spikes_is_counted_in_their_threshold():
    """x + bn(conv(x)), then a neuron: a spiking ResNet."""
    block = nn.Sequential(Residual(Frames(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4))), ReLU())
    plan = plan_of(block)
    assert plan.gives == {"bn": "act", "body.0.0.layers.1": "act"}
    assert plan.units == {"act": "act", "body.1": "act"}
    assert not plan.absorbed
    assert plan.givers == {"act": "bn"}


def test_currents_that_two_neurons_read_keep_their_scale():
    """The stream of an MS-ResNet."""
    model = zoo.create_model("ms_resnet_tiny", neuron="relu", num_steps=1).eval()
    with torch.no_grad():
        plan = plan_absorption(model, torch.randn(1, 2, 3, 16, 16))
    assert plan.units == {
        "layer1.0.act1": None,
        "layer1.0.act2": "layer1.0.act2",
        "layer2.0.act1": None,
        "layer2.0.act2": "layer2.0.act2",
        "layer3.0.act1": None,
        "layer3.0.act2": "layer3.0.act2",
        "act": None,
    }
    assert plan.reads["fc"] == "act"  # through the average over the map, which is no module
    assert "layer2.0.downsample.conv" not in plan.reads  # it reads the stream


def test_a_neuron_whose_layer_has_no_bias_keeps_its_threshold():
    """What is added at every step, for want of an initial potential, needs a place."""
    plan = plan_of(nn.Sequential(Frames(nn.Conv2d(4, 4, 1, bias=False)), ReLU()))
    assert plan.units == {"act": "act", "body.1": None}
    assert plan.reads == {"body.0.layers.0": "act"}


def test_what_comes_before_the_first_spike_may_be_anything():
    body = second()
    net = Net(body)
    net.conv = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GELU(), nn.GroupNorm(2, 4), nn.MaxPool2d(2))
    with torch.no_grad():
        assert plan_absorption(net.eval(), torch.randn(1, 2, 3, 8, 8)).absorbed


def test_max_pools_of_currents_that_fluctuate():
    """The current of the stem's pool is constant."""
    net = Net(Frames(nn.Conv2d(4, 4, 1), nn.MaxPool2d(2)))
    net.conv = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2))
    with torch.no_grad():
        assert plan_absorption(net.eval(), torch.randn(1, 2, 3, 8, 8)).max_pools == ["body.layers.1"]
    body = nn.Sequential(Frames(nn.Conv2d(4, 4, 1)), Function(lambda x: F.max_pool2d(x.flatten(0, 1), 2)))
    assert plan_of(body).max_pools == ["body.1"]


def test_the_max_pools_of_a_max_resnet():
    model = zoo.create_model("max_resnet_tiny", neuron="relu", num_steps=1).eval()
    with torch.no_grad():
        pools = plan_absorption(model, torch.randn(1, 2, 3, 16, 16)).max_pools
    assert pools
    assert pools == [name for name, module in model.named_modules() if isinstance(module, nn.MaxPool2d)]


def test_constants_keep_the_unit():
    assert plan_of(nn.Sequential(Function(lambda x: x / 9), Frames(nn.Conv2d(4, 4, 1)))).reads == {
        "body.1.layers.0": "act"
    }


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (Frames(nn.MaxPool2d(2)), r"body\.layers\.0 is a max-pool behind act: .* pool: avg .*pool_vgg_s"),
        (Function(lambda x: F.max_pool2d(x[0], 2)), r"body computes getitem of spikes"),
        (Function(lambda x: F.max_pool2d(x.flatten(0, 1), 2)), r"body is a max-pool behind act"),
        (Frames(nn.Conv2d(4, 4, 1), nn.GELU()), r"body\.layers\.1 \(GELU\) reads current .* no spiking counterpart"),
        (Function(F.gelu), "body computes gelu of spikes"),
        (nn.LayerNorm(8), r"body \(LayerNorm\) reads spikes"),
        (Frames(nn.BatchNorm2d(4)), r"body\.layers\.0 \(BatchNorm2d\) reads spikes"),
        (SqueezeExcite(), r"body\.gate \(Sigmoid\) reads current"),
        (Attention(), r"body computes transpose of spikes"),
        (Residual(second()), r"body adds what act and body\.0\.1 give, and a spike of one does not stand"),
        (Function(lambda x: x + 1), "body computes add of spikes"),
        (Frames(nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True)), r"body\.layers\.1 \(ReLU\) reads current"),
        (nn.ReLU(inplace=True), r"body \(ReLU\) reads spikes"),
        (Function(lambda x: x.relu_()), "body computes relu of spikes"),
        (Function(lambda x: F.relu(x, inplace=True)), "body computes relu of spikes"),
        (Function(lambda x: x.add_(1)), "body computes add of spikes"),
        (Function(clear_a_corner), "body computes setitem of spikes"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_has_no_spiking_counterpart_is_refused_by_its_name(body, words):
    with pytest.raises(ValueError, match=words) as error:
        plan_of(body)
    assert "pool_vgg" in str(error.value)


def test_in_place_steps_that_are_linear_or_change_nothing():
    """x *= 1 / 9; x += what a norm gives; a dropout that is off."""

    class Add(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.drop = Frames(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)), nn.Dropout(0.5, inplace=True)

        def forward(self, x):
            y = self.norm(x)
            y += self.drop(x)
            return y

    body = nn.Sequential(Add(), ReLU(), Function(lambda x: x.mul_(1 / 9)), Frames(nn.Conv2d(4, 4, 1)))
    plan = plan_of(body)
    assert plan.gives == {"bn": "act", "body.0.norm.layers.1": "act"}
    assert plan.units == {"act": "act", "body.1": "act"}
    assert plan.reads == {"body.0.norm.layers.0": "act", "body.3.layers.0": "body.1"}


def test_a_trace_in_inference_mode():
    with torch.inference_mode(), pytest.raises(ValueError, match="computes relu of spikes"):
        plan_absorption(Net(Function(torch.relu_)).eval(), torch.randn(1, 2, 3, 8, 8))


def test_a_norm_that_is_added_to_spikes_and_read_elsewhere():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.act = Frames(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)), ReLU()

        def forward(self, x):
            y = self.norm(x)
            return self.act(x + y) * 2, self.act(y)

    with pytest.raises(
        ValueError, match=r"body adds what|norm\.layers\.1 is added to spikes of act and read elsewhere"
    ):
        plan_of(Twice())


def test_no_hook_is_left_behind():
    net = Net(Frames(nn.MaxPool2d(2)))
    with pytest.raises(ValueError, match="max-pool"), torch.no_grad():
        plan_absorption(net, torch.randn(1, 2, 3, 8, 8))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
