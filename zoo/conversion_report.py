"""How well a converted student stands for its ANN twin: layer by layer, and in accuracy after t steps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .conversion import Conversion, still
from .early_exit import mean_so_far
from .model import SpikingModel, evaluating
from .thresholds import over_units
from .trace import submodules, watching

STEPS_SHOWN = (1, 2, 4, 8, 16, 32)
SAMPLES_AT_ONCE = 64  # of the 32 steps of an accuracy curve


@dataclass(frozen=True)
class LayerFit:
    """How well the spikes of a layer stand for the activation of its twin.

    Attributes:
        name: Of the neuron.
        threshold: Mean theta of its channels.
        rate: Spikes per neuron and step.
        activation: Mean |a| of the twin.
        error: Mean |a - theta S / T|.
    """

    name: str
    threshold: float
    rate: float
    activation: float
    error: float


@torch.no_grad()
def layer_fits(ann: SpikingModel, conversion: Conversion, batches: Sequence[Tensor]) -> list[LayerFit]:
    """How well each layer fits, over all images of batches [N, C, H, W], at the student's num_steps."""
    student, thresholds = conversion
    sums = {name: torch.zeros(3, dtype=torch.float64) for name in thresholds}
    outputs: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, args: tuple[Tensor], out: Tensor) -> None:
        outputs[name] = out.squeeze(0)  # [N, C, ...]

    def compare(name: str, module: nn.Module, args: tuple[Tensor], out: Tensor) -> None:
        a, rate = outputs.pop(name).double(), out.mean(0, dtype=torch.float64)  # [N, C, ...]
        error = (a - over_units(thresholds[name], out).double() * rate).abs()
        sums[name] += torch.stack([rate.mean(), a.abs().mean(), error.mean()]).cpu() * out.shape[1]

    count = 0
    watched = submodules(ann, thresholds), submodules(student, thresholds)
    with evaluating(ann), evaluating(student), watching(watched[0], keep), watching(watched[1], compare):
        for x in (still(batch, ann) for batch in batches):
            ann(x), student(x)
            count += x.shape[1]
    return [
        LayerFit(name, thresholds[name].mean().item(), *(total / max(count, 1)).tolist())
        for name, total in sums.items()
    ]


@dataclass
class Accuracies:
    """Share of right answers of a twin, and of its student after t steps.

    Attributes:
        ann: That of the twin.
        snn: That of the student, by t.
        num_samples: Number of samples.
    """

    ann: float = 0.0
    snn: dict[int, float] = field(default_factory=dict)
    num_samples: int = 0


@torch.no_grad()
def accuracies(
    ann: SpikingModel, student: SpikingModel, data: Iterable[tuple[Tensor, Tensor]], shown: Sequence[int] = STEPS_SHOWN
) -> Accuracies:
    """Accuracy after t steps, of the numbers `shown`, beside the twin's, on images [N, C, H, W] and classes [N].

    One run of max(t) steps gives them all, because no step depends on a later one.

    Raises:
        ValueError: If data is empty.
    """
    right, count, steps = torch.zeros(len(shown) + 1, dtype=torch.int64), 0, student.num_steps
    student.num_steps = max(shown)
    try:
        with evaluating(ann), evaluating(student):
            for batch, target in data:
                x, target = still(batch, ann), target.to(next(ann.parameters()).device)
                for part, classes in zip(x.split(SAMPLES_AT_ONCE, 1), target.split(SAMPLES_AT_ONCE), strict=True):
                    answers = mean_so_far(student.forward_sequence(part))[[t - 1 for t in shown]].argmax(-1)
                    answers = torch.cat([ann(part).argmax(-1)[None], answers])  # [1 + len(shown), N]
                    right += (answers == classes).sum(1).cpu()
                count += len(target)
    finally:
        student.num_steps = steps
    if not count:
        raise ValueError("data: expected labelled images, found none.")
    shares = (right / count).tolist()
    return Accuracies(shares[0], dict(zip(shown, shares[1:], strict=True)), count)
