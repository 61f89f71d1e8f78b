"""A run: one recipe carried out in one directory, recorded so that it can be repeated, resumed, tested and published.

RUN/config.yaml                 the recipe as it ran: `snnzoo test --config RUN/config.yaml`
RUN/checkpoints/best.ckpt       the epoch with the best validation accuracy
RUN/checkpoints/last.ckpt       the last state that was saved: `snnzoo fit --config RUN/config.yaml --ckpt_path last`
RUN/logs/<command>_<n>/         CSV and TensorBoard logs of the n-th call; a resumed fit adds one
RUN/plots/, results.json        pictures and numbers of the test
"""

import logging
import shlex
import warnings
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console

from datamodules import BaseDataModule
from lightning_modules.callbacks import (
    BestCheckpoint,
    ClampMonitor,
    EnergyMonitor,
    EventPropMonitor,
    FiringRate,
    LastCheckpoint,
    Plots,
    PredictionWriter,
)
from lightning_modules.module import ClassifierModule

from .arguments import boolean_options, expand_switches, readable
from .memory import keep_memory
from .record import CALL_OPTIONS, RunRecord, load_checkpoint, past_of, recipe_of, refuse_another_recipe
from .run_output import ProgressBar, score_table
from .run_parser import Parser

# What Lightning says that a user can neither mend nor needs to know, and why.
NOISE = (
    ".*LeafSpec.*",  # lightning 2.6 calls pytree API that torch 2.15 deprecates
    ".*in eval mode at the start of training.*",  # a frozen teacher, on purpose
    ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run, asked for
)


