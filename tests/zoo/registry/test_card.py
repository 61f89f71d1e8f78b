"""The card says what was measured, and nothing else."""

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

import zoo
from zoo.energy import measure
from zoo.registry import card as module
from zoo.registry.results import Results

CONFIG = {
    "architecture": "sew_resnet_tiny",
    "num_classes": 3,
    "num_features": 24,
    "model_args": {"num_classes": 3, "in_chans": 1, "num_steps": 4},
    "pretrained_cfg": {
        "input_size": [1, 16, 16],
        "mean": [0.5],
        "std": [0.25],
        "label_names": ["cat", "dog", "eel"],
        "paper_ids": "arXiv:2102.04159",
        "license": "mit",
    },
}
ANN = {**CONFIG, "architecture": "test_resnet", "model_args": {"num_classes": 3, "in_chans": 1}}


def write_card(name, config, results, recipe=False):
    """The card of a `results.json`."""
    return module.write_card(name, config, Results.from_dict(results), recipe)


@pytest.fixture(scope="module")
def results():
    with torch.random.fork_rng(devices=[]):
        x = [torch.randn(2, 1, 16, 16)]
        student = measure(zoo.create_model("sew_resnet_tiny", num_classes=3, in_chans=1), x)
        teacher = measure(zoo.create_model("test_resnet", num_classes=3, in_chans=1), x)
    return {
        "dataset": "Digits",
        "split": "test",
        "metrics": {"acc": 0.98765, "ece": 0.01},
        "num_steps": 4,
        "seed": 7,
        "versions": {"torch": "2.15.0", "timm": "1.0.31"},
        "measurement": student.to_dict(),
        "teacher": {"architecture": "test_resnet", "license": "apache-2.0", "measurement": teacher.to_dict()},
    }


def front(card):
    return yaml.safe_load(card.split("---")[1])


def test_front_matter_is_what_the_hub_reads(results):
    card = write_card("org/net", CONFIG, results)
    data = ModelCard(card).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("mit", "timm", "image-classification")
    assert data.tags == ["snn-zoo", "image-classification", "spiking-neural-network"]
    (score,) = data.eval_results
    assert (score.dataset_name, score.dataset_split, score.metric_type, score.metric_value) == (
        "Digits",
        "test",
        "accuracy",
        0.98765,
    )


def test_measurements_stand_beside_those_of_the_teacher(results):
    card = write_card("sew_resnet_tiny.bkd_digits", CONFIG, results, recipe=True)
    own, other = results["measurement"], results["teacher"]["measurement"]
    assert "| accuracy | 0.9877 |" in card
    assert "## Measured on Digits" in card
    assert f"| parameters | {own['parameters']:,} | {other['parameters']:,} |" in card
    assert f"| effective ACs | {own['acs']:,.0f} | {other['acs']:,.0f} |" in card
    assert f"| firing rate (spikes per neuron and step) | {own['firing_rate']:.4f} | - |" in card
    energies = (own["energy_uj"]["effective"], other["energy_uj"]["effective"])
    assert f"| energy, effective convention (µJ) | {energies[0]:.3f} | {energies[1]:.3f} |" in card
    assert "4.6 pJ a MAC and 0.9 pJ an AC (45 nm fp32)" in card
    assert "Measured with seed 7, torch 2.15.0, timm 1.0.31." in card
    assert "snnzoo fit --config recipe.yaml" in card


def test_use_input_and_classes():
    card = write_card("sew_resnet_tiny.bkd_digits", CONFIG, {})
    assert 'zoo.create_model("sew_resnet_tiny.bkd_digits", pretrained=True)' in card
    assert "snnzoo finetune sew_resnet_tiny.bkd_digits --data FOLDER" in card
    assert "torch.zeros(1, 1, 16, 16)" in card
    assert "T = 4 time steps, 3 classes" in card
    assert "arXiv:2102.04159" in card
    assert "Input C, H, W = [1, 16, 16]; values in 0..1, normalised by mean [0.5] and std [0.25]." in card
    assert "Classes: cat, dog, eel." in card
    assert 'create_model("hf-hub:org/net"' in write_card("org/net", CONFIG, {})


