"""Cross-entropy of first-spike times."""

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.model import Outputs

from .base import Objective, time_mean

LONGEST = 80  # tau1; exp(88.7) is the largest in float32


class FirstSpike(Objective):
    r"""The class that fires first is the answer: cross-entropy of the first-spike times t_k, and a price of lateness.

        L = mean_n [ CE(-t / tau0, y) + alpha (exp(t_y / tau1) - 1) ]

    For students whose logits are `zoo.layers.eventprop.first_spike_logits`, with time mean -t_k in ms and t_k = T dt
    for a neuron that does not fire. Such a neuron has no time that could shift, and no gradient. With `phantom`, one
    that should have answered is treated as if it fired at the end of the trial, and gets dL/dt_y there. Without it, a
    label neuron that falls silent stays so.

    Args:
        weight: Factor in the total loss, >= 0.
        tau0: Scale of the differences of times, ms.
        tau1: Scale of the lateness, ms; at least an 80th of the trial.
        alpha: Strength of the second term, >= 0; 0 leaves it out.
        phantom: Whether a silent label neuron gets a phantom spike.

    Raises:
        ValueError: If a number is out of range, the logits are no first-spike times, or exp(T dt / tau1) overflows.

    Source:
        Wunderlich and Pehle 2021, Scientific Reports 11:12829 (the loss, and the defaults: Yin-Yang); Nowotny, Turner
        and Knight 2025 (the phantom spike). Their code gives a silent label neuron the gradient of the second term
        alone, a ninth of this one with the defaults and T dt = 40 ms. On Yin-Yang that was too weak: label neurons
        fell silent faster than they came back.

    Example:
        >>> import torch
        >>> from zoo.model import Outputs
        >>> same = Outputs(torch.full((4, 1, 3), -2.0))  # nobody fires in 2 ms
        >>> round(FirstSpike(alpha=0.0)(same, None, torch.tensor([0])).item(), 4)  # ln 3
        1.0986
    """

    def __init__(
        self, weight: float = 1.0, tau0: float = 0.5, tau1: float = 6.4, alpha: float = 3e-3, phantom: bool = True
    ) -> None:
        super().__init__(weight)
        for name, value in (("tau0", tau0), ("tau1", tau1)):
            if not value > 0:
                raise ValueError(f"{name} of {self.name} is a time in ms and must be > 0, found {value}.")
        if not alpha >= 0:
            raise ValueError(f"alpha of {self.name} must be >= 0, found {alpha}.")
        self.tau0, self.tau1, self.alpha, self.phantom = tau0, tau1, alpha, phantom

    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> Tensor:
        """See `Objective`."""
        logits = student.logits
        waiting = logits.min()  # -T dt, unless every class fires at once
        if not ((logits == 0) | ((logits == waiting) & (waiting < 0))).all():
            raise ValueError(
                f"{self.name} reads first-spike times, logits of 0 or -T dt, and found others: set readout: spike."
            )
        t = -time_mean(logits)  # [N, K]
        probs = F.one_hot(target, t.shape[1]).to(t.dtype) if target.ndim == 1 else target
        fired = logits[-1] == 0
        t = torch.where(fired | (probs > 0) if self.phantom else fired, t, t.detach())
        loss = F.cross_entropy(-t / self.tau0, probs)
        return loss + self.alpha * self.lateness(t, probs, -waiting.item()) if self.alpha else loss

    def lateness(self, t: Tensor, probs: Tensor, duration: float) -> Tensor:
        """The mean of exp(t_y / tau1) - 1, for times [N, K] of trials of so many ms."""
        if duration > LONGEST * self.tau1:
            raise ValueError(
                f"tau1 of {self.name} is {self.tau1:g} ms, and exp(t / tau1) overflows in a trial of {duration:g} ms. "
                f"Raise tau1 above {duration / LONGEST:.3g} ms, or set alpha: 0."
            )
        return (probs * torch.expm1(t / self.tau1)).sum(1).mean()
