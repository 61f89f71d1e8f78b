"""The independent reference of the students of images: one step of one layer at a time, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.model import silent_layers


class Walk:
    """A student's weights, and the potentials of its neurons; layers are called by their names in its `state_dict`."""

    def __init__(self, model, decay=0.5, gain=0.5, threshold=1.0):
        self.weights, self.potentials = model.state_dict(), {}
        self.decay, self.gain, self.threshold = decay, gain, threshold

    def conv(self, x, name, stride=1, **options):
        """A square convolution whose padding keeps the size, if torch's options do not say otherwise."""
        weight = self.weights[f"{name}.weight"]
        options = {"padding": weight.shape[-1] // 2, **options}
        return F.conv2d(x, weight, self.weights.get(f"{name}.bias"), stride, **options)

    def norm(self, x, name):
        """In evaluation mode."""
        keys = ("running_mean", "running_var", "weight", "bias")
        mean, var, gain, bias = (self.weights[f"{name}.{key}"].view(-1, 1, 1) for key in keys)
        return (x - mean) / (var + 1e-5).sqrt() * gain + bias

    def fire(self, x, name, threshold=None):
        """A leaky neuron, reset to 0; with a learned leak where the student has one."""
        decay, gain, threshold = self.decay, self.gain, threshold or self.threshold
        if f"{name}.w" in self.weights:
            gain = 1 / (1 + torch.exp(-self.weights[f"{name}.w"]))
            decay = 1 - gain
        h = decay * self.potentials.get(name, 0) + gain * x
        self.potentials[name] = torch.where(h >= threshold, 0.0, h)
        return (h >= threshold).double()

    def unit(self, x, name, **options):
        """The current of a `zoo.layers.stateless.ConvNorm`."""
        return self.norm(self.conv(x, f"{name}.conv", **options), f"{name}.bn")

    def current(self, x, name, **options):
        """The current of a `zoo.layers.stateless.NeuronConv`."""
        return self.unit(self.fire(x, f"{name}.act"), name, **options)

    def spikes(self, x, name):
        """A `zoo.layers.stateless.ConvNeuron`."""
        return self.fire(self.unit(x, name), f"{name}.act")

    def attend(self, q, k, v, heads, scale):
        """Scale (q k^T) v of maps [N, C, H, W], head by head."""
        parts = []
        for a, b, c in zip(*(x.chunk(heads, 1) for x in (q, k, v)), strict=True):
            similarity = torch.einsum("ncij,nckl->nijkl", a, b)
            parts.append(scale * torch.einsum("nijkl,nckl->ncij", similarity, c))
        return torch.cat(parts, 1)

    def linear(self, x, name):
        """With bias."""
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def has(self, name):
        """Whether the student has a layer of this name."""
        return f"{name}.weight" in self.weights


def calibrate_student(model, x):
    """In float64 and evaluation mode, with any norms and leaks, whose statistics are those of x; every layer fires."""
    model.double()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, 0, 1)
                module.momentum = None  # the plain average
        for key, parameter in model.named_parameters():
            if key.endswith(".w"):
                nn.init.uniform_(parameter, -0.5, 1)
        for _ in range(3):
            model.train()(x)
        model.eval()
    assert silent_layers(model, x) == [], "the test would see nothing"
    return model


@pytest.fixture(scope="package")
def walk():
    """`Walk`."""
    return Walk


@pytest.fixture(scope="package")
def calibrate():
    """`calibrate_student`."""
    return calibrate_student


@pytest.fixture(scope="package")
def count():
    """Parameters of a student by name, made without numbers."""

    def parameters(name, **changes):
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in zoo.create_model(name, **changes).parameters())

    return parameters
