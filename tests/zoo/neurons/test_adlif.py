"""A trace by hand, and gradients against float64 autograd of the equations."""

import math

import numpy as np
import pytest
import torch

import zoo
from zoo.neurons import AdLIF, functional, fused, make_neuron

needs_kernels = pytest.mark.skipif(fused.LIBRARY.get(True) is None, reason="no C++ compiler")
NAMES = ("alpha", "beta", "a", "b")


def test_trace_by_hand():
    """alpha 7/8, beta 31/32, a 1/2, b 1, threshold 1/2, X = 4:

    U = 1/2 (fires, at equality); W = 1/4 + 1, U = 1/8 (4 - 5/4) = 11/32; W = 31/32 5/4 + 11/64 = 177/128,
    U = 7/8 11/32 + 1/8 (4 - 177/128) = 643/1024 (fires).
    """
    neuron = AdLIF(num_features=1, v_threshold=0.5)
    for name, value in zip(NAMES, (7 / 8, 31 / 32, 1 / 2, 1.0), strict=True):
        torch.nn.init.constant_(getattr(neuron, name), value)
    spikes, (u, w, s) = neuron.steps(torch.full((3, 1, 1), 4.0))
    assert spikes.flatten().tolist() == [1, 0, 1]
    assert (u.item(), w.item(), s.item()) == (643 / 1024, 177 / 128, 1)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_gradients_equal_float64_autograd(adaptive_reference, scale):
    """fp32 (the kernels) to 1e-6 of the largest, of the input and of all four numbers, over 50 steps."""
    neuron, x = AdLIF(num_features=7, v_threshold=0.3), scale * torch.randn(50, 6, 7) + 0.5
    weight = torch.randn(50, 6, 7)
    torch.nn.init.uniform_(neuron.a, 0, 1)  # where rounding does not grow exponentially
    leaf = x.clone().requires_grad_()
    spikes = neuron(leaf)
    found = torch.autograd.grad((spikes * weight).sum(), [leaf, *(getattr(neuron, name) for name in NAMES)])
    leaves = [t.detach().double().requires_grad_() for t in (x, *(getattr(neuron, name) for name in NAMES))]
    exact = adaptive_reference(*leaves)
    expected = torch.autograd.grad((exact * weight.double()).sum(), leaves)
    assert torch.equal(spikes.double(), exact)
    assert 0.02 < spikes.mean() < 0.9
    for one, other in zip(found, expected, strict=True):
        assert (one.double() - other).abs().max() <= 1e-6 * other.abs().max()


