"""The integer unit: a neuron of several levels without a membrane."""

from typing import Any

import torch
from torch import Tensor

from .base import Neuron, State


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, top: int) -> Tensor:
        ctx.save_for_backward((x >= 0) & (x <= top))
        return x.clamp(0, top).round()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None


class Integer(Neuron):
    r"""As many spikes as the current is worth, at most D, as a share of D: S in {0, 1/D, ..., 1}.

        S_t = round(clamp(X_t / v_threshold, 0, D)) / D,   dS_t/dX_t = 1 / (D v_threshold) for 0 <= X_t <= D v_threshold

    The gradient passes straight through the rounding; `surrogate` is not used. Nothing is remembered: a step
    depends on no other, and with T = 1 a network of these units is one of quantised activations. It is a neuron by what
    it claims: on a chip S_t stands for D S_t spikes in D binary steps. Compare it with its like, not with neurons whose
    one spike is one step.

    Args:
        levels: D, >= 1.
        v_threshold: Current that is worth one spike.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> import torch
        >>> Integer(levels=4)(torch.tensor([[-1.0], [0.4], [1.6], [9.0]])).flatten().tolist()
        [0.0, 0.0, 0.5, 1.0]

    Source:
        Yao et al. 2025 (E-SpikeFormer), arXiv:2411.16061, D = 4 or 8; without a leak it is the I-LIF of Luo et al. 2024
        (SpikeYOLO), arXiv:2407.20708, at T = 1. Halves are rounded to even, as the released code does.
    """

    spec_name = "integer"

    def __init__(self, levels: int = 4, v_threshold: float = 1.0) -> None:
        super().__init__(v_threshold, v_reset=None)
        if isinstance(levels, bool) or not isinstance(levels, int) or levels < 1:
            raise ValueError(f"levels (spikes that a step may stand for): expected an integer >= 1, found {levels!r}.")
        self.levels = levels

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """See `Stateful`; the state is empty."""
        return _Round.apply(x / self.v_threshold, self.levels) / self.levels, ()

    def extra_repr(self) -> str:
        """In `print(model)`."""
        return f"levels={self.levels}, v_threshold={self.v_threshold}"
