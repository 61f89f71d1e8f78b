"""Texts, byte by byte or in pairs of bytes: for language models."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ..base import BaseDataModule
from ..loading import Batch, Sample
from ..splits import check_fraction
from .tokenizer import BytePairs, make_tokenizer

SUFFIXES = (".txt", ".md")
SPLIT_FILES = (
    ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
    ("wiki.train.raw", "wiki.valid.raw", "wiki.test.raw"),
    ("train.txt", "valid.txt", "test.txt"),
)
NINETY_FIVE_FIVE = ("enwik8", "text8")


class TextDataModule(BaseDataModule):
    """Windows of a text: x [T, N] int64, its tokens, and y [T, N], the token that follows each of them.

    What is in `root` decides on the splits:

    - a folder with `wiki.train.tokens`, `wiki.valid.tokens` and `wiki.test.tokens` (WikiText-2 and -103), the same with
      `.raw`, or `train.txt`, `valid.txt` and `test.txt`: these files, as they are; others beside them are not read;
    - the file `enwik8` or `text8`, or a folder with it: the usual 90, 5 and 5 % (5 million bytes each of validation and
      test);
    - any other text file or folder: by position, the beginning for training, then `val_fraction`, then `test_fraction`.

    No window crosses from one split to another. Validation and test read window after window; what is left at the end
    of a split is not read. A training window begins anywhere, drawn anew in every epoch, and an epoch has as many as
    fit side by side. `predict` continues `prompts`, each by itself.

    A tokeniser that is trained sees the training split alone, and a fit leaves it in the run as `tokenizer.json`, with
    which the model reads other texts. What stands for one token is in `input_cfg["token_bytes"]`: models of different
    tokenisers are compared in bits per byte.

    Args:
        root: A text file in UTF-8, or a folder: one of those above, or its .txt and .md files, also in sub-folders, one
            after another in the order of their paths.
        tokenizer: "bytes"; "bpe:VOCAB" to train byte-pair encoding to VOCAB tokens (fewer if the text has no more
            pairs); or the path of a byte-level `tokenizer.json`, such as GPT-NeoX-20B's.
        length: Tokens T of a window.
        batch_size: Windows per batch and device.
        num_workers: Loading processes; None and 0 load in the training process.
        seed: Of the order and the beginnings of the training windows.
        val_fraction: Part of the text that is for validation; default: 0.1, of enwik8 and text8 0.05.
        test_fraction: Part of the text that is for the test; the same.
        prompts: Beginnings for `predict` to continue; default: the first window of the test split.

    Raises:
        FileNotFoundError: If root or the tokeniser does not exist.
        ValueError: If an argument is out of range, a file is not UTF-8 or no tokeniser, one of three files that give
            the splits is missing, or a split is too short for a window.

    Source: enwik8: http://mattmahoney.net/dc/textdata; WikiText: Merity et al. 2016, arXiv:1609.07843.
    """

    sequence_ndim = 2
    image_size = 1
    mean = (0.0,)  # tokens are not normalised
    std = (1.0,)
    max_workers = 0

    def __init__(
        self,
        root: str = "data/text",
        tokenizer: str = "bytes",
        length: int = 256,
        batch_size: int = 16,
        num_workers: int | None = None,
        seed: int = 0,
        val_fraction: float | None = None,
        test_fraction: float | None = None,
        prompts: list[str] | None = None,
    ) -> None:
        path = next((file for name in NINETY_FIVE_FIVE if (file := Path(root, name)).is_file()), Path(root))
        usual = 0.05 if path.name in NINETY_FIVE_FIVE else 0.1
        val_fraction = usual if val_fraction is None else val_fraction
        test_fraction = usual if test_fraction is None else test_fraction
        super().__init__(batch_size, num_workers, seed, val_fraction=val_fraction)
        if length < 1:
            raise ValueError(f"length: expected at least 1 token per window, found {length}.")
        check_fraction("test_fraction", test_fraction)
        check_fraction("val_fraction + test_fraction", val_fraction + test_fraction)
        if prompts is not None and not all(prompts):
            raise ValueError("prompts: expected at least one token each, found an empty one.")
        self.root, self.length, self.test_fraction, self.prompts = path, length, test_fraction, prompts
        self.tokenizer = make_tokenizer(tokenizer, lambda: self.read()["train"])
        self.label_names = self.tokenizer.names
        self.num_classes = self.in_chans = len(self.label_names)

    @property
    def input_cfg(self) -> dict[str, Any]:
        """What a model must know of its input; "input_size" is (V, T, 1), "token_bytes" the bytes of each token."""
        sizes = [len(token) for token in self.tokenizer.vocabulary]
        return super().input_cfg | {"input_size": (self.in_chans, self.length, 1), "token_bytes": sizes}

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled windows; a fit, which has a checkpoint restored by now if any, keeps its tokeniser in the run."""
        if self.trainer and self.trainer.is_global_zero and isinstance(self.tokenizer, BytePairs):
            file = self.kept_tokenizer()
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.tokenizer.definition, encoding="utf-8")
        return super().train_dataloader()

    def kept_tokenizer(self) -> Path:
        """Where a run keeps its tokeniser."""
        assert self.trainer is not None
        return Path(self.trainer.default_root_dir) / "tokenizer.json"

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint remembers: which tokeniser it was trained with."""
        return {"vocabulary": hashlib.sha256(repr(self.tokenizer.vocabulary).encode()).hexdigest()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Refuse a checkpoint of another tokeniser.

        Raises:
            ValueError: If `bpe:VOCAB` has meanwhile been trained on another text.
        """
        if state != self.state_dict():
            raise ValueError(
                f"The checkpoint was trained with another tokeniser: what {self.root} gives now is not what the run "
                f"began with. Take that of the run: --data.tokenizer {self.kept_tokenizer()}."
            )

    def read(self) -> dict[str, bytes]:
        """The text of every split."""
        if files := split_files(self.root):
            return {split: read_text(file) for split, file in files.items()}
        text = read_text(self.root)
        ends = [round(len(text) * cut) for cut in (1 - self.val_fraction - self.test_fraction, 1 - self.test_fraction)]
        return {"train": text[: ends[0]], "val": text[ends[0] : ends[1]], "test": text[ends[1] :]}

    def load(self) -> dict[str, Dataset[Any]]:
        """Read the splits and cut them into windows; for training, into pairs of which `transform` takes one."""
        splits: dict[str, Dataset[Any]] = {}
        for split, text in self.read().items():
            tokens = torch.from_numpy(self.tokenizer.encode(text))
            size = 2 * self.length if split == "train" else self.length + 1
            if len(tokens) < size:
                raise ValueError(
                    f"{self.root} has {len(text)} bytes for the {split} split, which are {len(tokens)} tokens; windows "
                    f"of {self.length} tokens need {size}. Give more text, or a smaller length."
                )
            windows = tokens.unfold(0, size, self.length)
            splits[split] = TensorDataset(windows, torch.zeros(len(windows), dtype=torch.int64))
        return splits

    def transform(self, split: str) -> nn.Module:
        """To int64; in training, T + 1 neighbouring tokens that begin anywhere."""
        return Window(self.length + 1)

    def predict_dataloader(self) -> DataLoader[Any]:
        """The prompts [T, 1], one a batch; there is no y."""
        prompts = [torch.from_numpy(self.tokenizer.encode(prompt.encode())).long() for prompt in self.prompts or []]
        prompts = prompts or [self.splits["test"][0][0][:-1]]
        return DataLoader([(prompt[:, None], torch.empty(0)) for prompt in prompts], batch_size=None)  # type: ignore[arg-type]

    def decode(self, tokens: Tensor) -> str:
        """The text of tokens [T]; what is no UTF-8 becomes �."""
        return self.tokenizer.decode(tokens.tolist())

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


