"""The parser of `snnzoo fit`, `validate`, `test` and `predict`: recipes in, one readable message out."""

import inspect
import re
import sys
from abc import ABC
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning import Callback
from lightning.pytorch.cli import LightningArgumentParser
from torch import nn

from zoo.errors import unknown

from .arguments import readable
from .recipes import EXAMPLE, missing_recipe, shown
from .record import CALL_OPTIONS


class Parser(LightningArgumentParser):
    """A parser whose errors are one message, with the closest names of a class that does not exist.

    A recipe holds no options of one call. Records of earlier versions do. They are left out, with a note if they ask
    for something.
    """

    def parse_string(self, *args: Any, **kwargs: Any) -> Namespace:
        """A recipe, from its file or from the command line."""
        recipe = super().parse_string(*args, **kwargs)
        for key in CALL_OPTIONS & vars(recipe).keys():
            value = recipe.pop(key)
            if value is not None and value != self.get_default(key):
                print(f"{key}: {value} in the recipe is left out: give it to a call, --{key} {value}.", file=sys.stderr)
        return recipe

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what `cli.main` prints.

        Raises:
            ValueError: Always.
        """
        if path := re.search(r"Parser key \"config\": (?:File does not exist|Path is not a file): '(.*)'", message):
            raise FileNotFoundError(missing_recipe(path[1])) from ex
        if gap := re.match(r'Parser key "run":.*None|the following arguments are required: (.*)', message, re.DOTALL):
            names = re.sub(r"\w+\.", "", gap[1] or "run")
            raise ValueError(f"No {names} given. A recipe gives all: --config {shown(EXAMPLE)}.") from ex
        if value := re.search(r'Parser key "sltt":.*Given value: (\S+)', message, re.DOTALL):
            raise ValueError(
                f"sltt takes its options, found {value[1]}: {{}} learns from all steps, {{k: 2}} from 2 of them, drawn "
                "anew for every batch. Leave it out to backpropagate through time."
            ) from ex
        hints = []
        for name in dict.fromkeys(re.findall(r"Expected a dot import path string: (\w+)", message)):
            hints.append(unknown("class", name, class_names(), see="A class of your own needs its full import path."))
        key = re.search(r'Parser key "(model|data|trainer)".*Option .* is not accepted', message, re.DOTALL)
        if key:
            hints.append(f"`snnzoo fit --{key[1]}.help CLASS` lists the options of a class.")
        raise ValueError(readable("\n".join([message, *hints]))) from ex


def class_names() -> list[str]:
    """Short names that a recipe may use as class_path, of ours."""
    found: set[type] = set()
    todo: list[type] = [ABC, nn.Module, Callback]
    while todo:
        subclasses: list[type] = todo.pop().__subclasses__()
        todo += subclasses
        found |= {cls for cls in subclasses if cls.__module__.startswith(("lightning_modules.", "datamodules."))}
    return sorted(cls.__name__ for cls in found if not inspect.isabstract(cls))
