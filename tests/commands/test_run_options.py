import pytest

from commands.run import RunCLI
from commands.run_options import ALL, check_options, help_page, names_of


@pytest.fixture(scope="module")
def parsers():
    class Built(Exception):
        pass

    class Stop(RunCLI):
        def parse_arguments(self, parser, args):
            raise Built(self._subcommand_parsers)

    with pytest.raises(Built) as built:
        Stop(["fit"])
    return built.value.args[0]


@pytest.mark.parametrize("command", ALL)
def test_the_table_holds_the_options_of_the_parser(command, parsers):
    options = [option for action in parsers[command]._actions for option in action.option_strings]
    expected = {option.removeprefix("--").partition(".")[0] for option in options if option.startswith("--")}
    assert {*names_of(command)} == expected | {"help_all"}
    page = help_page(command, "About.")
    assert all(f"  --{name}" in page for name in expected)
    assert max(map(len, page.splitlines())) <= 120


@pytest.mark.parametrize(
    ("word", "name", "close"),
    [
        ("--modle.model", "--modle", "--model"),
        ("--cfg=x.yaml", "--cfg", "--config"),
        ("--data_root", "--data_root", "--data"),
        ("--overwite", "--overwite", "--overwrite"),
    ],
)
def test_an_unknown_option_names_the_closest(word, name, close):
    with pytest.raises(ValueError, match=f"expected one of its options, found {name}. Did you mean {close}\\?"):
        check_options("fit", ["--run", "x", word, "y"])


def test_known_options_pass():
    check_options(
        "fit", ["-c", "x", "--config=y", "--model.objectives+=TET", "--data", "Digits", "--trainer.fast_dev_run"]
    )
    check_options("test", ["--verbose", "false", "--model.model_args.neuron.tau", "-3.0"])
    with pytest.raises(ValueError, match="snnzoo fit: expected one of its options, found --verbose"):
        check_options("fit", ["--verbose", "false"])
