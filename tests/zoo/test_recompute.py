"""Recomputed blocks against blocks that keep everything, and packing against counting bytes."""

import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import zoo
from zoo.layers.stateless import over_time
from zoo.neurons import LIF, carry_state
from zoo.recompute import Packed, pack, recompute, unpack


class Layer(nn.Module):
    """Convolution, norm, dropout, neuron."""

    def __init__(self, momentum=0.1):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=momentum)
        self.drop, self.neuron = nn.Dropout(0.3), LIF()

    def forward(self, x):
        return self.neuron(over_time(x, self.conv, self.norm, self.drop))


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors but those of the model, in a `with` block."""

    def __init__(self, model):
        super().__init__()
        self.seen = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
        self.held = self.peak = 0

    def free(self, key, size):
        self.seen.discard(key)
        self.held -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage._cdata not in self.seen:
                self.seen.add(storage._cdata)
                self.held += storage.nbytes()
                weakref.finalize(storage, self.free, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.held)
        return out


def layouts(x):
    """One tensor [T, N, C, H, W] in three orders of memory, the second as a channels-last network has it."""
    last = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2])
    return x, last, x.permute(4, 2, 0, 1, 3).contiguous().permute(2, 3, 1, 4, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(("top", "bits"), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (15, 4), (16, 8), (255, 8)])
def test_small_integers_are_packed_to_the_bit(top, bits, dtype):
    numbers = torch.randint(top + 1, (3, 2, 5, 3, 3)).to(dtype)
    numbers[0, 0, 0, 0, 0] = top
    for x in layouts(numbers):
        packed = pack(x)
        assert packed.codes.nbytes == -(-x.numel() * bits // 8)
        again = unpack(packed)
        assert torch.equal(again, x)
        assert (again.dtype, again.stride()) == (x.dtype, x.stride())


@pytest.mark.parametrize("wrong", [0.5, -1.0, 256.0, 257.0, float("nan"), float("inf"), -float("inf"), 1e30])
def test_anything_else_stays_as_it_is(wrong):
    for place in (0, 50, 99):
        x = (torch.rand(100) > 0.5).float()
        x[place] = wrong
        assert pack(x) is x
        assert unpack(x) is x


def test_layouts_that_are_not_dense_stay_as_they_are():
    ones = torch.ones(4, 6)
    for x in (ones[:1].expand(4, 6), ones[:, ::2], torch.empty(0)):
        assert pack(x) is x
    assert isinstance(pack(torch.tensor(1.0)), Packed)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_masks_and_statistics_to_the_bit(dtype, momentum):
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        layer = Layer(momentum).to(dtype)
        x = (torch.rand(4, 2, 3, 6, 6, dtype=dtype) > 0.5).to(dtype).requires_grad_()
        for _ in range(2):
            spikes = recompute(layer, x, layer) if again else layer(x)
            (spikes * torch.randn_like(spikes)).sum().backward()
        found.append([x.grad, *(parameter.grad for parameter in layer.parameters()), *layer.buffers()])
    assert all(map(torch.equal, *found))
    assert layer.norm.num_batches_tracked == 2
    assert dict(layer.named_buffers())["norm.running_mean"] is layer.norm.running_mean


class Tracked(nn.Module):
    """Divides by a running average that it has just moved, as norms and scales of some students do in training."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("average", torch.ones(()))

    def forward(self, x):
        self.average.lerp_(x.detach().mean(), 0.5)
        return self.weight * x / self.average


def test_the_second_run_reads_the_buffers_of_the_first():
    layer, x = Tracked(), torch.full((4,), 3.0)
    for again in (False, True):
        layer.weight.grad = None
        layer.average.fill_(1.0)
        y = recompute(layer, x, layer) if again else layer(x)
        y.sum().backward()
        assert layer.average == 2.0
        assert layer.weight.grad == 4 * 3.0 / 2.0


def test_a_block_copies_no_buffers_but_its_own():
    model = nn.Sequential(Tracked(), Tracked())
    x = torch.full((4,), 3.0)
    y = recompute(model[0], x, model)
    model[1].average.fill_(5.0)  # a copy made before it ran would be put in its place while block 0 runs again
    seen = []
    model[0].register_forward_pre_hook(lambda *_: seen.append(model[1].average.item()))
    y.sum().backward()
    assert seen == [5.0]


def test_an_error_in_the_second_run_leaves_the_buffers():
    layer, x = Layer(), torch.ones(2, 1, 3, 4, 4)
    spikes = recompute(layer, x, layer)
    before = dict(layer.named_buffers())
    layer.neuron.forward = None
    with pytest.raises(TypeError):
        spikes.sum().backward()
    assert all(buffer is before[name] for name, buffer in layer.named_buffers())


def test_neurons_that_carry_their_state_are_refused():
    layer = Layer()
    with carry_state(layer), pytest.raises(ValueError, match=r"carry their state .* a second time"):
        recompute(layer, torch.ones(2, 1, 3, 4, 4), layer)


@pytest.mark.parametrize(("name", "depth"), [("spiking_vgg_tiny", {}), ("sew_resnet_tiny", {"layers": (2, 2, 2)})])
def test_at_least_two_fifths_less_memory(name, depth):
    """Everything that is alive at the worst moment, what the second run makes included."""
    peaks = []
    for enable in (False, True):
        model = zoo.create_model(name, num_steps=10, neuron="lif", **depth)
        model.set_grad_checkpointing(enable)
        x = torch.randn(8, 3, 32, 32)
        with Live(model) as live:
            model(x).sum().backward()
        peaks.append(live.peak)
    assert peaks[0] > 8 * 10 * 32 * 32 * 32 * 4, "less than one layer: the test sees nothing"
    assert peaks[1] <= 0.6 * peaks[0]


def test_compiled_models_run_the_blocks_as_they_are():
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        layer, x = Layer(), torch.ones(2, 1, 3, 4, 4)

        def run(x, layer=layer):
            return recompute(layer, x, layer)

        torch.manual_seed(1)
        (torch.compile(run, backend="eager") if compiled else run)(x).sum().backward()
        found.append([parameter.grad for parameter in layer.parameters()])
    assert all(map(torch.equal, *found))
