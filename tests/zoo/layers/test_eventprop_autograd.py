"""EventProp against an exact, event-driven solution in float64: time constants 2 : 1, no grid, none of its code."""

import heapq
import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from zoo.layers.eventprop import EventPropLI, EventPropLIF, first_spike_logits
from zoo.layers.eventprop_autograd import TimeConstants

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


def differences(parameter, entries, evaluate, base, step=1e-5):
    """Central differences of 4th order at entries of an array; nan where a perturbed run has other spikes."""
    found = []
    for entry in entries:
        old, slope = parameter[entry], 0.0
        for shift, factor in ((1, 8), (-1, -8), (2, -1), (-2, 1)):
            parameter[entry] = old + shift * step
            run, loss = evaluate()
            slope += factor * loss / (12 * step) if run.same_sequence(base) else math.nan
        parameter[entry] = old
        found.append(slope)
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
    inputs = random_inputs(draw, 8, 60.0, 4)
    d_in, d_rec = (draw.uniform(0.5, 8, w.shape) * (kind == "delays") for w in (w_in, w_rec))

    def make():
        return Oracle(w_in, w_rec, inputs, 60.0, d_in, d_rec)

    base = make().forward()
    assert len(base.times) > 40
    functional = draw.normal(size=len(base.times))

    def evaluate():
        run = make().forward()
        return run, float(functional @ run.times) if run.same_sequence(base) else math.nan

    gradients = make().backward(base, functional)
    for parameter, gradient in zip((w_in, w_rec, d_in, d_rec), gradients, strict=False):
        used = np.argwhere((w_in if parameter.shape == w_in.shape else w_rec) != 0)
        if kind != "delays" and (parameter is d_in or parameter is d_rec):
            continue
        entries = [tuple(entry) for entry in draw.permutation(used)[:6]]
        expected = differences(parameter, entries, evaluate, base)
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
    inputs = random_inputs(draw, 8, 60.0, 4)

    def make():
        return Oracle(w_in, w_rec, inputs, 60.0)

    base, _, gradients, of_out = voltage_gradients(make(), w_out, 2, shape)

    def evaluate():
        return voltage_gradients(make(), w_out, 2, shape)[:2]

    for parameter, gradient in ((w_in, gradients[0]), (w_rec, gradients[1]), (w_out, of_out)):
        entries = [tuple(entry) for entry in draw.permutation(np.argwhere(parameter != 0))[:8]]
        found = differences(parameter, entries, evaluate, base)
        assert np.nanmax(np.abs(np.array([gradient[e] for e in entries]) - found)) < 1e-9
        assert np.nanmax(np.abs(found)) > 1e-3, "gradients too small to compare"


# The layers on the grid ------------------------------------------------------------------------------------------


def on_grid(inputs, channels, duration, dt):
    x = torch.zeros(round(duration / dt), 1, channels, dtype=torch.float64)
    for time, channel in inputs:
        x[round(time / dt), 0, channel] = 1
    return x


def layer(weight, dt, recurrent=None, kind=EventPropLIF, tau=(TAU_M, TAU_S), delays=None, **options):
    """A layer in float64 with weights and delays [from, to]."""
    if recurrent is not None:
        options["recurrent"] = True
    made = kind(*weight.shape, TimeConstants(*tau, dt), **options).double()
    with torch.no_grad():
        made.synapses.weight.copy_(torch.as_tensor(weight).T)
        if recurrent is not None:
            made.recurrent.weight.copy_(torch.as_tensor(recurrent).T)
        if delays is not None:
            made.synapses.delay.copy_(torch.as_tensor(delays).T / options["max_delay"])
    return made


