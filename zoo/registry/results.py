"""The record of a test: `results.json`, read and written only here.

`EnergyMonitor` writes that of a run (`snnzoo test`), `zoo.publish` that of a published checkpoint. Files of earlier
versions lack fields, and files of later ones may hold more: a missing field stays empty, an unknown one is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..energy import Measurement
from .files import RegistryError, read_json, write_json

RESULTS = "results.json"


@dataclass(frozen=True)
class Results:
    """Measured numbers of one network; every field may be empty.

    Attributes:
        dataset: Name of the dataset.
        split: The split that was measured.
        metrics: Scores and raw losses by name, such as "acc" in 0..1.
        num_steps: Steps T of the network.
        seed: `seed_everything` of the run that trained the network.
        measurement: `Measurement.to_dict()` of the network, as recorded; see `cost`.
        versions: Versions of the libraries, of Python, and the device.
        early_exit: Accuracy over mean steps, by score; see `lightning_modules.metrics.exit_curve.ExitCurve`.
        checkpoint: Fingerprint of the file whose weights were tested.
        teacher: "name", "architecture" and "license" of the teacher, and its "measurement".
        conversion: How `snnzoo convert` made the network; see `zoo.registry.runs.Run.conversion`.
        unknown: Fields of later versions or of users, as they were.
    """

    dataset: str | None = None
    split: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    num_steps: int | None = None
    seed: int | None = None
    measurement: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    early_exit: Mapping[str, list[dict[str, float]]] = field(default_factory=dict)
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)
    conversion: Mapping[str, Any] = field(default_factory=dict)
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> float | None:
        """Top-1 accuracy in 0..1, if it was measured."""
        return self.metrics.get("acc")

    @property
    def cost(self) -> Measurement | None:
        """The measurement of the network, if it was measured; ValueError if the record is incomplete."""
        return Measurement.from_dict(self.measurement) if self.measurement else None

    def to_dict(self) -> dict[str, Any]:
        """The fields that are not empty, as JSON values."""
        known = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "unknown"}
        return {key: value for key, value in known.items() if value not in (None, {})} | dict(self.unknown)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], source: str = RESULTS) -> "Results":
        """The results in a JSON object from a source; RegistryError, with its name, if a field is of another type."""
        known = {key: record[key] for key in KINDS if record.get(key) is not None}
        for key, value in known.items():
            kind = KINDS[key]
            if not isinstance(value, kind) or isinstance(value, bool):
                expected = {str: "a string", int: "an integer", Mapping: "a JSON object"}[kind]
                raise RegistryError(
                    f"{source}: {key}: expected {expected}, found {value!r}. Test or publish the model again."
                )
        return cls(**known, unknown={key: value for key, value in record.items() if key not in KINDS})


KINDS: dict[str, Any] = {part.name: Mapping for part in fields(Results) if part.name != "unknown"} | {
    **dict.fromkeys(("dataset", "split"), str),
    **dict.fromkeys(("num_steps", "seed"), int),
}
"""The JSON type of every field."""


def read_results(folder: Path) -> Results:
    """The results of a run or of a published directory; empty if it has none, RegistryError if it is damaged."""
    file = folder / RESULTS
    return Results.from_dict(read_json(file), str(file)) if file.is_file() else Results()


def write_results(folder: Path, results: Results) -> None:
    """Write the results of a run or of a published directory."""
    write_json(folder / RESULTS, results.to_dict())
