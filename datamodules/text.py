"""Text of the user's own, byte by byte: for language models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from .base import BaseDataModule
from .loading import Batch, Sample
from .splits import check_fraction

SUFFIXES = (".txt", ".md")


class TextDataModule(BaseDataModule):
    """Windows of a text: x [T, N] int64, its bytes (UTF-8), and y [T, N], the byte that follows each of them.

    Splits, by position: the beginning of the text is for training, then comes the validation, then the test split; no
    window crosses from one to another. (enwik8 with fractions of 0.05 is the usual 90/5/5 MB.) Validation and test read
    window after window; what is left at the end of a split is not read. A training window begins anywhere, drawn anew
    in every epoch, and an epoch has as many as fit side by side. `predict` continues `prompts`, each by itself.

    Args:
        root: A text file in UTF-8, or a folder: its .txt and .md files, also in sub-folders, one after another in the
            order of their paths.
        length: Tokens T of a window.
        batch_size: Windows per batch and device.
        num_workers: Loading processes; None and 0 load in the training process.
        seed: Of the order and the beginnings of the training windows.
        val_fraction: Part of the text that is for validation.
        test_fraction: Part of the text that is for the test.
        prompts: Beginnings for `predict` to continue; default: the first window of the test split.

    Raises:
        FileNotFoundError: If root does not exist.
        ValueError: If an argument is out of range, a file is not UTF-8, or a split is too short for a window.
    """

    num_classes = 256
    in_chans = 256
    sequence_ndim = 2
    image_size = 1
    mean = (0.0,) * 256  # tokens are not normalised
    std = (1.0,) * 256
    label_names = tuple(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in range(256))
    max_workers = 0

    def __init__(
        self,
        root: str = "data/text",
        length: int = 256,
        batch_size: int = 16,
        num_workers: int | None = None,
        seed: int = 0,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        prompts: list[str] | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, seed, val_fraction=val_fraction)
        if length < 1:
            raise ValueError(f"length is the number of tokens of a window and must be at least 1, got {length}.")
        check_fraction("test_fraction", test_fraction)
        check_fraction("val_fraction + test_fraction", val_fraction + test_fraction)
        if prompts is not None and not all(prompts):
            raise ValueError("prompts must not be empty: a continuation needs at least one token to go on from.")
        self.root, self.length, self.test_fraction, self.prompts = Path(root), length, test_fraction, prompts

    @property
    def input_cfg(self) -> dict[str, Any]:
        """What a model must know of its input; "input_size" is (V, T, 1)."""
        return super().input_cfg | {"input_size": (self.in_chans, self.length, 1)}

    def load(self) -> dict[str, Dataset[Any]]:
        """Read the text and cut it: for training into pairs of neighbouring windows, of which `transform` takes one."""
        text = torch.from_numpy(read_text(self.root))
        cuts = (1 - self.val_fraction - self.test_fraction, 1 - self.test_fraction)
        ends = tuple(round(len(text) * cut) for cut in cuts)
        splits: dict[str, Dataset[Any]] = {}
        for split, part in zip(("train", "val", "test"), text.tensor_split(ends), strict=True):
            size = 2 * self.length if split == "train" else self.length + 1
            if len(part) < size:
                raise ValueError(
                    f"{self.root} has {len(text)} bytes, which leaves {len(part)} to the {split} split; windows of "
                    f"{self.length} tokens need {size}. Give more text, or a smaller length."
                )
            windows = part.unfold(0, size, self.length)
            splits[split] = TensorDataset(windows, torch.zeros(len(windows), dtype=torch.int64))
        return splits

    def transform(self, split: str) -> nn.Module:
        """To int64; in training, T + 1 neighbouring tokens that begin anywhere."""
        return Window(self.length + 1)

    def predict_dataloader(self) -> DataLoader[Any]:
        """The prompts [T, 1], one a batch; there is no y."""
        prompts = [torch.tensor(list(prompt.encode())) for prompt in self.prompts or []]
        prompts = prompts or [self.splits["test"][0][0][:-1]]
        return DataLoader([(prompt[:, None], torch.empty(0)) for prompt in prompts], batch_size=None)  # type: ignore[arg-type]

    def decode(self, tokens: Tensor) -> str:
        """The text of tokens [T]; what is no UTF-8 becomes �."""
        return bytes(tokens.tolist()).decode(errors="replace")

    def _loader_args(self) -> dict[str, Any]:
        return super()._loader_args() | {"collate_fn": inputs_and_targets}


class Window(nn.Module):
    """`size` neighbouring tokens, int64, of a piece of text; of a longer one they begin anywhere."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, piece: Tensor) -> Tensor:
        """Tokens [size] of a piece [>= size]."""
        begin = int(torch.randint(len(piece) - self.size + 1, ()))
        return piece[begin : begin + self.size].long()


def inputs_and_targets(samples: Sequence[Sample]) -> Batch:
    """Windows of T + 1 tokens -> x [T, N], and y [T, N], one token on."""
    windows = torch.stack([window for window, _ in samples], 1)  # [T+1, N]
    return windows[:-1], windows[1:]


def read_text(root: Path) -> NDArray[np.uint8]:
    """The bytes of a text file, or of all those of a folder, one after another.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If a file is not UTF-8.
    """
    files = sorted(file for file in root.rglob("*") if file.suffix in SUFFIXES) if root.is_dir() else [root]
    if not files or not root.exists():
        raise FileNotFoundError(f"There is no text at {root}. Name a text file, or a folder with .txt or .md files.")
    parts = []
    for file in files:
        parts.append(file.read_bytes())
        try:
            parts[-1].decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not a text in UTF-8: {error}. Convert it, or leave it out.") from error
    return np.array(memoryview(b"\n".join(parts)))