def error_of(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize(("recurrent", "seed"), [(0.0, 28), (0.15, 25)])
def test_the_grid_converges_to_the_oracle(recurrent, seed):
    """A hidden layer of 15, cross-entropy of the mean voltage of 5 readouts; gated on equal spike counts."""
    draw = np.random.default_rng(seed)
    w_in, w_rec = layered(draw, (20, 15), (0.55,), recurrent)
    w_out = draw.normal(0, 1, (15, 5))
    inputs = random_inputs(draw, 20, 100.0, 5, grid=0.1)
    run, _, (of_in, of_rec, *_, of_times), of_out = voltage_gradients(Oracle(w_in, w_rec, inputs, 100.0), w_out, 1)
    assert len(run.times) > 100
    # dL/dt of an input jumps where a hidden neuron fires, so beside a spike an input lies on one side or on the other.
    clear = np.array([np.abs(np.array(run.times) - time).min() > 0.05 for time, _ in inputs])
    assert clear.sum() > 50
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
            (torch.stack([x.grad[slot] for slot in slots])[clear], of_times[clear]),
        ]
        if recurrent:
            pairs.append((hidden.recurrent.weight.grad.T, of_rec))
        errors[dt] = [error_of(found.numpy(), expected) for found, expected in pairs]
        assert np.isfinite(errors[dt]).all()  # coarser than that, the error need not fall with dt
    assert max(errors[0.005]) < 0.05
    assert all(fine < coarse for fine, coarse in zip(errors[0.005], errors[0.02], strict=True))


def test_two_layers_with_delays_and_first_spikes():
    """What crosses layers is right: 8-10-6 neurons, every synapse with a delay, cross-entropy of first spikes."""
    draw, dt, duration, longest = np.random.default_rng(2), 0.01, 50.0, 2.0
    w_in, w_rec = layered(draw, (8, 10, 6), (0.6, 0.6))
    d_in, d_rec = (np.round(draw.uniform(0, longest, w.shape), 1) for w in (w_in, w_rec))
    inputs = random_inputs(draw, 8, duration, 4, grid=0.1)
    oracle = Oracle(w_in, w_rec, inputs, duration, d_in, d_rec)
    run = oracle.forward()
    first = [run.neurons.index(10 + k) for k in range(6)]
    times = torch.tensor([run.times[number] for number in first], dtype=torch.float64, requires_grad=True)
    cross_entropy(-times[None] / 5, torch.tensor([4])).backward()
    dl_dt = np.zeros(len(run.times))
    dl_dt[first] = times.grad.numpy()
    of_in, of_rec, of_d_in, of_d_rec, _ = oracle.backward(run, dl_dt)

    layers = [
        layer(weight, dt, max_delay=longest, delays=delays)
        for weight, delays in ((w_in[:, :10], d_in[:, :10]), (w_rec[:10, 10:], d_rec[:10, 10:]))
    ]
    hidden = layers[0](on_grid(inputs, 8, duration, dt))
    spikes = layers[1](hidden)
    counts = torch.cat([hidden.sum((0, 1)), spikes.sum((0, 1))]).detach().numpy()
    assert (counts == np.bincount(run.neurons, minlength=16)).all(), "choose another seed: a spike grazes"
    logits = first_spike_logits(spikes, dt)
    assert torch.allclose(-logits.mean(0)[0], times, atol=0.05)
    cross_entropy(logits.mean(0) / 5, torch.tensor([4])).backward()
    expected = ((of_in[:, :10], of_d_in[:, :10]), (of_rec[:10, 10:], of_d_rec[:10, 10:]))
    for made, (of_weight, of_delay) in zip(layers, expected, strict=True):
        assert error_of(made.synapses.weight.grad.T.numpy(), of_weight) < 0.05
        assert error_of(made.synapses.delay.grad.T.numpy() / longest, of_delay) < 0.05


# Properties ------------------------------------------------------------------------------------------------------


def random_spikes(*shape, share=0.1, seed=0):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < share).double()


def busy_layer(dt=1.0, **options):
    torch.manual_seed(0)
    made = EventPropLIF(6, 5, TimeConstants(20.0, 5.0, dt), **options).double()
    made.init_weights(1.5, 0.8)
    return made


def gradients(made, x, by_time):
    """Spikes, and the gradients of the parameters and of x, when dL/dt is `by_time` [T, N, H]."""
    x = x.clone().requires_grad_()
    made.zero_grad()
    spikes = made(x)
    spikes.backward(by_time)
    return spikes.detach(), [parameter.grad.clone() for parameter in made.parameters()], x.grad


