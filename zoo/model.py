"""The contract of a student, and the one way to read any model, student or teacher.

Shapes: T time steps, N batch, C channels, H height, W width, K classes. Everything inside is time-first.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from timm.models._features import FeatureGetterNet, feature_take_indices  # timm gives them no public name
from torch import Tensor, nn

from .layers.stateless import make_classifier
from .neurons import Neuron, Stateful
from .recompute import recompute
from .sequence import SequenceKind, check_finite, to_sequence
from .trace import watching

Network = Any
"""A module with timm's surface: `pretrained_cfg`, `feature_info`, `num_classes`, `forward_intermediates`, ...

timm has no type for it, and to a type checker every attribute of an `nn.Module` may be a tensor.
"""


@dataclass
class Outputs:
    """What one model gives for one batch.

    Attributes:
        logits: [T, N, K]; a non-spiking model has T = 1.
        features: One [T, N, C, H, W] per entry of the model's `feature_info`.
    """

    logits: Tensor
    features: list[Tensor] = field(default_factory=list)


def read(model: Network, x: Tensor) -> Outputs:
    """Read a student or a teacher: logits and every feature of the sequence x [T, N, C, H, W], in one pass."""
    final, features = model.forward_intermediates(x)
    return Outputs(model.forward_head(final), features)


class SequenceModel(nn.Module, ABC):
    """A network that reads sequences, with one surface for students and for non-spiking models (`StillModel`)."""

    kind: ClassVar[SequenceKind] = SequenceKind.IMAGES
    """The sequences that the model takes."""

    img_size: tuple[int, int] | None = None
    """Sides H, W of the only images that the model takes; None if it takes others too."""

    dt: float | None = None
    """Length of a step, ms, which must be that of the data; None for a model that only counts steps."""

    num_classes: int
    feature_info: list[dict[str, Any]]

    @property
    def sequence_ndim(self) -> int:
        """Axes of a sequence that the model takes."""
        return int(self.kind)

    @property
    @abstractmethod
    def num_steps(self) -> int:
        """Steps T that a still image is shown for."""

    @property
    def network(self) -> Network:
        """The model that has the weights, as `create_model` makes it."""
        return self

    @abstractmethod
    def forward_sequence(self, x: Tensor) -> Tensor:
        """Logits [T, N, K] of a sequence [T, N, C, H, W]."""

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that weight decay must not touch, besides vectors; none here."""
        return set()

    def lr_factors(self) -> dict[str, float]:
        """Parameters, by name in `network`, whose learning rate is that of the others times a factor; none here."""
        return {}


