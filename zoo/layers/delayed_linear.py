r"""Learned delays: every synapse has a weight and a delay, and both are trained.

Source:
    Hammouamri, Khalfaoui-Hassani and Masquelier, Learning Delays in Spiking Neural Networks using Dilated Convolutions
    with Learnable Spacings, ICLR 2024, arXiv:2306.17670. Written from the equations.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIN_WIDTH = 0.27
FINAL_SIGMA = 0.23


class DelayedLinear(nn.Module):
    r"""A linear layer over sequences whose synapses i -> j have a weight w and a learned delay d each, in steps.

        y_j[t] = sum_i sum_l k_ji[l] x_i[t - l],    l = 0..L-1,    x = 0 before the first and after the last step
        k_ji[l] = w_ji g_l / (sum_m g_m + 1e-7),    g_l = exp(-1/2 ((l - d_ji) / (|sigma| + 0.27))^2)

    In training the weight is spread over all L lags around its delay, so that a delay has a gradient; `sigma` sets how
    far. In evaluation the delays are those of a chip: k_ji[l] = w_ji for l = d_ji rounded, and 0 elsewhere;
    `rounded_delays` chooses for itself. With several taps a synapse is the sum of so many weights with a delay each.

    The output is (L-1)//2 steps longer than the input, and an input that arrives later still is lost.

    A call first brings the delays back into [0, L-1], where an optimiser left them. That is the clamp after the
    optimiser's step of the source, in a place that no training loop can forget.

    Args:
        in_features: Inputs F.
        out_features: Outputs F'.
        kernel_size: Lags L, odd: the longest delay is L - 1 steps.
        kernel_count: Taps of every synapse.
        sigma: Width of the kernel in training, in steps, >= 0; a buffer, not trained. The method begins with L//2 and
            ends with 0.23: `lightning_modules.callbacks.DelayAnnealing`.

    Attributes:
        weight: w [F', F, taps], Kaiming-uniform at the start.
        delay: d [F', F, taps] in steps, uniform in [0, L-1] at the start.

    Raises:
        ValueError: If kernel_size is even, a count is no integer, a number is out of range, or an input is no sequence
            of F spike trains.

    Example:
        >>> layer = DelayedLinear(1, 1, kernel_size=5).eval()
        >>> _ = nn.init.constant_(layer.weight, 2.0), nn.init.constant_(layer.delay, 3.0)
        >>> layer(torch.tensor([1.0, 0.0, 0.0, 1.0]).view(4, 1, 1)).flatten().tolist()
        [0.0, 0.0, 0.0, 2.0, 0.0, 0.0]

    Source:
        See the module. The position P of the released code is L//2 - d; its widths are kept, |sigma| + 0.27 steps.
    """

    needs_whole_sequence: ClassVar[bool] = True
    """`zoo.neurons.carry_state` refuses it: the inputs of past steps are not kept from call to call."""

    sigma: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        kernel_count: int = 1,
        sigma: float = FINAL_SIGMA,
    ) -> None:
        super().__init__()
        counts = {"in_features": in_features, "out_features": out_features}
        counts |= {"kernel_size": kernel_size, "kernel_count": kernel_count}
        for name, value in counts.items():
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} of DelayedLinear: expected an integer >= 1, found {value!r}.")
        if kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size (the longest delay in steps, plus one): expected an odd number, found {kernel_size}. "
                f"Choose {kernel_size + 1}."
            )
        if not sigma >= 0:
            raise ValueError(f"sigma: expected a width in steps >= 0, found {sigma}.")
        self.in_features, self.out_features = in_features, out_features
        self.kernel_size, self.kernel_count = kernel_size, kernel_count
        self.rounded: bool | None = None  # None: as the mode
        self.bounds = {"delay": (0.0, kernel_size - 1.0)}
        self.weight = nn.Parameter(torch.empty(out_features, in_features, kernel_count))
        self.delay = nn.Parameter(torch.empty(out_features, in_features, kernel_count))
        self.register_buffer("sigma", torch.tensor(float(sigma)))
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        nn.init.uniform_(self.delay, 0, kernel_size - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Delayed sums [T + (L-1)//2, N, F'] of a sequence x [T, N, F]."""
        if x.ndim != 3 or x.shape[2] != self.in_features:
            raise ValueError(
                f"x of DelayedLinear: expected [T, N, F] with F = {self.in_features}, found shape {tuple(x.shape)}."
            )
        # Through .data, because only values out of bounds change, and those no graph has seen.
        self.delay.data.clamp_(0, self.kernel_size - 1)
        x = F.pad(x.permute(1, 2, 0), (self.kernel_size - 1, self.extra_steps))  # [N, F, T + ...]
        return F.conv1d(x, self.kernel().flip(-1)).permute(2, 0, 1)  # torch's convolution is a correlation

    def kernel(self) -> Tensor:
        """The kernels [F', F, L]: what a spike adds to the output 0..L-1 steps later."""
        lags = torch.arange(self.kernel_size, dtype=self.delay.dtype, device=self.delay.device)
        if self.training if self.rounded is None else not self.rounded:
            offset = (lags - self.delay.unsqueeze(-1)) / (self.sigma.abs() + MIN_WIDTH)  # [F', F, taps, L]
            spread = torch.exp(-0.5 * offset.square())
            spread = spread / (spread.sum(-1, keepdim=True) + 1e-7)
        else:
            spread = (lags == self.delay.round().unsqueeze(-1)).to(self.weight.dtype)
        return (self.weight.unsqueeze(-1) * spread).sum(2)

    @property
    def extra_steps(self) -> int:
        """Steps by which the output is longer than the input, (L-1)//2."""
        return (self.kernel_size - 1) // 2

    @torch.no_grad()
    def dense_products(self, steps: int) -> int:
        """Multiplications for one sample of so many steps with rounded delays: one a tap and step that is not lost."""
        lost = (self.delay.round() - self.extra_steps).clamp(0, steps)
        return int((steps - lost).sum(dtype=torch.float64))

    def extra_repr(self) -> str:
        """The numbers that define the layer, in `print(model)`."""
        return (
            f"{self.in_features}, {self.out_features}, kernel_size={self.kernel_size}, "
            f"kernel_count={self.kernel_count}, sigma={self.sigma.item():.3g}"
        )


def delayed_layers(model: nn.Module) -> dict[str, DelayedLinear]:
    """Every layer with learned delays, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, DelayedLinear)}


@contextmanager
def rounded_delays(model: nn.Module, rounded: bool = True) -> Iterator[None]:
    """Round all delays of a model to whole steps, or none, inside this block, whatever its mode.

    Without it they are rounded in evaluation and not in training. Nothing is written to a parameter, and afterwards all
    is as before, also after an exception. Rounded delays have no gradient.

    Example:
        >>> layer, x = DelayedLinear(3, 2, kernel_size=9).eval(), torch.rand(20, 1, 3)
        >>> with rounded_delays(layer, False):  # what does rounding change?
        ...     bool((layer(x) - layer.train()(x)).abs().max() == 0)
        True
    """
    layers = delayed_layers(model).values()
    before = [layer.rounded for layer in layers]
    try:
        for layer in layers:
            layer.rounded = rounded
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.rounded = own
