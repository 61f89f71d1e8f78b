"""`snnzoo`: the table of commands. Each is a function, imported only when its command runs."""

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

COMMANDS = {
    "train and measure": {
        "fit": (
            "commands.fit:fit",
            "Train, distil or fine-tune by a recipe: --config configs/digits/sew_resnet_bkd.yaml, for example.",
        ),
        "validate": ("commands.fit:validate", "Measure on the validation split."),
        "test": ("commands.fit:test", "Measure accuracy, firing rates and energy on the test split; draw the plots."),
        "predict": (
            "commands.fit:predict",
            "Write the predictions for the test images, or continue a text, in RUN/predictions.csv.",
        ),
        "ladder": ("commands.ladder:ladder", "Train at T = 5, then go down to T = 1, each rung from the one above."),
        "finetune": (
            "commands.finetune:finetune",
            "Fine-tune a published student on a folder of images or event recordings, and test it.",
        ),
        "convert": (
            "commands.convert:convert",
            "Convert a trained ANN twin into its spiking student: docs/conversion.md.",
        ),
    },
    "the zoo": {
        "list": ("commands.registry:list_", "List the students of the zoo, or the checkpoints that can be pulled."),
        "info": ("commands.registry:info", "Describe a student: parameters, stages, input, checkpoints."),
        "pull": ("commands.registry:pull", "Fetch a published checkpoint, check its files, and print its directory."),
        "publish": ("commands.registry:publish", "Publish a tested run, with its card, to a registry."),
        "verify": (
            "commands.registry:verify",
            "Check a published checkpoint: files, sha256, golden logits, and that every spiking layer fires.",
        ),
        "report": (
            "commands.report:report",
            "Measure what one inference costs: operations, firing rates, energy, layer by layer.",
        ),
        "draw": ("commands.draw:draw", "Draw the layers of a network and where spikes flow: a picture or a flowchart."),
        "data": ("commands.data:data", "Show a dataset before training: samples, classes, shapes, events; a picture."),
    },
}
FUNCTIONS = {name: function for group in COMMANDS.values() for name, (function, _) in group.items()}


def overview() -> str:
    """The help page."""
    lines = ["usage: snnzoo COMMAND [options]    (the same: python cli.py COMMAND)"]
    for title, group in COMMANDS.items():
        lines += ["", f"{title}:", *(f"  {name:10} {line}" for name, (_, line) in group.items())]
    return "\n".join([*lines, "", "snnzoo COMMAND --help shows the options of a command."])


def find(command: str) -> Callable[..., None]:
    """The function of a command.

    Raises:
        ValueError: If there is no such command; the message names the closest.
    """
    if command not in FUNCTIONS:
        close = " or ".join(map(repr, difflib.get_close_matches(command, FUNCTIONS, n=3, cutoff=0.4)))
        hint = f" Did you mean {close}?" if close else ""
        raise ValueError(f"Unknown command {command!r}.{hint} Expected one of: {', '.join(FUNCTIONS)}.")
    module, name = FUNCTIONS[command].split(":")
    return getattr(import_module(module), name)


def main(args: Sequence[str] | None = None) -> None:
    """Run one command.

    An error that a user can mend ends with one sentence and exit status 2, without a traceback; Ctrl-C ends with 130.
    """
    words = list(sys.argv[1:] if args is None else args)
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return
    try:
        function = find(words[0])
        from commands.arguments import call

        call(words[0], function, words[1:])
    except (ValueError, OSError) as error:
        if os.environ.get("SNNZOO_DEBUG"):
            raise
        print(f"error: {error}\n(SNNZOO_DEBUG=1 shows where.)", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print(f"\n{stop}" if stop.args else "\nInterrupted.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
