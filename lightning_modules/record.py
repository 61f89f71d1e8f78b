"""The record of a run, `RUN/config.yaml`: the recipe that it was made by, without the options of one call."""

from inspect import signature
from pathlib import Path

from jsonargparse import Namespace
from lightning import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

# What one call asks for, such as the checkpoint to start from: the arguments of the trainer's methods, and our own.
CALL_OPTIONS = frozenset(
    {"overwrite"}.union(
        *(
            signature(getattr(Trainer, command)).parameters.keys() - skipped - {"self"}
            for command, skipped in LightningCLI.subcommands().items()
        )
    )
)


def recipe_of(parser: LightningArgumentParser, config: Namespace) -> str:
    """The recipe in a parsed command line, as YAML: model, data, trainer, seed and run."""
    recipe = Namespace({key: value for key, value in vars(config).items() if key not in CALL_OPTIONS})
    return parser.dump(recipe, skip_unset=False, format="yaml")


class SaveRecipe(SaveConfigCallback):
    """Writes the recipe of a `fit` to `RUN/config.yaml`."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write once, at the beginning; other commands leave the record alone."""
        if stage == "fit" and trainer.is_global_zero:
            path = Path(trainer.default_root_dir) / "config.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(recipe_of(self.parser, self.config), encoding="utf-8")
            part.replace(path)
