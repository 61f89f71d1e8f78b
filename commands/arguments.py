"""From words on a command line to the call of a function: its signature is the options, its docstring is the help."""

import re
from collections.abc import Callable, Collection, Sequence
from inspect import Parameter, getdoc, signature
from itertools import zip_longest
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

# jsonargparse adds these lines to the reason: every field is a union with None, and the value is the whole recipe.
BESIDES = re.compile(
    r"(- )?(Does not validate against|Subtypes: |Errors:$|Expected a (<class 'NoneType'>|path but)"
    r"|Given value(:| type:) *(<class|Namespace|NestedArg))"
)


def readable(message: str) -> str:
    """An error of jsonargparse without the lines that do not help a user."""
    lines = [line.strip() for line in message.splitlines()]
    return "\n".join(dict.fromkeys(line.removeprefix("- ") for line in lines if line and not BESIDES.match(line)))


class Parser(ArgumentParser):
    """A parser whose errors are exceptions with one sentence."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what `cli.main` prints.

        Raises:
            ValueError: Always.
        """
        if wrong := re.match(r'Parser key "(.*)":\s+Expected a <class \'(\w+)\'>\. Got value: (.*)', message):
            kind = {"bool": "true or false", "int": "an integer", "float": "a number"}.get(wrong[2], wrong[2])
            message = f"--{wrong[1]}: expected {kind}, found {wrong[3]!r}"
        message = readable(message).rstrip(".")
        raise ValueError(f"{self.prog}: {message}. `{self.prog} --help` lists the options.") from ex


def call(command: str, function: Callable[..., None], words: Sequence[str]) -> None:
    """Call the function of a command.

    A parameter `*options: str` takes the words that belong to no other parameter, as they are. A function that has
    this parameter only gets all words, `--help` included.

    Args:
        command: Its name.
        function: Its function; every parameter is typed and described in the docstring.
        words: The words after the name of the command.

    Raises:
        ValueError: If an argument is missing, unknown, or of the wrong type.
    """
    parameters = signature(function).parameters
    takes_options = any(parameter.kind is Parameter.VAR_POSITIONAL for parameter in parameters.values())
    if takes_options and len(parameters) == 1:
        function(*words)
        return
    parser = Parser(prog=f"snnzoo {command}", description=(getdoc(function) or "").partition("\nArgs:")[0])
    if "config" not in parameters:
        parser.add_argument("--config", action="config", help="Path to a configuration file.")
    parser.add_function_arguments(function, as_group=False, as_positional=True, fail_untyped=True, sub_configs=True)
    switches = [f"--{name}" for name, parameter in parameters.items() if parameter.annotation is bool]
    words = expand_switches(words, switches)
    words, options = split(words, parameters) if takes_options else (words, [])
    found = parser.instantiate_classes(parser.parse_args(words))
    function(*options, **{name: value for name, value in found.items() if name in parameters})


def expand_switches(words: Sequence[str], switches: Collection[str]) -> list[str]:
    """The words of a command, where a switch alone (`--pretrained`) becomes `--pretrained true`.

    Example:
        >>> expand_switches(["--kd", "--run", "x", "--overwrite", "false"], {"--kd", "--overwrite"})
        ['--kd', 'true', '--run', 'x', '--overwrite', 'false']
    """
    expanded: list[str] = []
    for word, after in zip_longest(words, words[1:]):
        value_follows = after is not None and after.lower() in ("true", "false", "null")
        expanded += [word, "true"] if word in switches and not value_follows else [word]
    return expanded


def split(words: Sequence[str], own: Collection[str]) -> tuple[list[str], list[str]]:
    """The words of the options named `own` with their values, and all other words.

    Example:
        >>> split(["--run", "x", "--data.root", "y", "--steps=2,1"], {"run", "steps"})
        (['--run', 'x', '--steps=2,1'], ['--data.root', 'y'])
    """
    parts: tuple[list[str], list[str]] = ([], [])
    part = parts[1]
    for word in words:
        if word.startswith("--") or word == "-h":
            name = word.removeprefix("--").partition("=")[0]
            part = parts[0] if name in own or name in ("-h", "help") else parts[1]
        part.append(word)
    return parts


def boolean_options(cls: type) -> set[str]:
    """Names of the parameters of a class, of its bases and of its subclasses, that are true or false."""
    found: set[str] = set()
    todo = [cls, *cls.__mro__]
    while todo:
        one = todo.pop()
        todo += one.__subclasses__() if issubclass(one, cls) else []
        own: Any = vars(one).get("__init__")
        if callable(own):
            found |= {name for name, p in signature(own).parameters.items() if p.annotation in (bool, "bool")}
    return found
