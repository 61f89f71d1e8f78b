"""EventProp against an exact, event-driven solution in float64: time constants 2 : 1, no grid, none of its code."""

import heapq
import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from zoo.eventprop import (
    EventPropLI,
    EventPropLIF,
    SpikeCount,
    Synapses,
    TimeConstants,
    check_not_mixed,
    first_spike_logits,
)
from zoo.neurons import LIF

TAU_M, TAU_S, THETA = 20.0, 10.0, 1.0


# The oracle ----------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """One exact simulation: spikes in order, and every event, for the way back."""

    times: list = field(default_factory=list)
    neurons: list = field(default_factory=list)
    slopes: list = field(default_factory=list)
    events: list = field(default_factory=list)  # (time, "spike", spike) or (time, "arrival", source, index, target)

    def same_sequence(self, other):
        return self.neurons == other.neurons


class Oracle:
    """A population of M neurons with inputs [(time, channel)]; layers are blocks of the weights w_rec [from, to].

    Between events V(s) = (V0 + I0) x - I0 x^2 with x = exp(-s / tau_m), so a crossing is the root of a quadratic.
    """

    def __init__(self, w_in, w_rec, inputs, duration, d_in=None, d_rec=None):
        self.w_in, self.w_rec, self.inputs, self.duration = w_in, w_rec, inputs, duration
        self.d_in = np.zeros_like(w_in) if d_in is None else d_in
        self.d_rec = np.zeros_like(w_rec) if d_rec is None else d_rec

    def weight(self, source, index):
        return (self.w_in if source == "in" else self.w_rec)[index]

    @staticmethod
    def crossing(v, i):
        """Time to the threshold, inf if it is never reached."""
        total = v + i
        with np.errstate(all="ignore"):
            x = (total + np.sqrt(total**2 - 4 * i * THETA)) / (2 * i)
            wait = -TAU_M * np.log(x)
        return np.where((i > 0) & (x > 0) & (x < 1), np.nan_to_num(wait, nan=np.inf), np.inf)

    def forward(self):
        run, order = Run(), 0
        queue = []

        def send(time, source, index, delays, number):
            nonlocal order
            for target in range(self.w_rec.shape[0]):
                if self.weight(source, index)[target]:
                    order += 1
                    heapq.heappush(queue, (time + delays[index, target], order, source, index, target, number))

        for number, (time, channel) in enumerate(self.inputs):
            send(time, "in", channel, self.d_in, number)
        v, i, now = np.zeros(len(self.w_rec)), np.zeros(len(self.w_rec)), 0.0
        while True:
            waits = self.crossing(v, i)
            first = int(waits.argmin())
            spikes = now + waits[first] <= (queue[0][0] if queue else math.inf)
            time = now + waits[first] if spikes else (queue[0][0] if queue else math.inf)
            if time > self.duration:
                return run
            x = math.exp(-(time - now) / TAU_M)
            v, i, now = (v + i) * x - i * x**2, i * x**2, time
            if spikes:
                run.events.append((time, "spike", len(run.times)))
                run.times.append(time)
                run.neurons.append(first)
                run.slopes.append(i[first] - THETA)
                v[first] = 0.0
                send(time, "rec", first, self.d_rec, len(run.times) - 1)
                while queue and queue[0][0] == time:  # without delay, in the same moment
                    self.arrive(run, i, heapq.heappop(queue))
            else:
                self.arrive(run, i, heapq.heappop(queue))

    def arrive(self, run, i, event):
        time, _, source, index, target, number = event
        i[target] += self.weight(source, index)[target]
        run.events.append((time, "arrival", source, index, target, number))

    def backward(self, run, dl_dt):
        """Gradients of a loss with dL/dt of every spike: of w_in, w_rec, d_in, d_rec and of the input times."""
        count = len(self.w_rec)
        lv, li, now = np.zeros(count), np.zeros(count), self.duration
        dw = {"in": np.zeros_like(self.w_in), "rec": np.zeros_like(self.w_rec)}
        dd = {"in": np.zeros_like(self.w_in), "rec": np.zeros_like(self.w_rec)}
        error, of_inputs = np.array(dl_dt, float), np.zeros(len(self.inputs))
        for event in reversed(run.events):
            a, b = (math.exp(-(now - event[0]) / tau) for tau in (TAU_M, TAU_S))
            now = event[0]
            li = b * li + TAU_M / (TAU_M - TAU_S) * (a - b) * lv
            lv = a * lv
            if event[1] == "arrival":
                _, _, source, index, target, number = event
                moved = self.weight(source, index)[target] * (lv - li)[target]
                dw[source][index, target] -= TAU_S * li[target]
                dd[source][index, target] += moved
                (of_inputs if source == "in" else error)[number] += moved
            else:
                number = event[2]
                n = run.neurons[number]
                lv[n] += (THETA * lv[n] + error[number]) / run.slopes[number]
        return dw["in"], dw["rec"], dd["in"], dd["rec"], of_inputs


