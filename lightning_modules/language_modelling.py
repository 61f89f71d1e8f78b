"""Training a spiking language model, and writing with it."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable

from zoo.model import Network

from .classification import ClassificationModule
from .objectives import Objective
from .rules.sltt import SLTT
from .tasks.tokens import Tokens


class LanguageModule(ClassificationModule):
    r"""Trains or fine-tunes a spiking language model on tokens [T, N] and the token [T, N] that follows each of them.

    Every token is an answer: `val/acc` is the share of tokens that were the likeliest, `val/bits` the bits per token,
    `val/bits_per_byte` the bits per byte of text (if the data say how many bytes a token is).
    `predict` continues the prompts of the data, see `SpikeGPT.generate`, and writes them to `<run>/predictions.csv`:

        snnzoo predict --config RUN/config.yaml --data.prompts '["A spike is"]' --model.num_tokens 200

    Args:
        model: A language model (`spikegpt_*`), a published checkpoint or a run directory of one; from Python also a
            module.
        optimizer: The optimiser, by class_path; default: AdamW, learning rate 1e-3, weight decay 0.05.
        num_classes: Size of the vocabulary; default: that of the data.
        in_chans: The same, to read; default: that of the data.
        input_cfg: What the data are; the CLI takes it from the data.
        model_args: Further arguments of the architecture, such as {depth: 4, dim: 128}.
        pretrained: Start from published weights.
        objectives: Objectives of the loss; default: `NextToken`.
        warmup_epochs: Epochs of linear warm-up.
        save_memory: The same gradients in less memory and more time: run blocks twice.
        num_tokens: How many tokens `predict` writes.
        temperature: Of `predict`; 0 takes the likeliest token.
        top_k: `predict` draws from the k likeliest tokens only; null for all.
        sampling_seed: Of the draws of `predict`.
        sltt: Learn token by token, in memory that does not grow with T: {k: null, normalise_by: T}; see `SLTT`.
        lr_factors: Factors of the learning rate by regular expressions of parameter names: {'\.time_decay$': 2.0}.

    Raises:
        ValueError: If a name is unknown, the model is no language model, an objective needs a teacher, or a number is
            out of range.
    """

    def __init__(
        self,
        model: str | Network,
        optimizer: OptimizerCallable | None = None,
        num_classes: int | None = None,
        in_chans: int | None = None,
        input_cfg: dict[str, Any] | None = None,
        model_args: dict[str, Any] | None = None,
        pretrained: bool = False,
        objectives: list[Objective] | None = None,
        warmup_epochs: float = 0.0,
        save_memory: bool = False,
        num_tokens: int = 256,
        temperature: float = 1.0,
        top_k: int | None = None,
        sampling_seed: int = 0,
        sltt: SLTT | None = None,
        lr_factors: dict[str, float] | None = None,
    ) -> None:
        super().__init__(
            model,
            optimizer,
            num_classes,
            in_chans,
            input_cfg,
            model_args,
            pretrained,
            objectives=objectives,
            warmup_epochs=warmup_epochs,
            sltt=sltt,
            save_memory=save_memory,
            lr_factors=lr_factors,
            task=Tokens(num_tokens, temperature, top_k, sampling_seed),
        )