def test_readout_equals_the_unrolled_recursion():
    """Its weights' gradient is plain autograd's; the exact propagators are written out here."""
    dt, (tau_m, tau_s) = 0.5, (20.0, 5.0)
    a, b = math.exp(-dt / tau_m), math.exp(-dt / tau_s)
    out = layer(np.random.default_rng(0).normal(size=(6, 3)), dt, kind=EventPropLI, tau=(tau_m, tau_s))
    x, by_voltage = random_spikes(40, 2, 6), torch.randn(40, 2, 3, dtype=torch.float64)
    weight = out.synapses.weight.detach().clone().requires_grad_()
    v = i = torch.zeros(2, 3, dtype=torch.float64)
    voltages = []
    for step in x:
        v = a * v + tau_s / (tau_m - tau_s) * (a - b) * i
        i = b * i + step @ weight.T
        voltages.append(v)
    torch.testing.assert_close(out(x), torch.stack(voltages), atol=1e-12, rtol=1e-12)
    torch.stack(voltages).backward(by_voltage)
    out(x).backward(by_voltage)
    torch.testing.assert_close(out.synapses.weight.grad, weight.grad, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"recurrent": True}, {"max_delay": 3.0}], ids=str)
def test_trials_are_independent(options):
    made, x, by_time = busy_layer(**options), random_spikes(60, 4, 6), torch.randn(60, 4, 5, dtype=torch.float64)
    spikes, of_weights, of_x = gradients(made, x, by_time)
    assert spikes.sum() > 50
    turned, of_turned, of_x_turned = gradients(made, x.flip(1), by_time.flip(1))
    assert torch.equal(turned.flip(1), spikes)
    torch.testing.assert_close(of_x_turned.flip(1), of_x, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(of_turned, of_weights, atol=1e-12, rtol=1e-12)
    alone = [gradients(made, x[:, n : n + 1], by_time[:, n : n + 1])[1] for n in range(4)]
    summed = [torch.stack(each).sum(0) for each in zip(*alone, strict=True)]
    torch.testing.assert_close(summed, of_weights, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"recurrent": True}, {"max_delay": 3.0}], ids=str)
def test_silence_before_and_after_a_trial_changes_nothing(options):
    made, x, by_time = busy_layer(**options), random_spikes(60, 2, 6), torch.randn(60, 2, 5, dtype=torch.float64)
    spikes, of_weights, of_x = gradients(made, x, by_time)
    before, after = torch.zeros(7, 2, 6).double(), torch.zeros(9, 2, 6).double()
    nothing = torch.zeros(9, 2, 5).double()  # the loss does not ask for the spikes of the extra steps
    padded, of_padded, of_x_padded = gradients(
        made, torch.cat([before, x, after]), torch.cat([nothing[:7], by_time, nothing])
    )
    assert torch.equal(padded[7:67], spikes)
    torch.testing.assert_close(of_padded, of_weights, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(of_x_padded[7:67], of_x, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"recurrent": True}, {"max_delay": 3.0}, {"phantom": True}], ids=str)
def test_a_silent_network_has_finite_zero_gradients(options):
    made = busy_layer(**options)
    x, by_time = torch.zeros(30, 2, 6).double(), torch.randn(30, 2, 5).double()
    spikes, of_weights, of_x = gradients(made, x, by_time)
    assert not spikes.any()
    assert not any(gradient.any() for gradient in of_weights)
    assert of_x.isfinite().all()


def test_equal_time_constants_are_the_limit():
    x, by_time, found = random_spikes(60, 4, 6), torch.randn(60, 4, 5, dtype=torch.float64), []
    for tau_s in (10.0, 10.0 * (1 + 1e-6)):
        torch.manual_seed(0)
        made = EventPropLIF(6, 5, TimeConstants(10.0, tau_s)).double()
        made.init_weights(1.5, 0.8)
        found.append(gradients(made, x, by_time))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1:], found[1][1:], atol=1e-4, rtol=1e-4)
    assert found[0][0].sum() > 50


