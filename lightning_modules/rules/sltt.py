"""Spatial learning through time: training whose memory does not grow with the number of steps."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from zoo.model import Network, SpikingModel, read
from zoo.neurons import carry_state

if TYPE_CHECKING:
    from ..module import ClassifierModule

TEMPORAL = (
    "SLTT leaves out every gradient from one time step to another, and this data is a sequence: what lies in the order "
    "of its frames is learned badly or not at all. Compare with a run without sltt; save_memory: true is exact."
)


@dataclass
class SLTT:
    r"""Learn at every step from that step alone.

    The gradient through the potentials, from step to step, is left out, so each step is backpropagated and forgotten
    before the next begins; what is held in memory is one step, whatever T is:

        dL/dW  ~=  1/T sum_t  dl(z_t, y)/dW  with V_{t-1} held constant

    The loss must be one of single steps (`Objective.per_step`; `PerStep` makes any term one). Norms take their
    statistics from one step at a time. The approximation is good where potentials fade fast: docs/training.md.

    Args:
        k: Steps of the T, drawn anew for every batch, that are learned from (SLTT-K); all if None. The others still
            run, without a gradient, and update the norms.
        normalise_by: What the sum over steps is divided by: "T", as in the released code (its expected gradient is
            then K/T of that of SLTT), or "K".

    Raises:
        ValueError: If k < 1 or normalise_by is neither.

    Source:
        Meng et al., Towards Memory- and Time-Efficient Backpropagation for Training Spiking Neural Networks, ICCV 2023,
        arXiv:2302.14311.
    """

    k: int | None = None
    normalise_by: Literal["T", "K"] = "T"

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise ValueError(f"k of SLTT is the number of steps to learn from and must be >= 1, found {self.k}.")
        if self.normalise_by not in ("T", "K"):
            raise ValueError(f"normalise_by of SLTT must be 'T' or 'K', found {self.normalise_by!r}.")

    def check(self, module: "ClassifierModule") -> None:
        """Refuse what it cannot train, before training.

        Raises:
            ValueError: If the model has no steps, or one of its layers or a term of the loss needs them all.
        """
        if not isinstance(module.model, SpikingModel):
            raise ValueError("sltt trains spiking students; this model has no time steps. Leave sltt out.")
        whole = [name for name, objective in module.objectives.items() if not objective.per_step]
        if whole:
            raise ValueError(
                f"{', '.join(whole)} is defined on the mean over time, and SLTT sees one step at a time. Use TET, or "
                f"wrap the term: {{class_path: PerStep, init_args: {{objective: {{class_path: {whole[0]}}}}}}}."
            )
        self.steps_to_learn(module.model.num_steps)
        with carry_state(module.model):  # refuses a layer that needs whole sequences
            pass

    def steps_to_learn(self, steps: int) -> list[int]:
        """The steps of a batch that are learned from, in order.

        Raises:
            ValueError: If k exceeds the number of steps.
        """
        if self.k is None:
            return list(range(steps))
        if self.k > steps:
            raise ValueError(f"k of SLTT is {self.k}, but there are {steps} time steps. Choose k <= {steps}, or none.")
        return sorted(torch.randperm(steps)[: self.k].tolist())

    def learn(self, module: "ClassifierModule", x: Tensor, target: Tensor, factor: Tensor | float) -> Tensor:
        """Add the gradient of a batch to the parameters, step by step; returns the mean logits [N, K].

        Args:
            module: Whose model and objectives; the terms are logged.
            x: A sequence [T, N, ...], or still images [1, N, ...] that are shown for `num_steps` steps.
            target: Classes [N], or soft targets [N, K].
            factor: What the gradient is multiplied by: the scale of mixed precision over accumulated batches.
        """
        model: Network = module.model
        steps = len(x) if len(x) > 1 else model.num_steps
        chosen = self.steps_to_learn(steps)
        divisor = len(chosen) if self.normalise_by == "K" else steps
        if len(x) > 1:
            warnings.warn(TEMPORAL, stacklevel=2)
        teacher, logits = module.read_teacher(x), []
        with carry_state(model), one_step(model):
            for t in range(steps):
                with torch.set_grad_enabled(t in chosen):
                    student = read(model, x[t : t + 1] if len(x) > 1 else x)
                if t in chosen:
                    loss = module.loss(student, teacher, target, "train")
                    (loss * (factor / divisor)).backward()
                logits.append(student.logits[0].detach().float())
        return torch.stack(logits).mean(0)


@contextmanager
def one_step(model: SpikingModel) -> Iterator[None]:
    """Show a still image for one step, inside this block."""
    steps = model.num_steps
    try:
        model.num_steps = 1
        yield
    finally:
        model.num_steps = steps


def synchronise(module: torch.nn.Module) -> None:
    """What DDP does around its one backward pass, where here are T: the mean of all gradients, one set of buffers."""
    for parameter in module.parameters():
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()
    for buffer in module.buffers():
        dist.broadcast(buffer, 0)
