"""Learning rules: how the gradient of a batch is made. One rule, one file."""

from .base import Rule
from .bptt import BPTT
from .sltt import SLTT

__all__ = ["BPTT", "SLTT", "Rule", "choose_rule"]


def choose_rule(sltt: SLTT | None, save_memory: bool) -> Rule:
    """The rule of a recipe.

    Raises:
        ValueError: If sltt meets save_memory.
    """
    if sltt is not None and save_memory:
        raise ValueError(
            "save_memory runs layers again from their first step, and sltt carries their potentials on from the last. "
            "Choose one: sltt holds the memory of one step, save_memory gives the exact gradient (docs/training.md)."
        )
    return sltt or BPTT(save_memory)