def trial_of_one_spike(weight, steps, at, dt, by_time, **options):
    """dL/dw of a layer of one neuron that gets one input spike; `by_time` {step: dL/dt}."""
    made = layer(np.array([[weight]]), dt, tau=(20.0, 5.0), **options)
    x, slots = torch.zeros(steps, 1, 1).double(), torch.zeros(steps, 1, 1).double()
    x[at] = 1
    for step, value in by_time.items():
        slots[step] = value
    spikes = made(x)
    spikes.backward(slots)
    return spikes.detach().flatten().nonzero().flatten().tolist(), made.synapses.weight.grad.item()


def adjoint_current(wait):
    """lambda_I, `wait` ms before lambda_V = 1."""
    return 20.0 / 15.0 * (math.exp(-wait / 20.0) - math.exp(-wait / 5.0))


def test_phantom_spike_is_lambda_v_at_the_end():
    """A silent neuron with dL/dt = 0.7 in the last slot learns from the spike that it got 30 ms before."""
    for phantom, expected in ((True, -5.0 * 0.7 * adjoint_current(30.0)), (False, 0.0)):
        fired, gradient = trial_of_one_spike(0.1, 200, 49, 0.2, {199: 0.7}, phantom=phantom)
        assert fired == []
        assert gradient == pytest.approx(expected, abs=1e-12)


def test_spike_count_pushes_at_every_spike():
    """lambda_V falls by strength (N - target) at each spike, on top of its jump; here with N = 1 and no loss."""
    push = {"target": 3.0, "above": 9.0, "below": 0.25}
    (step,), gradient = trial_of_one_spike(7.0, 200, 10, 0.2, {}, spike_count=push)
    lambda_v = -0.25 * (1 - 3.0)
    assert gradient == pytest.approx(-5.0 * lambda_v * adjoint_current((step - 10) * 0.2), rel=1e-9)
    push["target"] = 0.0
    (step,), gradient = trial_of_one_spike(7.0, 200, 10, 0.2, {}, spike_count=push)
    assert gradient == pytest.approx(-5.0 * -9.0 * adjoint_current((step - 10) * 0.2), rel=1e-9)


def test_low_slopes_are_raised_and_counted():
    """A weight just above the smallest one grazes the threshold: the slope is raised to 0.01."""
    weight = 1.00001 / TimeConstants(20.0, 5.0).peak
    made = layer(np.array([[weight]]), 0.002, tau=(20.0, 5.0))
    x, slots = torch.zeros(8000, 1, 1).double(), torch.zeros(8000, 1, 1).double()
    x[0], slots[:] = 1, 1.0
    spikes = made(x)
    (step,) = spikes.flatten().nonzero().flatten().tolist()
    current = weight * math.exp(-step * 0.002 / 5.0)
    assert current - 1 < 0.01
    spikes.backward(slots)
    expected = -5.0 / 0.01 * adjoint_current(step * 0.002)
    assert made.synapses.weight.grad.item() == pytest.approx(expected, rel=1e-9)
    assert made.slopes.tolist() == [1, 1]
    made.eval()(x)
    assert made.slopes.tolist() == [1, 1], "counted in training only"


def test_autocast_leaves_float32():
    made, x = busy_layer().float(), random_spikes(40, 2, 6).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert made(x).dtype == torch.float32
        assert torch.equal(made(x), made.float()(x))


@pytest.mark.parametrize("max_delay", [0.0, 4.0])
def test_a_backward_inside_autocast_is_float32(max_delay):
    gradients = []
    for enabled in (False, True):
        torch.manual_seed(0)
        first = EventPropLIF(6, 8, TimeConstants(), recurrent=True, max_delay=max_delay)
        second = EventPropLI(8, 3, TimeConstants())
        x = random_spikes(40, 2, 6).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            second(first(x)).square().sum().backward()
        gradients.append([parameter.grad for parameter in (*first.parameters(), *second.parameters())])
    assert gradients[0][0].any(), "nothing fired: the test would see nothing"
    assert all(torch.equal(plain, inside) for plain, inside in zip(*gradients, strict=True))
