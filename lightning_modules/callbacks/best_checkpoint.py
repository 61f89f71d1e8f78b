"""The checkpoint of the best epoch."""

from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class BestCheckpoint(ModelCheckpoint):
    """Keeps the weights of the epoch with the highest `val/acc` in `best.ckpt`.

    A run directory may be moved between two calls. `ModelCheckpoint` then forgets the best score, and the first epoch
    after the move would replace a better one.

    Args:
        folder: Where `best.ckpt` goes.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, filename="best", monitor="val/acc", mode="max", enable_version_counter=False)

    @property
    def state_key(self) -> str:
        """The key of the base class, so that runs of earlier versions keep their best score."""
        return super().state_key.replace(type(self).__name__, "ModelCheckpoint", 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Save if the epoch is the best one; a run without validation has none, and no warning each time."""
        if "val/acc" in trainer.callback_metrics:
            super().on_train_epoch_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best score, if its checkpoint is here."""
        assert self.dirpath is not None  # given
        file, score = str(Path(self.dirpath, "best.ckpt")), state_dict["best_model_score"]
        if score is None or not Path(file).is_file():
            return  # a new run, which goes on from the checkpoint of another one
        places = {"dirpath": self.dirpath, "best_model_path": file, "kth_best_model_path": file}
        super().load_state_dict({**state_dict, **places, "best_k_models": {file: score}, "last_model_path": ""})
