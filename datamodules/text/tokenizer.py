"""Text as numbers: its bytes, or pieces that byte-pair encoding (BPE) joined from them."""

import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cache import default_folder

IN_UTF8 = {*range(256)} - {0xC0, 0xC1, *range(0xF5, 256)}  # the others never occur
PIECE = 1 << 18  # characters that are encoded at a time: a token takes some hundred bytes while it is made


class Tokenizer(ABC):
    """Tokens are numbers 0..V-1; each stands for bytes, and what the tokens of a text stand for is the text.

    Args:
        vocabulary: The bytes of every token.
    """

    def __init__(self, vocabulary: Sequence[bytes]) -> None:
        self.vocabulary = tuple(vocabulary)

    @abstractmethod
    def encode(self, text: bytes) -> NDArray[Any]:
        """The tokens of a text in UTF-8."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; what is no UTF-8 becomes �."""
        return b"".join(self.vocabulary[token] for token in tokens).decode(errors="replace")

    @property
    def names(self) -> tuple[str, ...]:
        r"""The tokens in print: ASCII as it is, other bytes as \xc3."""
        printed = [chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in range(256)]
        return tuple("".join(printed[byte] for byte in token) for token in self.vocabulary)


class Bytes(Tokenizer):
    """Every byte is a token.

    Example:
        >>> Bytes().encode("Spaß".encode()).tolist()
        [83, 112, 97, 195, 159]
    """

    def __init__(self) -> None:
        super().__init__([bytes([byte]) for byte in range(256)])

    def encode(self, text: bytes) -> NDArray[np.uint8]:
        """The bytes themselves."""
        return np.array(memoryview(text))


class BytePairs(Tokenizer):
    """BPE over bytes, as in GPT-2 and GPT-NeoX: nothing is unknown and nothing is lost.

    A long text is encoded in parts that end before a line, where these tokenisers split words anyway. A character that
    is not whole (at the cut between two splits) is left out. Truncation, padding and special tokens that the file would
    add are off; where the file normalises (GPT-NeoX: NFC), the text is the normalised one.

    Args:
        definition: The content of a `tokenizer.json`.
        source: What to call it in messages.

    Raises:
        ValueError: If it is none, or no byte-level BPE.

    Source: Sennrich et al. 2016, arXiv:1508.07909; over bytes: Radford et al. 2019 (GPT-2); the library `tokenizers`.
    """

    def __init__(self, definition: str, source: str = "the tokenizer") -> None:
        import tokenizers

        try:
            self.library = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:  # the library raises nothing more special
            raise ValueError(f"tokenizer: {source} is no tokenizer.json ({error}).") from error
        self.library.no_truncation()
        self.library.no_padding()
        self.definition = definition
        added = {index: token.content for index, token in self.library.get_added_tokens_decoder().items()}
        tokens = {index: token for token, index in self.library.get_vocab().items()}
        try:
            found = {i: bytes(BYTE_OF[char] for char in token) for i, token in tokens.items() if i not in added}
        except KeyError:
            found = {}
        decoder = json.dumps(json.loads(definition).get("decoder"))
        if '"ByteLevel"' not in decoder or not {bytes([byte]) for byte in IN_UTF8} <= {*found.values()}:
            raise ValueError(
                f"tokenizer: {source} is not byte-level (as those of GPT-2, GPT-NeoX and Llama 3 are), so what its "
                "tokens stand for is not certain. Choose one that is, bytes, or bpe:4096 to train one."
            )
        found |= {index: content.encode() for index, content in added.items()}
        super().__init__([found.get(index, b"") for index in range(max(found) + 1)])

    def encode(self, text: bytes) -> NDArray[np.int32]:
        """Tokens of the whole characters of a text."""
        parts = [np.empty(0, np.int32)]
        for piece in pieces(text.decode(errors="ignore")):
            (encoded,) = self.library.encode_batch_fast([piece], add_special_tokens=False)
            parts.append(np.array(encoded.ids, np.int32))
        return np.concatenate(parts)


def pieces(text: str) -> Iterator[str]:
    """A text in parts of PIECE characters and more, each up to a line break before something that can be seen."""
    start, line = 0, re.compile(r"\n(?=\S)")
    while start < len(text):
        found = line.search(text, start + PIECE)
        end = found.start() if found else len(text)
        yield text[start:end]
        start = end


def bytes_by_char() -> dict[str, int]:
    """GPT-2's alphabet, in which a byte is a character that can be seen: those of Latin-1, then what follows them."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(256 + place): byte for place, byte in enumerate(hidden)}


BYTE_OF = bytes_by_char()


def make_tokenizer(spec: str, training_text: Callable[[], bytes]) -> Tokenizer:
    """The tokeniser that `spec` names.

    Args:
        spec: "bytes", "bpe:VOCAB" to train one, or the path of a `tokenizer.json`.
        training_text: Gives the text to train on, and none of that it is tested on.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If `spec` is none of these, or the file no byte-level BPE.
    """
    if spec == "bytes":
        return Bytes()
    if spec.startswith("bpe:"):
        size = int(spec[4:]) if spec[4:].isdecimal() else 0
        if not 256 < size <= 1_000_000:
            raise ValueError(f"tokenizer: expected bpe:VOCAB with a size above 256, such as bpe:4096, found {spec}.")
        return BytePairs(trained(training_text(), size), spec)
    if not Path(spec).is_file():
        raise FileNotFoundError(
            f"tokenizer: there is no file {Path(spec).absolute()}. Accepted are bytes, bpe:VOCAB (such as bpe:4096), "
            "and the path of a tokenizer.json."
        )
    return BytePairs(Path(spec).read_text(encoding="utf-8", errors="replace"), spec)


def trained(text: bytes, size: int) -> str:
    """A tokeniser's definition trained on a text; found again in `$SNNZOO_CACHE/tokenizers` (~/.cache/snnzoo).

    The same text and library give the same tokeniser, so the cache saves time only (a minute for 90 MB).
    """
    key = hashlib.sha256(f"{size} {version('tokenizers')} ".encode() + text).hexdigest()[:16]
    folder = default_folder("tokenizers")
    file = folder / f"bpe_{size}_{key}.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_text(train_byte_pairs(text, size), encoding="utf-8")
        part.replace(file)
    return file.read_text(encoding="utf-8")


def train_byte_pairs(text: bytes, size: int) -> str:
    """Join the most frequent pair of neighbours, again and again, until there are `size` tokens or no pairs."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator(pieces(text.decode(errors="ignore")), trainer)
    return library.to_str()
