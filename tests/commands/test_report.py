import io
import json
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

import zoo
from cli import main
from commands.report import report_tables
from zoo.energy import measure

ROOT = Path(__file__).parents[2]


def test_report(registry, capsys):
    main(["report", "spiking_vgg_tiny.noise", "--registry", registry])
    shown = capsys.readouterr().out
    for words in ("effective ACs", "4.6 pJ a MAC", "encoder.conv", "8 golden samples"):
        assert words in shown
    main(["report", "test_resnet"])
    assert "Untrained" in capsys.readouterr().out


def test_report_counts_spike_trains(tmp_path, capsys):
    model = zoo.create_model("eventprop_mlp_tiny", num_steps=40)
    zoo.publish(model, tmp_path / "eventprop_mlp_tiny.noise", golden_input=(torch.rand(40, 6, 5) < 0.3).float())
    main(["report", "eventprop_mlp_tiny.noise", "--registry", str(tmp_path)])
    assert "measured on 6 golden samples" in capsys.readouterr().out


def test_report_shows_the_early_exit_of_a_test(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    recipe, run = str(ROOT / "configs/digits/spiking_vgg_ladder.yaml"), str(tmp_path / "run")
    main(["fit", "--config", recipe, "--run", run, "--trainer.max_epochs", "1", "--data.batch_size", "128"])
    main(["test", "--config", f"{run}/config.yaml"])
    curve = json.loads((tmp_path / "run/results.json").read_text())["early_exit"]
    capsys.readouterr()
    main(["report", run])
    shown = capsys.readouterr().out
    assert "early exit, on the test split" in shown
    tested = json.loads((tmp_path / "run/results.json").read_text())["measurement"]
    assert f"The test measured {tested['energy_uj']['effective']:.3f} µJ (effective) on 256 samples" in shown
    lines = [line.split() for line in shown.replace("│", " ").splitlines()]
    encoder = 4.6e-6 * tested["layers"][0]["macs"]
    for score, rows in curve.items():
        for row in rows:  # five steps, of which the encoder has no part
            energy = encoder + (tested["energy_uj"]["effective"] - encoder) * row["mean_steps"] / 5
            cells = [f"{row['threshold']:g}", f"{row['acc']:.2%}", f"{row['mean_steps']:.2f}", f"{energy:.3f}", "µJ"]
            assert [score, *cells] in lines
    main(["publish", run, str(tmp_path / "registry/spiking_vgg_tiny.digits")])
    main(["report", f"local-dir:{tmp_path}/registry/spiking_vgg_tiny.digits"])
    assert "early exit, on the test split" in capsys.readouterr().out


def test_no_two_layers_look_alike_in_a_narrow_terminal():
    layers = [f"stages.3.5.attention.projection.branch_{side}.conv" for side in ("left", "right")]
    cost = measure(zoo.create_model("spiking_vgg_tiny"), [torch.rand(1, 3, 32, 32)])
    cost = replace(cost, layers=tuple(replace(cost.layers[0], name=name, dense=123_456_789) for name in layers))
    console = Console(width=80, file=io.StringIO())
    console.print(report_tables("student", cost)[1])
    lines = [line.split("│") for line in console.file.getvalue().splitlines() if line.startswith("│")]
    assert "".join(cells[1].strip() for cells in lines) == "".join(layers)
    assert [cells[3].strip() for cells in lines if cells[3].strip()] == ["123,456,789"] * 2
