"""The networks of the PLIF paper: convolutions, max-pools, fully connected layers and a vote.

Source: Fang et al. 2021, arXiv:2007.05785. Written from the paper's tables. Max-pools keep spikes binary, and dropout
has one mask for all steps. The last layer is of neurons too, ten for every class; the logit of a class at a step is the
share of its ten that fire, in [0, 1]. The paper trains it by the squared distance of its mean over time to one-hot.
"""

from typing import Any

from timm.layers.helpers import to_2tuple
from timm.models import register_model
from torch import Tensor, nn

from ..layers.stateless import (
    LinearNeuron,
    SequenceDropout,
    check_halvings,
    init_convolutions,
    init_for_spikes,
    make_classifier,
)
from ..neurons import NeuronSpec, Stateful, make_neuron
from ._builder import Origin, create, frames, images, make_default_cfgs
from ._vgg import VGG

__all__ = ["PLIFNet"]

VOTERS = 10  # neurons of the last layer for every class


class PLIFNet(VGG):
    """Stages of 3x3 convolutions with a 2x2 max-pool after each, a hidden layer, and a vote. Contract: `SpikingModel`.

    A feature is the output of a stage before its pool; the last pool belongs to the head.

    Args:
        stages: Output channels of the convolutions of each stage.
        hidden: Neurons of the fully connected layer before the voters.
        img_size: Sides H, W in pixels (one number for both), which the hidden layer needs to know.
        neuron: Neuron of every layer, in JSON; see `make_neuron`.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C.
        drop_rate: Dropout before each of the two fully connected layers.

    Raises:
        ValueError: If img_size cannot be halved by every stage; see also `SpikingModel`.
    """

    def __init__(
        self,
        stages: tuple[tuple[int, ...], ...] = ((128,), (128,)),
        hidden: int = 2048,
        img_size: int | tuple[int, int] = 34,
        neuron: NeuronSpec = "plif",
        num_steps: int = 10,
        num_classes: int = 10,
        in_chans: int = 2,
        drop_rate: float = 0.5,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        self.neuron = neuron
        self.img_size = to_2tuple(img_size)
        check_halvings(self.img_size, len(stages))
        self.add_stages(stages, in_chans, neuron, nn.MaxPool2d(2), bias=False)
        height, width = (side // 2 ** len(stages) for side in self.img_size)
        self.hidden = nn.Sequential(
            SequenceDropout(drop_rate),
            LinearNeuron(stages[-1][-1] * height * width, hidden, neuron),
            SequenceDropout(drop_rate),
        )
        self.num_features = hidden
        self.act = self.make_voters(num_classes)
        self.fc = make_classifier(hidden, num_classes * VOTERS)
        init_convolutions(self)
        init_for_spikes(self)

    def make_voters(self, num_classes: int) -> Stateful:
        """The neurons that the classifier feeds; those of one class, unused, for no classes."""
        return make_neuron(self.neuron, max(1, num_classes) * VOTERS)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """New, untrained voters; see `SpikingModel`."""
        super().reset_classifier(num_classes * VOTERS, global_pool)
        self.num_classes = num_classes
        self.act = self.make_voters(num_classes).to(next(self.parameters()))
        init_for_spikes(self.fc)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Max-pool, hidden layer, vote: [T, N, C, H, W] -> [T, N, K] in tenths."""
        x = self.stage(self.hidden, self.stage(self.downsample, x).flatten(2))
        if pre_logits or not self.num_classes:
            return x
        return self.act(self.fc(x)).unflatten(-1, (self.num_classes, VOTERS)).mean(-1)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters grouped by depth."""
        return {**super().group_matcher(coarse), "hidden": r"^hidden|^act"}


ORIGIN = Origin(
    "arXiv:2007.05785",
    kind="convolutional",
    code="not looked up",
    title="Incorporating Learnable Membrane Time Constant to Enhance Learning of Spiking Neural Networks",
)
default_cfgs = make_default_cfgs(
    ORIGIN,
    {
        "plif_nmnist": frames(34, 10, published="99.61 % N-MNIST, T = 10"),
        "plif_cifar10dvs": frames(128, 10, published="74.8 % CIFAR10-DVS, T = 20"),
        "plif_dvsgesture": frames(128, 11, published="97.57 % DVS128 Gesture, T = 20"),
        "plif_cifar10": images(32, 10, min_side=32, published="93.50 % CIFAR-10, T = 8"),
        "plif_dvs_tiny": frames(16, 10),
    },
    first_conv="encoder.conv",
    fixed_input_size=True,
)


@register_model
def plif_nmnist(pretrained: bool = False, **kwargs: Any) -> PLIFNet:
    """The network of N-MNIST, frames of 34x34 pixels: 17,134,440 parameters for 10 classes."""
    return create(PLIFNet, "plif_nmnist", pretrained, kwargs, stages=((128,),) * 2, hidden=2048)


@register_model
def plif_cifar10dvs(pretrained: bool = False, **kwargs: Any) -> PLIFNet:
    """The network of CIFAR10-DVS, frames of 128x128 pixels: 4,691,818 parameters for 10 classes; 20 steps."""
    return create(PLIFNet, "plif_cifar10dvs", pretrained, kwargs, stages=((128,),) * 4, hidden=512, num_steps=20)


@register_model
def plif_dvsgesture(pretrained: bool = False, **kwargs: Any) -> PLIFNet:
    """The network of DVS-Gesture, frames of 128x128 pixels: 1,698,933 parameters for 11 classes; 20 steps."""
    return create(PLIFNet, "plif_dvsgesture", pretrained, kwargs, stages=((128,),) * 5, hidden=512, num_steps=20)


@register_model
def plif_cifar10(pretrained: bool = False, **kwargs: Any) -> PLIFNet:
    """The network of CIFAR-10: 36,720,492 parameters for 10 classes; 8 steps."""
    return create(PLIFNet, "plif_cifar10", pretrained, kwargs, stages=((256,) * 3,) * 2, hidden=2048, num_steps=8)


@register_model
def plif_dvs_tiny(pretrained: bool = False, **kwargs: Any) -> PLIFNet:
    """Two convolutions of 32 channels and 64 hidden neurons, for frames of 16x16 pixels; 4 steps of a still image."""
    return create(PLIFNet, "plif_dvs_tiny", pretrained, kwargs, stages=((32,),) * 2, hidden=64, num_steps=4)
