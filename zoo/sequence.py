"""What a sequence holds: images, event clouds, spike trains or tokens.

Shapes: T time steps, N batch, C channels, H height, W width, P points, D coordinates of a point, F spike trains,
V symbols of a vocabulary.
"""

from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor


class SequenceKind(IntEnum):
    """The kind of a sequence; its value is the number of axes, which files hold as `sequence_ndim`.

    Attributes:
        axes: Names of the axes.
        words: What a model of this kind may take, for messages and cards.
        still: Whether one sample may stand still; it is then a sequence of one step.
        counted: What `in_chans` counts on the third axis; empty if that axis is not `in_chans` long.
    """

    TOKENS = 2, "TN", "tokens [T, N]"
    SPIKE_TRAINS = 3, "TNF", "spike trains [T, N, F]", False, "inputs (spike trains)"
    CLOUDS = 4, "TNPD", "event clouds [N, P, 3] or a sequence [T, N, P, 3]", True
    IMAGES = 5, "TNCHW", "images [N, C, H, W] or a sequence [T, N, C, H, W]", True, "channels"

    axes: tuple[str, ...]
    words: str
    still: bool
    counted: str

    def __new__(
        cls, ndim: int, axes: str = "", words: str = "", still: bool = False, counted: str = ""
    ) -> "SequenceKind":
        """A member whose value is the number of axes."""
        kind = int.__new__(cls, ndim)
        kind._value_ = ndim
        kind.axes, kind.words, kind.still, kind.counted = tuple(axes), words, still, counted
        return kind

    @property
    def sample_axes(self) -> str:
        """The axes of one sample, "[T, C, H, W]" for example."""
        return f"[{', '.join(axis for axis in self.axes if axis != 'N')}]"

    def noise(self, size: Sequence[int], batch: int, num_steps: int, generator: torch.Generator) -> Tensor:
        """Noise that a model takes: normal images [N, C, H, W], uniform clouds [N, P, D], spikes or random tokens.

        Spikes [T, N, F] have a rate of 0.1.

        Args:
            size: "input_size" of a `pretrained_cfg`: (C, H, W), (D, P, 1), (F, 1, 1) or (V, T, 1).
            batch: N.
            num_steps: T of spike trains.
            generator: Draws the numbers.
        """
        chans, height, width = size
        if self is SequenceKind.TOKENS:
            return torch.randint(chans, (height, batch), generator=generator)
        if self is SequenceKind.SPIKE_TRAINS:
            return (torch.rand(num_steps, batch, chans, generator=generator) < 0.1).float()
        if self is SequenceKind.CLOUDS:
            return torch.rand(batch, height, chans, generator=generator)
        return torch.randn(batch, chans, height, width, generator=generator)

    def zeros_code(self, size: Sequence[int]) -> str:
        """Python code that makes one sample, for a card.

        Example:
            >>> SequenceKind.TOKENS.zeros_code((50, 8, 1))
            'torch.zeros(8, 1, dtype=torch.int64)'
        """
        chans, height, width = size
        return {
            SequenceKind.TOKENS: f"torch.zeros({height}, 1, dtype=torch.int64)",
            SequenceKind.SPIKE_TRAINS: f"torch.zeros(100, 1, {chans})",
            SequenceKind.CLOUDS: f"torch.rand(1, {height}, {chans})",
            SequenceKind.IMAGES: f"torch.zeros(1, {chans}, {height}, {width})",
        }[self]

    def size_words(self, size: Sequence[int]) -> str:
        """What a sample consists of, for a card.

        Example:
            >>> SequenceKind.CLOUDS.size_words((3, 1024, 1))
            '1024 points'
        """
        chans, height, width = size
        return {
            SequenceKind.TOKENS: f"{chans} symbols",
            SequenceKind.SPIKE_TRAINS: f"F = {chans} trains of 0 and 1",
            SequenceKind.CLOUDS: f"{height} points",
            SequenceKind.IMAGES: f"{height}x{width} pixels",
        }[self]


def to_sequence(x: Tensor, kind: SequenceKind = SequenceKind.IMAGES) -> Tensor:
    """A sequence of this kind: what stands still becomes one with T = 1, a sequence stays as it is.

    Raises:
        ValueError: If x has another number of axes, no step, or a value that is not finite.
    """
    if kind.still and x.ndim == kind - 1:
        x = x.unsqueeze(0)
    if x.ndim != kind or not len(x):
        raise ValueError(f"Expected {kind.words} with T >= 1, found shape {tuple(x.shape)}.")
    check_finite(x)
    return x


def check_finite(x: Tensor) -> None:
    """Refuse NaN and infinity, which a spiking layer would turn into silence. Nothing is checked while compiling.

    Raises:
        ValueError: If a value of x is not finite.
    """
    if torch.compiler.is_compiling() or x.is_meta or not x.is_floating_point():
        return
    finite = x.isfinite()
    if not finite.all():
        first = tuple((~finite).nonzero()[0].tolist())
        raise ValueError(
            f"Input: expected finite numbers, found {x[first].item()} at {list(first)} of shape {tuple(x.shape)}, and "
            f"{int((~finite).sum())} such values in all. Mend the data."
        )
