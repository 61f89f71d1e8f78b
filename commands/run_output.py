"""What a run prints: the progress bar and the table of scores."""

import re
from collections.abc import Mapping
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich.table import Table
from torch import Tensor

UNITS = {
    "acs": "{:,.0f} accumulates per inference",
    "macs": "{:,.0f} multiply-accumulates per inference",
    "parameters": "{:,.0f}",
    "bits": "{:.4f} bits per token",
    "bits_per_byte": "{:.4f} bits per byte",
    "energy_uj": "{:.3f} µJ per inference, effective convention",
    "firing_rate": "{:.4f} spikes per neuron and step",
}


class ProgressBar(RichProgressBar):
    """Lightning's rich bar without the version of the log, whose first epoch is 1."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs}".ljust(len(self.validation_description))

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The metrics of the bar."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


def by_number(name: str) -> list[str | int]:
    """A key that sorts names by the numbers in them: acc_at_2 before acc_at_10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def score_table(title: str, scores: Mapping[str, Tensor]) -> Table:
    """What a validation or test gave, with units: shares in percent, all else to four decimals."""
    table = Table("metric", "value", title=title)
    for name in sorted(scores, key=by_number):
        value, metric = scores[name], name.split("/")[-1]
        share = re.search("acc($|_at_|_top)|agreement|recall_at_", metric)
        table.add_row(name, UNITS.get(metric, "{:.2%}" if share else "{:.4f}").format(value.item()))
    return table
