"""Neurons against a float64 loop in numpy, and their gradients against a loop that writes every derivative out."""

import pickle
import re
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo.neurons import IF, LI, LIF, NEURONS, PLIF, Rectangle, carry_state, make_neuron, override_surrogate

SETTINGS = [
    {"name": "if"},
    {"name": "if", "v_reset": None, "v_threshold": 0.7},
    {"name": "if", "v_reset": None, "v_threshold": 0.7, "v_init": 0.5},
    {"name": "lif"},
    {"name": "lif", "tau": 3.0, "v_reset": -0.5},
    {"name": "lif", "decay_input": False, "v_reset": None},
    {"name": "lif", "decay_input": False, "v_reset": 0.25, "tau": 1.5},
    {"name": "plif", "tau": 2.5},
    {"name": "plif", "tau": 4.0, "decay_input": False, "v_reset": None},
]
every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=str)
UNITS = [  # those with a reference of their own, in their own test; x has three units
    {"name": "leaky"},
    {"name": "unit_if", "num_features": 3, "v_init": 0.5},
    {"name": "cuba", "tau_s": 3.0, "tau_m": 1.5},
    {"name": "cuba", "v_reset": None},
    {"name": "unit_lif", "v_threshold": 0.2, "num_features": 3},
    {"name": "adlif", "v_threshold": 0.2, "num_features": 3},
    {"name": "recurrent_lif", "num_features": 3, "self_connections": True},
    {"name": "radlif", "v_threshold": 0.2, "num_features": 3},
]
every_neuron = pytest.mark.parametrize("setting", SETTINGS + UNITS, ids=str)
PARAMETERS = {
    "plif": {"w"},
    "leaky": {"leak", "v_threshold"},
    "unit_lif": {"alpha"},
    "adlif": {"alpha", "beta", "a", "b"},
    "recurrent_lif": {"recurrent.weight"},
    "radlif": {"alpha", "beta", "a", "b", "recurrent.weight"},
}
BUFFERS = {"unit_if": {"threshold", "shift", "v_init"}}


def charge(setting, v, x):
    """The equations of the docstrings."""
    rest = setting.get("v_reset", 0.0) or 0.0
    if setting["name"] == "if":
        return v + x
    rate = 1 / setting.get("tau", 2.0)
    if setting.get("decay_input", True):
        return v + (x - (v - rest)) * rate
    return v - (v - rest) * rate + x


def reference(setting, current):
    """Spikes [T, ...] in float64, step by step."""
    threshold, reset = setting.get("v_threshold", 1.0), setting.get("v_reset", 0.0)
    v = np.full(current.shape[1:], (reset or 0.0) + setting.get("v_init", 0.0) * threshold)
    spikes = []
    for x in current:
        h = charge(setting, v, x)
        s = (h >= threshold).astype(float)
        v = h - threshold * s if reset is None else h * (1 - s) + reset * s
        spikes.append(s)
    return np.stack(spikes)


@every_setting
def test_spikes_equal_the_float64_loop(setting):
    current = np.random.default_rng(0).normal(0.8, 1.5, (12, 50, 3))
    neuron = make_neuron(setting).double()
    spikes = neuron(torch.from_numpy(current))
    assert np.array_equal(spikes.detach().numpy(), reference(setting, current))
    assert 0.02 < spikes.mean() < 0.98, "the test would see nothing"


