"""Early-pooling VGG: small, fast networks for small images, as spiking students and as their ANN twins.

Each group is conv, pool, norm, neuron, conv, norm, neuron. The pool acts on the currents before the norm. So norms and
neurons work on a quarter of the pixels, and every convolution behind a neuron reads spikes. With the "whiten" stem a
still image passes the stem and the first convolution once, whatever T is.

Source: the network of Jordan 2024, arXiv:2404.00498 (64-256-256, 2x2 whitening stem, GELU). Here neurons replace its
GELUs, an average pool its last max-pool, and norms have a learned scale. Written from the paper.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import register_model
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from ..errors import unknown
from ..layers.stateless import ConvNeuron, SequenceDropout, init_convolutions, make_classifier, over_time
from ..model import SpikingModel
from ..neurons import NeuronSpec, make_neuron
from ._builder import Origin, create, images, make_default_cfgs

__all__ = ["PoolVGG"]

NEURON = {"name": "lif", "tau": 2.0, "decay_input": False, "surrogate": "triangle"}
STEMS = ("whiten", "conv")
POOLS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


class PoolConvNeuron(nn.Module):
    """Convolution 3x3, pool 2x2 (or none), norm, neuron: [T, N, C, H, W] -> [T, N, C', H // 2, W // 2]."""

    def __init__(self, in_chans: int, out_chans: int, neuron: NeuronSpec, pool: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_chans, 3, padding=1, bias=False)
        self.pool = pool or nn.Identity()
        self.bn: nn.Module = nn.BatchNorm2d(out_chans)
        self.act = make_neuron(neuron, out_chans)

    def current(self, x: Tensor) -> Tensor:
        """What the neuron integrates."""
        return over_time(x, self.conv, self.pool, self.bn)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes."""
        return self.act(self.current(x))

    def fold(self) -> nn.Module:
        """This unit in evaluation mode with one convolution in the place of convolution, average pool and norm.

        The mean over 2x2 outputs of a 3x3 convolution is one 4x4 convolution of stride 2, whose kernel is the mean of
        the four shifted kernels. A maximum is no convolution: with a max-pool the unit stays as it is.
        """
        if isinstance(self.pool, nn.AvgPool2d):
            wide = nn.Conv2d(self.conv.in_channels, self.conv.out_channels, 4, stride=2, padding=1, bias=False)
            wide = wide.to(self.conv.weight)
            shifted = [F.pad(self.conv.weight, (x, 1 - x, y, 1 - y)) for x in (0, 1) for y in (0, 1)]
            with torch.no_grad():
                wide.weight.copy_(torch.stack(shifted).mean(0))
            self.conv, self.pool = wide, nn.Identity()
        if isinstance(self.pool, nn.Identity) and isinstance(self.bn, nn.BatchNorm2d):
            self.conv, self.bn = fuse_conv_bn_eval(self.conv.eval(), self.bn.eval()), nn.Identity()
        return self


class Encoder(nn.Module):
    """Convolution 2x2 without padding and GELU, of real numbers: [T, N, C, H, W] -> [T, N, C', H - 1, W - 1]."""

    def __init__(self, in_chans: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, 2)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """The encoded image."""
        return over_time(x, self.conv, self.act)

    @torch.no_grad()
    def whiten(self, batches: Iterable[Tensor], eps: float = 5e-4) -> None:
        r"""Set the filters such that their outputs on data are uncorrelated and of variance 1, and freeze them.

        With the eigenvalues l_i and eigenvectors e_i of the second moments of all 2x2 patches, the filters are

            w_i = e_i / sqrt(l_i + eps),   and  -w_i

        The biases start at 0 and are learned.

        Args:
            batches: Images as the model takes them, [N, C, H, W] or sequences [T, N, C, H, W].
            eps: Added to the variances, so that noise is not blown up.

        Raises:
            ValueError: If the stem is not 8 C wide, which is twice the numbers of a patch.
        """
        chans, width = self.conv.in_channels, self.conv.out_channels
        if width != 8 * chans:
            raise ValueError(
                f"A whitening stem of {chans} channels: expected stem_width {8 * chans} (a filter and its negative for "
                f"each of {4 * chans} numbers of a patch), found {width}. Set model_args: {{stem_width: {8 * chans}}}."
            )
        moments, count = torch.zeros(4 * chans, 4 * chans, dtype=torch.float64), 0
        for x in batches:
            patches = F.unfold(x.flatten(0, -4).double(), 2).transpose(1, 2).flatten(0, 1).cpu()  # [N * positions, 4 C]
            moments, count = moments + patches.T @ patches, count + len(patches)
        values, vectors = torch.linalg.eigh(moments / count)
        filters = vectors.T / (values + eps).sqrt()[:, None]
        self.conv.weight.copy_(torch.cat([filters, -filters]).view_as(self.conv.weight))
        assert self.conv.bias is not None
        self.conv.bias.zero_()
        self.freeze()

    def freeze(self) -> None:
        """Learn the biases only."""
        self.conv.weight.requires_grad_(False)


class PoolVGG(SpikingModel):
    """An early-pooling VGG of any width. Contract and errors: `SpikingModel`.

    Args:
        widths: Channels of each group.
        stem: "whiten" (2x2 convolution and GELU, computed once for a still image; see `Encoder.whiten`) or "conv" (3x3
            convolution, norm and neuron, so that every other layer reads spikes).
        stem_width: Channels of the stem.
        pool: "max" or "avg", of currents.
        neuron: Neuron of every layer, in JSON; "relu" or "qcfs" make it an ANN twin. See `make_neuron`.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C.
        drop_rate: Dropout before the classifier.
    """

    real_inputs = r"^stages\.0\.0"  # the encoded image, with the "whiten" stem

    def __init__(
        self,
        widths: tuple[int, ...] = (48, 96, 128),
        stem: str = "whiten",
        stem_width: int = 24,
        pool: str = "max",
        neuron: NeuronSpec = NEURON,
        num_steps: int = 4,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        for what, name, accepted in (("stem", stem, STEMS), ("pool", pool, POOLS)):
            if name not in accepted:
                raise ValueError(unknown(f"{what} of PoolVGG", name, accepted))
        self.stem: Encoder | ConvNeuron = (
            Encoder(in_chans, stem_width) if stem == "whiten" else ConvNeuron(in_chans, stem_width, neuron, 3)
        )
        self.stages: Any = nn.ModuleList()  # to a type checker, what is in a ModuleList has no items of its own
        self.feature_info, chans = [], stem_width
        for index, width in enumerate(widths):
            first, second = PoolConvNeuron(chans, width, neuron, POOLS[pool](2)), PoolConvNeuron(width, width, neuron)
            self.stages.append(nn.Sequential(first, second))
            self.feature_info.append({"num_chs": width, "reduction": 2 ** (index + 1), "module": f"stages.{index}"})
            chans = width
        self.num_features = chans
        self.head_drop = SequenceDropout(drop_rate)
        self.fc = make_classifier(chans, num_classes)
        init_convolutions(self)

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The output of every group."""
        least = 2 ** len(self.stages) + isinstance(self.stem, Encoder)
        if min(x.shape[-2:]) < least:
            found = "x".join(map(str, x.shape[-2:]))
            raise ValueError(
                f"Images are halved {len(self.stages)} times: expected {least} pixels or more, found {found}."
            )
        x = self.stage(self.encode, x)
        for index, group in enumerate(self.stages):
            x = self.stage(group if index else group[1], x)
            yield x

    def encode(self, x: Tensor) -> Tensor:
        """The stem and the first unit; what comes before the first neuron is applied to a still image once."""
        first = self.stages[0][0]
        if isinstance(self.stem, Encoder):
            return first.act(self.repeat_still(first.current(self.stem(x))))
        return first(self.stem.act(self.repeat_still(self.stem.current(x))))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters grouped by depth."""
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"}


default_cfgs = make_default_cfgs(
    Origin("arXiv:2404.00498", kind="convolutional", code="MIT"),
    {
        f"{prefix}pool_vgg_{size}": images(32, 10, min_side=8 if size == "tiny" else 16)
        for prefix in ("", "spiking_")
        for size in ("tiny", "xs", "s", "m", "l", "chip")
    },
    first_conv="stem.conv",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)


TINY, XS, S, M, L = (
    {"widths": widths} for widths in ((16, 32), (32, 64, 128), (48, 96, 128), (64, 192, 192), (64, 256, 256))
)
CHIP = {"widths": (16, 32, 64), "stem": "conv", "stem_width": 16, "pool": "avg"}
SOFT_IF = {"name": "if", "v_reset": None}
TWIN = {"neuron": "relu", "num_steps": 1}


@register_model
def spiking_pool_vgg_tiny(pretrained: bool = False, **kwargs: Any) -> PoolVGG:
    """Two groups of 16 and 32 channels, for images from 8 pixels."""
    return create(PoolVGG, "spiking_pool_vgg_tiny", pretrained, kwargs, **TINY)


@register_model
def spiking_pool_vgg_xs(pretrained: bool = False, **kwargs: Any) -> PoolVGG:
    """32-64-128: 295,106 parameters for 10 classes."""
    return create(PoolVGG, "spiking_pool_vgg_xs", pretrained, kwargs, **XS)


@register_model
def spiking_pool_vgg_s(pretrained: bool = False, **kwargs: Any) -> PoolVGG:
    """48-96-128: 416,258 parameters for 10 classes."""
    return create(PoolVGG, "spiking_pool_vgg_s", pretrained, kwargs, **S)


@register_model
def spiking_pool_vgg_m(pretrained: bool = False, **kwargs: Any) -> PoolVGG:
    """64-192-192: 1,160,642 parameters for 10 classes."""
    return create(PoolVGG, "spiking_pool_vgg_m", pretrained, kwargs, **M)


@register_model
def spiking_pool_vgg_l(pretrained: bool = False, **kwargs: Any) -> PoolVGG:
    """64-256-256: 1,972,802 parameters for 10 classes."""
    return create(PoolVGG, "spiking_pool_vgg_l", pretrained, kwargs, **L)


@register_model
def spiking_pool_vgg_chip(pretrained: bool = False, **kwargs: Any) -> PoolVGG:
    """16-32-64 for neuromorphic chips: average pools and soft-reset IF neurons; 75,290 parameters for 10 classes.

    Folded (`zoo.fold`), it is seven convolutions with their neurons, and the classifier. SynSense's Speck takes nine
    layers.
    """
    return create(PoolVGG, "spiking_pool_vgg_chip", pretrained, kwargs, **CHIP, neuron=SOFT_IF)


@register_model
def pool_vgg_tiny(pretrained: bool = False, **kwargs: Any) -> PoolVGG:
    """ANN twin of `spiking_pool_vgg_tiny`."""
    return create(PoolVGG, "pool_vgg_tiny", pretrained, kwargs, **TINY, **TWIN)


@register_model
def pool_vgg_xs(pretrained: bool = False, **kwargs: Any) -> PoolVGG:
    """ANN twin of `spiking_pool_vgg_xs`."""
    return create(PoolVGG, "pool_vgg_xs", pretrained, kwargs, **XS, **TWIN)


@register_model
def pool_vgg_s(pretrained: bool = False, **kwargs: Any) -> PoolVGG:
    """ANN twin of `spiking_pool_vgg_s`."""
    return create(PoolVGG, "pool_vgg_s", pretrained, kwargs, **S, **TWIN)


@register_model
def pool_vgg_m(pretrained: bool = False, **kwargs: Any) -> PoolVGG:
    """ANN twin of `spiking_pool_vgg_m`."""
    return create(PoolVGG, "pool_vgg_m", pretrained, kwargs, **M, **TWIN)


@register_model
def pool_vgg_l(pretrained: bool = False, **kwargs: Any) -> PoolVGG:
    """ANN twin of `spiking_pool_vgg_l`."""
    return create(PoolVGG, "pool_vgg_l", pretrained, kwargs, **L, **TWIN)


@register_model
def pool_vgg_chip(pretrained: bool = False, **kwargs: Any) -> PoolVGG:
    """ANN twin of `spiking_pool_vgg_chip`."""
    return create(PoolVGG, "pool_vgg_chip", pretrained, kwargs, **CHIP, **TWIN)
