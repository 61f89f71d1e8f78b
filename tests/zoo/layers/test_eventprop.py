"""What the layers promise; their gradients are held against an exact solution in test_eventprop_autograd.py."""

import math
import re

import pytest
import torch

from zoo.layers.eventprop import (
    EventPropLI,
    EventPropLIF,
    Synapses,
    check_not_mixed,
    first_spike_logits,
)
from zoo.layers.eventprop_autograd import TimeConstants
from zoo.neurons import LIF, carry_state


@pytest.mark.parametrize("taus", [(20.0, 10.0), (20.0, 5.0), (5.0, 20.0)])
def test_the_smallest_weight_that_fires(taus):
    """The voltage of one input spike peaks at w / w_min, with w_min in closed form."""
    (tau_m, tau_s), r = taus, taus[0] / taus[1]
    w_min = (tau_m - tau_s) / tau_s * r ** (r / (r - 1)) / (r - 1)
    assert TimeConstants(tau_m, tau_s).peak == pytest.approx(1 / w_min, rel=1e-12)
    x = torch.zeros(6000, 1, 1, dtype=torch.float64)
    x[0] = 1
    for factor, fires in ((1.0, False), (1.001, True)):
        made = EventPropLIF(1, 1, TimeConstants(*taus, dt=0.01)).double()
        torch.nn.init.constant_(made.synapses.weight, factor * w_min * (1 - 1e-12))
        assert bool(made(x).any()) == fires


def test_first_spike_logits_say_when():
    spikes = torch.zeros(8, 2, 3)
    spikes[2, 0, 0] = spikes[5, 0, 0] = spikes[0, 1, 2] = spikes[7, 1, 1] = 1
    spikes.requires_grad_()
    logits = first_spike_logits(spikes, dt=0.5)
    assert torch.equal(-logits.mean(0), torch.tensor([[1.0, 4.0, 4.0], [4.0, 3.5, 0.0]]))
    (-logits.mean(0) * torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).sum().backward()
    expected = torch.zeros(8, 2, 3)
    expected[2, 0, 0], expected[7, 1, 1], expected[0, 1, 2] = 1, 5, 6  # first spikes
    expected[7, 0, 1], expected[7, 0, 2], expected[7, 1, 0] = 2, 3, 4  # none: the last slot
    torch.testing.assert_close(spikes.grad, expected)


def test_logits_of_no_spike_trains():
    with pytest.raises(ValueError, match=r"expected spikes \[T, N, F\], found shape \(4, 2\)"):
        first_spike_logits(torch.zeros(4, 2), dt=1.0)


def test_delays_are_clamped():
    synapses = Synapses(2, 2, dt=1.0, max_delay=4.0)
    with torch.no_grad():
        synapses.delay.copy_(torch.tensor([[-0.5, 0.5], [1.25, 0.25]]))
        synapses.weight.copy_(torch.tensor([[1.0, 2.0], [4.0, 8.0]]))
    x = torch.zeros(6, 1, 2)
    x[0] = 1
    expected = torch.zeros(6, 2)
    expected[0, 0], expected[2, 0], expected[4, 1], expected[1, 1] = 1, 2, 4, 8
    assert torch.equal(synapses(x)[0][:, 0], expected)
    fixed = Synapses(2, 2, dt=1.0, max_delay=4.0, learn_delays=False)
    assert [name for name, _ in fixed.named_parameters()] == ["weight"]
    assert "delay" in fixed.state_dict()


# Errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tau_mem", "tau_syn", "dt"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan, "20", True])
def test_times_that_are_none(name, value):
    with pytest.raises(ValueError, match=f"{name} of an EventProp layer: expected a positive time in ms, found"):
        TimeConstants(**{name: value})


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_delays_that_are_none(value):
    with pytest.raises(ValueError, match="max_delay is a time in ms and must be >= 0"):
        EventPropLIF(2, 2, TimeConstants(), max_delay=value)


def test_arguments_of_spike_count():
    with pytest.raises(ValueError, match="above of spike_count: expected a number >= 0, found -1"):
        EventPropLIF(2, 2, TimeConstants(), spike_count={"above": -1})
    for useless in ({}, {"target": 3.0}, {"target": 3.0, "above": 0.0}):
        with pytest.raises(ValueError, match="needs a strength: above, below or both"):
            EventPropLIF(2, 2, TimeConstants(), spike_count=useless)
    with pytest.raises(ValueError, match="target"):
        EventPropLIF(2, 2, TimeConstants(), spike_count={"taget": 3})


@pytest.mark.parametrize("kind", [EventPropLIF, EventPropLI])
def test_input_that_is_no_spikes(kind):
    made = kind(3, 2, TimeConstants())
    for shape in ((2, 3), (4, 2, 5), (4, 3, 2)):
        with pytest.raises(ValueError, match=re.escape(f"spikes [T, N, F] with F = 3, found shape {shape}.")):
            made(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"expected binary spikes, 0 or 1, found values from 0 to 0\.5"):
        made(torch.tensor([[[0.0, 0.5, 0.0]]]))
    with pytest.raises(ValueError, match="expected binary"):
        made(torch.full((1, 1, 3), math.nan))


def test_spikes_of_a_surrogate_are_refused():
    spikes = LIF()(torch.full((4, 1, 3), 3.0, requires_grad=True))
    with pytest.raises(ValueError, match="cannot be mixed with surrogate gradients"):
        EventPropLIF(3, 2, TimeConstants())(spikes)
    mixed = torch.nn.Sequential(EventPropLIF(3, 3, TimeConstants()), LIF())
    with pytest.raises(ValueError, match=r"0 is an EventProp layer and 1 \(LIF\) has a surrogate gradient"):
        check_not_mixed(mixed)
    check_not_mixed(mixed[:1])
    check_not_mixed(mixed[1:])
    with pytest.raises(ValueError, match=r"1 is an EventProp layer and 0 \(LIF\) has a surrogate gradient"):
        check_not_mixed(torch.nn.Sequential(LIF(), EventPropLI(3, 3, TimeConstants())))


def test_no_state_is_carried():
    with pytest.raises(ValueError, match="needs whole sequences"), carry_state(EventPropLIF(2, 2, TimeConstants())):
        pass