def split_files(root: Path) -> dict[str, Path] | None:
    """The three files of a folder that give the splits, if there are such.

    Raises:
        ValueError: If there are some, but not all: what is left would mix test text into the training.
    """
    for names in SPLIT_FILES:
        files = {split: root / name for split, name in zip(("train", "val", "test"), names, strict=True)}
        found = [file.name for file in files.values() if file.is_file()]
        if len(found) == len(files):
            return files
        if found:
            raise ValueError(
                f"{root} has {', '.join(found)} of the files {', '.join(names)}, which give the splits together. Add "
                "the others, or name a single file as root to have it cut."
            )
    return None


def read_text(root: Path) -> bytes:
    """The bytes of a text file, or of all those of a folder, one after another.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If a file is not UTF-8.
    """
    files = sorted(file for file in root.rglob("*") if file.suffix in SUFFIXES) if root.is_dir() else [root]
    if not files or not root.exists():
        raise FileNotFoundError(
            f"There is no text at {root}. Name a text file, or a folder with .txt or .md files, with enwik8, or with "
            "the files of WikiText (wiki.train.tokens, ...)."
        )
    parts = []
    for file in files:
        parts.append(file.read_bytes())
        try:
            parts[-1].decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not a text in UTF-8: {error}. Convert it, or leave it out.") from error
    return b"\n".join(parts)