class RunCLI(LightningCLI):
    """LightningCLI whose runs live in one directory each (`--run`), with the zoo's callbacks and loggers.

    Links pass one record of the data (`input_cfg`) to the model, and the seed to the data, so a recipe holds each once.

    Args:
        args: The words of a command line, or what `call_of` returns.
    """

    def __init__(self, args: list[str] | dict[str, Any]) -> None:
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no advertisements, no list of devices
        for message in NOISE:
            warnings.filterwarnings("ignore", message=message)
        keep_memory()
        super().__init__(
            ClassifierModule,
            BaseDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,  # RunRecord writes when the training begins, not before
            auto_configure_optimizers=False,
            seed_everything_default=0,
            parser_class=Parser,
            parser_kwargs={"prog": "snnzoo"},
            args=args,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add `--run` and the links."""
        parser.add_argument("--run", type=str, required=True, help="Directory of the run: checkpoints, logs, results.")
        parser.add_argument(
            "--overwrite", type=bool, default=False, help="Let fit replace a run that is already there."
        )
        parser.add_argument(
            "--save_every_minutes",
            type=float,
            default=10.0,
            help="Longest time between two saves of last.ckpt, which is also saved after every epoch.",
        )
        parser.link_arguments("run", "trainer.default_root_dir")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)
        parser.link_arguments("data.input_cfg", "model.init_args.input_cfg", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse exactly `args`; Lightning would warn that `sys.argv` is ignored."""
        if isinstance(args, dict):
            self.config = parser.parse_object(args)
        else:
            self.config = parser.parse_args(expand_switches(args, switches()))

    def _parse_ckpt_path(self) -> None:
        """Take nothing from a checkpoint into the recipe.

        Lightning merges the hyper-parameters of the file, whose class paths the parser would run. Ours hold none.
        """

    def before_instantiate_classes(self) -> None:
        """Choose the checkpoint, and refuse to train over a run that is already there, or to go on with another one."""
        config = self.config[self.subcommand]
        if self.subcommand in ("validate", "test"):
            self.verbose, config.verbose = config.verbose, False  # `after_test` prints a table with units
        config.ckpt_path = find_checkpoint(Path(config.run) / "checkpoints", config.ckpt_path, str(self.subcommand))
        if config.weights_only is False:
            raise ValueError("weights_only: expected true, found false. A checkpoint that needs it could run anything.")
        config.weights_only = True  # by name, because the default of torch and Lightning has changed before
        checkpoint = load_checkpoint(Path(config.ckpt_path)) if config.ckpt_path else {}
        self.past: dict[str, Any] = {}
        if self.subcommand == "fit":
            refuse_to_train_over(config)
            self.recipe = recipe_of(self._parser("fit"), config)
            if config.ckpt_path:
                self.past = past_of(Path(config.ckpt_path), checkpoint)
                refuse_another_recipe(Path(config.ckpt_path), self.past["recipe"], yaml.safe_load(self.recipe))

    def instantiate_classes(self) -> None:
        """Make model, data and trainer.

        Raises:
            ValueError: If one of them refuses its arguments.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            raise ValueError(readable(str(error))) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer that logs, saves, measures and draws into the run."""
        run = Path(self._get(self.config_init, "run"))
        # Only epochs are logged, so flushing at every step costs nothing, and short epochs are logged too.
        kwargs |= {"enable_model_summary": False, "log_every_n_steps": 1}
        logger = CSVLogger(run, name="logs", version=next_version(run / "logs", str(self.subcommand)))
        config = self._get(self.config_init, "trainer")
        chosen = config.get("callbacks") or []
        if self.subcommand == "fit" and config.get("precision") is None and not config.get("plugins"):
            kwargs["precision"] = self.past.get("precision") or training_precision(config.get("accelerator", "auto"))
        kwargs["logger"] = [logger, TensorBoardLogger(run, name="logs", version=logger.version)]
        minutes = self._get(self.config_init, "save_every_minutes")
        kwargs["callbacks"] = [*callbacks(run, str(self.subcommand), minutes), *chosen]
        self.record = None
        if self.subcommand == "fit" and not config.get("fast_dev_run"):  # a trial leaves the run as it is
            self.record = RunRecord(run, self.recipe, replace=self._get(self.config_init, "overwrite"))
            kwargs["callbacks"].append(self.record)
        return super().instantiate_trainer(**kwargs)

    def _run_subcommand(self, subcommand: str) -> None:
        """Run it; Lightning answers Ctrl-C with exit status 1 and not a word.

        Raises:
            KeyboardInterrupt: If it was interrupted; the message says how to go on.
        """
        try:
            super()._run_subcommand(subcommand)
        except SystemExit as stop:
            if not self.trainer.interrupted:
                raise
            raise KeyboardInterrupt(self.how_to_go_on() if subcommand == "fit" else "Interrupted.") from stop

    def how_to_go_on(self) -> str:
        """What an interrupted fit leaves behind, and the command that goes on with it."""
        if self.record is None or not self.record.course:
            return "Interrupted before the training began. Nothing was changed: give the command again."
        last = Path(self.config.fit.run) / "checkpoints/last.ckpt"
        kept = f"{last} holds the last saved state" if last.exists() else "there is no checkpoint yet"
        command = ["snnzoo", "fit", "--config", str(Path(self.config.fit.run) / "config.yaml"), "--ckpt_path", "last"]
        epoch = f"epoch {self.trainer.current_epoch + 1} of {self.trainer.max_epochs}"
        return f"Interrupted in {epoch}; {kept}.\nGo on: {shlex.join(command)}"

    def after_test(self) -> None:
        """Print what was measured."""
        if self.verbose and self.trainer.is_global_zero:
            Console().print(score_table(str(self.config[self.subcommand].run), self.trainer.callback_metrics))

    after_validate = after_test

    def before_fit(self) -> None:
        """Say what is about to be trained."""
        config = self.config.fit
        count = sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
        chosen = config.trainer.precision is None and self.trainer.precision != "32-true"
        hint = " (chosen for this CPU; fp32: --trainer.precision 32-true)" if chosen else ""
        print(
            f"{config.run}: {type(self.model).__name__} trains {count:,} parameters in {self.trainer.precision}{hint}."
        )


def training_precision(accelerator: str) -> str:
    """The precision of a fit that does not name one: mixed bf16 on a CPU that computes in it, else fp32.

    It is faster, and as accurate within the spread of seeds: benchmarks/results.md. Weights are fp32 always, and so is
    what follows a fit, such as a test. For fp32 throughout: `--trainer.precision 32-true`.
    """
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # unknown to older torch: fp32
    return "bf16-mixed" if on_cpu and capabilities.get("avx512_bf16") else "32-true"


def callbacks(run: Path, command: str, save_every_minutes: float) -> list[Callback]:
    """What every run does besides training."""
    # Measuring comes before drawing: both read what the test gave, and only the former logs.
    always: list[Callback] = [ProgressBar(), EnergyMonitor(), Plots(), PredictionWriter()]
    # The best comes before the last, which then holds the best score of its own epoch, too.
    folder = run / "checkpoints"
    always += [BestCheckpoint(folder), LastCheckpoint(folder, save_every_minutes)]
    return (
        [*always, FiringRate(), ClampMonitor(), EventPropMonitor(), LearningRateMonitor("epoch")]
        if command == "fit"
        else always
    )


def find_checkpoint(checkpoints: Path, asked: str | None, command: str) -> str | None:
    """The checkpoint file that a command starts from.

    `best` and `last` are those of the run. `fit` starts anew unless asked; the other commands take the best, or the
    last of a run without validation. With `none` the model is taken as it is created: a published checkpoint, say, is
    tested on other data.

    Raises:
        FileNotFoundError: If it does not exist.
    """
    if command == "fit" and asked == "last" and not any(checkpoints.glob("*.ckpt")):
        return None  # interrupted before the first checkpoint: beginning anew is going on
    if asked == "none" or (command == "fit" and not asked):
        return None
    if not asked:
        asked = next((name for name in ("best", "last") if (checkpoints / f"{name}.ckpt").exists()), "best")
    path = checkpoints / f"{asked}.ckpt" if asked in ("best", "last") else Path(asked)
    if not path.exists():
        raise FileNotFoundError(f"There is no checkpoint {path}. Train first: snnzoo fit --config <recipe>.")
    return str(path)


def refuse_to_train_over(config: Namespace) -> None:
    """Refuse a fit that would mix two runs in one directory.

    Raises:
        ValueError: If a run is to be replaced and to go on.
        FileExistsError: If there is a run, and the fit neither replaces it nor goes on from a checkpoint of it.
    """
    run, checkpoints = Path(config.run), Path(config.run, "checkpoints")
    if config.overwrite and config.ckpt_path:
        raise ValueError(
            f"--overwrite trains {run} anew, and --ckpt_path {config.ckpt_path} goes on from there. Leave one out."
        )
    own = config.ckpt_path and Path(config.ckpt_path).resolve().parent == checkpoints.resolve()
    if not own and not config.overwrite and any(checkpoints.glob("*.ckpt")):
        raise FileExistsError(
            f"{run} already holds a run. Go on with it: --ckpt_path last; replace it: --overwrite; "
            f"or keep it and choose another directory: --run DIR."
        )


def next_version(logs: Path, command: str) -> str:
    """`<command>_<n>` with the first free n, so that no log is ever overwritten."""
    taken = [int(path.name.rsplit("_", 1)[1]) for path in logs.glob(f"{command}_*")]
    return f"{command}_{max(taken, default=-1) + 1}"


# From Python ----------------------------------------------------------------------------------------------------------


class RecipeCLI(RunCLI):
    """A command line of `snnzoo fit` that is parsed and not carried out; it draws and seeds no random numbers.

    Attributes:
        parsed: The recipe with the options of the command line, as a fit would record it.
    """

    def before_instantiate_classes(self) -> None:
        """Keep the recipe."""
        self.parsed: dict[str, Any] = yaml.safe_load(recipe_of(self._parser("fit"), self.config.fit))

    def _set_seed(self) -> None:
        """Seed nothing."""

    def instantiate_classes(self) -> None:
        """Make nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""


def call_of(command: str, recipe: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """The arguments of `RunCLI` that carry out a recipe.

    Args:
        command: fit, validate, test or predict.
        recipe: A recipe, as it stands in a file; options of an earlier call in it are left out.
        **options: Options of this call, such as ckpt_path.
    """
    kept = {key: value for key, value in recipe.items() if key not in CALL_OPTIONS}
    return {"subcommand": command, command: {**kept, **options}}


def switches() -> set[str]:
    """The options of a run that are true or false."""
    optional = (bool, bool | None)
    of_trainer = {name for name, p in signature(Trainer).parameters.items() if p.annotation in optional}
    found = {"--overwrite", "--weights_only", *(f"--trainer.{name}" for name in of_trainer)}
    for key, cls in (("model", ClassifierModule), ("data", BaseDataModule)):
        names = boolean_options(cls)
        found |= {f"--{key}.{inner}{name}" for name in names for inner in ("", "init_args.")}
    return found
