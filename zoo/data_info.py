"""What a model and its metrics need to be told about a dataset, as one record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from .errors import unknown
from .sequence import SequenceKind

NEEDED = ("input_size", "mean", "std")


@dataclass(frozen=True)
class DataInfo:
    """The facts about a dataset; a DataModule gives them as a dict, `input_cfg`.

    Attributes:
        input_size: Channels, height and width; (3, P, 1) of clouds, (F, 1, 1) of spike trains, (V, T, 1) of tokens.
        mean, std: Per channel, by which the values are normalised.
        kind: The kind of the sequences; "sequence_ndim" in a dict.
        num_classes: Classes K.
        in_chans: Channels C.
        label_names: Names of the classes.
        dt: Length of a step, ms.
        num_steps: Steps of every sample, if they all have as many.
        positions: Of places, [K, D].
        tolerance: Largest distance of a right place, in the unit of the positions.
        token_bytes: Bytes of every token [V].
    """

    input_size: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    kind: SequenceKind = SequenceKind.IMAGES
    num_classes: int | None = None
    in_chans: int | None = None
    label_names: Sequence[str] | None = None
    dt: float | None = None
    num_steps: int | None = None
    positions: Sequence[Sequence[float]] | None = None
    tolerance: float = 0.0
    token_bytes: Sequence[int] | None = None

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "DataInfo":
        """The record of an `input_cfg`.

        Raises:
            ValueError: If a key is unknown, "input_size", "mean" or "std" is missing, or a value does not fit.

        Example:
            >>> DataInfo.from_dict({"input_size": (1, 8, 8), "mean": (0.5,), "std": (0.2,)}).kind.name
            'IMAGES'
        """
        keys = [field.name for field in fields(cls) if field.name != "kind"] + ["sequence_ndim"]
        for key in record:
            if key not in keys:
                raise ValueError(f"input_cfg: {unknown('key', key, keys)}")
        if missing := [key for key in NEEDED if key not in record]:
            raise ValueError(f"input_cfg: expected {', '.join(NEEDED)}, found no {', '.join(missing)}. Add them.")
        values = {**record} | {key: tuple(record[key]) for key in NEEDED}
        ndim = values.pop("sequence_ndim", SequenceKind.IMAGES)
        if ndim not in list(SequenceKind):
            raise ValueError(f"input_cfg: sequence_ndim: expected 2, 3, 4 or 5, found {ndim!r}. Correct it.")
        if len(size := values["input_size"]) != 3:
            raise ValueError(f"input_cfg: input_size: expected three numbers, found {size}. Correct it.")
        return cls(**values, kind=SequenceKind(ndim))

    def to_dict(self) -> dict[str, Any]:
        """The `input_cfg` of the record, without the facts that are not known."""
        found = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "kind"}
        return {key: value for key, value in found.items() if value is not None} | {"sequence_ndim": int(self.kind)}

    def model_cfg(self) -> dict[str, Any]:
        """The part that a model remembers in its `pretrained_cfg`, in timm's words."""
        found: dict[str, Any] = {"input_size": self.input_size, "mean": self.mean, "std": self.std}
        return found if self.label_names is None else found | {"label_names": list(self.label_names)}
