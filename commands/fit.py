"""`snnzoo fit`, `validate`, `test` and `predict`: a recipe is carried out in one directory; see `run.py`.

Other commands carry out a recipe with `run_recipe`.
"""

from collections.abc import Mapping, Sequence
from inspect import getdoc
from itertools import zip_longest
from pathlib import Path
from typing import Any

from .recipes import missing_recipe
from .run_options import check_options, help_page


def fit(*options: str) -> None:
    """Train, distil or fine-tune by a recipe: --config configs/digits/sew_resnet_bkd.yaml, for example."""
    run_words("fit", options)


def validate(*options: str) -> None:
    """Measure on the validation split."""
    run_words("validate", options)


def test(*options: str) -> None:
    """Measure accuracy, firing rates and energy on the test split; draw the plots."""
    run_words("test", options)


def predict(*options: str) -> None:
    """Write the predictions for the test images, or continue a text, in RUN/predictions.csv."""
    run_words("predict", options)


def run_words(command: str, options: Sequence[str]) -> None:
    """Carry out a command line; help, an unknown option and a missing recipe are answered before torch is imported.

    Raises:
        FileNotFoundError: If there is no such recipe.
        ValueError: If an option is wrong.
        SystemExit: After the help.
    """
    if {"-h", "--help"} & set(options):
        print(help_page(command, str(getdoc(globals()[command]))))
        raise SystemExit(0)
    check_options(command, options)
    check_recipes(options)
    from .run import RunCLI

    RunCLI([command, *("--help" if word == "--help_all" else word for word in options)])


def check_recipes(options: Sequence[str]) -> None:
    """Refuse a recipe that does not exist.

    Raises:
        FileNotFoundError: If one of the files after --config does not exist.
    """
    for word, after in zip_longest(options, options[1:], fillvalue=""):
        option, equals, value = word.partition("=")
        path = value if equals else after
        in_place = any(character in path for character in "{:\n")  # YAML instead of a file
        if option in ("-c", "--config") and path and not in_place and not Path(path).is_file():
            raise FileNotFoundError(missing_recipe(path))


def run_recipe(command: str, recipe: Mapping[str, Any], **options: Any) -> None:
    """Carry out a recipe.

    Args:
        command: fit, validate, test or predict.
        recipe: A nested dict, as a recipe's file holds it.
        **options: Options of this call: ckpt_path, overwrite.

    Raises:
        ValueError: If a value of the recipe is wrong.
        FileExistsError: If a fit would train over another run.
        KeyboardInterrupt: If it was interrupted; the message tells how to go on.
    """
    from .run import RunCLI, call_of

    RunCLI(call_of(command, recipe, **options))


def parse_recipe(options: Sequence[str]) -> dict[str, Any]:
    """The recipe that a command line of `snnzoo fit` describes, complete with defaults.

    Raises:
        FileNotFoundError: If its file does not exist.
        ValueError: If an option is wrong.
    """
    check_recipes(options)
    from .run import RecipeCLI

    return RecipeCLI(["fit", *options]).parsed