@every_setting
@pytest.mark.parametrize("detach", [True, False])
def test_gradient_equals_the_chain_rule_by_hand(setting, detach):
    """Back through time with dS/dH = the surrogate's slope and dV/dH as the reset says."""
    alpha, threshold, reset = 2.0, setting.get("v_threshold", 1.0), setting.get("v_reset", 0.0)
    current = np.random.default_rng(1).normal(0.5, 1.0, (7, 20))
    weight = np.random.default_rng(2).normal(size=current.shape)  # dL/dS
    neuron = make_neuron(setting | {"detach_reset": detach, "surrogate": {"name": "atan", "alpha": alpha}}).double()
    x = torch.from_numpy(current).requires_grad_()
    (neuron(x) * torch.from_numpy(weight)).sum().backward()

    rate = 1.0 if setting["name"] == "if" else 1 / setting.get("tau", 2.0)
    dh_dv = 1.0 if setting["name"] == "if" else 1 - rate
    dh_dx = rate if setting.get("decay_input", True) else 1.0
    v, trace = np.full(20, (reset or 0.0) + setting.get("v_init", 0.0) * threshold), []
    for step in current:
        h = charge(setting, v, step)
        s = (h >= threshold).astype(float)
        v = h - threshold * s if reset is None else h * (1 - s) + reset * s
        trace.append((h, s))
    expected, dl_dv = np.zeros_like(current), np.zeros(20)
    for t in reversed(range(7)):
        h, s = trace[t]
        slope = alpha / 2 / (1 + (np.pi / 2 * alpha * (h - threshold)) ** 2)
        dv_dh = np.ones(20) if reset is None else 1 - s
        if not detach:
            dv_dh = dv_dh + slope * (-threshold if reset is None else reset - h)
        dl_dh = weight[t] * slope + dl_dv * dv_dh
        expected[t], dl_dv = dl_dh * dh_dx, dl_dh * dh_dv
    # PLIF keeps its w in float32, so its rate is that of tau to 1e-7 only.
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-4 if setting["name"] == "plif" else 1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(NEURONS) - {"integer"}))  # which rounds: test_integer.py
def test_fires_at_equality(name):
    neuron = make_neuron({"name": name, "v_threshold": 0.5}, num_features=1)
    if name in ("unit_lif", "adlif", "radlif"):
        torch.nn.init.constant_(neuron.alpha, 0.875)
    gain = {"if": 1.0, "unit_if": 1.0, "leaky": 1.0, "unit_lif": 0.125, "adlif": 0.125, "radlif": 0.125}.get(name, 0.5)
    current = torch.tensor([[[0.5 / gain]]])  # charges to exactly 0.5
    assert neuron(current).item() == 1.0
    assert neuron(current - 1e-6).item() == 0.0


@pytest.mark.parametrize("name", NEURONS)
def test_state_starts_anew_and_is_never_saved(name):
    neuron = make_neuron(name, num_features=4)
    x = torch.rand(5, 2, 4) * 2
    assert torch.equal(neuron(x), neuron(x))
    assert set(dict(neuron.named_parameters())) == PARAMETERS.get(name, set())
    assert set(neuron.state_dict()) == PARAMETERS.get(name, set()) | BUFFERS.get(name, set())
    assert torch.equal(pickle.loads(pickle.dumps(neuron))(x), neuron(x))


@every_neuron
def test_no_step_sees_a_later_one_and_no_sample_another(setting):
    x, neuron = torch.randn(6, 5, 3) + 0.5, make_neuron(setting)
    assert neuron(x).any(), "the test would see nothing"
    assert torch.equal(neuron(x)[:4], neuron(x[:4]))
    assert torch.equal(neuron(x)[:, 2:3], neuron(x[:, 2:3]))


@every_neuron
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half(setting, dtype):
    x = (torch.randn(6, 20, 3) * 2 + 1).to(dtype).requires_grad_()
    spikes = make_neuron(setting)(x)
    spikes.sum().backward()
    assert (spikes.dtype, x.grad.dtype) == (dtype, dtype)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}


@every_neuron
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_learns_under_autocast(setting, dtype):
    """Currents and spikes in half precision; every parameter gets a gradient in its own."""
    model, x = torch.nn.Sequential(torch.nn.Linear(4, 3), make_neuron(setting)), torch.randn(6, 20, 4) * 4
    with torch.autocast("cpu", dtype):
        spikes = model(x)
    (spikes.float() * torch.randn(spikes.shape)).sum().backward()
    assert spikes.dtype == dtype
    assert all(p.grad.dtype == torch.float32 and p.grad.any() and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ["cuba", "unit_if", "unit_lif", "adlif", "recurrent_lif", "radlif"])
def test_compiled_and_exported(name):
    """Without a graph break, kernels or loops; an exported program needs neither of our operators."""
    neuron = make_neuron({"name": name, "v_threshold": 0.2}, num_features=3)
    model, x = torch.nn.Sequential(torch.nn.Linear(4, 3), neuron), torch.randn(3, 5, 4) * 4
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), model(x))
    found, expected = (torch.autograd.grad(run(x).sum(), list(model.parameters())) for run in (compiled, model))
    torch.testing.assert_close(found, expected)
    program = torch.export.export(model, (x,))
    assert "snnzoo" not in str(program.graph)
    assert torch.equal(program.module()(x), model(x))


