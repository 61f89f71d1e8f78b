"""Augmentation that draws from other augmentations."""

import torch
from torch import nn

from ..arrays import Events
from .dropping import Cutout
from .event_augmentation import EventAugmentation
from .space import Flip, Roll, Rotate, Shear


class NDA(EventAugmentation):
    """Neuromorphic data augmentation: a horizontal flip by chance, then some of `Roll`, `Rotate`, `Cutout`, `Shear`.

    The magnitudes are for frames of 48 x 48 pixels, so 3 pixels are 3/48 of a side here:

        magnitude   shift    rotation   length of the cutout   shear
        1           3/48     15°         8/48                  15°
        2           5/48     30°        16/48                  30°
        3           7/48     45°        24/48                  45°

    Args:
        magnitude: M, 1 to 3: how far each of them may go.
        number: N, 1 to 4: how many different ones are drawn, applied in the drawn order.
        flip: Chance of the horizontal flip; 0 for digits, letters and gestures of one hand.

    Raises:
        ValueError: If an argument is out of its range.

    Source:
        Li et al., Neuromorphic Data Augmentation for Training Spiking Neural Networks, ECCV 2022, arXiv:2203.06145.
        Shift, rotation and shear of magnitudes 1 and 2 are those of the released code for N-Caltech101 and CIFAR10-DVS
        (github.com/Intelligent-Computing-Lab-Yale/NDA_SNN), which uses neither magnitude 3 nor the cutout: those
        continue the row. There, too, what rolls out on one side comes in on the other.
    """

    def __init__(self, magnitude: int = 1, number: int = 1, flip: float = 0.5) -> None:
        super().__init__()
        for name, value, highest in (("magnitude", magnitude, 3), ("number", number, 4)):
            if value not in range(1, highest + 1):
                raise ValueError(f"{name} of NDA: expected a whole number from 1 to {highest}, found {value}.")
        self.flip, self.number = Flip(horizontal=flip), number
        self.choices = nn.ModuleList(
            [
                Roll((1 + 2 * magnitude) / 48),
                Rotate(15 * magnitude),
                Cutout(8 * magnitude / 48),
                Shear(15 * magnitude),
            ]
        )

    def change(self, events: Events, width: int, height: int) -> Events:
        """What flip and the drawn ones leave."""
        events = self.flip(events)
        for choice in torch.randperm(len(self.choices))[: self.number].tolist():
            events = self.choices[choice](events)
        return events
