"""The sentence every unknown name gets: what was found, the closest names, where to see all."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from inspect import signature
from typing import Any


def unknown(kind: str, name: str, accepted: Iterable[str], see: str = "") -> str:
    """Say that `name` is no `kind`, with the closest accepted names first.

    Args:
        kind: What was asked for, in the user's words ("student", "neuron").
        name: What was found.
        accepted: Every accepted name.
        see: Where the whole list is, when it is too long to print.

    Example:
        >>> unknown("neuron", "lfi", ["if", "lif", "plif"])
        "Unknown neuron 'lfi'. Did you mean 'lif', 'plif' or 'if'? Accepted: if, lif, plif."
    """
    names = sorted(accepted)
    of_lower = {accepted.lower(): accepted for accepted in names}  # LIF is the class, lif the name
    matches = difflib.get_close_matches(name.lower(), of_lower, n=3, cutoff=0.4)
    close = [repr(of_lower[match]) for match in matches]
    hint = f" Did you mean {' or '.join(filter(None, [', '.join(close[:-1]), close[-1]]))}?" if close else ""
    rest = see if len(names) > 20 and see else f"Accepted: {', '.join(names)}."
    return f"Unknown {kind} {name!r}.{hint} {rest}"


def by_name(kind: str, spec: str | Mapping[str, Any] | None, accepted: Collection[str]) -> tuple[str, dict[str, Any]]:
    """The name and the arguments in a JSON form: a name, or {"name": ..., arguments}.

    Raises:
        ValueError: If the name is missing or unknown.

    Example:
        >>> by_name("neuron", {"name": "lif", "tau": 4.0}, ["lif", "plif"])
        ('lif', {'tau': 4.0})
    """
    arguments = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = arguments.pop("name", None)
    if name is None:
        raise ValueError(f"'name' is missing in {kind}: {spec}. Accepted: {', '.join(sorted(accepted))}.")
    if str(name) not in accepted:
        raise ValueError(unknown(kind, str(name), accepted))
    return str(name), arguments


def check_arguments(name: str, cls: type, arguments: Iterable[str]) -> None:
    """Refuse an argument that `cls` does not take; Python cannot tell which names `**kwargs`, passed to a base, hides.

    Raises:
        ValueError: If an argument is unknown.

    Example:
        >>> class Cell:
        ...     def __init__(self, tau: float = 2.0) -> None: ...
        >>> check_arguments("cell", Cell, ["tua"])
        Traceback (most recent call last):
        ValueError: Unknown cell argument 'tua'. Did you mean 'tau'? Accepted: tau.
    """
    accepted: set[str] = set()
    for base in cls.__mro__:
        parameters = signature(base).parameters.values()
        accepted |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break  # it passes nothing on
    for argument in arguments:
        if argument not in accepted:
            raise ValueError(unknown(f"{name} argument", argument, accepted))
