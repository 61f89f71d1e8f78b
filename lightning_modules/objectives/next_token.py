"""Cross-entropy with the next token, at every step."""

import torch.nn.functional as F
from torch import Tensor

from zoo.model import Outputs

from .base import Objective


class NextToken(Objective):
    r"""What a language model learns: the token that follows, after every token.

        L = 1/(T N) sum_{t,n} CE(z_{t,n}, y_{t,n}) + l2wrap/2 1/(T N) sum_{t,n} (max_k z_{t,n,k})^2

    with y_t the token after step t. The second part pulls the largest logit towards 0; in RWKV's code ("L2Wrap") only
    its gradient exists, here its value, too, is part of the loss (`bits` of `LanguageModule` is without it).

    Args:
        weight: Factor in the total loss, >= 0.
        l2wrap: Weight of the second part, >= 0.

    Raises:
        ValueError: If l2wrap < 0, or the target has another number of steps than the logits.

    Source:
        Zhu et al. 2023, SpikeGPT, arXiv:2302.13939; L2Wrap with 1e-4 in the released code, as in RWKV-4's.

    Example:
        >>> import torch
        >>> from zoo.model import Outputs
        >>> undecided = Outputs(torch.zeros(4, 2, 256))  # T = 4, N = 2, V = 256
        >>> round(NextToken()(undecided, None, torch.ones(4, 2, dtype=torch.int64)).item(), 4)  # ln 256
        5.5452
    """

    per_step = True

    def __init__(self, weight: float = 1.0, l2wrap: float = 1e-4) -> None:
        super().__init__(weight)
        if not l2wrap >= 0:
            raise ValueError(f"l2wrap of {self.name} must be >= 0, found {l2wrap}.")
        self.l2wrap = l2wrap

    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> Tensor:
        """See `Objective`; a target without the axis of time, [N] or soft [N, K], is that of every step."""
        logits = student.logits  # [T, N, K]
        soft = int(target.is_floating_point())
        if target.ndim == 1 + soft:
            target = target.expand(len(logits), *target.shape)
        if target.shape[:2] != logits.shape[:2]:
            found = f"logits {list(logits.shape)} and targets {list(target.shape)}"
            raise ValueError(f"{self.name} needs the next token at every step, [T, N], found {found}.")
        entropy = F.cross_entropy(logits.flatten(0, 1), target.flatten(0, 1))
        return entropy + self.l2wrap / 2 * logits.max(-1).values.square().mean()
