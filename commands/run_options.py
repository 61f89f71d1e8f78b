"""The options of `snnzoo fit`, `validate`, `test` and `predict`, known before torch, whose import takes seconds.

A test holds the table against the parser.
"""

import difflib
from collections.abc import Sequence

ALL = ("fit", "validate", "test", "predict")
OPTIONS = {  # name: commands, value, meaning
    "config": (ALL, "FILE", "Recipe; options after it change its values."),
    "run": (ALL, "DIR", "Directory of the run: checkpoints, logs, results."),
    "ckpt_path": (ALL, "FILE", "Checkpoint, or last or best of the run: where fit goes on, what others measure."),
    "overwrite": (ALL, "", "Let fit replace a run that is already there."),
    "save_every_minutes": (ALL, "MINUTES", "Longest time between two saves of last.ckpt."),
    "seed_everything": (ALL, "SEED", "Seed of all random numbers."),
    "model.NAME": (ALL, "VALUE", "Option of the model; --model.help CLASS lists them."),
    "data.NAME": (ALL, "VALUE", "Option of the data; --data.help CLASS lists them."),
    "trainer.NAME": (ALL, "VALUE", "Option of Lightning's Trainer, such as max_epochs; --help_all lists them."),
    "verbose": (("validate", "test"), "", "Print the scores; on by default."),
    "return_predictions": (("predict",), "", "Keep the predictions in memory; on by default."),
    "weights_only": (ALL, "", "Load nothing but weights from a checkpoint; always true."),
    "print_config": (ALL, "", "Print the complete recipe, and stop."),
    "help": (ALL, "", "Show this page."),
    "help_all": (ALL, "", "Show every option, those of the Trainer too."),
}


def names_of(command: str) -> list[str]:
    """Options of a command, without what follows a dot."""
    return [name.partition(".")[0] for name, (commands, *_) in OPTIONS.items() if command in commands]


def help_page(command: str, about: str) -> str:
    """The options of a command, one line each."""
    lines = [f"usage: snnzoo {command} --config FILE --run DIR [options]", "", about, "", "options:"]
    for name, (commands, value, meaning) in OPTIONS.items():
        if command in commands:
            lines.append(f"  {f'--{name} {value}':28} {meaning}")
    return "\n".join(lines)


def check_options(command: str, words: Sequence[str]) -> None:
    """Refuse an option that no command line of this command has; what follows its first dot is the parser's to check.

    Raises:
        ValueError: If there is one; the message names the closest.
    """
    names = names_of(command)
    for word in words:
        name = word.removeprefix("--").partition("=")[0].partition(".")[0].rstrip("+")
        if word.startswith("--") and name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
            hint = f"Did you mean --{near[0]}? " if near else ""
            raise ValueError(
                f"snnzoo {command}: expected one of its options, found --{name}. {hint}"
                f"`snnzoo {command} --help` lists them."
            )
