from typing import Any

import pytest

from commands.arguments import boolean_options, call, expand_switches, readable, split
from datamodules import BaseDataModule
from lightning_modules.module import ClassifierModule

CALLS = []


@pytest.fixture(autouse=True)
def calls():
    CALLS.clear()
    return CALLS


def measure(
    name: str, steps: int = 8, lr: float = 0.1, data: dict[str, Any] | None = None, overwrite: bool = False
) -> None:
    """Measure a thing.

    More about it.

    Args:
        name: Its name.
        steps: Its steps.
        lr: Its rate.
        data: Its data.
        overwrite: Replace it.
    """
    CALLS.append((name, steps, lr, data, overwrite))


def descend(*options: str, config: str, kd: bool = False) -> None:
    """Descend.

    Args:
        *options: Of another command.
        config: A recipe.
        kd: Distil.
    """
    CALLS.append((options, config, kd))


def everything(*options: str) -> None:
    """Take all words."""
    CALLS.append(options)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["x"], ("x", 8, 0.1, None, False)),
        (["--overwrite", "x"], ("x", 8, 0.1, None, True)),
        (["x", "--overwrite"], ("x", 8, 0.1, None, True)),
        (["--overwrite", "true", "x"], ("x", 8, 0.1, None, True)),
        (["--overwrite=false", "x", "--steps=3"], ("x", 3, 0.1, None, False)),
        (["x", "--lr", "1e-3", "--data.root", "y"], ("x", 8, 0.001, {"root": "y"}, False)),
    ],
)
def test_a_function_is_called(words, expected, calls):
    call("measure", measure, words)
    assert calls == [expected]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config", "c", "--data.root", "r", "--kd"], (("--data.root", "r"), "c", True)),
        (["--kd", "--model.x", "--config=c", "--model.y=3"], (("--model.x", "--model.y=3"), "c", True)),
        (["--kd", "false", "--config", "c"], ((), "c", False)),
    ],
)
def test_options_of_another_command_are_passed_on(words, expected, calls):
    call("descend", descend, words)
    assert calls == [expected]


def test_a_function_of_options_only_gets_all_words(calls):
    call("everything", everything, ["--help", "--x", "y"])
    assert calls == [("--help", "--x", "y")]


@pytest.mark.parametrize(
    ("function", "words", "message"),
    [
        (measure, [], "snnzoo c: the following arguments are required: name. `snnzoo c --help` lists the options."),
        (measure, ["x", "--stops", "3"], "snnzoo c: unrecognized arguments: --stops 3."),
        (measure, ["x", "--steps", "many"], "snnzoo c: --steps: expected an integer, found 'many'."),
        (measure, ["x", "--overwrite=maybe"], "snnzoo c: --overwrite: expected true or false, found 'maybe'."),
        (descend, ["--x", "y"], "snnzoo c: the following arguments are required: config."),
    ],
)
def test_errors_are_one_sentence(function, words, message):
    with pytest.raises(ValueError, match="snnzoo c:") as error:
        call("c", function, words)
    assert str(error.value).startswith(message)


def test_help_is_the_docstring(capsys):
    with pytest.raises(SystemExit) as stop:
        call("measure", measure, ["--help"])
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("usage: snnzoo measure", "Measure a thing. More about it.", "--steps STEPS Its steps."):
        assert words in shown


def test_a_switch_at_the_end_is_true():
    assert expand_switches(["--run", "x", "--kd"], {"--kd"}) == ["--run", "x", "--kd", "true"]
    assert expand_switches(["--kd", "null", "--kd", "FALSE"], {"--kd"}) == ["--kd", "null", "--kd", "FALSE"]


def test_help_belongs_to_the_command():
    assert split(["--help", "-h", "--x"], {"y"}) == (["--help", "-h"], ["--x"])


def test_boolean_options_of_all_subclasses():
    assert {"freeze_backbone", "pretrained"} <= boolean_options(ClassifierModule)
    assert "augment" in boolean_options(BaseDataModule)
    assert not {"batch_size", "root"} & boolean_options(BaseDataModule)


def test_what_does_not_help_a_user_is_left_out():
    message = "Parser key \"x\":\n  Does not validate against any of the Union subtypes\n  - Expected a <class 'int'>\n"
    assert readable(message) == "Parser key \"x\":\nExpected a <class 'int'>"
