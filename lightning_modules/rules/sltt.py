"""Spatial learning through time: training whose memory does not grow with the number of steps."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from zoo.model import Network, SpikingModel, read
from zoo.neurons import carry_state, check_steppable

from ..objectives.base import Objective, at_step, has_answer
from .base import Batch, Learner

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
    pending: tuple[Batch, Tensor] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise ValueError(f"k of SLTT is the number of steps to learn from and must be >= 1, found {self.k}.")
        if self.normalise_by not in ("T", "K"):
            raise ValueError(f"normalise_by of SLTT must be 'T' or 'K', found {self.normalise_by!r}.")

    @property
    def least_steps(self) -> int:
        """K, or one."""
        return self.k or 1

    def prepare(self, model: Network, objectives: Mapping[str, Objective]) -> None:
        """See `Rule`.

        Raises:
            ValueError: If the model has no steps, or one of its layers or an objective needs them all.
        """
        if not isinstance(model, SpikingModel):
            raise ValueError("sltt trains spiking students; this model has no time steps. Leave sltt out.")
        whole = [name for name, objective in objectives.items() if not objective.per_step]
        if whole:
            raise ValueError(
                f"{', '.join(whole)} is defined on the mean over time, and SLTT reads one step at a time. Use TET, or "
                f"wrap it: {{class_path: PerStep, init_args: {{objective: {{class_path: {whole[0]}}}}}}}."
            )
        self.check_steps(model.num_steps)
        check_steppable(model)

    def check_steps(self, steps: int) -> None:
        """Refuse sequences of fewer than k steps.

        Raises:
            ValueError: If k exceeds the number of steps.
        """
        if self.k is not None and self.k > steps:
            raise ValueError(f"k of SLTT is {self.k}, but there are {steps} time steps. Choose k <= {steps}, or none.")

    def steps_to_learn(self, steps: int) -> list[int]:
        """The steps of a batch that are learned from, in order; with k, drawn at random.

        Raises:
            ValueError: If k exceeds the number of steps.
        """
        self.check_steps(steps)
        return list(range(steps)) if self.k is None else sorted(torch.randperm(steps)[: self.k].tolist())

    def begin(self, learner: Learner) -> None:
        """Under DDP, average the gradients in `after_backward`, not at the first of the backward passes."""
        wrapped = learner.trainer.model
        if hasattr(wrapped, "require_backward_grad_sync"):
            wrapped.require_backward_grad_sync = False

    def training_step(self, learner: Learner, batch: Batch) -> Tensor:
        """A placeholder loss; its gradient is the factor (loss scale, accumulation) of every per-step backward."""
        token = torch.ones((), device=batch[0].device, requires_grad=True)
        self.pending = (batch, token)
        return token

    def after_backward(self, learner: Learner) -> None:
        """Learn from the batch, step by step."""
        if self.pending is None:
            return
        ((x, target), token), self.pending = self.pending, None
        assert token.grad is not None
        with learner.trainer.precision_plugin.train_step_context():
            logits = self.learn(learner, x, target, token.grad)
        if learner.trainer.world_size > 1:
            synchronise(learner)
        learner.log_answers(logits, target)

    def learn(self, learner: Learner, x: Tensor, target: Tensor, factor: Tensor | float) -> Tensor:
        """Add the gradient of a batch to the parameters, step by step; returns the logits [T, N, K], detached.

        Args:
            learner: The module that learns; it logs the objectives.
            x: A sequence [T, N, ...], or still images [1, N, ...] that are shown for `num_steps` steps.
            target: Classes [N], soft targets [N, K], or classes of every step [T, N].
            factor: What the gradient is multiplied by: the scale of mixed precision over accumulated batches.
        """
        model: Network = learner.model
        steps = len(x) if len(x) > 1 else model.num_steps
        chosen = self.steps_to_learn(steps)
        divisor = len(chosen) if self.normalise_by == "K" else steps
        if len(x) > 1:
            warnings.warn(TEMPORAL, stacklevel=2)
        teacher, logits = learner.read_teacher(x), []
        with carry_state(model), one_step(model):
            for t in range(steps):
                with torch.set_grad_enabled(t in chosen):
                    student = read(model, x[t : t + 1] if len(x) > 1 else x)
                if t in chosen and has_answer(target, t):
                    loss = learner.loss(student, *at_step(t, teacher, target), "train")
                    (loss * (factor / divisor)).backward()
                logits.append(student.logits[0].detach().float())
        return torch.stack(logits)


@contextmanager
def one_step(model: SpikingModel) -> Iterator[None]:
    """Show a still image for one step, inside this block."""
    steps = model.num_steps
    try:
        model.num_steps = 1
        yield
    finally:
        model.num_steps = steps


def synchronise(module: Any) -> None:
    """Average gradients over all processes and share the buffers of the first, as DDP does around its one backward."""
    for parameter in module.parameters():
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()
    for buffer in module.buffers():
        dist.broadcast(buffer, 0)