def test_nothing_is_invented():
    bare = {**CONFIG, "pretrained_cfg": {key: CONFIG["pretrained_cfg"][key] for key in ("input_size", "mean", "std")}}
    card = write_card("sew_resnet_tiny.mine", bare, {})
    assert "license" not in front(card)
    assert "model-index" not in front(card)
    assert "Licence of the weights: not stated" in card
    for absent in ("## Measured", "## Teacher", "## Recipe", "Classes:", "Architecture:", "None"):
        assert absent not in card


@pytest.mark.parametrize("part", ["dataset", "split", "metrics", "measurement", "teacher", "versions", "seed"])
def test_every_part_of_the_results_is_optional(results, part):
    assert write_card("a.b", CONFIG, {key: value for key, value in results.items() if key != part})
    assert write_card("a.b", CONFIG, {part: results[part]})


def test_a_score_without_a_data_set_is_not_indexed(results):
    assert "model-index" not in front(write_card("a.b", CONFIG, {"metrics": results["metrics"]}))


def test_a_model_without_steps_is_not_called_spiking():
    card = write_card("test_resnet.digits", ANN, {})
    assert "spiking" not in card.lower()


@pytest.mark.parametrize(
    ("licence", "forbidden"),
    [("cc-by-nc-4.0", True), ("CC_BY_NC", True), ("apache-2.0", False), ("ncsa", False), (None, False)],
)
def test_the_licence_of_the_teacher(licence, forbidden):
    card = write_card("a.b", CONFIG, {"teacher": {"name": "big_net", "license": licence}})
    assert f"Distilled from `big_net`, licence: {licence or 'not stated'}." in card
    assert ("forbids commercial use" in card) == forbidden


@pytest.mark.parametrize(("source", "run"), [("mine", "twin"), ("last.ckpt", "twin/checkpoints/last.ckpt")])
def test_a_converted_student_is_made_by_two_commands(results, source, run):
    how = {"method": "percentile", "steps": 4, "calibrate": "bias", "start": "bias", "percentile": 99.0}
    conversion = how | {"source": source, "architecture": "pool_vgg_s", "samples": 500, "seed": 3}
    of_twin = {"architecture": "resnet18", "license": "cc-by-nc-4.0"}
    conversion |= {"teacher": of_twin}
    card = write_card("a.b", CONFIG, {**results, "teacher": None, "conversion": conversion}, recipe=True)
    assert "The whole recipe" not in card
    assert "Its ANN twin was distilled from `resnet18`, licence: cc-by-nc-4.0." in card
    assert "forbids commercial use" in card
    commands = [line for line in card.splitlines() if line.startswith(("snnzoo fit", "snnzoo convert"))]
    assert commands == [
        "snnzoo fit --config recipe.yaml --run twin",
        f"snnzoo convert {run} converted --method percentile --steps 4 --calibrate bias --start bias "
        "--percentile 99.0 --samples 500 --seed 3",
    ]


def test_many_classes_are_cut():
    many = {**CONFIG["pretrained_cfg"], "label_names": [f"class{number}" for number in range(1000)]}
    card = write_card("a.b", {**CONFIG, "pretrained_cfg": many}, {})
    assert "class99, ..." in card
    assert "class100" not in card


def test_a_student_of_spike_trains_is_not_shown_images(results):
    cfg = {**CONFIG["pretrained_cfg"], "input_size": [64, 1, 1], "mean": [0.0] * 64, "std": [1.0] * 64}
    card = write_card("delay_mlp_tiny.x", {**CONFIG, "pretrained_cfg": cfg, "sequence_ndim": 3}, results)
    assert "model(torch.zeros(100, 1, 64))  # spike trains [T, N, F] -> [N, K]" in card
    assert "Input: spike trains [T, N, F], F = 64 trains of 0 and 1;" in card
    for wrong in ("image", "finetune", "normalised", "0.0, 0.0"):
        assert wrong not in card
    assert ModelCard(card).data.tags == ["snn-zoo", "spiking-neural-network"]
