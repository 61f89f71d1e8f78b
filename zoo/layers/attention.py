"""The parts that spiking transformers share: their stem, attention between spikes, blocks.

All of them map sequences of maps [T, N, C, H, W]; the tokens of a transformer are the H W pixels of a map, and what the
papers call a linear layer over tokens is a 1x1 convolution. A branch is what stands beside a shortcut (`Residual`):
spikes in, the current of a norm out. Spikformer adds spikes, x + neuron(branch(x)), its successors currents,
x + branch(neuron(x)).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from ..neurons import NeuronSpec, Stateful, make_neuron
from .stateless import ConvNeuron, ConvNorm, MatMul, NeuronConv, Residual, init_convolutions

LIF_OF_SPIKFORMER: dict[str, Any] = {"name": "lif", "tau": 2.0, "surrogate": {"name": "sigmoid", "alpha": 4.0}}
"""The neuron of Spikformer and its successors: LIF, tau 2, threshold 1, hard reset to 0, detached in the gradient."""


def stem_units(
    in_chans: int, dim: int, pools: Sequence[bool], neuron: NeuronSpec, last_fires: bool = True
) -> tuple[ConvNeuron, list[nn.Module]]:
    """The four 3x3 units with which Spikformer and its successors begin: the first, and the other three.

    They have dim / 8, dim / 4, dim / 2 and dim channels.

    Args:
        in_chans: Input channels.
        dim: Channels of a token.
        pools: Of each unit, whether it pools.
        neuron: In JSON.
        last_fires: Whether the last unit has a neuron.

    Raises:
        ValueError: If dim is no multiple of 8, or pools does not have four entries.

    Source: Zhou et al. 2023, Spikformer, arXiv:2209.15425 (Spiking Patch Splitting).
    """
    if dim < 8 or dim % 8:
        raise ValueError(f"dim is the channels of a token and must be a multiple of 8, found {dim}.")
    if len(pools) != 4:
        raise ValueError(f"pools must say of each of the four units of the stem whether it pools, found {pools}.")
    plan = zip(pairwise((in_chans, dim // 8, dim // 4, dim // 2)), pools[:3], strict=True)
    first, *others = [ConvNeuron(*chans, neuron, 3, pool=pool) for chans, pool in plan]
    if last_fires:
        return first, [*others, ConvNeuron(dim // 2, dim, neuron, 3, pool=pools[3])]
    return first, [*others, ConvNorm(dim // 2, dim, 3, pool=pools[3])]


def token_features(dim: int, depth: int, pools: Sequence[bool]) -> list[dict[str, Any]]:
    """The `feature_info` of a transformer whose features are the tokens after `stem` and after each of its `blocks`.

    Raises:
        ValueError: If depth < 1.
    """
    if depth < 1:
        raise ValueError(f"depth is the number of blocks and must be >= 1, found {depth}.")
    modules = ["stem", *(f"blocks.{index}" for index in range(depth))]
    return [{"num_chs": dim, "reduction": 2 ** sum(pools), "module": module} for module in modules]


def attention_neuron(neuron: NeuronSpec, num_features: int) -> Stateful:
    """The neuron behind a product of spikes: the one given, with the threshold 0.5 that all these papers take there.

    Example:
        >>> attention_neuron({"name": "lif", "tau": 3.0}, 8).v_threshold
        0.5
    """
    spec = {"name": neuron} if isinstance(neuron, str) else neuron
    return make_neuron({**spec, "v_threshold": 0.5}, num_features)


class SpikeAttention(nn.Module):
    r"""Attention without softmax between spikes, in heads, and the neuron that makes it spikes again.

        A = neuron(scale q (k^T v)),   q, k [n, d], v [n, d'] the n = H W tokens of one head

    As q, k and v are not negative no softmax is needed, and the product may be taken in either order: k^T v first costs
    n d^2, q k^T first n^2 d; the cheaper one is.

    Args:
        dim: Channels of v, all heads together.
        heads: Heads, which split the channels in order.
        scale: Factor on the product.
        neuron: In JSON; see `attention_neuron` for its threshold.

    Raises:
        ValueError: If the heads do not divide the channels.

    Source: Zhou et al. 2023, Spikformer, arXiv:2209.15425 (Spiking Self Attention).
    """

    def __init__(self, dim: int, heads: int, scale: float, neuron: NeuronSpec) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"heads must divide the {dim} channels of the attention, found {heads}.")
        self.heads, self.scale = heads, scale
        self.inner, self.outer = MatMul(), MatMul()
        self.act = attention_neuron(neuron, dim)

    def tokens(self, x: Tensor) -> Tensor:
        """[T, N, C, H, W] -> [T, N, heads, n, d]."""
        return x.flatten(-2).unflatten(2, (self.heads, -1)).transpose(-1, -2)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Spikes [T, N, C', H, W] of q and k [T, N, C, H, W] and v [T, N, C', H, W]."""
        size = v.shape[-2:]
        q, k, v = self.tokens(q), self.tokens(k).transpose(-1, -2), self.tokens(v)  # k: [T, N, heads, d, n]
        n, d = q.shape[-2:]
        product = self.outer(q, self.inner(k, v)) if n > d else self.outer(self.inner(q, k), v)  # [T, N, heads, n, d']
        maps = product.transpose(-1, -2).flatten(2, 3).unflatten(-1, size)  # [T, N, C', H, W]
        return self.act(maps * self.scale)

    def extra_repr(self) -> str:
        """In `print(model)`."""
        return f"heads={self.heads}, scale={self.scale}"


class SpikingSelfAttention(nn.Module):
    """The branch of Spikformer's attention: q, k, v are spikes of 1x1 units, and a 1x1 unit reads their attention.

    Args:
        dim: Channels.
        heads: See `SpikeAttention`.
        scale: See `SpikeAttention`.
        neuron: In JSON.
        qkv_bias: Whether the convolutions of q, k and v have biases; that of the projection has.

    Raises:
        ValueError: If the heads do not divide the channels.
    """

    def __init__(self, dim: int, heads: int, scale: float, neuron: NeuronSpec, qkv_bias: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v = (ConvNeuron(dim, dim, neuron, bias=qkv_bias) for _ in range(3))
        self.attention = SpikeAttention(dim, heads, scale, neuron)
        self.proj = ConvNorm(dim, dim, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Current of the spikes x, [T, N, C, H, W] both."""
        return self.proj(self.attention(self.q(x), self.k(x), self.v(x)))


def membrane_mlp(dim: int, hidden: int, neuron: NeuronSpec) -> Residual:
    """The MLP of networks that add up currents: two 1x1 convolutions with bias, of spikes, beside a shortcut."""
    return Residual(NeuronConv(dim, hidden, neuron, bias=True), NeuronConv(hidden, dim, neuron, bias=True))


class Block(nn.Sequential):
    """An attention and an MLP, each beside a shortcut; checkpointing runs them one by one."""

    def __init__(self, attn: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.attn, self.mlp = attn, mlp


def init_transformer(model: nn.Module) -> None:
    """Truncated normal weights of std 0.02 for linear layers and 1x1 convolutions, Kaiming for the others; no biases.

    A norm follows every convolution, so that the scale of its weights has no effect on what it gives.
    """
    init_convolutions(model)
    for module in model.modules():
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
