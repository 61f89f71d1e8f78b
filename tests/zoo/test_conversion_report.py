"""Fits and accuracies against values computed by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.conversion import ConversionSettings, convert, convert_with_thresholds
from zoo.conversion_report import accuracies, layer_fits
from zoo.model import spiking_neurons
from zoo.neurons.activation import activations
from zoo.thresholds import over_units
from zoo.trace import watching


def twin(name, **arguments):
    """A twin whose norms have random gains and the statistics of x, and x, six smooth images."""
    torch.manual_seed(0)
    model = zoo.create_model(name, neuron="relu", num_steps=1, **arguments)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.5)
    x = F.interpolate(torch.randn(6, model.in_chans, 4, 4), (16, 16), mode="bicubic")
    with torch.no_grad():
        for _ in range(2):
            model.train()(x)
    return model.double().eval(), x.double()


def mean_outputs(model, x):
    """What every neuron or activation gives, averaged over the steps: [N, C, ...]."""
    found = {}
    watched = spiking_neurons(model) or dict(activations(model))
    with torch.no_grad(), watching(watched, lambda name, *call: found.update({name: call[-1].mean(0)})):
        model(x)
    return found


def test_the_fit_of_a_layer_by_hand():
    ann, x = twin("ms_resnet_tiny")
    conversion = convert_with_thresholds(ann, [x], ConversionSettings(steps=4))
    fits = {fit.name: fit for fit in layer_fits(ann, conversion, x.split(4))}
    found, expected = mean_outputs(conversion.student, x), mean_outputs(ann, x)
    assert list(fits) == list(found)
    for name, fit in fits.items():
        theta = over_units(conversion.thresholds[name], expected[name][None])
        assert fit.error == pytest.approx((expected[name] - theta * found[name]).abs().mean().item())
        assert fit.rate == pytest.approx(found[name].mean().item())
        assert fit.activation == pytest.approx(expected[name].abs().mean().item())
        assert fit.threshold == pytest.approx(theta.mean().item())


def test_accuracies_equal_runs_of_every_length():
    ann, x = twin("spiking_vgg_tiny", pool="avg")
    student = convert(ann, [x], steps=4)
    with torch.no_grad():
        labels = ann(x).argmax(-1)
    labels[0] = (labels[0] + 1) % 10  # the twin is wrong once
    found = accuracies(ann, student, zip(x.split(4), labels.split(4), strict=True), shown=(1, 3, 8))
    assert found.ann == pytest.approx(5 / 6)
    assert found.num_samples == 6
    for steps, accuracy in found.snn.items():
        student.num_steps = steps
        with torch.no_grad():
            assert accuracy == pytest.approx((student(x).argmax(-1) == labels).float().mean().item())
    with pytest.raises(ValueError, match="data: expected labelled images"):
        accuracies(ann, student, [])
