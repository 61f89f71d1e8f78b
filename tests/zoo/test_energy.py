"""Operations against a count of every single multiplication in plain Python; energy and rates by hand."""

import json
from itertools import product

import pytest
import timm
import torch
from timm.layers import Conv2dSame, StdConv2d
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.energy import (
    EnergyModel,
    LayerCost,
    Measurement,
    OperationCounter,
    connection_sparsity,
    measure,
    parameter_sparsity,
)
from zoo.layers.delayed_linear import DelayedLinear
from zoo.layers.stateless import MatMul
from zoo.neurons import IF, RadLIF, RecurrentLIF

pytestmark = pytest.mark.timeout(60)


# ---- The oracle: plain loops over indices, no convolution anywhere ----


def source(position: int, size: int, mode: str) -> int | None:
    """Index of the input value at a position that may lie in the padding; None where the padding is a zero."""
    if 0 <= position < size:
        return position
    if mode == "reflect":
        return -position if position < 0 else 2 * (size - 1) - position
    if mode == "replicate":
        return 0 if position < 0 else size - 1
    return position % size if mode == "circular" else None


def conv_products(x: Tensor, layer: nn.Module) -> tuple[int, int]:
    """(dense, effective) multiplications of a convolution of x [N, C, ...], one by one."""
    sizes, kernel, stride, dilation = x.shape[2:], layer.kernel_size, layer.stride, layer.dilation
    spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if isinstance(layer.padding, str):
        pads = [(span // 2, span - span // 2) if layer.padding == "same" else (0, 0) for span in spans]
    else:
        pads = [(pad, pad) for pad in layer.padding]
    outs = [
        (size + sum(pad) - span - 1) // s + 1 for size, pad, span, s in zip(sizes, pads, spans, stride, strict=True)
    ]
    values, weights = x.tolist(), layer.weight.tolist()
    out_per_group, in_per_group = layer.out_channels // layer.groups, layer.in_channels // layer.groups
    dense = effective = 0
    for n, o, i in product(range(len(x)), range(layer.out_channels), range(in_per_group)):
        channel = o // out_per_group * in_per_group + i
        for out, tap in product(product(*map(range, outs)), product(*map(range, kernel))):
            value, weight = values[n][channel], weights[o][i]
            for axis, size in enumerate(sizes):
                at = source(
                    out[axis] * stride[axis] + tap[axis] * dilation[axis] - pads[axis][0], size, layer.padding_mode
                )
                if at is None:
                    break
                value, weight = value[at], weight[tap[axis]]
            else:
                dense += 1
                effective += value != 0 and weight != 0
    return dense, effective


def linear_products(x: Tensor, layer: nn.Linear) -> tuple[int, int]:
    """(dense, effective) multiplications of a linear map of x [..., F], one by one."""
    rows, weights = x.reshape(-1, layer.in_features).tolist(), layer.weight.tolist()
    pairs = [(value, w) for row in rows for weight in weights for value, w in zip(row, weight, strict=True)]
    return len(pairs), sum(value != 0 and w != 0 for value, w in pairs)


# ---- Small things to measure ----


class Sequence(nn.Module):
    """Runs any layers and answers one logit per sample of the first axis, whatever shape comes out."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).reshape(len(x), -1)


def spikes(*shape: int, rate: float = 0.3) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(0)) < rate).float()


def sparse(layer: nn.Module) -> nn.Module:
    """The layer with every third weight zero and a bias without zeros."""
    with torch.no_grad():
        layer.weight.normal_(generator=torch.Generator().manual_seed(1)).view(-1)[::3] = 0
        if getattr(layer, "bias", None) is not None:
            layer.bias.fill_(0.7)
    return layer


def fill(layer: nn.Module, value: float) -> nn.Module:
    nn.init.constant_(layer.weight, value)
    return layer


CONVOLUTIONS = {
    "plain": (nn.Conv2d(2, 3, 3), (4, 5)),
    "padded": (nn.Conv2d(2, 3, 3, padding=1), (4, 5)),
    "non-square": (nn.Conv2d(2, 2, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2)), (6, 5)),
    "strided": (nn.Conv2d(2, 2, 3, stride=2, padding=1, bias=False), (5, 7)),
    "pointwise strided": (nn.Conv2d(3, 2, 1, stride=2), (5, 5)),
    "dilated": (nn.Conv2d(2, 2, 3, dilation=2, padding=2), (6, 6)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2, padding=1), (4, 4)),
    "depthwise": (nn.Conv2d(3, 6, 3, groups=3, padding=1), (4, 4)),
    "same": (nn.Conv2d(2, 2, (2, 3), padding="same", dilation=(1, 2)), (5, 5)),
    "valid": (nn.Conv2d(2, 2, 3, padding="valid"), (5, 4)),
    "reflect": (nn.Conv2d(2, 2, 3, padding=2, padding_mode="reflect"), (4, 5)),
    "replicate": (nn.Conv2d(2, 2, 3, padding=(1, 2), padding_mode="replicate"), (4, 5)),
    "circular": (nn.Conv2d(2, 2, 3, stride=2, padding=1, padding_mode="circular"), (4, 5)),
    "one axis": (nn.Conv1d(3, 4, 5, stride=2, padding=2), (9,)),
    "three axes": (nn.Conv3d(2, 2, (2, 3, 2), padding=(1, 1, 0), stride=(1, 2, 1)), (3, 4, 3)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch's own, of a slower path
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_equals_counting_by_hand(name):
    layer, size = CONVOLUTIONS[name]
    x = spikes(2, layer.in_channels, *size)
    dense, effective = conv_products(x, sparse(layer))
    cost = measure(Sequence(layer), [x])
    assert (cost.dense, cost.macs, cost.acs) == (dense / 2, 0, effective / 2)
    assert 0 < effective < dense
    cost = measure(Sequence(layer), [2 * x])
    assert (cost.dense, cost.macs, cost.acs) == (dense / 2, effective / 2, 0)


@pytest.mark.parametrize("shape", [(4, 6), (3, 2, 6), (2, 1, 3, 6)])
def test_linear_equals_counting_by_hand(shape):
    layer, x = sparse(nn.Linear(6, 5)), spikes(*shape)
    dense, effective = linear_products(x, layer)
    cost = measure(Sequence(layer), [x])
    assert (cost.dense, cost.macs, cost.acs) == (dense / len(x), 0, effective / len(x))
    assert 0 < effective < dense


def test_inputs_without_a_batch_axis():
    conv, linear = sparse(nn.Conv2d(2, 3, 3, padding=1)), sparse(nn.Linear(6, 5))
    x, vector = spikes(2, 4, 4), spikes(6)
    for layer, input_, expected in [
        (conv, x, conv_products(x[None], conv)),
        (linear, vector, linear_products(vector, linear)),
    ]:
        with OperationCounter(layer) as counter:
            layer(input_)
        cost = counter.measurement(1)
        assert (cost.dense, cost.acs) == expected


def test_numbers_of_neurobench():
    """Section 7.1 of the NeuroBench study: 23,232 for the batch of two, not 27,648 = 2 * 8 * 8 * 9 * 3 * 8."""
    x = spikes(2, 3, 8, 8)
    layer = nn.Conv2d(3, 8, 3, padding=1)
    cost = measure(Sequence(layer), [x])
    assert 2 * cost.dense == 23_232
    assert 2 * cost.acs == conv_products(x, layer)[1]


@pytest.mark.parametrize(
    ("values", "accumulate"),
    [
        ([0.0, 0.0, 0.0], True),
        ([0.0, 1.0, 1.0], True),
        ([-1.0, 0.0, 1.0], True),
        ([0.0, 1.0, 2.0], False),
        ([0.0, 0.25, 1.0], False),
        ([0.0, 1.0, 1.0 + 1e-6], False),
        ([0.0, 1.0, 1e-30], False),
        ([0.0, 1.0, float("nan")], False),
    ],
)
def test_accumulate_only_if_every_value_is_a_signed_spike(values, accumulate):
    cost = measure(Sequence(nn.Linear(3, 4)), [torch.tensor([values])])
    effective = 4 * sum(value != 0 for value in values)
    assert (cost.acs, cost.macs) == ((effective, 0) if accumulate else (0, effective))


@pytest.mark.parametrize(("spiking", "kind"), [("both", "acs"), ("first", "acs"), ("second", "acs"), ("none", "macs")])
def test_product_of_two_activations_equals_counting_by_hand(spiking, kind):
    a, b = spikes(2, 3, 4, 5), spikes(2, 3, 5, 6).flip(0)
    a = a if spiking in ("both", "first") else a * 0.5
    b = b if spiking in ("both", "second") else b * 3

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.product, self.fc = MatMul(), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.product(x, b)).flatten(1)

    cost = measure(Attention(), [a])
    row = cost.layers[1]
    by_hand = sum(
        (a[s, h, n, k] != 0 and b[s, h, k, m] != 0).item()
        for s, h, n, k, m in product(range(2), range(3), range(4), range(5), range(6))
    )
    assert row.name == "product"
    assert row.dense == 2 * 3 * 4 * 5 * 6 / 2
    assert getattr(row, kind) == by_hand / 2
    assert row.macs + row.acs == by_hand / 2
    rate = (b if spiking == "second" else a).abs().mean().item()  # the spikes drive the additions, on either side
    assert row.sops == pytest.approx(row.dense * rate)
    assert row.weight_density == pytest.approx((b != 0).float().mean().item())
    assert cost.connection_sparsity == 0


def test_one_analog_value_makes_the_whole_call_multiply():
    model, x = Sequence(fill(nn.Linear(3, 1), 1.0)), torch.ones(4, 3)
    x[2, 1] = 0.5
    together, apart = measure(model, [x]), measure(model, x.split(1))
    assert (together.macs, together.acs) == (3, 0)
    assert (apart.macs, apart.acs) == (0.75, 2.25)


def test_sums_and_averages_of_spikes_are_multiplications():
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spiking, self.summed, self.pooled = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            self.spiking(x)
            self.summed(x + x)
            return self.pooled(nn.functional.avg_pool2d(x, 2)).flatten(1)

    cost = measure(Residual(), [spikes(2, 2, 4, 4)])
    assert [(layer.name, layer.acs > 0, layer.macs > 0) for layer in cost.layers] == [
        ("spiking", True, False),
        ("summed", False, True),
        ("pooled", False, True),
    ]


# ---- Whole networks ----


def test_dense_of_a_timm_resnet():
    """Each axis of a convolution has sum(valid taps) positions; the three factors multiply."""

    def taps(size: int, out: int, kernel: int, stride: int, pad: int) -> int:
        return sum(0 <= o * stride + k - pad < size for o in range(out) for k in range(kernel))

    model = timm.create_model("resnet10t", num_classes=7).eval()
    expected, seen = {}, {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda _, x, y, name=name: seen.update({name: (x[0].shape, y.shape)}))
    cost = measure(model, [torch.randn(2, 3, 40, 56)])
    for name, (x, y) in seen.items():
        module = model.get_submodule(name)
        if isinstance(module, nn.Linear):
            expected[name] = module.in_features * module.out_features
            continue
        axes = zip(x[2:], y[2:], module.kernel_size, module.stride, module.padding, strict=True)
        height, width = (taps(*axis) for axis in axes)
        expected[name] = module.in_channels * module.out_channels * height * width
    assert {layer.name: layer.dense for layer in cost.layers} == expected
    assert len(expected) > 10
    assert cost.acs == 0
    assert 0 < cost.macs < cost.dense
    assert cost.firing_rate is None
    assert cost.sops == 0
    assert cost.energy_uj("paper") == pytest.approx(4.6e-6 * sum(expected.values()))


def test_dense_equals_torch_flops_without_padding():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2), nn.Flatten(), nn.Linear(6 * 8 * 8, 10)
    )
    x = torch.randn(3, 3, 24, 24)
    with FlopCounterMode(display=False) as flops:
        model(x)
    assert measure(model, [x]).dense == flops.get_total_flops() / 2 / 3


def test_timm_layers_that_pad_or_standardise_in_forward():
    x = spikes(2, 2, 6, 5)
    same = sparse(Conv2dSame(2, 3, 3, stride=2))
    explicit = nn.Conv2d(2, 3, 3, stride=2)
    explicit.weight = same.weight
    _, effective = conv_products(nn.functional.pad(x, (1, 1, 0, 1)), explicit)  # what "same" adds to 6 x 5
    cost = measure(Sequence(same), [x])
    assert 2 * cost.acs == effective
    assert cost.dense == 2 * 3 * (3 + 3 + 2) * (2 + 3 + 2)

    standardised = StdConv2d(2, 3, 3, padding=1)  # weights of mean 0 and sd 1: no zero among them
    cost = measure(Sequence(standardised), [x])
    assert (2 * cost.dense, 2 * cost.acs) == conv_products(x, standardised)


class Student(nn.Module):
    """Conv encoder run once, T = 2 steps, a SEW sum into a second conv, a linear head on the mean over space."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.fire = fill(nn.Conv2d(1, 2, 1, bias=False), 0.5), IF()
        self.conv, self.fire2 = fill(nn.Conv2d(2, 2, 1, bias=False), 1.0), IF()
        self.head = nn.Linear(2, 3)

    def forward_sequence(self, x: Tensor) -> Tensor:
        current = self.encoder(x).expand(2, *[-1] * 4)  # [T, N, C, H, W]
        s = self.fire(current)
        s = s + self.fire2(self.conv((s + s).flatten(0, 1)).unflatten(0, s.shape[:2]))
        return self.head(s.mean((3, 4)))  # [T, N, K]

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_sequence(x).mean(0)


IMAGE = torch.tensor([[[[1.5, 0.0], [3.0, 0.5]]], [[[2.5, 2.0], [0.0, 0.0]]]])  # [N=2, 1, 2, 2]
# Per channel, currents .75 0 1.5 .25 | 1.25 1 0 0: at t=1 two of the first image's four neurons would need 1.
# first image  t=0: 0 0 1 0   t=1: 1 0 1 0   -> 3 spikes;   second image t=0: 1 1 0 0   t=1: 1 1 0 0 -> 4 spikes
# The second layer sums two channels of 2: current 4 wherever there is a spike, so it fires at the same places.


def test_firing_rates_by_hand():
    cost = measure(Student(), [IMAGE])
    rate = 2 * (3 + 4) / (2 * 2 * 2 * 4)  # channels * spikes / (T * N * channels * positions)
    assert cost.firing_rates == {"fire": rate, "fire2": rate}
    assert cost.firing_rate == rate
    assert cost.spikes == 2 * 2 * (3 + 4) / 2  # layers * channels * spikes per sample
    assert cost.neuron_steps == 2 * (2 * 2 * 4)


def test_network_rate_weighs_layers_by_their_neurons():
    model = nn.Sequential(fill(nn.Linear(3, 1, bias=False), 0.0), IF(), fill(nn.Linear(1, 3, bias=False), 0.0), IF())
    model[2].bias = nn.Parameter(torch.ones(3))
    cost = measure(model, [torch.ones(4, 3)])
    assert cost.firing_rates == {"1": 0.0, "3": 1.0}
    assert cost.firing_rate == 0.75


def test_energy_by_hand():
    cost = measure(Student(), [IMAGE])
    encoder, conv, head = cost.layers
    assert [layer.encoder for layer in cost.layers] == [True, False, False]
    # Per sample: encoder 4 positions * 2 outputs, once; conv 2 steps * 4 positions * 2 * 2; head 2 steps * 2 * 3.
    assert (encoder.dense, conv.dense, head.dense) == (8, 32, 12)
    # 5 of 8 pixels are not zero; all inputs are analog, sums or means, and every input of the head has a spike.
    assert (encoder.macs, conv.macs, head.macs, cost.acs) == (5, 2 * 2 * 7 / 2, 12, 0)
    assert encoder.input_density == 5 / 8
    assert cost.energy_uj("effective") == pytest.approx(4.6e-6 * (5 + 14 + 12))
    # Mean input of conv: 2 * 7/16. Of the head: (1 + 1) * 7/16, the mean over space of the sum.
    assert (encoder.sops, conv.sops, head.sops) == (0, 32 * 14 / 16, 12 * 14 / 16)
    assert cost.energy_uj("paper") == pytest.approx(4.6e-6 * 8 + 0.9e-6 * (28 + 10.5))
    assert cost.energy_uj("paper", EnergyModel("int8", 0.23, 0.03)) == pytest.approx(0.23e-6 * 8 + 0.03e-6 * 38.5)


def test_energy_of_accumulates_by_hand():
    x = torch.tensor([[1.0, 0.0, -1.0, 0.0]])
    model = nn.Sequential(IF(), nn.Linear(4, 5))  # only the first value reaches the threshold
    cost = measure(model, [x])
    assert (cost.acs, cost.macs) == (5, 0)
    assert cost.energy_uj() == pytest.approx(0.9e-6 * 5)
    assert cost.energy_uj("paper") == pytest.approx(0.9e-6 * 20 / 4)


def test_events_at_the_input_are_accumulates_in_the_papers_too():
    """An encoder that sees {-1, 0, 1} is no analog layer, and opposite signs do not cancel."""
    model, x = nn.Sequential(nn.Linear(4, 5), IF()), torch.tensor([[1.0, 0.0, -1.0, 0.0]])
    spiking, analog = measure(model, [x]), measure(model, [x / 2])
    assert (spiking.layers[0].encoder, spiking.sops) == (False, 10)
    assert (analog.layers[0].encoder, analog.sops) == (True, 0)


def test_every_layer_of_an_ann_is_dense_in_the_papers_even_on_binary_images():
    cost = measure(nn.Sequential(nn.Linear(4, 5)), [torch.tensor([[1.0, 0.0, 0.0, 0.0]])])
    assert cost.energy_uj("effective") == pytest.approx(0.9e-6 * 5)
    assert cost.energy_uj("paper") == pytest.approx(4.6e-6 * 20)


def test_encoder_stays_the_encoder_after_the_first_batch():
    assert measure(Student(), [IMAGE, IMAGE]).energy_uj("paper") == measure(Student(), [IMAGE]).energy_uj("paper")


def test_encoder_repeated_at_every_step_counts_every_step():
    layer = nn.Linear(3, 2)
    once = measure(nn.Sequential(layer), [torch.full((1, 3), 0.5)])
    steps = measure(Sequence(layer), [torch.full((1, 4, 3), 0.5)])
    assert steps.dense == 4 * once.dense


# ---- Sizes ----


def test_sizes_by_hand():
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    with torch.no_grad():
        model[0].weight.fill_(1.0)[0] = 0.0  # 4 of 8
        model[0].bias.fill_(1.0)
        model[3].weight.fill_(1.0)[0, 0] = 0.0  # 1 of 6
        model[3].bias.fill_(1.0)
    model[0].requires_grad_(False)
    cost = measure(model, [torch.ones(1, 1, 2, 2)])
    assert cost.parameters == 8 + 2 + 2 + 2 + 6 + 3
    assert cost.footprint_bytes == 4 * 23 + 4 * (2 + 2) + 8  # running mean and variance, an int64 counter
    assert cost.connection_sparsity == connection_sparsity(model) == pytest.approx(5 / 14)
    assert cost.parameter_sparsity == parameter_sparsity(model) == pytest.approx((5 + 2) / 23)  # and the norm's bias
    assert [layer.weight_density for layer in cost.layers] == pytest.approx([4 / 8, 5 / 6])


# ---- Behaviour ----


def test_repeated_and_shared_layers_count_every_call():
    layer = nn.Linear(3, 3, bias=False)
    x = torch.ones(2, 3)
    single = measure(nn.Sequential(layer), [x])
    shared = nn.Sequential(layer, nn.ReLU(), layer)
    cost = measure(shared, [x])
    assert [row.name for row in cost.layers] == ["0"]
    assert cost.dense == 2 * single.dense
    assert measure(shared, [x, x]) == Measurement(**{**vars(cost), "num_samples": 4})


def test_two_input_sizes_of_one_layer():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert measure(model, [torch.ones(1, 1, 2, 2), torch.ones(1, 1, 4, 4)]).dense == (4 + 16) / 2


def test_a_layer_that_never_runs_is_a_row_of_zeros():
    model = nn.Sequential(nn.Linear(2, 2))
    model.unused = nn.Identity()
    model.unused.head = nn.Linear(2, 2)
    cost = measure(model, [torch.ones(1, 2)])
    assert (cost.layers[1].name, cost.layers[1].dense, cost.layers[1].input_density) == ("unused.head", 0, 0)


def test_model_and_random_state_are_untouched():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 4, 3)
    ).train()
    model[1].eval()
    x = torch.randn(4, 2, 4, 4)
    flags = [module.training for module in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = model.eval()(x)
    for module, flag in zip(model.modules(), flags, strict=True):
        module.training = flag
    torch.manual_seed(3)
    random_state = torch.get_rng_state()
    graphs = []
    handle = model[4].register_forward_hook(lambda *call: graphs.append(call[2].requires_grad))
    measure(model, [x])
    handle.remove()
    assert graphs == [False]  # one call, no hook of ours ran the layer again, and no graph was built
    assert [module.training for module in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    with OperationCounter(model.eval()):
        output = model(x)
    assert torch.equal(output, expected)
    output.sum().backward()  # the counter does not cut the model's own graph
    assert all(parameter.grad is not None for parameter in model.parameters())


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_everything_is_put_back_after_an_exception():
    model = Student().train()

    def broken() -> object:
        yield IMAGE
        assert hooks(model) == 5
        raise RuntimeError("disk gone")

    with pytest.raises(RuntimeError, match="disk gone"):
        measure(model, broken())
    assert hooks(model) == 0
    assert all(module.training for module in model.modules())


def test_counter_around_another_door_and_inference_mode():
    model = Student().eval()
    with OperationCounter(model) as counter, torch.inference_mode():
        model.forward_sequence(IMAGE)
    model(IMAGE)  # outside: not counted
    expected = measure(model, [IMAGE])
    assert counter.measurement(2) == expected


def test_autocast_counts_exactly():
    model, x = Sequence(sparse(nn.Conv2d(16, 8, 3, padding=1))), spikes(40, 16, 8, 8, rate=0.9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert measure(model, [x, x.bfloat16()]) == measure(model, [x, x])
    assert measure(model.bfloat16(), [x.bfloat16()]).acs == measure(model.float(), [x]).acs


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_counts_like_the_cpu():
    model, x = timm.create_model("resnet10t").eval(), spikes(8, 3, 64, 64)
    expected = measure(Sequence(model.conv1), [x])
    assert measure(Sequence(model.conv1).cuda(), [x.cuda()]) == expected


# ---- The record ----


def test_json_round_trip():
    cost = measure(Student(), [IMAGE])
    record = json.loads(json.dumps(cost.to_dict()))
    assert record == cost.to_dict()
    assert Measurement.from_dict(record) == cost
    assert record["dense"] == cost.dense
    assert record["energy_uj"] == {"effective": round(cost.energy_uj(), 6), "paper": round(cost.energy_uj("paper"), 6)}
    assert record["energy_model"] == {"name": "45 nm fp32", "mac_pj": 4.6, "ac_pj": 0.9}


def test_json_of_an_ann_has_short_numbers_and_no_firing_rate():
    record = measure(nn.Sequential(nn.Linear(3, 1)), [torch.tensor([[0.5, 0.0, 0.0]])]).to_dict()
    assert (record["firing_rate"], record["firing_rates"]) == (None, {})
    assert record["layers"][0]["input_density"] == 0.333333


def test_record_that_is_not_one():
    record = measure(Student(), [IMAGE]).to_dict()
    with pytest.raises(ValueError, match="spikes"):
        Measurement.from_dict({key: value for key, value in record.items() if key != "spikes"})
    with pytest.raises(ValueError, match="flops"):
        Measurement.from_dict(record | {"layers": [vars(LayerCost(*"ab", *[0.0] * 6, False)) | {"flops": 1}]})


def test_delays_equal_counting_by_hand():
    """A synapse multiplies at every step its delayed input has arrived by, and no more; analog input makes it a MAC."""

    class Delayed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = sparse(DelayedLinear(4, 3, kernel_size=5, kernel_count=1))

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).mean(0)

    model, x = Delayed(), spikes(6, 2, 4)
    delays = model.layer.delay.detach().round().int()[..., 0].tolist()
    weights = model.layer.weight[..., 0].tolist()
    dense = effective = 0
    for n, t, j, i in product(range(2), range(6), range(3), range(4)):
        arrives = t + delays[j][i] < 6 + 2
        dense += arrives
        effective += arrives and weights[j][i] != 0 and x[t, n, i].item() != 0
    cost = measure(model, [x])
    assert max(map(max, delays)) > 2, "none is lost: the test would see nothing"
    assert (cost.dense, cost.acs, cost.macs) == (dense / 2, effective / 2, 0)
    assert cost.layers[0].weight_density == pytest.approx(2 / 3)
    again = measure(model, [2 * x])
    assert (again.acs, again.macs) == (0, effective / 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: measure(Student(), []), ValueError, r"found 0 samples and 0 of 3 layers"),
        (lambda: OperationCounter(Student()).measurement(4), ValueError, r"found 4 samples and 0 of 3"),
        (lambda: measure(nn.Sequential(nn.ReLU()), [IMAGE]), ValueError, r"Sequential: expected a Conv1d"),
        (lambda: measure(Student(), IMAGE), TypeError, r"shape \[2, 1, 2, 2\]: pass \[x\]"),
        (lambda: measure(Student(), [IMAGE]).energy_uj("efective"), ValueError, r"Did you mean 'effective'"),
    ],
)
def test_errors_say_what_to_do(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_recurrent_weights_by_hand():
    """Unit 0 fires at t = 0 and 1, and drives unit 1 a step later, which adds 0.5 to unit 0 at t = 2: not enough."""
    model = nn.Sequential(fill(nn.Linear(2, 2, bias=False), 0.0), RecurrentLIF(num_features=2, tau=1.0))
    with torch.no_grad():
        model[0].weight[0, 0] = 0.5
        model[1].recurrent.weight.copy_(torch.tensor([[0.0, 0.5], [1.0, 0.0]]))
    with OperationCounter(model) as counter:
        out = model(torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 0.0]])[:, None])
    assert out[:, 0].tolist() == [[1, 0], [1, 1], [0, 1]]
    cost = counter.measurement(1)
    encoder, recurrent = cost.layers
    assert (recurrent.name, recurrent.kind, recurrent.encoder, encoder.encoder) == (
        "1.recurrent",
        "Recurrent",
        False,
        True,
    )
    # It sees the spikes of the step before, 0 0 | 1 0 | 1 1; the diagonal is zero, so each spike has one way to go.
    assert (recurrent.dense, recurrent.acs, recurrent.macs) == (3 * 4, 0 + 1 + 2, 0)
    assert recurrent.sops == 4 * (0 + 0.5 + 1)
    assert (recurrent.input_density, recurrent.weight_density) == (0.5, 0.5)
    assert (cost.firing_rates, cost.spikes) == ({"1": 4 / 6}, 4)
    assert cost.energy_uj("effective") == pytest.approx(1e-6 * (4.6 * 2 + 0.9 * 3))
    assert cost.energy_uj("paper") == pytest.approx(1e-6 * (4.6 * 12 + 0.9 * 6))


@pytest.mark.parametrize("shape", [(6, 4, 5), (6, 2, 5, 3, 2)])
@pytest.mark.parametrize("neuron", [RecurrentLIF, RadLIF])
def test_every_recurrent_spike_goes_to_every_other_unit(neuron, shape):
    layer, x = neuron(num_features=5), 20 * torch.randn(shape)
    with OperationCounter(layer) as counter:
        out = layer(x)
    cost = counter.measurement(shape[1])
    assert out.any()
    assert cost.acs * shape[1] == out[:-1].sum() * 4
    assert cost.dense * shape[1] == out.numel() * 5
    assert cost.macs == 0
