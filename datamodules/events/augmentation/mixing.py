"""Mixing of batches of frames."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .draws import random_int

TINY = 1e-12


class EventMix(nn.Module):
    r"""Put a randomly shaped region of space and time of one sample into another, for a batch of frames.

    The region of a sample is where a mixture of 2 to 4 Gaussians over (t, y, x) is highest; it has the part 1 - lam of
    all cells, lam ~ Beta(alpha, alpha), drawn once for a batch. In units of the axes' lengths, each Gaussian has its
    mean uniform in 0..1, standard deviations max(u, 0.1) / 2 and a weight u, every u uniform in 0..1 on its own. The
    partner of a sample is the one before it in the batch, as in torchvision's MixUp. With s_a the share of its own
    events that a sample keeps and s_b the share of the partner's that it gets,

        target = (s_a onehot(y_a) + s_b onehot(y_b)) / (s_a + s_b)

    Shares, not numbers, so that a busy recording does not outweigh a quiet one of which as much is seen. If neither
    has an event left, the target counts cells.

    Args:
        alpha: Of the Beta distribution.
        num_classes: K.

    Raises:
        ValueError: If alpha is not above 0.

    Source:
        Shen et al., EventMix: An Efficient Data Augmentation Strategy for Event-Based Learning, Information Sciences
        2023, arXiv:2205.12054, with labels by the number of events; the constants are those of the released code
        (BrainCog, datasets/cut_mix.py). Its salt-and-pepper noise afterwards is left out.
    """

    def __init__(self, alpha: float, num_classes: int) -> None:
        super().__init__()
        if not alpha > 0:
            raise ValueError(f"alpha of EventMix: expected above 0, found {alpha}. Leave EventMix out instead.")
        self.beta, self.num_classes = torch.distributions.Beta(alpha, alpha), num_classes

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed frames and soft targets.

        Args:
            x: Frames [T, N, C, H, W], in which no event is zero: counts, or counts times a factor.
            y: Classes [N].

        Returns:
            The frames [T, N, C, H, W] and targets [N, K], float32.

        Raises:
            ValueError: If x are not frames.
        """
        if x.ndim != 5:
            raise ValueError(
                f"EventMix mixes frames [T, N, C, H, W], found {list(x.shape)}. Leave it out for other data."
            )
        steps, samples, _, height, width = x.shape
        density = self.density((steps, height, width), samples, x.device)  # [T, N, H, W]
        cells = density.transpose(0, 1).flatten(1)  # [N, T*H*W]
        kept = min(max(1, round(float(self.beta.sample()) * cells.shape[1])), cells.shape[1])
        lowest = cells.topk(kept, dim=1, largest=False, sorted=False).values  # unlike kthvalue, deterministic on GPUs
        taken = density > lowest.amax(1)[:, None, None]  # [T, N, H, W]
        number = x.abs().sum(2, dtype=torch.float32)  # of events, [T, N, H, W]
        own, others = share(number, ~taken), share(number.roll(1, dims=1), taken)  # [N]
        seen = own + others
        weight = torch.where(seen > 0, others / seen.clamp(min=TINY), taken.float().mean((0, 2, 3)))[:, None]
        target = F.one_hot(y, self.num_classes).float()  # [N, K]
        target = (1 - weight) * target + weight * target.roll(1, dims=0)
        return torch.where(taken[:, :, None], x.roll(1, dims=1), x), target

    def density(self, sides: tuple[int, int, int], samples: int, device: torch.device | None = None) -> Tensor:
        """A mixture of Gaussians for each sample, [T, N, H, W]; drawn on the CPU, computed on the device."""
        gaussians = random_int(2, 4)
        curves = []
        for side in sides:
            mean, spread = torch.rand(2, samples, gaussians, 1).to(device)
            place = (torch.arange(side, device=device) + 0.5) / side
            curves.append((-0.5 * ((place - mean) / (0.5 * spread.clamp(min=0.1))) ** 2).exp())  # [N, k, side]
        return torch.einsum("nk,nkt,nkh,nkw->tnhw", torch.rand(samples, gaussians).to(device), *curves)


def share(number: Tensor, seen: Tensor) -> Tensor:
    """Part of the events [T, N, H, W] of each sample that lies in the seen cells, [N]; 0 if it has none."""
    return (number * seen).sum((0, 2, 3)) / number.sum((0, 2, 3)).clamp(min=TINY)