def test_detaching_the_reset_changes_no_spike():
    x = torch.randn(8, 30) + 0.5
    for reset in (0.0, None):
        neurons = [IF(v_reset=reset, detach_reset=detach) for detach in (True, False)]
        assert torch.equal(neurons[0](x), neurons[1](x))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: make_neuron("lfi"), "Unknown neuron 'lfi'. Did you mean 'lif'"),
        (
            lambda: make_neuron({"tau": 2.0}),
            r"'name' is missing in neuron: {'tau': 2.0}\. Accepted: adlif, .*, recurrent_lif",
        ),
        (lambda: make_neuron(None), "'name' is missing in neuron"),  # `neuron:` with nothing after it, in a recipe
        (lambda: make_neuron({"name": "lif", "tua": 2.0}), "Unknown lif argument 'tua'. Did you mean 'tau'"),
        (lambda: make_neuron({"name": "if", "surrogate": "atn"}), "Unknown surrogate 'atn'. Did you mean 'atan'"),
        (lambda: make_neuron("adlif"), r"num_features .* is needed: .* found None\. make_neuron\(spec, num_features\)"),
        (
            lambda: make_neuron({"name": "radlif", "num_features": 8}, 4),
            "num_features of neuron 'radlif' is 8, but .* 4",
        ),
        (lambda: make_neuron("recurrent_lif", 0), "num_features .*units.* >= 1, found 0"),
        (lambda: make_neuron("adlif", 2.0), "integer >= 1, found 2.0"),
        (lambda: make_neuron({"name": "lif", "num_features": 4}), "Unknown lif argument 'num_features'"),
        (lambda: make_neuron({"name": "adlif", "v_threshold": 0.0}, 4), "above the reset potential 0.0, found 0.0"),
        (lambda: make_neuron({"name": "adlif", "v_reset": 0.0}, 4), "Unknown adlif argument 'v_reset'"),
        (lambda: make_neuron({"name": "lif", "tau": "2"}), "Neuron 'lif' does not take {'tau': '2'}"),
        (lambda: make_neuron({"name": "recurrent_lif", "tau": 0.0}, 4), ">= 1, found 0.0"),
        (lambda: make_neuron({"name": "cuba", "v_threshold": -1.0}), "above the reset potential 0.0, found -1.0"),
        (lambda: LIF(tau=0.5), ">= 1, found 0.5"),
        (lambda: LIF(tau=float("nan")), ">= 1, found nan"),
        (lambda: LIF(v_threshold=float("nan")), "above the reset potential 0.0, found nan"),
        (lambda: PLIF(tau=1.0), "starts above 1, found 1.0"),
        (lambda: make_neuron({"name": "if", "v_init": 0.5}), "v_init=0.5 needs a soft reset, found v_reset=0.0.* null"),
        (lambda: IF(v_reset=None, v_init=1.0), r"expected a number in \[0, 1\), found 1.0"),
        (lambda: IF(v_reset=None, v_init=-0.1), r"expected a number in \[0, 1\), found -0.1"),
        (lambda: IF(v_reset=None, v_init=float("nan")), r"expected a number in \[0, 1\), found nan"),
        (lambda: make_neuron({"name": "if", "v_reset": None, "v_init": "half"}), "found 'half'"),
        (lambda: make_neuron({"name": "unit_if", "v_init": 2}, 4), r"expected a number in \[0, 1\), found 2"),
        (lambda: make_neuron({"name": "unit_if", "v_threshold": 0.0}, 4), "above the reset potential 0.0, found 0.0"),
        (lambda: IF(v_threshold=0.0), "above the reset potential 0.0, found 0.0"),
        (lambda: IF(v_threshold=0.2, v_reset=0.3), "above the reset potential 0.3, found 0.2"),
    ],
)
def test_bad_input(build, words):
    with pytest.raises(ValueError, match=words):
        build()


