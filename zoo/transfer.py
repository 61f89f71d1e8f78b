"""Starting a student from its teacher: the weights of matching layers, brought to the scale of spikes."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .model import Network, SequenceModel, SpikingModel, evaluating, read, spiking_neurons
from .neurons import Neuron
from .neurons.base import LeakyNeuron
from .sequence import to_sequence
from .teacher import StillModel
from .trace import trace, watching

Layer = nn.Conv2d | nn.Linear | _BatchNorm


@dataclass(frozen=True)
class Transfer:
    """What was copied.

    Attributes:
        copied: Layers of the student by name, and the layer of the teacher that each has its weights from.
        left: Layers of the student that kept their own.
    """

    copied: dict[str, str]
    left: tuple[str, ...]


def init_from_teacher(
    student: SpikingModel, teacher: Network, batches: Sequence[Tensor], percentile: float = 90.0
) -> Transfer:
    r"""Start a student from the weights of a non-spiking teacher of like topology, and fit their scale to spikes.

    Weights: convolutions, norms and linear layers of both are matched by name, and what is left by order (longest
    common blocks), where kind and shape agree; an input of other channels is adapted as timm does it. Scale: every
    norm that feeds a neuron is multiplied,

        gamma, beta  *=  V_th / (g p),    p: the percentile of the current,  g: its gain, 1/tau if the input decays

    so that all but the strongest currents find room between silence and a spike at every step; the statistics of all
    norms are then taken anew, from spikes; and a copied classifier is multiplied by the ratio of the mean pre-logits.
    Copied weights are a start, never a working model: neurons stand where the teacher has no activation.

    Args:
        student: Changed in place: a SEW-ResNet for a ResNet, an MS-ResNet likewise, a spiking VGG for a VGG with norms.
        teacher: A timm model, or the `StillModel` that reads one; without it, `batches` have the statistics (mean and
            std) that the student declares in its `pretrained_cfg`.
        batches: Some inputs of the student, images [N, C, H, W] or sequences; labels are not needed.
        percentile: In (0, 100]. The sources, whose networks run for a hundred steps or more, take 99 to 99.9; over 4
            steps the answer is better at 90 (`benchmarks/init_from_teacher.py`).

    Raises:
        ValueError: If fewer than four in five of the student's convolutions have a counterpart, or batches is no list
            of tensors.

    Source: Diehl et al. 2015, IJCNN, "Fast-classifying, high-accuracy spiking deep networks through weight and
    threshold balancing"; Rueckauer et al. 2017, Frontiers in Neuroscience 11:682, for the percentile.
    """
    if isinstance(batches, Tensor) or not batches or not all(isinstance(x, Tensor) for x in batches):
        raise ValueError(f"batches: expected [x for x, _ in loader], found another {type(batches).__name__}.")
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile: expected a number in (0, 100], found {percentile}.")
    done = copy_weights(student, teacher)
    batches = [to_sequence(x, student.kind) for x in batches]
    scale_currents(student, batches[0], percentile)
    calibrate(student, batches)
    classifier = student.pretrained_cfg["classifier"]
    if classifier in done.copied:
        if not isinstance(teacher, StillModel):
            teacher = StillModel(teacher, {**student.pretrained_cfg, "input_size": batches[0].shape[2:]}).to(batches[0])
        with torch.no_grad(), evaluating(student), evaluating(teacher):
            ours, theirs = (
                torch.stack(
                    [network.forward_head(read(network, x).features[-1], pre_logits=True).abs().mean() for x in batches]
                )
                for network in (student, teacher)
            )
            fc: Any = student.get_submodule(classifier)
            fc.weight.mul_(theirs.mean() / ours.mean().clamp(min=1e-6))
    return done


def layers(model: nn.Module) -> dict[str, Layer]:
    """What has weights to give or to take, by name, in order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Layer)}


