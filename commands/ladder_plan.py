"""The plan of a latency ladder: the options of `snnzoo ladder`, checked."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from .recipes import read_recipe

MIN_RATE = 0.005


@dataclass(frozen=True)
class Ladder:
    """What a ladder is.

    Attributes:
        recipe: The path of the recipe of the first rung.
        run: Where the rungs go.
        steps: T of every rung, descending.
        epochs: Epochs of every rung; None for those of the recipe.
        kd: Whether the rung above is the teacher, in place of one that the recipe names.
        recalibrate: Whether thresholds are set from data before a rung is trained.
        min_rate: Firing rate below which a layer counts as silent, before training.
        options: Further options of `snnzoo fit`.
    """

    recipe: str
    run: Path
    steps: tuple[int, ...]
    epochs: tuple[int | None, ...]
    kd: bool
    recalibrate: bool
    min_rate: float
    options: tuple[str, ...]

    def rung(self, index: int) -> Path:
        """The run of a rung."""
        return self.run / f"T{self.steps[index]}"

    def command(self) -> str:
        """The command line that goes on with the ladder."""
        words = ["snnzoo", "ladder", "--config", self.recipe, "--run", str(self.run), "--steps", listed(self.steps)]
        if self.epochs[0] is not None:
            words += ["--epochs", listed(self.epochs if len(set(self.epochs)) > 1 else self.epochs[:1])]
        words += [f"--{name}" for name in ("kd", "recalibrate") if getattr(self, name)]
        words += [] if self.min_rate == MIN_RATE else ["--min_rate", str(self.min_rate)]
        return shlex.join([*words, *self.options])


def plan_of(
    options: Sequence[str],
    config: str,
    steps: str,
    epochs: str | None,
    run: str | None,
    kd: bool,
    recalibrate: bool,
    min_rate: float,
) -> Ladder:
    """The ladder of a command line; see `ladder` for its arguments.

    Raises:
        FileNotFoundError: If there is no such recipe.
        ValueError: If an option is wrong, or the ladder does not descend.
    """
    for option in options:
        if option.partition("=")[0] in ("--ckpt_path", "--overwrite"):
            raise ValueError(
                f"snnzoo ladder: {option} is not for a ladder, which resumes by itself. To start over, choose another "
                "--run."
            )
    rungs = integers("steps", steps)
    if any(lower >= higher for higher, lower in pairwise(rungs)):
        raise ValueError(f"--steps: expected numbers that descend, such as 5,4,3,2,1, found {steps}.")
    given = (None,) if epochs is None else integers("epochs", epochs)
    of_each = given * len(rungs) if len(given) == 1 else given
    if len(of_each) != len(rungs):
        raise ValueError(f"--epochs: expected one number, or one for each of {len(rungs)} rungs, found {epochs}.")
    directory = Path(run or read_recipe(config)["run"])
    return Ladder(config, directory, rungs, of_each, kd, recalibrate, min_rate, tuple(options))


def integers(name: str, text: str) -> tuple[int, ...]:
    """Positive integers, separated by commas.

    Raises:
        ValueError: If they are anything else.
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise ValueError(f"--{name}: expected integers >= 1, separated by commas, found {text!r}.")
    return numbers


def listed(numbers: Iterable[int | None]) -> str:
    """Numbers, separated by commas."""
    return ",".join(map(str, numbers))
