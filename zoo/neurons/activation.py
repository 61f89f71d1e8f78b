"""Activations in the place of neurons: what makes an ordinary network (an ANN twin) of a spiking architecture."""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import State, Stateful
from .units import clamped

MIN_STEP = 1e-3


class Activation(Stateful):
    """A function of the current of one step, which remembers nothing: [T, N, ...] -> [T, N, ...].

    An architecture whose `neuron` is an activation is the ANN twin of the student with the same arguments: its layers
    and the names of its weights are equal, and one step (num_steps 1) gives the answer.
    """

    v_threshold: float = 1.0  # the scale at which norms start that stand before a neuron

    @abstractmethod
    def activate(self, x: Tensor) -> Tensor:
        """The function, element by element."""

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """See `Stateful`; the state is empty."""
        return self.activate(x), ()


class ReLU(Activation):
    """max(x, 0): the mean rate of an integrate-and-fire neuron that never has to fire twice a step.

    Example:
        >>> ReLU()(torch.tensor([[-1.0], [2.0]])).flatten().tolist()
        [0.0, 2.0]
    """

    spec_name = "relu"

    def activate(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.relu(x)


class QCFS(Activation):
    r"""Quantisation-clip-floor-shift: the mean over L steps of an integrate-and-fire neuron that starts half charged.

        a = step * floor(L clip(x / step, 0, 1) + 1/2) / L

    The gradient passes through floor as if it were the identity; it is zero where the clip acts, but for `step`. A
    soft-reset IF neuron of threshold `step` and V_0 = step / 2 gives the same mean over T = L steps if its current is
    constant.

    Args:
        levels: L, the number of steps of the staircase.
        step: Height of the whole staircase (lambda in the paper) at the start; learned, one number a layer.

    Raises:
        ValueError: If levels or step is not positive.

    Example:
        >>> QCFS(levels=4, step=1.0)(torch.tensor([[0.1], [0.2], [0.7], [2.0]])).flatten().tolist()
        [0.0, 0.25, 0.75, 1.0]

    Source:
        Bu et al., Optimal ANN-SNN Conversion for High-accuracy and Ultra-low-latency Spiking Neural Networks, ICLR
        2022, arXiv:2303.04347. The paper starts at 8; behind a norm, whose outputs have variance 1, 2 is enough.
    """

    spec_name = "qcfs"

    def __init__(self, levels: int = 4, step: float = 2.0) -> None:
        super().__init__()
        if isinstance(levels, bool) or not isinstance(levels, int) or levels < 1:
            raise ValueError(f"levels of qcfs: expected an integer >= 1, found {levels!r}.")
        if not step >= MIN_STEP:
            raise ValueError(f"step of qcfs: expected a number >= {MIN_STEP}, found {step}.")
        self.levels = levels
        self.step = nn.Parameter(torch.tensor(float(step)))

    def activate(self, x: Tensor) -> Tensor:
        """See the class."""
        step = clamped(self.step, (MIN_STEP, float("inf")))
        level = self.levels * (x / step).clamp(0, 1) + 0.5
        level = level + (level.floor() - level).detach()
        return step * level / self.levels

    def extra_repr(self) -> str:
        """The numbers that define the activation, in `print(model)`."""
        return f"levels={self.levels}, step={self.step.item():.3g}"


def activations(model: nn.Module) -> list[tuple[str, Activation]]:
    """The activations in the place of neurons, by name."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, Activation)]


def has_activations(model: nn.Module) -> bool:
    """Whether a model is an ANN twin: activations stand in the place of its neurons."""
    return any(isinstance(module, Activation) for module in model.modules())
