"""Spiking neurons and their surrogate gradients; one neuron, one file."""

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from pkgutil import iter_modules
from typing import Any

from ..errors import by_name, check_arguments
from ..extensions import is_import_path, loaded
from .activation import QCFS, Activation, ReLU, has_activations
from .adlif import AdLIF
from .base import Neuron, Stateful, carry_state, check_steppable, override_surrogate, stateful_layers
from .cuba import CuBa
from .integer import Integer
from .integrate_and_fire import IF
from .leaky import Leaky
from .li import LI
from .lif import LIF
from .plif import PLIF
from .radlif import RadLIF
from .recurrent_lif import RecurrentLIF
from .surrogate import SURROGATES, ATan, Gaussian, Rectangle, Sigmoid, Surrogate, Triangle, make_surrogate
from .unit_if import UnitIF
from .unit_lif import UnitLIF

__all__ = [
    "ACTIVATIONS",
    "IF",
    "LI",
    "LIF",
    "NEURONS",
    "PLIF",
    "QCFS",
    "SURROGATES",
    "ATan",
    "Activation",
    "AdLIF",
    "CuBa",
    "Gaussian",
    "Integer",
    "Leaky",
    "Neuron",
    "NeuronSpec",
    "RadLIF",
    "ReLU",
    "Rectangle",
    "RecurrentLIF",
    "Sigmoid",
    "Stateful",
    "Surrogate",
    "Triangle",
    "UnitIF",
    "UnitLIF",
    "carry_state",
    "check_steppable",
    "has_activations",
    "make_neuron",
    "make_surrogate",
    "override_surrogate",
    "stateful_layers",
]

NEURONS: dict[str, type[Neuron]] = {}
"""The neurons by `spec_name`, found by scanning the folder."""

ACTIVATIONS: dict[str, type[Activation]] = {}
"""The activations that stand in place of neurons in an ANN twin, likewise."""

for _file in iter_modules(__path__):
    for _class in vars(import_module(f"{__name__}.{_file.name}")).values():
        if isinstance(_class, type) and vars(_class).get("spec_name"):
            if issubclass(_class, Neuron):
                NEURONS[_class.spec_name] = _class
            elif issubclass(_class, Activation):
                ACTIVATIONS[_class.spec_name] = _class

NeuronSpec = str | Mapping[str, Any]
"""A neuron in JSON, so that `config.json` can rebuild it: a name, or {"name": ..., numbers}.

The name is one of `NEURONS` and `ACTIVATIONS`, or the import path of a class of your own: docs/extending.md.
"""


def make_neuron(spec: NeuronSpec, num_features: int | None = None) -> Neuron | Activation:
    """Build a neuron, or what stands in its place in an ANN twin, from its JSON form.

    Args:
        spec: A name, or {"name": ..., numbers}.
        num_features: Units of the layer (F of [T, N, F], C of [T, N, C, H, W]), set by the model; given to those
            neurons that take it.

    Raises:
        ValueError: If the name is missing, it or an argument is not accepted, or num_features is missing; if an import
            path does not name a neuron that is loaded. Nothing is imported here, because checkpoints name neurons too.

    Example:
        >>> make_neuron({"name": "lif", "tau": 4.0}).tau
        4.0
        >>> make_neuron("adlif", num_features=16).alpha.shape
        torch.Size([16])
    """
    classes: dict[str, type[Neuron | Activation]] = {**NEURONS, **ACTIVATIONS}
    path = spec.get("name") if isinstance(spec, Mapping) else spec
    if is_import_path(path):
        classes[path] = loaded_neuron(path)
    name, arguments = by_name("neuron", spec, classes)
    check_arguments(name, classes[name], arguments)
    if num_features is not None and "num_features" in signature(classes[name]).parameters:
        found = arguments.setdefault("num_features", num_features)
        if found != num_features:
            raise ValueError(
                f"num_features of neuron {name!r} is {found}, but this layer has {num_features} units. Leave it out: "
                "the model sets it."
            )
    try:
        return classes[name](**arguments)
    except TypeError as error:
        raise ValueError(f"Neuron {name!r} does not take {arguments}: {error}.") from error


def loaded_neuron(path: str) -> type[Neuron | Activation]:
    """The neuron class of an import path.

    Raises:
        ValueError: If its module is not imported, or has no neuron of that name.
    """
    cls = loaded(path)
    if not (isinstance(cls, type) and issubclass(cls, Neuron | Activation)):
        raise ValueError(
            f"Neuron {path}: expected a subclass of zoo.neurons.Neuron that is imported already, found {cls}. Import "
            f"{path.rpartition('.')[0]} first; a checkpoint imports nothing by itself."
        )
    return cls
