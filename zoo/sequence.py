"""What a sequence holds: images, event clouds, spike trains or tokens.

Shapes: T time steps, N batch, C channels, H height, W width, P points, D coordinates of a point, F spike trains,
V symbols of a vocabulary.
"""

from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor

FACTS = {  # number of axes: axes, words, still, counted, code, content; see `SequenceKind`
    2: ("TN", "tokens [T, N]", False, "", "torch.zeros({1}, 1, dtype=torch.int64)", "{0} symbols"),
    3: (
        "TNF",
        "spike trains [T, N, F]",
        False,
        "inputs (spike trains)",
        "torch.zeros(100, 1, {0})",
        "F = {0} trains of 0 and 1",
    ),
    4: (
        "TNPD",
        "event clouds [N, P, 3] or a sequence [T, N, P, 3]",
        True,
        "",
        "torch.rand(1, {1}, {0})",
        "{1} points",
    ),
    5: (
        "TNCHW",
        "images [N, C, H, W] or a sequence [T, N, C, H, W]",
        True,
        "channels",
        "torch.zeros(1, {0}, {1}, {2})",
        "{1}x{2} pixels",
    ),
}


class SequenceKind(IntEnum):
    """The kind of a sequence; its value is the number of axes, which files hold as `sequence_ndim`.

    Attributes:
        axes: Names of the axes, a letter each.
        words: What a model of this kind may take, for messages and cards.
        still: Whether one sample may stand still; it is then a sequence of one step.
        counted: What `in_chans` counts on the third axis; empty if that axis is not `in_chans` long.
        code: Python code of one sample, and
        content: what it consists of; for cards, and formats of an "input_size", as `noise` takes it.
    """

    TOKENS = 2
    SPIKE_TRAINS = 3
    CLOUDS = 4
    IMAGES = 5

    axes: str
    words: str
    still: bool
    counted: str
    code: str
    content: str

    def __init__(self, ndim: int) -> None:
        """Take the facts about the kind from the table."""
        self.axes, self.words, self.still, self.counted, self.code, self.content = FACTS[ndim]

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


def to_sequence(x: Tensor, kind: SequenceKind = SequenceKind.IMAGES) -> Tensor:
    """A sequence of this kind: what stands still becomes one with T = 1, a sequence stays as it is.

    Raises:
        ValueError: If x has another number of axes, or no step.
    """
    if kind.still and x.ndim == kind - 1:
        x = x.unsqueeze(0)
    if x.ndim != kind or not len(x):
        raise ValueError(f"input: expected {kind.words}, T >= 1, found shape {tuple(x.shape)}.")
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
            f"input: expected finite numbers, found {x[first].item()} at {list(first)} of shape {tuple(x.shape)}, and "
            f"{int((~finite).sum())} such values in all. Mend the data."
        )
