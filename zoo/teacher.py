"""A non-spiking model read by the contract of a student, as a sequence."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .errors import unknown
from .model import Network, SequenceModel
from .sequence import SequenceKind, check_finite, to_sequence

Frames = Literal["mean", "per_step"]
"""What a still model reads of a sequence: the mean frame (T = 1), or every frame by itself (T as the sequence)."""


class StillModel(SequenceModel):
    """Reads a non-spiking model as a sequence.

    With frames="mean" the model reads the mean frame of the sequence, and its outputs have one step. With "per_step" it
    reads every frame by itself, and its outputs have as many steps as the sequence. A frame is brought from the
    statistics of the data to those of the model: a grey image is shown to an RGB model in all three channels, the
    values are re-normalised from `input_cfg`'s mean and std to those of the model's `pretrained_cfg`, and the image is
    resized (bilinear, antialiased) to its `input_size`.

    Args:
        model: Any timm classifier, or `LogitsModel`.
        input_cfg: What arrives, in timm's words: "input_size" (C, H, W), "mean" and "std" per channel. None if frames
            arrive as the model takes them: they are neither re-normalised nor resized.
        frames: "mean" or "per_step".

    Raises:
        ValueError: If the channels that arrive cannot be shown to the model, or frames is neither.
    """

    def __init__(self, model: Network, input_cfg: Mapping[str, Any] | None = None, frames: Frames = "mean") -> None:
        super().__init__()
        if frames not in get_args(Frames):
            raise ValueError(unknown("choice of frames", frames, get_args(Frames)))
        self.model: Network = model
        self.frames = frames
        native = model.pretrained_cfg
        chans = channels(model)
        self.chans, self.size = chans, None if input_cfg is None else tuple(native["input_size"][1:])
        input_cfg = {**native, "input_size": (chans,)} if input_cfg is None else input_cfg
        found = input_cfg["input_size"][0]
        if found not in (1, chans):
            raise ValueError(
                f"{native.get('architecture', 'The model')} takes {chans} channels, but the data has {found}; "
                f"create it with in_chans={found}, or choose a model made for {found} channels."
            )
        # x_model = (x_data * std_data + mean_data - mean_model) / std_model = x_data * scale + shift
        mean_data, std_data = (statistics(input_cfg[key], found) for key in ("mean", "std"))
        mean, std = (statistics(native[key], chans) for key in ("mean", "std"))
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", std_data / std, persistent=False)
        self.register_buffer("shift", (mean_data - mean) / std, persistent=False)

    @property
    def network(self) -> Network:
        """The model that is read."""
        return self.model

    @property
    def num_steps(self) -> int:
        """One: a still image is read once."""
        return 1

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """Classes K."""
        return self.model.num_classes

    @property
    def feature_info(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Channels, reduction and module of every feature, as the timm model has it."""
        return list(self.model.feature_info)

    def frame(self, x: Tensor) -> Tensor:
        """The images [N, C', H', W'] that the model reads of a sequence [T, N, C, H, W]; T*N of them with per_step."""
        x = to_sequence(x)
        check_finite(x)
        image = x.mean(0) if self.frames == "mean" else x.flatten(0, 1)
        image = image * self.scale + self.shift
        if image.shape[1] == 1:
            image = image.expand(-1, self.chans, -1, -1)
        if self.size is not None and image.shape[-2:] != self.size:
            image = F.interpolate(image, self.size, mode="bilinear", antialias=True)
        return image

    def steps(self, x: Tensor) -> int:
        """Steps T of the outputs for a sequence [T, N, C, H, W]."""
        return 1 if self.frames == "mean" else len(to_sequence(x))

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The model's last feature and all features, [T, N, C, H, W] each, of a sequence [T, N, C, H, W]."""
        final, features = self.model.forward_intermediates(self.frame(x))
        steps = (self.steps(x), -1)
        return final.unflatten(0, steps), [feature.unflatten(0, steps) for feature in features]

    def forward_head(self, final: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits [T, N, K] of the last feature."""
        return self.model.forward_head(final.flatten(0, 1), pre_logits=pre_logits).unflatten(0, final.shape[:2])

    def forward_sequence(self, x: Tensor) -> Tensor:
        """Logits [T, N, K] of a sequence [T, N, C, H, W]."""
        return self.model(self.frame(x)).unflatten(0, (self.steps(x), -1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits averaged over time, [N, K], of a sequence [T, N, C, H, W]."""
        return self.forward_sequence(x).mean(0)


class LogitsModel(nn.Module):
    """A module that maps images [N, C, H, W] to logits [N, K], with the part of timm's surface that `StillModel` reads.

    It has no features, so objectives that compare features cannot read it.

    Args:
        module: For example a network of torchvision, or of your own.
        num_classes: K.
        in_chans: C.
    """

    def __init__(self, module: nn.Module, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.module = module
        self.num_classes, self.in_chans = num_classes, in_chans
        self.pretrained_cfg: dict[str, Any] = {"input_size": (in_chans,), "mean": (0.0,), "std": (1.0,)}
        self.feature_info: list[dict[str, Any]] = []

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, K]."""
        return self.module(x)

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits, and no features."""
        return self(x), []

    def forward_head(self, final: Tensor, pre_logits: bool = False) -> Tensor:
        """The logits as they are."""
        return final


def kind_of(model: Network) -> SequenceKind:
    """The sequences that a model takes; images if it is a timm model, which has no kind of its own."""
    return model.kind if isinstance(model, SequenceModel) else StillModel.kind


def channels(model: Network) -> int:
    """Input channels C of a model with timm's surface."""
    return getattr(model, "in_chans", model.pretrained_cfg["input_size"][0])  # a cfg keeps the channels of the weights


def statistics(values: Sequence[float], chans: int) -> Tensor:
    """Mean or std per channel, to broadcast over [N, C, H, W]; their average where the channels are not those of C."""
    per_channel = torch.tensor(values, dtype=torch.float32)
    return (per_channel if len(values) == chans else per_channel.mean()).view(-1, 1, 1)