def layered(draw, sizes, means, recurrent=0.0):
    """Weights of a feed-forward network as one population; `recurrent` scales those inside the first layer."""
    total = sum(sizes[1:])
    w_in, w_rec = np.zeros((sizes[0], total)), np.zeros((total, total))
    w_in[:, : sizes[1]] = draw.normal(means[0], means[0] / 2, (sizes[0], sizes[1]))
    if recurrent:
        w_rec[: sizes[1], : sizes[1]] = draw.normal(0, recurrent, (sizes[1], sizes[1]))
    if len(sizes) > 2:
        w_rec[: sizes[1], sizes[1] :] = draw.normal(means[1], means[1] / 2, (sizes[1], sizes[2]))
    return w_in, w_rec


def random_inputs(draw, channels, duration, each, grid=None):
    times = draw.uniform(0, 0.8 * duration, (channels, each))
    times = np.round(times / grid) * grid if grid else times
    return sorted((float(t), c) for c in range(channels) for t in times[c])


def differences(make, parameter, entries, loss, base, eps=1e-6):
    """Central differences of `loss` at the entries of an array; nan where a perturbed run has other spikes."""
    found = []
    for entry in entries:
        values = []
        for sign in (1, -1):
            old = parameter[entry]
            parameter[entry] += sign * eps
            run = make().forward()
            parameter[entry] = old
            values.append(loss(run) if run.same_sequence(base) else math.nan)
        found.append((values[0] - values[1]) / (2 * eps))
    return np.array(found)


def relative_error(found, expected):
    keep = ~np.isnan(expected)
    assert keep.mean() > 0.8, "almost every perturbation changed the spikes: the test would see nothing"
    return np.abs(found - expected)[keep].max() / np.abs(expected[keep]).max()


@pytest.mark.parametrize("kind", ["layers", "recurrent", "self", "delays"])
def test_the_oracle_agrees_with_finite_differences(kind):
    draw = np.random.default_rng(1)
    sizes = (8, 10, 6)
    w_in, w_rec = layered(draw, sizes, (0.9, 1.1), recurrent=0.0 if kind == "layers" else 0.3)
    if kind == "recurrent":
        np.fill_diagonal(w_rec, 0)
    if kind == "self":
        assert np.diag(w_rec)[:10].all()
    inputs = random_inputs(draw, 8, 100.0, 4)
    d_in, d_rec = (draw.uniform(0.5, 8, w.shape) * (kind == "delays") for w in (w_in, w_rec))

    def make():
        return Oracle(w_in, w_rec, inputs, 100.0, d_in, d_rec)

    base = make().forward()
    assert len(base.times) > 40
    functional = draw.normal(size=len(base.times))

    def loss(run):
        return float(functional @ run.times)

    gradients = make().backward(base, functional)
    for parameter, gradient in zip((w_in, w_rec, d_in, d_rec), gradients, strict=False):
        used = np.argwhere((w_in if parameter.shape == w_in.shape else w_rec) != 0)
        if kind != "delays" and (parameter is d_in or parameter is d_rec):
            continue
        entries = [tuple(entry) for entry in draw.permutation(used)[:40]]
        expected = differences(make, parameter, entries, loss, base)
        assert relative_error(np.array([gradient[e] for e in entries]), expected) < 1e-6


# Losses of the voltage, in closed form ---------------------------------------------------------------------------


def readout(times, neurons, w_out, duration, shape):
    """z_k = 1/T int w(t) V_k dt of LI readouts with weights w_out [hidden, K], from the spikes of the hidden layer."""

    def integral(tau):
        rate = 1 / tau + (1 / duration if shape == "exp" else 0.0)
        scale = torch.exp(-times / duration) if shape == "exp" else 1.0
        return scale * (1 - torch.exp(-(duration - times) * rate)) / rate

    psp = TAU_S / (TAU_M - TAU_S) * (integral(TAU_M) - integral(TAU_S))
    return (psp[:, None] * w_out[neurons]).sum(0) / duration


