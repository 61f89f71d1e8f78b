"""What every architecture needs to be registered: rows of `default_cfgs`, the facts of its paper, and `create`.

An architecture writes

    default_cfgs = make_default_cfgs(Origin("arXiv:2102.04159", kind="convolutional", code="MPL-2.0"),
                                     {"my_net": images(32, 10, published="94 % CIFAR-10")}, first_conv="conv1")

and an entrypoint returns `create(MyNet, "my_net", pretrained, kwargs, depth=8)`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from timm.models import build_model_with_cfg, generate_default_cfgs
from timm.models._features import FeatureGetterNet  # timm gives it no public name
from torch import nn

from ..model import SpikingModel, TimeMeanFeatures

SITES = {"arXiv": "https://arxiv.org/abs", "doi": "https://doi.org"}


@dataclass(frozen=True)
class Origin:
    """Where a model comes from. An empty string: not stated.

    Attributes:
        paper: "arXiv:" or "doi:" and its number.
        kind: Kind of network, for the table of students.
        code: Licence of the authors' code, of which none is used here.
        title: Title of the paper.
        published: Result that the paper prints for the original.
    """

    paper: str = ""
    kind: str = ""
    code: str = ""
    title: str = ""
    published: str = ""

    @property
    def url(self) -> str:
        """Address of the paper; empty without one."""
        site, _, number = self.paper.partition(":")
        return f"{SITES[site]}/{number}" if self.paper else ""

    def cfg(self) -> dict[str, Any]:
        """The entries of a timm config that hold these facts."""
        notes = (("kind", self.kind), ("original code", self.code))
        return {
            "paper_ids": self.paper or None,
            "paper_name": self.title or None,
            "notes": tuple(f"{name}: {fact}" for name, fact in notes if fact) or None,
            "description": self.published or None,
        }


ORIGINS: dict[str, Origin] = {}


def origin_of(name: str) -> Origin:
    """Where an architecture comes from; an empty `Origin` if it was not registered with `make_default_cfgs`."""
    return ORIGINS.get(name, Origin())


Row = dict[str, Any]
"""Entries of timm's `PretrainedCfg` that differ from its defaults, and `published` of `Origin`."""


def make_default_cfgs(origin: Origin, rows: Mapping[str, Row], **shared: Any) -> dict[str, Any]:
    """The `default_cfgs` of an architecture, in timm's form.

    Args:
        origin: Where the architecture comes from.
        rows: By model name, `name` or `name.tag`: see `images`, `frames`, `spike_trains`.
        **shared: Entries of all rows, which a row may override.
    """
    cfgs: dict[str, Any] = {}
    for name, row in rows.items():
        cfg = {**shared, **row}
        of_row = replace(origin, published=cfg.pop("published", ""))
        ORIGINS.setdefault(name.partition(".")[0], of_row)
        cfgs[name] = {"classifier": "fc", **of_row.cfg(), **cfg}
    return generate_default_cfgs(cfgs)


def images(side: int, num_classes: int, min_side: int | None = None, **changes: Any) -> Row:
    """A row of a model of RGB images, normalised as ImageNet's by default.

    Args:
        side: Height and width, pixels.
        num_classes: Classes K.
        min_side: Least height and width.
        **changes: Other entries.
    """
    least = {"min_input_size": (3, min_side, min_side)} if min_side else {}
    return {"num_classes": num_classes, "input_size": (3, side, side), **least, **changes}


def frames(side: int, num_classes: int, min_side: int | None = None, **changes: Any) -> Row:
    """A row of a model of event frames of two polarities; counts of events are not normalised.

    Args:
        side: Height and width, pixels.
        num_classes: Classes K.
        min_side: Least height and width; `side` by default.
        **changes: Other entries.
    """
    least = min_side or side
    return {
        "num_classes": num_classes,
        "input_size": (2, side, side),
        "min_input_size": (2, least, least),
        "mean": (0.0, 0.0),
        "std": (1.0, 1.0),
        **changes,
    }


def spike_trains(in_chans: int, num_classes: int, **changes: Any) -> Row:
    """A row of a model of F = in_chans spike trains and K classes; spikes are not normalised."""
    return {
        "num_classes": num_classes,
        "input_size": (in_chans, 1, 1),  # timm insists on three numbers
        "mean": (0.0,) * in_chans,
        "std": (1.0,) * in_chans,
        **changes,
    }


Model = TypeVar("Model", bound=nn.Module)


def create(cls: type[Model], variant: str, pretrained: bool, arguments: Mapping[str, Any], /, **defaults: Any) -> Model:
    """Make a model, as an entrypoint does.

    With `features_only=True` it is wrapped in an extractor of its features: of all of them, or of `out_indices`.

    Args:
        cls: The architecture.
        variant: Name of the model in `default_cfgs`.
        pretrained: Whether to load the weights of `default_cfgs`.
        arguments: Arguments of the user, for timm or for `cls`.
        **defaults: Arguments of `cls` that make the variant, where the user gives none.
    """
    feature_cls, filter_fn = FeatureGetterNet, None
    if issubclass(cls, SpikingModel):
        feature_cls, filter_fn = TimeMeanFeatures, cls.adapt_weights
    model: Model = build_model_with_cfg(
        cls,
        variant,
        pretrained,
        feature_cfg={"feature_cls": feature_cls, "out_indices": None},
        pretrained_filter_fn=filter_fn,
        **{**defaults, **arguments},
    )
    return model