@pytest.mark.parametrize("name", NEURONS)
def test_the_listed_arguments_are_those_of_the_neuron(name):
    """Every other argument of any neuron is one that Python itself refuses."""

    def listed(name):
        with pytest.raises(ValueError, match="Unknown .* argument 'q'") as error:
            make_neuron({"name": name, "q": 1})
        return set(str(error.value).removesuffix(".").split("Accepted: ")[1].split(", "))

    accepted, units = listed(name), {"num_features": 3} if "num_features" in listed(name) else {}
    values = {"detach_reset": True, "surrogate": "sigmoid", "decay_input": False, "self_connections": True, "levels": 2}
    values["v_init"] = 0.0  # any other needs a soft reset, too
    for argument in accepted - {"num_features"}:
        arguments = {**units, argument: values.get(argument, 0.5 if argument in ("leak", "v_reset") else 2.0)}
        make_neuron({"name": name, **arguments})
        NEURONS[name](**arguments)
    for argument in set().union(*map(listed, NEURONS)) - accepted:
        with pytest.raises(ValueError, match=f"Unknown {name} argument '{argument}'"):
            make_neuron({"name": name, argument: 2.0})
        with pytest.raises(TypeError, match=argument):
            NEURONS[name](**{**units, argument: 2.0})


def test_print_shows_the_numbers():
    assert "tau=3.0" in repr(LIF(tau=3.0))
    assert "tau=4" in repr(PLIF(tau=4.0))
    assert "ATan(alpha=2.0)" in repr(IF())


@every_neuron
def test_a_carried_state_equals_one_sequence(setting):
    """In chunks, whatever their lengths; the gradient stops between them, and nothing is left behind."""
    neuron, x = make_neuron(setting), (torch.randn(7, 5, 3) + 0.5).requires_grad_()
    with carry_state(neuron):
        chunks = [neuron(part) for part in x.split([1, 4, 2])]
    assert torch.equal(torch.cat(chunks), neuron(x))
    (grad,) = torch.autograd.grad(chunks[-1].sum(), x)
    assert not grad[:5].any()
    assert neuron.state is None
    with pytest.raises(ZeroDivisionError), carry_state(neuron):
        neuron(x)
        raise ZeroDivisionError
    assert torch.equal(neuron(x), neuron(x))


def test_another_surrogate_for_a_block():
    """Spikes stay, gradients change; all is as before afterwards, also after an exception."""
    model, x = torch.nn.Sequential(make_neuron("lif"), make_neuron("plif")), torch.randn(4, 6, requires_grad=True)
    own = [neuron.surrogate for neuron in model]
    (before,) = torch.autograd.grad(model(x).sum(), x)
    with pytest.raises(ZeroDivisionError), override_surrogate(model, {"name": "rectangle", "width": 0.5}):
        assert [neuron.surrogate for neuron in model] == [Rectangle(0.5)] * 2
        inside = model(x)
        (other,) = torch.autograd.grad(inside.sum(), x)
        raise ZeroDivisionError
    assert [neuron.surrogate for neuron in model] == own
    assert torch.equal(inside, model(x))
    assert not torch.allclose(before, other)


def test_the_table_in_the_docs():
    """docs/neurons.md lists every neuron, its arguments and what it learns."""
    text = (Path(__file__).parents[3] / "docs/neurons.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|[^|]*\|$", text, flags=re.MULTILINE)
    table = {name: (arguments, learned) for name, _, arguments, learned in rows if name in NEURONS}
    assert set(table) == set(NEURONS)
    for name, (arguments, learned) in table.items():
        own = signature(NEURONS[name]).parameters
        common = {"neuron", "lif", "v_threshold", "v_reset", "detach_reset", "surrogate"}
        parameters = {"recurrent.weight" if part == "V" else part for part in re.findall(r"`(\w+)`", learned)}
        assert set(re.findall(r"`(\w+)`", arguments)) == set(own) - common
        assert parameters == PARAMETERS.get(name, set())


@every_neuron
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool], ids=str)
def test_integers_and_bool_are_currents_like_their_fp32(setting, dtype):
    neuron, x = make_neuron(setting, 3), torch.randint(0, 3, (6, 4, 3)).to(dtype)
    spikes = neuron(x)
    assert spikes.dtype is torch.float32
    assert torch.equal(spikes, neuron(x.float()))


def test_a_readout_of_integers_is_not_truncated():
    readout = LI(num_features=2)
    assert torch.equal(readout(torch.ones(5, 1, 2, dtype=torch.uint8)), readout(torch.ones(5, 1, 2)))
    assert readout(torch.ones(5, 1, 2, dtype=torch.uint8)).min() > 0
