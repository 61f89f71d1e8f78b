from pathlib import Path

import pytest
import torch

import zoo
from zoo.registry.catalogue import COLUMNS, catalogue, dense_macs, human_count, own_results


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_says_what_the_model_is():
    lines = catalogue(["sew_resnet18", "cifar_resnet20", "sew_resnet_tiny"]).splitlines()
    assert cells(lines[0]) == list(COLUMNS)
    assert len(lines) == 5  # a teacher and a tiny one have no row; a legend follows
    row = dict(zip(COLUMNS, cells(lines[2]), strict=True))
    assert row["parameters"] == "11,689,512"
    assert row["T"] == "4"
    assert row["input"] == "3x224x224"
    assert row["paper"] == "[2102.04159](https://arxiv.org/abs/2102.04159)"
    assert "63.18" in row["published"]
    assert row["original code"] == "MPL-2.0"
    assert row["kind"] == "convolutional"
    assert row["ours"] == ""


def test_operations_by_hand():
    """4 convolutions of 3x3 and a linear layer; the encoder sees a still image once."""
    with torch.device("meta"):
        model = zoo.create_model("spiking_vgg_tiny", num_steps=5)
    size = model.pretrained_cfg["input_size"][1]
    pixels = [size**2, (size // 2) ** 2, (size // 4) ** 2]
    later = 9 * (32 * 64 * pixels[1] + (64 * 128 + 128 * 128) * pixels[2]) + 128 * 10
    assert dense_macs("spiking_vgg_tiny", model) == 9 * 3 * 32 * pixels[0] + 5 * later


def test_our_own_results_are_those_of_the_registry(original, registry):
    zoo.publish(original, registry / "sew_resnet_tiny.tested", results={"dataset": "Noise", "metrics": {"acc": 0.875}})
    assert own_results("sew_resnet_tiny", str(registry)) == ["87.50 % Noise (`tested`)"]
    assert own_results("sew_resnet8", str(registry)) == []


def test_numbers_human_count():
    assert [human_count(count) for count in (7, 999, 1000, 162_400_000, 1.25e9)] == [
        "7",
        "999",
        "1 k",
        "162 M",
        "1.25 G",
    ]


def test_every_student_has_its_facts():
    for line in catalogue(zoo.list_models("spiking_*")).splitlines()[2:-2]:
        row = dict(zip(COLUMNS, cells(line), strict=True))
        assert row["kind"], line
        assert row["paper"], line
        assert row["original code"], line


def table_of_docs():
    text = (Path(__file__).parents[3] / "docs/models.md").read_text()
    return text.split("<!-- table -->\n")[1].split("<!-- end of table -->")[0].strip()


def test_the_table_of_the_docs_names_every_student():
    rows = [cells(line)[0].strip("`") for line in table_of_docs().splitlines() if line.startswith("| `")]
    teachers = ("cifar_resnet", "pool_vgg")
    models = [name for name in zoo.list_models() if not name.endswith("tiny")]
    assert rows == [name for name in models if not name.startswith(teachers)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_table_of_the_docs_is_what_the_command_prints():
    assert table_of_docs() == catalogue(zoo.list_models())
