"""The answers of `predict`, as a table."""

import csv
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer

SHOWN = 3


class PredictionWriter(Callback):
    """Writes `<run>/predictions.csv`: one row a sample, in order: its index, and what the task makes of the answer.

    That is label and probability of the best class, or prompt and continuation (`Task.rows`). The first three are also
    printed.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def on_predict_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin a new table."""
        self.rows = []

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Keep the answers of a batch."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        for row in pl_module.task.rows(outputs, batch[0], data):
            self.rows.append({"index": str(len(self.rows)), **row})

    def on_predict_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the table."""
        path = Path(trainer.default_root_dir) / "predictions.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self.rows[0]) if self.rows else ["index"])
            writer.writeheader()
            writer.writerows(self.rows)
        for row in self.rows[:SHOWN]:
            print("\n".join(f"{name}: {value}" for name, value in row.items()))
        print(f"Wrote {len(self.rows)} predictions to {path}.")