class SpikingModel(SequenceModel):
    """A spiking student: timm's model surface, over sequences.

    An architecture gives `forward_stages` and `group_matcher`, and sets `num_features`, `feature_info`, the dropout
    `head_drop` and the classifier `fc`; everything else is here. A still image (T = 1) is encoded by the first
    convolution and norm once and the current is then repeated `num_steps` times; in a sequence (T > 1) every frame is
    one step, whatever `num_steps` is.

    Args:
        num_classes: Classes K; 0 for no classifier.
        in_chans: Input channels C.
        num_steps: Steps T that a still image is shown for; may be changed at run time.
        drop_rate: Dropout before the classifier.

    Raises:
        ValueError: If num_steps, in_chans or num_classes is out of range.
    """

    integer_inputs: ClassVar[str] = r"$^"
    """A regular expression: names of the convolutions and linear layers that read sums of spikes."""

    real_inputs: ClassVar[str] = r"$^"
    """As `integer_inputs`, of those that read real numbers, besides the first convolution and the classifier.

    Every other one reads spikes; what neither expression matches is held to that by the contract tests.
    """

    num_features: int
    pretrained_cfg: dict[str, Any]
    head_drop: nn.Module
    fc: nn.Module

    def __init__(self, num_classes: int, in_chans: int, num_steps: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        if in_chans < 1 or num_classes < 0:
            raise ValueError(
                f"in_chans and num_classes: expected numbers >= 1 and >= 0, found {in_chans} and {num_classes}."
            )
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.num_steps = num_steps
        self.drop_rate = drop_rate
        self.grad_checkpointing = False

    @property
    def num_steps(self) -> int:
        """Steps T that a still image is shown for."""
        return self._num_steps

    @num_steps.setter
    def num_steps(self, value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"num_steps: expected a number of time steps, an integer >= 1, found {value!r}.")
        self._num_steps = value

    @property
    def head_hidden_size(self) -> int:
        """Width of the pre-logits (timm's name)."""
        return self.num_features

    def chosen_features(self, indices: int | list[int] | None) -> tuple[list[int], int]:
        """The entries of `feature_info` that timm's `indices` name, and the last one; ValueError without one."""
        count = len(self.feature_info)
        try:
            return feature_take_indices(count, indices)
        except AssertionError as error:
            raise ValueError(
                f"indices: expected 0..{count - 1}, -1 for the last, or the number of the last ones, 1..{count}, found "
                f"{indices}."
            ) from error

    @abstractmethod
    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the features of `feature_info`, in order, of a sequence: [T, N, C, H, W] each."""

    def pool_features(self, x: Tensor) -> Tensor:
        """What the classifier reads, [T, N, F], of the last feature [T, N, C, H, W]: its average over the map."""
        return x.mean((-2, -1))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits [T, N, K] of the last feature [T, N, C, H, W]: `pool_features`, dropout, classifier.

        With pre_logits, what the classifier reads, [T, N, F].
        """
        x = self.head_drop(self.pool_features(x))
        return x if pre_logits else self.fc(x)

    def get_classifier(self) -> nn.Module:
        """The layer that gives the logits."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the model a new, untrained classifier; ValueError if timm's global_pool is neither None nor "avg"."""
        if global_pool not in (None, "avg"):
            raise ValueError(f"global_pool: expected 'avg' or None, found {global_pool!r}.")
        self.num_classes = num_classes
        self.fc = make_classifier(self.num_features, num_classes).to(next(self.parameters()))

    @staticmethod
    def adapt_weights(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        """The weights of a checkpoint as this model names them; called before timm loads them."""
        return weights

    @abstractmethod
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Regular expressions that group parameters by depth (timm's layer decay)."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits averaged over time, [N, K], of images [N, C, H, W] or a sequence [T, N, C, H, W] (or [T, N, F])."""
        return self.forward_sequence(x).mean(0)

    def forward_sequence(self, x: Tensor) -> Tensor:
        """Logits at every step, [T, N, K], of a sequence [T, N, C, H, W]."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature, [T, N, C, H, W], of a sequence [T, N, C, H, W]."""
        *_, last = self.forward_stages(self.sequence(x))
        return last

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The last computed feature and the chosen ones, [T, N, C, H, W] each; only those if intermediates_only.

        Arguments as in timm's method of this name; the features of a spiking stage have no extra norm, whatever `norm`.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt: expected 'NCHW', found {output_fmt!r}.")
        take, last = self.chosen_features(indices)
        features = []
        for index, feature in enumerate(self.forward_stages(self.sequence(x))):
            if index in take:
                features.append(feature)
            if stop_early and index == last:
                break
        return features if intermediates_only else (feature, features)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages after the last chosen feature, and the head (timm's name, for `features_only`)."""
        take, last = self.chosen_features(indices)
        for info in self.feature_info[last + 1 :]:
            self.set_submodule(info["module"], nn.Identity())
        if prune_head:
            self.reset_classifier(0)
        return take

    def sequence(self, x: Tensor) -> Tensor:
        """The sequence that x is or makes (`to_sequence`), in the dtype of the weights; tokens stay integers.

        Raises:
            ValueError: If it has other axes, other channels or spike trains, or a value that is not finite; if an image
                has pixels 0..255.
        """
        if x.dtype == torch.uint8 and x.ndim < self.kind:
            raise ValueError(
                "input: expected a normalised image of floating-point numbers, found torch.uint8. Use (x / 255 - mean) "
                "/ std of the model's pretrained_cfg."
            )
        x = self.in_dtype(to_sequence(x, self.kind))
        check_finite(x)
        if self.kind.counted and x.shape[2] != self.in_chans:
            raise ValueError(
                f"input of {type(self).__name__}: expected {self.in_chans} {self.kind.counted}, found {x.shape[2]}. "
                f"Make it with in_chans={x.shape[2]}, or choose other data."
            )
        return x

    def in_dtype(self, x: Tensor) -> Tensor:
        """The sequence in the dtype of the weights; tokens must be, and stay, integers."""
        if self.kind is not SequenceKind.TOKENS:
            return x.to(next(self.parameters()).dtype)
        if x.is_floating_point() or x.dtype == torch.bool:
            raise ValueError(f"input: expected integers, found {x.dtype}. Use x.long().")
        return x

    def repeat_still(self, current: Tensor) -> Tensor:
        """Show the encoded current [1, N, ...] of a still image for `num_steps` steps (no copy)."""
        return current.expand(self.num_steps, *current.shape[1:]) if current.shape[0] == 1 else current

    def stage(self, module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Run a part of the model; every layer that multiplies, and every max-pool, runs inside one.

        With `set_grad_checkpointing` only what enters the part is kept for the backward pass, in one bit per spike; of
        an `nn.Sequential`, what enters each of its modules, unless it has a forward of its own (`Residual`).
        """
        if not (self.grad_checkpointing and self.training and torch.is_grad_enabled()):
            return module(x)
        chain = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
        parts: Any = module if chain else [module]  # of an nn.Sequential, each of its modules
        for part in parts:
            x = recompute(part, x, self)
        return x

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory, with the same gradients: see `stage`."""
        self.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that weight decay must not touch: those of the neurons, recurrent weights excepted."""
        return {
            f"{prefix}.{name}"
            for prefix, module in self.named_modules()
            if isinstance(module, Stateful)
            for name, _ in module.named_parameters(recurse=False)
        }


class TimeMeanFeatures(FeatureGetterNet):
    """`features_only=True` of a student: maps [N, C, H, W] (or what it has instead), averaged over time.

    timm's default feature extractor runs the children one after another and would give a neuron the batch for time;
    every student therefore names this one in its `feature_cfg`.
    """

    model: SpikingModel

    def forward(self, x: Tensor) -> list[Tensor]:
        """The chosen features [N, C, H, W] of images [N, C, H, W] or a sequence; [N, F] of spike trains [T, N, F]."""
        return [feature.mean(0) for feature in super().forward(x)]


def spiking_neurons(model: nn.Module) -> dict[str, Neuron]:
    """Every neuron layer of a model by name; empty for a non-spiking model."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Neuron)}


def silent_layers(model: nn.Module, x: Tensor) -> list[str]:
    """Names of the neuron layers that do not fire once on x; a silent layer makes any check of outputs vacuous."""
    neurons, fired = spiking_neurons(model), set()

    def note(name: str, neuron: nn.Module, args: Any, spikes: Tensor) -> None:
        if spikes.any():
            fired.add(name)

    with torch.no_grad(), watching(neurons, note):
        model(x)
    return [name for name in neurons if name not in fired]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; every module gets its own mode back."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, flag in training.items():
            module.training = flag
