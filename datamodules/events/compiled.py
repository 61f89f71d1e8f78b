"""Loops compiled by numba."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """numba.njit, at the first call: importing numba takes a second that most commands do not need."""

    @cache
    def build() -> Any:
        import numba

        return numba.njit(cache=True, nogil=True)(function)

    @wraps(function)
    def call(*args: Any) -> Any:
        return build()(*args)

    return call  # type: ignore[return-value]
