"""From a twin trained on the digits to a student that is tested, published, reported and distilled from its twin."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

import zoo
from cli import main
from commands.convert_run import twin_teacher
from datamodules import DigitsDataModule
from zoo.model import spiking_neurons
from zoo.neurons import IF, UnitIF
from zoo.registry.files import fingerprint
from zoo.registry.runs import Run, load_run

RECIPE = {
    "seed_everything": 0,
    "model": {
        "class_path": "ClassificationModule",
        "init_args": {
            "model": "spiking_vgg_tiny",
            "model_args": {"neuron": "relu", "pool": "avg", "num_steps": 1, "stages": [[16], [32]]},
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1.0e-2}},
        },
    },
    "data": {"class_path": "DigitsDataModule", "init_args": {"batch_size": 64}},
    "trainer": {"max_epochs": 8},
}


def fit(folder, recipe, *options):
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(recipe | {"run": str(folder)}))
    with torch.random.fork_rng(devices=[]):
        main(["fit", "--config", str(path), *options])


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """A run of a twin, made once and only read."""
    run = tmp_path_factory.mktemp("conversion") / "twin"
    fit(run, RECIPE)
    return run


@pytest.fixture(scope="module")
def converted(twin):
    """Its conversion at T = 8."""
    target = twin.parent / "converted"
    main(["convert", str(twin), str(target), "--data.batch_size", "100"])
    return target


def validation_accuracy(model):
    data = DigitsDataModule(batch_size=64)
    data.setup("fit")
    with torch.no_grad():
        right = [(model.eval()(x).argmax(-1) == y).float() for x, y in data.val_dataloader()]
    return torch.cat(right).mean().item()


def test_the_report(twin, converted):
    report = json.loads((converted / "conversion.json").read_text())
    student = load_run(converted)
    settings = {"method": "ltb", "steps": 8, "calibrate": "none", "start": "potential", "samples": 1024, "seed": 0}
    assert report.items() >= (settings | {"source": str(twin), "student": "spiking_vgg_tiny"}).items()
    assert [layer["name"] for layer in report["layers"]] == list(spiking_neurons(student))
    accuracy = report["accuracy"]
    assert (accuracy["split"], accuracy["num_samples"]) == ("val", 144)
    assert accuracy["ann"] == pytest.approx(validation_accuracy(load_run(twin)), abs=1e-6)
    assert accuracy["ann"] > 0.9
    assert set(accuracy["snn"]) == {"1", "2", "4", "8", "16", "32"}
    assert accuracy["snn"]["8"] == pytest.approx(validation_accuracy(student), abs=1e-6)
    assert accuracy["snn"]["8"] > accuracy["ann"] - 0.03


def test_the_student_is_a_run(converted):
    """Its recipe names the data as they were read; Lightning loads its checkpoint strictly."""
    recipe = yaml.safe_load((converted / "config.yaml").read_text())
    assert recipe["run"] == str(converted)
    assert recipe["model"]["class_path"] == "lightning_modules.ClassificationModule", "as fit records it"
    assert recipe["data"]["init_args"]["batch_size"] == 100
    main(["test", "--config", str(converted / "config.yaml")])
    results = Run(str(converted)).results()
    assert results.num_steps == 8
    assert results.metrics["acc"] > 0.9
    assert 0 < results.measurement["firing_rate"] < 0.5
    states = [torch.load(converted / f"checkpoints/{name}.ckpt", weights_only=True) for name in ("best", "last")]
    assert all(map(torch.equal, *(state["state_dict"].values() for state in states)))
    assert {type(neuron) for neuron in spiking_neurons(load_run(converted)).values()} == {IF}


def test_the_student_is_published_and_reported(twin, converted, tmp_path, capsys):
    main(["test", "--config", str(converted / "config.yaml")])
    target = tmp_path / "spiking_vgg_tiny.converted"
    main(["publish", str(converted), str(target)])
    conversion = json.loads((target / "results.json").read_text())["conversion"]
    settings = {"method": "ltb", "steps": 8, "samples": 1024, "seed": 0, "source": "twin"}
    assert conversion.items() >= settings.items()
    assert not {"layers", "recipe"} & conversion.keys()
    fitted, published = yaml.safe_load((twin / "config.yaml").read_text()), (target / "recipe.yaml").read_text()
    assert yaml.safe_load(published)["model"] == fitted["model"], "the recipe trains the twin"
    assert yaml.safe_load(published)["trainer"]["max_epochs"] == 8
    assert "\nsnnzoo convert twin converted --method ltb --steps 8" in (target / "README.md").read_text()
    assert str(twin.parent) not in published + (target / "results.json").read_text()
    main(["verify", f"local-dir:{tmp_path / 'spiking_vgg_tiny.converted'}"])
    assert "2 spiking layers, none silent" in capsys.readouterr().out
    main(["report", str(converted)])
    assert "stages.1.0.conv" in capsys.readouterr().out


def test_the_student_is_distilled_from_its_own_twin(twin, converted, tmp_path):
    student = {
        "student": str(converted),
        "student_args": {"num_steps": 4},
        "teacher": str(twin),
        "objectives": [{"class_path": "CrossEntropy"}, {"class_path": "LogitKD"}],
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1.0e-4}},
    }
    model = {"class_path": "DistillationModule", "init_args": student}
    fit(tmp_path / "distilled", RECIPE | {"model": model, "trainer": {"max_epochs": 1}})
    main(["test", "--config", str(tmp_path / "distilled/config.yaml")])
    results = Run(str(tmp_path / "distilled")).results()
    assert results.num_steps == 4
    assert results.metrics["acc"] > 0.9
    assert results.teacher["architecture"] == "spiking_vgg_tiny"
    trained, start = load_run(tmp_path / "distilled"), load_run(converted)
    assert not torch.equal(trained.fc.weight, start.fc.weight)
    assert (trained.fc.weight - start.fc.weight).abs().max() < 0.01, "it goes on from the converted weights"


@pytest.mark.parametrize(
    ("options", "neuron"),
    [
        (["--calibrate", "bias", "--start", "bias"], IF),
        (["--calibrate", "potential", "--method", "percentile", "--percentile", "99"], UnitIF),
    ],
    ids=["bias", "potential"],
)
def test_every_kind_of_conversion_is_a_run(twin, tmp_path, options, neuron):
    main(["convert", str(twin), str(tmp_path / "target"), "--samples", "200", "--steps", "4", *options])
    report = json.loads((tmp_path / "target/conversion.json").read_text())
    assert report["samples"] == 200
    assert report.get("percentile") == (99 if "percentile" in options else None)
    student = load_run(tmp_path / "target")
    assert {type(module) for module in spiking_neurons(student).values()} == {neuron}
    assert validation_accuracy(student) == pytest.approx(report["accuracy"]["snn"]["4"], abs=1e-6)
    main(["test", "--config", str(tmp_path / "target/config.yaml")])
    assert Run(str(tmp_path / "target")).results().num_steps == 4


def test_a_twin_of_its_own_name_becomes_the_student_of_the_other(tmp_path):
    init = RECIPE["model"]["init_args"] | {"model": "pool_vgg_tiny", "model_args": {"neuron": "qcfs", "pool": "avg"}}
    fit(tmp_path / "twin", RECIPE | {"model": {"class_path": "ClassificationModule", "init_args": init}})
    main(["convert", str(tmp_path / "twin"), str(tmp_path / "target"), "--steps", "4"])
    report = json.loads((tmp_path / "target/conversion.json").read_text())
    assert (report["architecture"], report["student"]) == ("pool_vgg_tiny", "spiking_pool_vgg_tiny")
    assert report["method"] == "qcfs"
    main(["test", "--config", str(tmp_path / "target/config.yaml")])
    assert Run(str(tmp_path / "target")).results().metrics["acc"] > 0.5


def test_licence_and_teacher_of_the_twin_are_kept(twin, tmp_path):
    run, target = tmp_path / "twin", tmp_path / "target"
    shutil.copytree(twin, run)
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["zoo"]["pretrained_cfg"] |= {"license": "cc-by-nc-4.0"}
    torch.save(checkpoint, run / "checkpoints/best.ckpt")
    teacher = {"name": "runs/teacher", "architecture": "resnet18", "license": "cc-by-nc-4.0"}
    (run / "results.json").write_text(json.dumps({"teacher": teacher | {"measurement": {"macs": 1}}}))
    main(["convert", str(run), str(target), "--samples", "50", "--steps", "2"])
    kept, expected = (load_run(path).pretrained_cfg for path in (target, run))
    for key in ("license", "mean", "std", "label_names", "input_size"):
        assert kept[key] == expected[key], key
    assert kept["license"] == "cc-by-nc-4.0"
    assert json.loads((target / "conversion.json").read_text())["teacher"] == teacher


def test_the_teacher_of_an_untested_twin_is_named(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").touch()
    for init, expected in (
        ({"student": "pool_vgg_s", "teacher": "a.b"}, {"name": "a.b"}),
        ({"model": "pool_vgg_s"}, {}),
    ):
        assert twin_teacher(Run(str(tmp_path)), {"model": {"init_args": init}}) == expected


def test_the_images_are_neither_augmented_nor_of_another_split(twin, tmp_path, monkeypatch):
    seen = []
    convert = zoo.conversion.convert_with_thresholds

    def note(ann, images, settings):
        seen.extend(images)
        return convert(ann, images, settings)

    monkeypatch.setattr("zoo.conversion.convert_with_thresholds", note)
    main(["convert", str(twin), str(tmp_path / "target"), "--samples", "100"])
    data = DigitsDataModule(augment=False)
    data.setup("fit")
    known = {x.numpy().tobytes() for x, _ in data.splits["train"]}
    images = torch.cat(seen, 1).transpose(0, 1)  # [N, T, C, H, W]
    assert len(images) == 100
    assert max(batch.shape[1] for batch in seen) == 32
    assert {image.contiguous().numpy().tobytes() for image in images} <= known


# What goes wrong ------------------------------------------------------------------------------------------------------


def refused(capsys, *args):
    with pytest.raises(SystemExit) as stop:
        main(["convert", *map(str, args)])
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_nothing_is_written_over(twin, converted, tmp_path, capsys):
    before = {path: path.read_bytes() for path in converted.rglob("*.ckpt")}
    assert f"{converted} exists. Replace it: --overwrite" in refused(capsys, twin, converted)
    assert {path: path.read_bytes() for path in before} == before
    assert "was not written by snnzoo convert" in refused(capsys, twin, twin, "--overwrite")
    target = tmp_path / "target"
    for steps in ("2", "3"):
        main(["convert", str(twin), str(target), "--samples", "50", "--steps", steps, "--overwrite"])
    assert load_run(target).num_steps == 3
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_run_that_was_trained_in_the_place_of_a_conversion_stays(twin, converted, tmp_path, capsys):
    trained, exchanged = tmp_path / "trained", tmp_path / "exchanged"
    for target in (trained, exchanged):
        shutil.copytree(converted, target)
    recipe = yaml.safe_load((converted / "config.yaml").read_text())
    fit(trained, recipe, "--overwrite", "true", "--trainer.max_epochs", "1")
    assert not (trained / "conversion.json").exists()
    shutil.copy(twin / "checkpoints/best.ckpt", exchanged / "checkpoints/best.ckpt")
    for target, words in ((trained, "was not written by snnzoo convert"), (exchanged, "holds other weights than")):
        before = fingerprint(target / "checkpoints/best.ckpt")
        assert words in refused(capsys, twin, target, "--overwrite")
        assert fingerprint(target / "checkpoints/best.ckpt") == before


def test_a_fit_does_not_go_on_from_a_conversion(converted, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(converted / "config.yaml"), "--ckpt_path", "last"])
    last = converted / "checkpoints/last.ckpt"
    error = capsys.readouterr().err
    assert f"{last} holds weights only" in error
    assert f"--model.model {last} --run NEW" in error


def test_an_interrupted_conversion_leaves_what_was_there(twin, tmp_path, monkeypatch):
    target = tmp_path / "target"
    main(["convert", str(twin), str(target), "--samples", "50", "--steps", "2"])

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("commands.convert_run.write_json", stop)
    with pytest.raises(SystemExit):
        main(["convert", str(twin), str(target), "--samples", "50", "--steps", "3", "--overwrite"])
    assert load_run(target).num_steps == 2
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_refusals(twin, converted, tmp_path, capsys):
    target = tmp_path / "target"
    for args, words in (
        ((twin, target, "--method", "qcfs"), "Choose method ltb or percentile"),
        ((twin, target, "--steps", "0"), "expected an integer >= 1, found 0"),
        ((twin, target, "--samples", "0"), "samples: expected an integer >= 1, found 0"),
        ((twin, target, "--start", "middle"), "Unknown start 'middle'"),
        ((converted, target), "encoder.act is IF, which spikes already"),
        ((tmp_path, target), "expected a run with"),
        ((twin, target, "--data.size", "8"), "Option 'size' is not accepted"),
    ):
        assert words in refused(capsys, *args)
        assert not target.exists()
    alone = tmp_path / "alone.ckpt"
    alone.write_bytes((twin / "checkpoints/best.ckpt").read_bytes())
    assert "lies in no run with a config.yaml" in refused(capsys, alone, target)
    assert Path(alone).exists()
