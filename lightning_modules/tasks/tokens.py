"""Language modelling: every step of a text is an answer, the token that follows."""

from typing import Any

from torch import Tensor
from torchmetrics import Metric

from zoo.data_info import DataInfo
from zoo.model import Network
from zoo.models.spikegpt import check_sampling

from ..metrics.bits import Bits
from ..objectives.base import Objective
from ..objectives.next_token import NextToken
from .base import Task, make_accuracy


class Tokens(Task):
    """Tokens [T, N], and the token that follows each: accuracy, bits per token, and bits per byte if sizes are known.

    `predict` continues the prompts of the data, see `SpikeGPT.generate`.

    Args:
        num_tokens: How many tokens `predict` writes.
        temperature: Of `predict`; 0 takes the likeliest token.
        top_k: `predict` draws from the k likeliest tokens only; null for all.
        sampling_seed: Of the draws of `predict`.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self, num_tokens: int = 256, temperature: float = 1.0, top_k: int | None = None, sampling_seed: int = 0
    ) -> None:
        check_sampling(num_tokens, temperature, top_k)
        self.num_tokens, self.temperature, self.top_k = num_tokens, temperature, top_k
        self.sampling_seed = sampling_seed

    def check(self, model: Network, info: DataInfo) -> None:
        """Refuse a network that writes no text.

        Raises:
            ValueError: If the network is no language model.
        """
        if not hasattr(model, "generate"):
            raise ValueError(
                f"Tokens: expected a language model (spikegpt_*), found {type(model).__name__}. Choose another model, "
                "or ClassificationModule."
            )

    def default_objectives(self) -> list[Objective]:
        """Cross-entropy with the next token."""
        return [NextToken()]

    def metrics(self, num_classes: int, info: DataInfo) -> dict[str, Metric]:
        """See `Task`."""
        found: dict[str, Metric] = {"acc": make_accuracy(num_classes), "bits": Bits()}
        if info.token_bytes:
            found["bits_per_byte"] = Bits(info.token_bytes)
        return found

    def predict(self, model: Network, x: Tensor, target: Tensor | None, batch_idx: int) -> Tensor:
        """Tokens [num_tokens, N] that continue the prompts [T, N]; every batch has its own seed."""
        seed = self.sampling_seed + batch_idx
        return model.generate(x, self.num_tokens, self.temperature, self.top_k, seed)

    def rows(self, predicted: Tensor, x: Tensor, data: Any) -> list[dict[str, str]]:
        """Prompt and continuation, as text."""
        pairs = zip(x.unbind(1), predicted.unbind(1), strict=True)
        return [{"prompt": data.decode(prompt), "continuation": data.decode(text)} for prompt, text in pairs]
