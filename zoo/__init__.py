"""The model zoo: spiking students, registered with timm; published checkpoints; what they cost.

Shapes, everywhere: T time steps, N batch, C channels, H height, W width, P polarities (the channels of events),
K classes. Time comes first: x [T, N, C, H, W], features [T, N, C, H, W], logits [T, N, K]; an image has T = 1.

    >>> import torch, zoo
    >>> model = zoo.create_model("sew_resnet_tiny", num_classes=10, in_chans=1)
    >>> model(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
"""

from .conversion import convert
from .fold import fold
from .model import Outputs, SpikingModel, read, spiking_neurons
from .registry.build import describe, noise_input
from .registry.files import RegistryError
from .registry.publish import publish
from .registry.runs import load_run
from .registry.sources import create_model, golden_input, list_models, pull
from .registry.verify import VerifyReport, verify
from .transfer import init_from_teacher

__all__ = [
    "Outputs",
    "RegistryError",
    "SpikingModel",
    "VerifyReport",
    "convert",
    "create_model",
    "describe",
    "fold",
    "golden_input",
    "init_from_teacher",
    "list_models",
    "load_run",
    "noise_input",
    "publish",
    "pull",
    "read",
    "spiking_neurons",
    "verify",
]