def voltage_gradients(oracle, w_out, target, shape="none"):
    """Loss, gradients of the oracle's parameters, and of w_out."""
    run = oracle.forward()
    times = torch.tensor(run.times, dtype=torch.float64, requires_grad=True)
    w = torch.tensor(w_out, requires_grad=True)
    loss = cross_entropy(readout(times, run.neurons, w, oracle.duration, shape)[None], torch.tensor([target]))
    loss.backward()
    return run, loss.item(), oracle.backward(run, times.grad.numpy()), w.grad.numpy()


@pytest.mark.parametrize("shape", ["none", "exp"])
def test_the_oracle_agrees_with_finite_differences_of_voltage_losses(shape):
    draw = np.random.default_rng(3)
    w_in, w_rec = layered(draw, (8, 10), (0.9,), recurrent=0.3)
    w_out = draw.normal(0, 1, (10, 4))
    inputs = random_inputs(draw, 8, 100.0, 4)

    def make():
        return Oracle(w_in, w_rec, inputs, 100.0)

    base, _, gradients, of_out = voltage_gradients(make(), w_out, 2, shape)

    def loss(_):
        return voltage_gradients(make(), w_out, 2, shape)[1]

    for parameter, gradient in ((w_in, gradients[0]), (w_rec, gradients[1]), (w_out, of_out)):
        entries = [tuple(entry) for entry in draw.permutation(np.argwhere(parameter != 0))[:20]]
        found = []
        for entry in entries:
            old, values = parameter[entry], []
            for sign in (1, -1):
                parameter[entry] = old + sign * 3e-6
                run, value, *_ = voltage_gradients(make(), w_out, 2, shape)
                values.append(value if run.same_sequence(base) else math.nan)
            parameter[entry] = old
            found.append((values[0] - values[1]) / 6e-6)
        assert np.nanmax(np.abs(np.array([gradient[e] for e in entries]) - found)) < 1e-9
        assert np.nanmax(np.abs(found)) > 1e-3, "gradients too small to compare"


# The layers on the grid ------------------------------------------------------------------------------------------


def on_grid(inputs, channels, duration, dt):
    x = torch.zeros(round(duration / dt), 1, channels, dtype=torch.float64)
    for time, channel in inputs:
        x[round(time / dt), 0, channel] = 1
    return x


def layer(weight, dt, recurrent=None, kind=EventPropLIF, tau=(TAU_M, TAU_S), **options):
    """A layer in float64 with weights [from, to]."""
    if recurrent is not None:
        options["recurrent"] = True
    made = kind(*weight.shape, TimeConstants(*tau, dt), **options).double()
    with torch.no_grad():
        made.synapses.weight.copy_(torch.as_tensor(weight).T)
        if recurrent is not None:
            made.recurrent.weight.copy_(torch.as_tensor(recurrent).T)
    return made


def error_of(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("recurrent", [0.0, 0.15])
def test_the_grid_converges_to_the_oracle(recurrent):
    """Section 1.8: hidden layer of 15, CE of the mean voltage of 5 readouts; gated on equal spike counts."""
    draw = np.random.default_rng(SEEDS[recurrent])
    w_in, w_rec = layered(draw, (20, 15), (0.55,), recurrent)
    w_out = draw.normal(0, 1, (15, 5))
    inputs = random_inputs(draw, 20, 100.0, 5, grid=0.1)
    run, _, (of_in, of_rec, *_, of_times), of_out = voltage_gradients(Oracle(w_in, w_rec, inputs, 100.0), w_out, 1)
    assert len(run.times) > 100
    errors = {}
    for dt in (0.1, 0.02, 0.005):
        hidden = layer(w_in, dt, w_rec if recurrent else None)
        out = layer(w_out, dt, kind=EventPropLI)
        x = on_grid(inputs, 20, 100.0, dt).requires_grad_()
        spikes = hidden(x)
        cross_entropy(out(spikes).mean(0), torch.tensor([1])).backward()
        if dt < 0.1:
            counts = spikes.detach().sum((0, 1)).numpy()
            assert (counts == np.bincount(run.neurons, minlength=15)).all(), "choose another seed: a spike grazes"
        slots = [(round(time / dt), 0, channel) for time, channel in inputs]
        pairs = [
            (hidden.synapses.weight.grad.T, of_in),
            (out.synapses.weight.grad.T, of_out),
            (torch.stack([x.grad[slot] for slot in slots]), of_times),
        ]
        if recurrent:
            pairs.append((hidden.recurrent.weight.grad.T, of_rec))
        errors[dt] = [error_of(found.numpy(), expected) for found, expected in pairs]
        assert np.isfinite(errors[dt]).all()
    assert max(errors[0.005]) < 0.05
    assert all(fine < coarse for fine, coarse in zip(errors[0.005], errors[0.02], strict=True))


SEEDS = {0.0: 0, 0.15: 0}
