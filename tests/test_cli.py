import ast
import subprocess
import sys
from inspect import getdoc
from pathlib import Path

import pytest

from cli import COMMANDS, FUNCTIONS, find, main

ROOT = Path(__file__).parents[1]


def test_overview_names_every_command(capsys):
    main([])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_command_explains_itself(name, capsys):
    line = getdoc(find(name)).splitlines()[0]
    assert line in {line for group in COMMANDS.values() for _, line in group.values()}
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert line in " ".join(capsys.readouterr().out.split())


def test_help_of_fit(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--help_all"])  # Lightning's own
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"--{option}" in shown for option in ("run", "trainer.max_epochs", "ckpt_path"))


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([], 0),
        (["--help"], 0),
        (["tset"], 2),
        (["list"], 0),
        (["list", "--filter", "sew_*"], 0),
        (["list", "--pretraind"], 2),
        (["report"], 2),
        (["convert", "run", "target", "--steps", "many"], 2),
        (["convert", "run", "target", "--samples", "0"], 2),
        (["ladder", "--config", "configs/digits/spiking_vgg_ladder.yaml", "--steps", "1,2"], 2),
        (["finetune", "name"], 2),
        (["data", "--help"], 0),
        (["fit", "--config", "configs/digits/nothing.yaml"], 2),
        (["fit", "--help"], 0),
        (["predict", "-h"], 0),
        (["fit", "--config", "configs/digits/sew_resnet_ce.yaml", "--modle.model", "sew_resnet_tiny"], 2),
        (["predict", "--cfg=x.yaml"], 2),
    ],
)
def test_torch_is_not_imported(words, status):
    """Its import takes seconds; all of these answer without it."""
    code = (
        "import sys, cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit as stop: assert 'torch' not in sys.modules; raise\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert "AssertionError" not in done.stderr


def test_unknown_command_names_the_closest(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["tset"])
    assert stop.value.code == 2
    assert "Unknown command 'tset'. Did you mean 'test'" in capsys.readouterr().err


def test_no_command_types_for_another():
    """Commands call functions with a recipe; none calls `main`, or builds an option with its value."""
    for path in (ROOT / "commands").glob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                text = node.values[0].value
                assert not (text.startswith("--") and text.endswith("=")), f"{path.name}: {text}"
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert "cli" not in (getattr(node, "module", None), *(alias.name for alias in node.names)), path.name
