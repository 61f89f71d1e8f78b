"""Spiking neurons and their surrogate gradients; one neuron, one file."""

from collections.abc import Mapping
from typing import Any

from ..errors import check_arguments, unknown
from .base import Neuron, carry_state, override_surrogate
from .integrate_and_fire import IF
from .leaky import Leaky
from .lif import LIF
from .plif import PLIF
from .surrogate import SURROGATES, ATan, Gaussian, Rectangle, Sigmoid, Surrogate, Triangle, make_surrogate

__all__ = [
    "IF",
    "LIF",
    "NEURONS",
    "PLIF",
    "SURROGATES",
    "ATan",
    "Gaussian",
    "Leaky",
    "Neuron",
    "NeuronSpec",
    "Rectangle",
    "Sigmoid",
    "Surrogate",
    "Triangle",
    "carry_state",
    "make_neuron",
    "make_surrogate",
    "override_surrogate",
]

NEURONS: dict[str, type[Neuron]] = {"if": IF, "lif": LIF, "plif": PLIF, "leaky": Leaky}

NeuronSpec = str | Mapping[str, Any]
"""A neuron in JSON, so that `config.json` can rebuild it: a name, or {"name": ..., numbers}."""


def make_neuron(spec: NeuronSpec) -> Neuron:
    """Build a neuron from its JSON form.

    Raises:
        ValueError: If the name or an argument is not accepted.

    Example:
        >>> make_neuron({"name": "lif", "tau": 4.0}).tau
        4.0
    """
    arguments = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = str(arguments.pop("name", None))
    if name not in NEURONS:
        raise ValueError(unknown("neuron", name, NEURONS))
    check_arguments(name, NEURONS[name], arguments)
    try:
        return NEURONS[name](**arguments)
    except TypeError as error:
        raise ValueError(f"Neuron {name!r} does not take {arguments}: {error}.") from error
