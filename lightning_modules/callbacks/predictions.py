"""The answers of `predict`, as a table."""

import csv
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer


class PredictionWriter(Callback):
    """Writes `<run>/predictions.csv`: one row a sample, in order: index, label, probability of the best class."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, str]] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new table."""
        self.rows = []

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Keep the answers of a batch."""
        names = trainer.datamodule.input_cfg["label_names"]  # type: ignore[attr-defined]
        for probability, index in zip(*(values.tolist() for values in outputs.max(-1)), strict=True):
            self.rows.append((len(self.rows), names[index], f"{probability:.4f}"))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the table."""
        path = Path(trainer.default_root_dir) / "predictions.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("index", "label", "probability"))
            writer.writerows(self.rows)
        print(f"Wrote {len(self.rows)} predictions to {path}.")
