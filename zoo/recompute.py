"""Exact gradients in less memory: run a block again in the backward pass, from spikes that were kept as bits.

Backpropagation through time holds at least three numbers for every neuron and step until the backward pass: what the
convolution reads (spikes), what the norm reads and what the neuron reads. `recompute` holds only what enters a block,
and a spike takes one bit of the 32.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from .neurons.base import stateful_layers


@torch.compiler.disable(reason="a block that is run again keeps spikes as bits, which the compiler cannot trace")  # type: ignore[untyped-decorator]
def recompute(block: Callable[[Tensor], Tensor], x: Tensor, model: nn.Module) -> Tensor:
    """block(x), of which autograd keeps only x, packed; the rest is computed again in the backward pass.

    Values and gradients are those of block(x): random masks are drawn again from the same state, autocast is as it was,
    a buffer that the block reads is as it was, and running statistics are updated once.

    Args:
        block: A part of the model.
        x: What it reads.
        model: What the block is a part of. The second run leaves its buffers, such as running statistics, alone; if the
            block is a module, only those of the block, as there may be many.

    Raises:
        ValueError: If the neurons of the model carry their state from call to call.
    """
    if any(layer.carries for layer in stateful_layers(model)):
        raise ValueError(
            "Gradient checkpointing would run neurons that carry their state (SLTT, `carry_state`) a second time, from "
            "another state. Turn it off, or let them start anew in every call."
        )
    owner = block if isinstance(block, nn.Module) else model
    with saved_tensors_hooks(pack, unpack):
        return checkpoint(block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), keep_buffers(owner)))


def keep_buffers(model: nn.Module) -> AbstractContextManager[None]:
    """A block in which the model works on copies of its buffers, such as running statistics, as they are now."""
    copies = [
        (owner, name, buffer.clone())
        for owner in model.modules()
        for name, buffer in owner.named_buffers(recurse=False)
    ]
    return exchanged(copies)


@contextmanager
def exchanged(buffers: list[tuple[nn.Module, str, Tensor]]) -> Iterator[None]:
    """Give modules other buffers inside this block."""
    own = [(owner, name, owner.get_buffer(name)) for owner, name, _ in buffers]
    try:
        for owner, name, buffer in buffers:
            setattr(owner, name, buffer)
        yield
    finally:
        for owner, name, buffer in own:
            setattr(owner, name, buffer)


class Packed(NamedTuple):
    """Small integers, several in a byte.

    Attributes:
        codes: Bytes [M]; byte m holds the numbers m, M + m, 2 M + m, ... in the order of memory, the first lowest.
        bits: Bits of each number: 1, 2, 4 or 8.
        dtype: Of the tensor; and so on.
    """

    codes: Tensor
    bits: int
    dtype: torch.dtype
    shape: torch.Size
    stride: tuple[int, ...]


def pack(x: Tensor) -> Packed | Tensor:
    """The tensor in as few bits as hold it; itself if it has any number but the integers from 0 to 255.

    Spikes take one bit, sums of up to three (fifteen) spikes two (four).

    Example:
        >>> spikes = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0])
        >>> pack(spikes).codes.tolist()
        [22]
        >>> torch.equal(unpack(pack(spikes)), spikes)
        True
    """
    stride = x.stride()
    in_memory = x.detach().permute(sorted(range(x.ndim), key=lambda axis: -stride[axis]))
    if not x.numel() or not in_memory.is_contiguous():
        return x
    flat = in_memory.view(-1)
    numbers = flat.to(torch.uint8)
    top = int(numbers.max())
    bits = next(bits for bits in (1, 2, 4, 8) if top < 2**bits)
    size = -(-len(flat) * bits // 8)
    codes = numbers.new_zeros(size)
    for index, (part, found) in enumerate(zip(flat.split(size), numbers.split(size), strict=True)):
        if not torch.equal(found.to(x.dtype), part):
            return x
        codes[: len(part)] |= found << index * bits
    return Packed(codes, bits, x.dtype, x.shape, stride)


def unpack(packed: Packed | Tensor) -> Tensor:
    """What was packed, to the bit, laid out in memory as it was."""
    if isinstance(packed, Tensor):
        return packed
    codes, bits, dtype, shape, stride = packed
    x = torch.empty_strided(shape, stride, dtype=dtype, device=codes.device)
    for index, part in enumerate(x.as_strided((x.numel(),), (1,)).split(len(codes))):
        part.copy_(codes[: len(part)] >> index * bits & 2**bits - 1)
    return x
