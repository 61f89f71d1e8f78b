"""EventProp against an exact, event-driven solution in float64 (time constants 2 : 1, no grid), written apart from it."""

import heapq
import math
from dataclasses import dataclass, field

import numpy as np
import pytest

TAU_M, TAU_S, THETA = 20.0, 10.0, 1.0
slow = pytest.mark.slow


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
