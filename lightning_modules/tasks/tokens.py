"""Training a spiking language model, and writing with it."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from zoo.models.spikegpt import check_sampling

from ..classification import ClassificationModule
from ..module import Batch
from ..objectives import NextToken, Objective


class Bits(Metric):
    r"""Mean of -log2 p(token that came): bits per token, or per byte of what the tokens stand for.

        bits = sum_i -log2 p(y_i) / sum_i b(y_i),    b = 1 per token

    A longer token is harder to foretell, so that only bits per byte compare models of different tokenisers.

    Args:
        token_bytes: Bytes b of every token [V]; None counts tokens.

    Example:
        >>> metric = Bits()
        >>> metric.update(torch.zeros(3, 256), torch.tensor([7, 0, 255]))
        >>> metric.compute().item()
        8.0
        >>> metric = Bits(token_bytes=[1, 3])
        >>> metric.update(torch.zeros(2, 2), torch.tensor([0, 1]))  # two bits for four bytes
        >>> metric.compute().item()
        0.5
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    sizes: Tensor | None
    total: Tensor
    count: Tensor

    def __init__(self, token_bytes: Sequence[int] | None = None) -> None:
        super().__init__()
        self.register_buffer("sizes", None if token_bytes is None else torch.tensor(token_bytes), persistent=False)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count the tokens [M] that came where the logits were [M, K]."""
        self.total += F.cross_entropy(logits, target, reduction="sum").double() / math.log(2)
        self.count += target.numel() if self.sizes is None else self.sizes[target].sum()

    def compute(self) -> Tensor:
        """The mean."""
        return (self.total / self.count).float()


class LanguageModule(ClassificationModule):
    """Trains or fine-tunes a spiking language model on tokens [T, N] and the token [T, N] that follows each of them.

    Every token is an answer: `val/acc` is the share of tokens that were the likeliest, `val/bits` the bits per token,
    `val/bits_per_byte` the bits per byte of text (if the data say how many bytes a token is).
    `predict` continues the prompts of the data, see `SpikeGPT.generate`, and writes them to `<run>/predictions.csv`:

        snnzoo predict --config RUN/config.yaml --data.prompts '["A spike is"]' --model.num_tokens 200

    Args:
        model: A language model (`spikegpt_*`), a published checkpoint or a run directory of one.
        optimizer: The optimiser, by class_path.
        num_classes: Size of the vocabulary; the CLI takes it from the data.
        in_chans: The same, to read; the CLI takes it from the data.
        input_cfg: What the data are; the CLI takes it from the data.
        model_args: Further arguments of the architecture, such as {depth: 4, dim: 128}.
        pretrained: Start from published weights.
        objectives: Terms of the loss; default: `NextToken`.
        warmup_epochs: Epochs of linear warm-up.
        save_memory: The same gradients in less memory and more time: run blocks twice.
        num_tokens: How many tokens `predict` writes.
        temperature: Of `predict`; 0 takes the likeliest token.
        top_k: `predict` draws from the k likeliest tokens only; null for all.
        sampling_seed: Of the draws of `predict`.

    Raises:
        ValueError: If a name is unknown, the model is no language model, an objective needs a teacher, or a number is
            out of range.
    """

    def __init__(
        self,
        model: str,
        optimizer: OptimizerCallable,
        num_classes: int,
        in_chans: int,
        input_cfg: dict[str, Any],
        model_args: dict[str, Any] | None = None,
        pretrained: bool = False,
        objectives: list[Objective] | None = None,
        warmup_epochs: float = 0.0,
        save_memory: bool = False,
        num_tokens: int = 256,
        temperature: float = 1.0,
        top_k: int | None = None,
        sampling_seed: int = 0,
    ) -> None:
        check_sampling(num_tokens, temperature, top_k)
        super().__init__(
            model,
            optimizer,
            num_classes,
            in_chans,
            input_cfg,
            model_args,
            pretrained,
            objectives=objectives or [NextToken()],
            warmup_epochs=warmup_epochs,
            save_memory=save_memory,
        )
        if not hasattr(self.model, "generate"):
            raise ValueError(f"{model} is no language model. Use ClassificationModule, or a spikegpt_* model.")
        self.sampling = {"num_tokens": num_tokens, "temperature": temperature, "top_k": top_k}
        self.sampling_seed = sampling_seed

    def make_metrics(self, prefix: str) -> MetricCollection:
        """Share of tokens that were the likeliest, bits per token, and per byte if the sizes of tokens are known."""
        metrics: dict[str, Metric | MetricCollection] = {"acc": self.make_accuracy(), "bits": Bits()}
        if sizes := self.model.pretrained_cfg.get("token_bytes"):
            metrics["bits_per_byte"] = Bits(sizes)
        return MetricCollection(metrics, prefix=prefix, compute_groups=False)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Tokens [num_tokens, N] that continue the prompts [T, N]; a batch has a seed of its own."""
        return self.model.generate(batch[0], **self.sampling, seed=self.sampling_seed + batch_idx)

    def prediction_rows(self, predicted: Tensor, batch: Batch, data: Any) -> list[dict[str, str]]:
        """Prompt and continuation, as text."""
        pairs = zip(batch[0].unbind(1), predicted.unbind(1), strict=True)
        return [{"prompt": data.decode(prompt), "continuation": data.decode(text)} for prompt, text in pairs]
