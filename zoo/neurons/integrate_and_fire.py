"""The integrate-and-fire neuron."""

from collections.abc import Mapping
from typing import Any

from .base import Dynamics, LeakyNeuron


class IF(LeakyNeuron):
    r"""Integrate and fire: H_t = V_{t-1} + X_t. Firing, reset and the other arguments: `LeakyNeuron`.

    With a soft reset the potential may start at V_0 = v_init v_threshold. At v_init = 0.5 the neuron rounds instead of
    cutting off: over T steps of a constant current X in [0, v_threshold] it fires floor(T X / v_threshold + 1/2) times.

    Args:
        v_threshold: See `Neuron`.
        v_reset: See `Neuron`.
        detach_reset: See `Neuron`.
        surrogate: See `Neuron`.
        v_init: Potential before the first step, in units of v_threshold, in [0, 1); above 0 only with v_reset=None.

    Raises:
        ValueError: If v_init is out of range, or meets a hard reset; and as `Neuron`.

    Example:
        >>> import torch
        >>> IF()(torch.tensor([[0.5], [0.5], [0.5]])).flatten().tolist()
        [0.0, 1.0, 0.0]
        >>> IF(v_reset=None, v_init=0.5)(torch.tensor([[0.5], [0.5], [0.5]])).flatten().tolist()
        [1.0, 0.0, 1.0]

    Source:
        The neuron of SEW-ResNet on ImageNet (Fang et al. 2021, arXiv:2102.04159); v_init: Bu et al. 2022,
        arXiv:2202.01440.
    """

    spec_name = "if"

    def __init__(
        self,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = True,
        surrogate: str | Mapping[str, Any] = "atan",
        v_init: float = 0.0,
    ) -> None:
        super().__init__(v_threshold, v_reset, detach_reset, surrogate)
        check_v_init(v_init)
        if v_init and v_reset is not None:
            raise ValueError(
                f"v_init={v_init} needs a soft reset, found v_reset={v_reset}: after a hard reset the potential starts "
                "at v_reset. Set v_reset=None (in YAML: null), or leave v_init out."
            )
        self.v_init = v_init
        if v_init:
            self.v_start = v_init * v_threshold

    def dynamics(self) -> Dynamics:
        """See the class."""
        return Dynamics(1.0, 1.0, 0.0, self.v_threshold)

    def extra_repr(self) -> str:
        """The numbers that define the neuron, in `print(model)`."""
        return super().extra_repr() + (f", v_init={self.v_init}" if self.v_init else "")


def check_v_init(v_init: float) -> None:
    """Refuse an initial potential at which a neuron would fire without a current, or that delays its first spike.

    Raises:
        ValueError: If it does not lie in [0, 1).
    """
    if isinstance(v_init, bool) or not isinstance(v_init, int | float) or not 0 <= v_init < 1:
        raise ValueError(
            f"v_init is the initial potential in units of the threshold: expected a number in [0, 1), found {v_init!r}."
        )
