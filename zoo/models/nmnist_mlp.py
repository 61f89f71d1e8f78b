"""The fully connected network of N-MNIST: 2312-800-10.

Lee, Delbruck and Pfeiffer 2016, Frontiers in Neuroscience 10:508 (2312-800-10), and STBP, Wu et al. 2018,
arXiv:1706.02609; SLAYER has 2312-500-500-10 (`hidden=(500, 500)`). Written from the papers' sizes.

It takes frames [T, N, 2, 34, 34], as convolutional students of the same data do: its first layer is a convolution as
large as the frame, which computes what a fully connected layer would and keeps the channel axis. The readout does not
spike; the answer is its mean over time.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from timm.layers.helpers import to_2tuple
from timm.models import register_model
from torch import Tensor, nn

from ..layers.stateless import SequenceDropout, check_image_size, over_time
from ..model import SpikingModel
from ..neurons import NeuronSpec, make_neuron
from ._builder import Origin, create, frames, make_default_cfgs
from ._spike_trains import check_hidden

__all__ = ["FrameMLP"]


class DenseLayer(nn.Module):
    """Synapses from every pixel, neuron, dropout of whole neurons: [T, N, C, H, W] -> [T, N, F, 1, 1]."""

    def __init__(
        self, in_chans: int, width: int, size: tuple[int, int], bias: bool, neuron: NeuronSpec, drop_rate: float
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, size, bias=bias)
        nn.init.normal_(self.conv.weight, std=(0.1 * in_chans * math.prod(size)) ** -0.5)  # as `init_for_spikes`
        self.act = make_neuron(neuron, width)
        self.drop = SequenceDropout(drop_rate)

    def fire(self, current: Tensor) -> Tensor:
        """Spikes of currents; in training divided by the share that dropout leaves."""
        return self.drop(self.act(current))

    def forward(self, x: Tensor) -> Tensor:
        """Spikes."""
        return self.fire(over_time(x, self.conv))


class FrameMLP(SpikingModel):
    """Fully connected layers of spiking neurons over whole frames. Contract and errors: `SpikingModel`.

    A feature is the spikes of a hidden layer, a map of one pixel [T, N, H, 1, 1]. There is no norm, hence what makes
    the first layer fire is the number of events in a frame: more events a frame (a smaller T), or a lower v_threshold.

    Args:
        hidden: Neurons of every hidden layer.
        img_size: Height and width of a frame, or one number for both.
        bias: Whether the layers, the readout included, have biases.
        neuron: Neuron of every hidden layer, in JSON; see `make_neuron`.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Channels of a frame, C: polarities.
        drop_rate: Dropout after every hidden layer, with one mask for all steps.

    Raises:
        ValueError: If there is no hidden layer, or a frame (in `forward`) is of another size.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (800,),
        img_size: int | tuple[int, int] = 34,
        bias: bool = True,
        neuron: NeuronSpec = "lif",
        num_steps: int = 4,
        num_classes: int = 10,
        in_chans: int = 2,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        check_hidden(hidden)
        self.img_size = to_2tuple(img_size)
        self.bias = bias
        self.layers = nn.ModuleList()
        self.feature_info = []
        chans, size = in_chans, to_2tuple(img_size)
        for index, count in enumerate(hidden):
            self.layers.append(DenseLayer(chans, count, size, bias, neuron, drop_rate))
            self.feature_info.append(
                {"num_chs": count, "reduction": max(to_2tuple(img_size)), "module": f"layers.{index}"}
            )
            chans, size = count, (1, 1)
        self.num_features = chans
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """See `SpikingModel`; without a bias if the other layers have none."""
        super().reset_classifier(num_classes, global_pool)
        if not self.bias and isinstance(self.fc, nn.Linear):
            self.fc.register_parameter("bias", None)

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The spikes of every hidden layer."""
        check_image_size(x, self.img_size)
        x = self.stage(self.stem, x)
        yield x
        for layer in self.layers[1:]:
            x = self.stage(layer, x)
            yield x

    def stem(self, x: Tensor) -> Tensor:
        """The first layer, whose synapses see a still image once."""
        first: Any = self.layers[0]
        return first.fire(self.repeat_still(over_time(x, first.conv)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Classifier: [T, N, H, 1, 1] -> [T, N, K]."""
        x = x.flatten(2)
        return x if pre_logits else self.fc(x)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters grouped by depth."""
        return {"blocks": r"^layers\.(\d+)"}


default_cfgs = make_default_cfgs(
    Origin("doi:10.3389/fnins.2016.00508", kind="fully connected", code="not looked up"),
    {"nmnist_mlp": frames(34, 10, published="98.66 % N-MNIST"), "nmnist_mlp_tiny": frames(8, 10)},
    first_conv="layers.0.conv",
    fixed_input_size=True,
)


@register_model
def nmnist_mlp(pretrained: bool = False, **kwargs: Any) -> FrameMLP:
    """2312-800-10 for N-MNIST: 1,858,410 parameters, 1,857,600 with `bias=False`."""
    return create(FrameMLP, "nmnist_mlp", pretrained, kwargs, hidden=(800,))


@register_model
def nmnist_mlp_tiny(pretrained: bool = False, **kwargs: Any) -> FrameMLP:
    """Two hidden layers of 24 and 16 neurons over frames of 8x8 pixels, for tests."""
    return create(FrameMLP, "nmnist_mlp_tiny", pretrained, kwargs, hidden=(24, 16), img_size=8)
