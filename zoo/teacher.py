"""A timm model read by the contract of a student: a sequence with T = 1."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .model import Network, to_sequence


class StillModel(nn.Module):
    """Reads a non-spiking timm model as a sequence with one step.

    The model sees the mean frame of the sequence, brought from the statistics of the data to its own: a grey image is
    shown to an RGB model in all three channels, the values are re-normalised from `input_cfg`'s mean and std to those
    of the model's `pretrained_cfg`, and the image is resized (bilinear, antialiased) to its `input_size`.

    Args:
        model: Any timm classifier.
        input_cfg: What arrives, in timm's words: "input_size" (C, H, W), "mean" and "std" per channel.

    Raises:
        ValueError: If the channels that arrive cannot be shown to the model.
    """

    def __init__(self, model: Network, input_cfg: Mapping[str, Any]) -> None:
        super().__init__()
        self.model: Network = model
        native = model.pretrained_cfg
        chans = getattr(model, "in_chans", native["input_size"][0])  # a cfg keeps the channels of the weights
        found = input_cfg["input_size"][0]
        if found not in (1, chans):
            raise ValueError(
                f"{native.get('architecture', 'The model')} takes {chans} channels, but the data has {found}; "
                f"create it with in_chans={found}, or choose a model made for {found} channels."
            )
        self.chans, self.size = chans, tuple(native["input_size"][1:])
        # x_model = (x_data * std_data + mean_data - mean_model) / std_model = x_data * scale + shift
        mean_data, std_data = (statistics(input_cfg[key], found) for key in ("mean", "std"))
        mean, std = (statistics(native[key], chans) for key in ("mean", "std"))
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", std_data / std, persistent=False)
        self.register_buffer("shift", (mean_data - mean) / std, persistent=False)

    @property
    def num_classes(self) -> int:
        """Classes K."""
        return self.model.num_classes

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Channels, reduction and module of every feature, as the timm model has it."""
        return list(self.model.feature_info)

    def frame(self, x: Tensor) -> Tensor:
        """The image [N, C', H', W'] that the model sees of a sequence [T, N, C, H, W]."""
        image = to_sequence(x).mean(0) * self.scale + self.shift
        image = image.expand(-1, self.chans, -1, -1)
        if image.shape[-2:] != self.size:
            image = F.interpolate(image, self.size, mode="bilinear", antialias=True)
        return image

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The model's last feature and all features, [1, N, C, H, W] each, of a sequence [T, N, C, H, W]."""
        final, features = self.model.forward_intermediates(self.frame(x))
        return final.unsqueeze(0), [feature.unsqueeze(0) for feature in features]

    def forward_head(self, final: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits [1, N, K] of the last feature."""
        return self.model.forward_head(final.squeeze(0), pre_logits=pre_logits).unsqueeze(0)

    def forward_sequence(self, x: Tensor) -> Tensor:
        """Logits [1, N, K] of a sequence [T, N, C, H, W]."""
        return self.model(self.frame(x)).unsqueeze(0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, K] of a sequence [T, N, C, H, W]."""
        return self.forward_sequence(x).squeeze(0)


def statistics(values: Sequence[float], chans: int) -> Tensor:
    """Mean or std per channel, to broadcast over [N, C, H, W]; their average where the channels are not those of C."""
    per_channel = torch.tensor(values, dtype=torch.float32)
    return (per_channel if len(values) == chans else per_channel.mean()).view(-1, 1, 1)
