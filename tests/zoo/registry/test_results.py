"""`results.json`, as this version and earlier ones wrote it."""

import json

import pytest

import zoo
from zoo.energy import Measurement
from zoo.registry.results import Results, read_results, write_results
from zoo.registry.sources import EMBEDDED

FIRST_HOUSE = {
    "dataset": "Digits",
    "split": "test",
    "metrics": {"CrossEntropy": 0.2, "acc": 0.95, "acc_at_1": 0.9},
    "num_steps": 4,
    "measurement": {"firing_rate": None, "macs": 1.5},
    "versions": {"torch": "2.15.0", "device": "cpu"},
    "early_exit": {"confidence": [{"threshold": 1.0, "acc": 0.95, "mean_steps": 4.0}]},
    "checkpoint": {"size": 3, "sha256": "abc"},
    "teacher": {"name": "runs/teacher", "architecture": "test_resnet", "license": None, "measurement": {"macs": 2.5}},
    "conversion": {"source": "twin", "method": "ltb", "steps": 8},
}
"""Every field that the first version wrote."""


@pytest.mark.parametrize("path", sorted(EMBEDDED.glob("*/results.json")), ids=lambda path: path.parent.name)
def test_a_published_file_is_read_and_written_as_it_is(path, tmp_path):
    results = read_results(path.parent)
    write_results(tmp_path, results)
    assert (tmp_path / "results.json").read_bytes() == path.read_bytes()
    assert results.unknown == {}
    assert results.accuracy == json.loads(path.read_text())["metrics"]["acc"]
    assert results.cost == Measurement.from_dict(results.measurement)
    assert results.cost.num_samples == results.measurement["num_samples"]


def test_every_field_of_the_first_version_has_its_place():
    results = Results.from_dict(FIRST_HOUSE)
    assert results.to_dict() == FIRST_HOUSE
    assert list(results.to_dict()) == list(FIRST_HOUSE)
    assert results.unknown == {}
    assert (results.dataset, results.split, results.num_steps, results.accuracy) == ("Digits", "test", 4, 0.95)
    assert results.seed is None
    for name in ("metrics", "measurement", "versions", "early_exit", "checkpoint", "teacher", "conversion"):
        assert getattr(results, name) == FIRST_HOUSE[name]


@pytest.mark.parametrize("part", FIRST_HOUSE)
def test_a_missing_field_is_empty(part):
    for record in ({part: FIRST_HOUSE[part]}, {k: v for k, v in FIRST_HOUSE.items() if k != part}):
        assert Results.from_dict(record).to_dict() == record
    assert Results.from_dict({part: None}) == Results()


def test_nothing_measured(tmp_path):
    assert Results().to_dict() == {}
    assert read_results(tmp_path) == Results()
    assert Results().accuracy is None
    assert Results().cost is None


def test_unknown_fields_are_kept():
    record = {"latency_ms": 1.5, "dataset": "Digits", "seed": 3, "note": None}
    results = Results.from_dict(record)
    assert results.seed == 3
    assert results.unknown == {"latency_ms": 1.5, "note": None}
    assert results.to_dict() == record


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("metrics", [1], r"metrics: expected a JSON object, found \[1\]"),
        ("seed", "7", "seed: expected an integer, found '7'"),
        ("seed", True, "seed: expected an integer, found True"),
        ("dataset", 5, "dataset: expected a string, found 5"),
        ("measurement", "much", "measurement: expected a JSON object, found 'much'"),
    ],
)
def test_a_field_of_another_type_is_named(tmp_path, field, value, expected):
    (tmp_path / "results.json").write_text(json.dumps({field: value}))
    with pytest.raises(zoo.RegistryError, match=rf"{tmp_path}/results\.json: {expected}\. Test or publish"):
        read_results(tmp_path)