def signature(layer: Layer, first: bool) -> tuple[Any, ...]:
    """Kind and shape; of the first convolution, without its input channels."""
    kind = next(kind for kind in (nn.Conv2d, nn.Linear, _BatchNorm) if isinstance(layer, kind))
    shape = tuple(layer.weight.shape)
    return kind, (shape[0], *shape[2:]) if first else shape


@torch.no_grad()
def copy_weights(student: nn.Module, teacher: Network) -> Transfer:
    """Copy what matches; see `init_from_teacher`."""
    teacher = teacher.network if isinstance(teacher, SequenceModel) else teacher
    ours, theirs = layers(student), layers(teacher)
    marks = [
        {name: signature(layer, index == 0) for index, (name, layer) in enumerate(side.items())}
        for side in (ours, theirs)
    ]
    copied = {name: name for name, mark in marks[0].items() if mark == marks[1].get(name)}
    left = [[name for name in side if name not in copied] for side in marks]
    found = [[side[name] for name in names] for side, names in zip(marks, left, strict=True)]
    for start, other, size in SequenceMatcher(None, found[0], found[1], autojunk=False).get_matching_blocks():
        copied |= dict(zip(left[0][start : start + size], left[1][other : other + size], strict=True))
    matched = [name in copied for name, layer in ours.items() if isinstance(layer, nn.Conv2d)]
    if sum(matched) < 0.8 * len(matched):
        raise ValueError(
            f"{type(student).__name__} and {type(teacher).__name__}: expected four in five convolutions of one shape, "
            f"found {sum(matched)} of {len(matched)}. Choose a teacher of the student's topology (sew_resnet18 and "
            "resnet18, sew_resnet20 and cifar_resnet20, spiking_vgg11 and vgg11_bn), or a student without it."
        )
    for name, source in copied.items():
        weights = {key: value.clone() for key, value in theirs[source].state_dict().items()}
        own = ours[name].state_dict()
        if weights["weight"].shape != own["weight"].shape:  # the first convolution
            weights["weight"] = adapt_input_conv(own["weight"].shape[1], weights["weight"])
        ours[name].load_state_dict(own | {key: value for key, value in weights.items() if key in own})
    return Transfer(copied, tuple(name for name in ours if name not in copied))


@torch.no_grad()
def scale_currents(student: SpikingModel, x: Tensor, percentile: float) -> None:
    """Scale every norm that feeds a neuron, such that the percentile of its current is what makes it always fire."""
    currents: dict[str, Tensor] = {}

    def note(name: str, neuron: nn.Module, args: tuple[Tensor, ...]) -> None:
        currents[name] = args[0].flatten().float()

    # Norms take the statistics of this batch, because the layers before them are not scaled yet.
    with norms_in_training(student), watching(spiking_neurons(student), before=note):
        graph = trace(student, x)
    for giver, reader in graph.feeds():
        if giver.function or reader.function:
            continue
        norm, neuron = student.get_submodule(giver.name), student.get_submodule(reader.name)
        if isinstance(norm, _BatchNorm) and isinstance(neuron, Neuron):
            current = currents[reader.name][:: max(len(currents[reader.name]) // 1_000_000, 1)]
            strongest = torch.quantile(current, percentile / 100)
            if strongest > 0:
                numbers = neuron.dynamics() if isinstance(neuron, LeakyNeuron) else None
                enough = numbers.threshold / numbers.gain if numbers else neuron.v_threshold
                norm.weight.mul_(enough / strongest)
                norm.bias.mul_(enough / strongest)


@torch.no_grad()
def calibrate(student: nn.Module, batches: Iterable[Tensor]) -> None:
    """Take the statistics of all norms anew, as the plain mean over batches; what they see are spikes now."""
    norms = [module for module in student.modules() if isinstance(module, _BatchNorm)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with norms_in_training(student):
        for x in batches:
            student(x)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum


@contextmanager
def norms_in_training(student: nn.Module) -> Iterator[None]:
    """Norms take the statistics of the batch inside the block; nothing is dropped."""
    with evaluating(student):
        for module in student.modules():
            module.training = isinstance(module, _BatchNorm)
        yield
