"""Neurons whose numbers differ from unit to unit: how the numbers are kept, bounded and spread.

Units are the second axis of one step: the features F of [T, N, F], the channels C of [T, N, C, H, W], whose numbers are
then the same at every position of the map.
"""

from typing import Any

import torch
from torch import Tensor, nn


def uniform_parameter(num_features: int, bounds: tuple[float, float]) -> nn.Parameter:
    """A learned number for every unit, drawn uniformly between the bounds."""
    return nn.Parameter(torch.empty(num_features).uniform_(*bounds))


class _Clamped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float | Tensor, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = low, high
        return x.clamp(torch.as_tensor(low).to(x), torch.as_tensor(high).to(x))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,), (low, high) = ctx.saved_tensors, ctx.bounds
        outward = ((x < low) & (grads[0] > 0)) | ((x > high) & (grads[0] < 0))  # a descent goes against the gradient
        return grads[0].masked_fill(outward, 0), None, None


def clamped(x: Tensor, bounds: tuple[float | Tensor, float]) -> Tensor:
    """The number, or the bound that it has passed; the gradient of one that has passed only ever leads back.

    The gradient of `torch.clamp` is zero outside, where a number would stay for ever once a step had led it there.

    Example:
        >>> x = torch.tensor([-1.0, 2.0, 2.0], requires_grad=True)
        >>> y = clamped(x, (0.0, 1.0))
        >>> (y * torch.tensor([1.0, 1.0, -1.0])).sum().backward()
        >>> y.tolist(), x.grad.tolist()
        ([0.0, 1.0, 1.0], [0.0, 1.0, 0.0])
    """
    return _Clamped.apply(x, *bounds)


def per_unit(number: Tensor, x: Tensor) -> Tensor:
    """Numbers [F] as they meet one step [N, F, ...] of a sequence x, in the dtype of its state (fp32 at least)."""
    return number.view(-1, *[1] * (x.ndim - 3)).to(torch.promote_types(x.dtype, torch.float32))


def check_num_features(num_features: int | None) -> int:
    """The number of units, unless it is none.

    Raises:
        ValueError: If it is no integer >= 1, or was not given.
    """
    if isinstance(num_features, bool) or not isinstance(num_features, int) or num_features < 1:
        raise ValueError(
            "num_features (units F of [T, N, F], C of [T, N, C, H, W]) is needed: expected an "
            f"integer >= 1, found {num_features!r}. make_neuron(spec, num_features) gives it to a neuron."
        )
    return num_features


def check_units(x: Tensor, num_features: int) -> None:
    """Refuse a sequence of other units.

    Raises:
        ValueError: If axis 2 does not have num_features entries.
    """
    if x.ndim < 3 or x.shape[2] != num_features:
        raise ValueError(
            f"This neuron has num_features={num_features} and takes [T, N, {num_features}] or "
            f"[T, N, {num_features}, H, W], found shape {tuple(x.shape)}. Give num_features the size of axis 2."
        )
