"""The leaky integrate-and-fire neuron with recurrent connections within its layer, and those connections."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import State
from .functional import leaky_step, start
from .lif import LIF
from .units import check_num_features, check_units


class Recurrent(nn.Linear):
    """The weights [F, F] from every unit of a layer to every unit; orthogonal at the start, without a bias.

    A connection layer like any other: weight decay holds, and `zoo.energy` counts what it does in every step.

    Args:
        num_features: Units F.
        self_connections: Whether a unit connects to itself; if not, the diagonal is zero and stays so.

    Raises:
        ValueError: If self_connections is not a bool.
    """

    def __init__(self, num_features: int, self_connections: bool) -> None:
        if not isinstance(self_connections, bool):
            raise ValueError(f"self_connections: expected true or false, found {self_connections!r}.")
        super().__init__(num_features, num_features, bias=False)
        self.self_connections = self_connections
        nn.init.orthogonal_(self.weight)
        if not self_connections:
            with torch.no_grad():
                self.weight.fill_diagonal_(0)

    def matrix(self) -> Tensor:
        """The weights in force; made (and cast, under autocast) once a sequence: every step's own would be kept."""
        weight, device = self.weight, self.weight.device.type
        if not self.self_connections:
            weight = weight.masked_fill(torch.eye(len(weight), dtype=torch.bool, device=weight.device), 0)
        return weight.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else weight

    def forward(self, spikes: Tensor, matrix: Tensor | None = None) -> Tensor:
        """Currents [..., F] of spikes [..., F]."""
        matrix = self.matrix() if matrix is None else matrix
        return F.linear(spikes.to(matrix.dtype), matrix)

    def current(self, spikes: Tensor, matrix: Tensor) -> Tensor:
        """Currents [N, F, ...] of the spikes [N, F, ...] of one step; in a map, of each position by itself."""
        return self(spikes.movedim(1, -1), matrix).movedim(-1, 1)

    def extra_repr(self) -> str:
        """In `print(model)`."""
        return f"{self.in_features}, self_connections={self.self_connections}"


class RecurrentLIF(LIF):
    r"""LIF with lateral recurrent connections: the spikes of one step arrive, weighted, with the input of the next.

        X'_t = X_t + V S_{t-1},   S_0 = 0

    and `LIF` of X'. V [F, F] is learned; it starts orthogonal, with a zero diagonal. In x [T, N, C, H, W] the channels
    are the units, and V connects those of the same position. The gradient goes through V S, whatever detach_reset is.
    The steps run one after another, in plain PyTorch.

    Args:
        num_features: Units: F of x [T, N, F], or channels C of x [T, N, C, H, W]; needed, `make_neuron` gives it.
        self_connections: Whether a unit connects to itself.
        **lif: Arguments of `LIF`.

    Raises:
        ValueError: If an argument is out of range, or x has other units.

    Example:
        >>> import torch
        >>> neuron = RecurrentLIF(num_features=2, tau=1.0)
        >>> with torch.no_grad():
        ...     _ = neuron.recurrent.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))  # from unit 0 to unit 1
        >>> neuron(torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]]))[:, 0].tolist()
        [[1.0, 0.0], [0.0, 1.0]]

    Source:
        V as in RLIF of Bittar and Garner 2022, Frontiers in Neuroscience 16:865897.
    """

    spec_name = "recurrent_lif"

    def __init__(self, num_features: int | None = None, self_connections: bool = False, **lif: Any) -> None:
        super().__init__(**lif)
        self.num_features = check_num_features(num_features)
        self.recurrent = Recurrent(self.num_features, self_connections)

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """See `Stateful`; the state is V and S."""
        check_units(x, self.num_features)
        v, spike = state or (start(x, None, self.v_reset or 0.0), start(x, None, 0.0))
        matrix, settings, out = self.recurrent.matrix(), (self.v_reset, self.detach_reset, self.surrogate), []
        for current in x.unbind(0):
            current = current.to(v.dtype) + self.recurrent.current(spike, matrix)
            spike, v = leaky_step(current, v, *self.dynamics(), *settings)
            out.append(spike)
        return torch.stack(out).to(x.dtype), (v, spike)