@needs_kernels
@pytest.mark.parametrize("shape", [(9, 40, 17), (4, 3, 17, 6, 7), (4, 2, 17, 30)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_kernels_and_loops_agree(monkeypatch, shape, dtype):
    """Spikes to the bit, gradients to rounding, also for numbers that have left their bounds."""
    neuron, weight = AdLIF(num_features=17, v_threshold=0.2), torch.randn(shape)
    x = (2 * torch.randn(shape)).to(dtype)
    with torch.no_grad():
        neuron.alpha[0], neuron.beta[1], neuron.a[2], neuron.b[3] = 2.0, 0.1, -4.0, -1.0
    results = []
    for fast in (True, False):
        with monkeypatch.context() as patch:
            if not fast:
                patch.setattr(functional.fused, "can_run", lambda *_: False)
            leaf = x.clone().requires_grad_()
            spikes = neuron(leaf)
            wanted = [leaf, *neuron.parameters()]
            results.append((spikes, torch.autograd.grad((spikes.float() * weight).sum(), wanted)))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][0].any()
    for one, other in zip(results[0][1], results[1][1], strict=True):
        error = (one.double() - other.double()).abs().max() / other.double().abs().max()
        assert error <= {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}[dtype]


@needs_kernels
def test_operator_contract():
    """PyTorch's own checks: schema, fake tensors, autograd registration."""
    numbers = torch.rand(4, 3, requires_grad=True)
    x, tests = torch.randn(5, 2, 3, 4, requires_grad=True), ("test_schema", "test_faketensor")
    for state in (None, torch.rand(3, 2, 3, 4)):
        arguments = (x, state, numbers, 4, 0.5, False, 0, 2.0, True)
        torch.library.opcheck(
            torch.ops.snnzoo.adaptive.default, arguments, test_utils=(*tests, "test_autograd_registration")
        )
        backward = (x.detach(), state, numbers.detach(), torch.rand(x.shape), None, 4, 0.5, False, 0, 2.0)
        torch.library.opcheck(torch.ops.snnzoo.adaptive_backward.default, backward, test_utils=tests)


@needs_kernels
def test_nothing_of_the_size_of_a_step_is_saved_but_the_input():
    saved, x = [], torch.randn(8, 100, 30, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        AdLIF(num_features=30)(x)
    assert [t.numel() for t in saved if t.numel() > 120] == [x.numel()]


def test_in_a_map_the_units_are_the_channels():
    neuron, x = AdLIF(num_features=3, v_threshold=0.2), torch.randn(6, 2, 3, 4, 5)
    rows = x.permute(0, 1, 3, 4, 2).reshape(6, -1, 3)
    assert torch.equal(neuron(x).permute(0, 1, 3, 4, 2).reshape(6, -1, 3), neuron(rows))


def test_where_the_state_grows():
    """The border of the docstring, a = -(1 - beta), by the eigenvalues of the step without a spike."""
    for alpha, beta in ((math.exp(-1 / 5), math.exp(-1 / 30)), (math.exp(-1 / 25), math.exp(-1 / 120))):
        for a, grows in ((-(1 - beta) - 0.01, True), (-(1 - beta) + 0.01, False)):
            step = torch.tensor([[alpha - (1 - alpha) * a, -(1 - alpha) * beta], [a, beta]], dtype=torch.float64)
            assert (torch.linalg.eigvals(step).abs().max().item() > 1) == grows


def test_a_number_out_of_bounds_acts_as_its_bound():
    neuron, x = AdLIF(num_features=1, v_threshold=0.2), torch.randn(30, 20, 1) + 0.5
    bounds = {"alpha": (-1 / 5, -1 / 25), "beta": (-1 / 30, -1 / 120)}
    for name, exponents in bounds.items():
        for exponent, beyond in zip(exponents, (-9.0, 9.0), strict=True):
            at, out = (
                [torch.nn.init.constant_(getattr(neuron, name), v), neuron(x)][1] for v in (math.exp(exponent), beyond)
            )
            assert torch.equal(at, out)


def test_works_in_students_and_trains():
    """v_threshold as the docstring advises for four steps; the gradient reaches every parameter."""
    for student in ("sew_resnet_tiny", "spiking_vgg_tiny"):
        model = zoo.create_model(student, neuron={"name": "adlif", "v_threshold": 0.25}, in_chans=1)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.0  # so that two passes are equal
        x = torch.randn(8, 1, 8, 8)
        model(x).square().sum().backward()
        assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert {neuron.num_features for neuron in zoo.spiking_neurons(model).values()} == {32, 64, 128}
        spared = {name.rsplit(".", 1)[1] for name in model.no_weight_decay()}
        assert spared == set(NAMES)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), model(x))


def test_print_shows_the_numbers():
    neuron = make_neuron({"name": "adlif", "v_threshold": 0.5}, 4)
    assert "num_features=4, v_threshold=0.5, detach_reset=False, surrogate=Rectangle(width=1.0)" in repr(neuron)


def test_the_bound_of_a_is_where_the_recurrence_is_stable():
    """Spectral radius of the linear map of (U, W), by numpy: at most 1 at the bound, above 1 just below it."""
    neuron, x = AdLIF(num_features=200), torch.zeros(1, 1, 200)
    torch.nn.init.constant_(neuron.a, -1.0)
    alpha, beta, a, _ = (number.detach().double().numpy() for number in neuron.numbers(x))

    def radius(a):
        rows = [[alpha - (1 - alpha) * a, -(1 - alpha) * beta], [a, beta]]  # W first, then U of the new W
        return np.abs(np.linalg.eigvals(np.moveaxis(np.array(rows), 2, 0))).max(1)

    assert (radius(a) < 1 + 1e-6).all()
    assert (radius(a - 1e-2) > 1 + 1e-4).all()
    assert (radius(np.ones_like(a)) < 1).all()


@pytest.mark.parametrize("name", ["adlif", "radlif"])
def test_gradients_are_finite_over_a_thousand_steps(name):
    neuron = make_neuron(name, num_features=64)
    x = (5 * torch.rand(1000, 4, 64)).requires_grad_()
    spikes = neuron(x)
    assert 0 < spikes.mean() < 1
    (spikes * torch.randn_like(spikes)).sum().backward()
    for gradient in (x.grad, *(weight.grad for weight in neuron.parameters())):
        assert gradient.isfinite().all()
