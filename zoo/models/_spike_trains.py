"""Base of the students of spike trains: fully connected layers, no still image, nothing to pool."""

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from ..errors import unknown
from ..model import SpikingModel
from ..sequence import SequenceKind

READOUTS = ("softmax", "potential")


def without_other_readout(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Drop a readout for other classes from the weights of a checkpoint; timm would drop only an `fc.weight`."""
    ours, theirs = (
        {name: value.shape for name, value in tensors.items() if name.startswith("fc.")}
        for tensors in (model.state_dict(), weights)
    )
    return weights if ours == theirs else {name: value for name, value in weights.items() if name not in theirs}


class SpikeTrainModel(SpikingModel):
    """A student of spike trains [T, N, F]: hidden layers, and a readout `fc`. Contract and errors: `SpikingModel`.

    There is no still image: T is that of the data. An architecture gives `make_readout` too.
    """

    kind = SequenceKind.SPIKE_TRAINS
    adapt_weights = staticmethod(without_other_readout)

    @abstractmethod
    def make_readout(self, num_classes: int) -> nn.Module:
        """A new readout; `nn.Identity` for no classes."""

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the model a new, untrained readout, where, in the dtype and in the mode the old one was.

        Raises:
            ValueError: If global_pool, which is timm's, is not None.
        """
        if global_pool is not None:
            raise ValueError(f"{type(self).__name__} has nothing to pool, found global_pool={global_pool!r}.")
        self.num_classes = num_classes
        self.fc = self.make_readout(num_classes).to(next(self.parameters())).train(self.training)

    def no_weight_decay(self) -> set[str]:
        """Delays too: decay would pull them to 0."""
        return super().no_weight_decay() | {name for name, _ in self.named_parameters() if name.endswith(".delay")}


def check_hidden(hidden: Sequence[int]) -> None:
    """Refuse hidden layers that cannot be made.

    Raises:
        ValueError: If there is none, or an empty one.
    """
    if not hidden or min(hidden) < 1:
        raise ValueError(f"hidden is the number of neurons of every hidden layer, each >= 1, found {list(hidden)}.")


def check_readout(readout: str) -> None:
    """Refuse a readout of potentials that `class_scores` does not know.

    Raises:
        ValueError: If it is none of `READOUTS`.
    """
    if readout not in READOUTS:
        raise ValueError(unknown("readout", readout, READOUTS))


def class_scores(potential: Tensor, readout: str) -> Tensor:
    """Logits [T, N, K] of the potentials V [T, N, K] of a readout: z_t = T softmax(V_t), or V_t for "potential".

    The mean over time of the first is sum_t softmax(V_t), which speech papers put into the cross-entropy.

    Example:
        >>> import torch
        >>> class_scores(torch.zeros(10, 1, 4), "softmax").mean(0).tolist()
        [[2.5, 2.5, 2.5, 2.5]]
    """
    return len(potential) * potential.softmax(-1) if readout == "softmax" else potential
