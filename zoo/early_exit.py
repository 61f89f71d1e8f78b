r"""Early exit: a student stops once the score of its answer passes a threshold.

After t of T steps a student answers with the mean logits so far, and a score in [0, 1] measures its confidence:

    m_t = 1/t sum_{s <= t} z_s,   p_t = softmax(m_t)

    confidence   c_t = max_k p_tk                                       SEENN-I (Li et al. 2023, arXiv:2304.01230)
    entropy      c_t = 1 + sum_k p_tk ln p_tk / ln K                    DT-SNN (Li et al. 2023, arXiv:2305.17346)

    exit step    the first t with c_t > threshold, else T

The released codes of both take the sum of the logits for m_t, with which the confidence grows with t by itself; here it
is the mean, which is also what the student answers with in the end. With threshold 1 every sample takes all T steps;
with threshold 0 every sample stops after the first, but for one whose logits are all equal under `entropy`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .errors import unknown
from .model import SpikingModel
from .neurons import carry_state, stateful_layers
from .sequence import to_sequence

SCORES = ("confidence", "entropy")
THRESHOLDS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)


def mean_so_far(logits: Tensor) -> Tensor:
    """The answer after each step: m [T, N, K] of the logits z [T, N, K]."""
    steps = torch.arange(1, len(logits) + 1, device=logits.device).view(-1, 1, 1)
    return logits.cumsum(0) / steps


def scores(answers: Tensor, score: str = "confidence") -> Tensor:
    """The score of each answer: c [T, N] in [0, 1] of mean logits m [T, N, K].

    Raises:
        ValueError: If the score is unknown, or it is the entropy of a single class.
    """
    check(score)
    log_p = answers.to(torch.promote_types(answers.dtype, torch.float32)).log_softmax(-1)
    if score == "confidence":
        return log_p.max(-1).values.exp()
    if answers.shape[-1] < 2:
        raise ValueError(f"score entropy: expected two classes or more, found {answers.shape[-1]}. Use confidence.")
    return 1 + (log_p.exp() * log_p).sum(-1) / math.log(answers.shape[-1])


def exit_steps(found: Tensor, threshold: float) -> Tensor:
    """The number of steps 1..T that each sample takes, [N], of scores [T, N].

    Raises:
        ValueError: If the threshold does not lie in [0, 1].
    """
    check(threshold=threshold)
    last = torch.ones_like(found[:1], dtype=torch.bool)
    stops = torch.cat([found[:-1] > threshold, last])  # the last step always ends it
    return stops.int().argmax(0) + 1  # the first of equal maxima


def exit_counts(logits: Tensor, target: Tensor, score: str, thresholds: Sequence[float] = THRESHOLDS) -> Tensor:
    """What a batch adds to the curve of accuracy over mean steps: right answers and steps, [thresholds, 2] (int64).

    One pass over the data, of logits z [T, N, K] and classes [N], gives the whole curve.
    """
    answers = mean_so_far(logits)
    right, found = answers.argmax(-1) == target, scores(answers, score)  # [T, N] both
    steps = torch.stack([exit_steps(found, threshold) for threshold in thresholds])  # [thresholds, N]
    return torch.stack([right.gather(0, steps - 1).sum(1), steps.sum(1)], 1)


class EarlyExit:
    """Answers a batch step by step, each sample with as few steps as it needs; what has stopped is computed no more.

    The neurons carry their state from step to step, of the samples that go on. A still image is encoded anew at every
    step, where one call of the model encodes it once. The model is used as it is; call its `eval()` first.

    Args:
        model: A student.
        threshold: In [0, 1]; the higher, the later and, in general, the more accurate.
        score: "confidence" or "entropy".

    Raises:
        ValueError: If the threshold or the score is not accepted, or the model is no student.

    Example:
        >>> import torch, zoo
        >>> model = zoo.create_model("spiking_vgg_tiny", in_chans=1, num_steps=4).eval()
        >>> logits, steps = EarlyExit(model, threshold=0.0)(torch.rand(2, 1, 8, 8))
        >>> logits.shape, steps.tolist()
        (torch.Size([2, 10]), [1, 1])
    """

    def __init__(self, model: SpikingModel, threshold: float = 0.9, score: str = "confidence") -> None:
        check(score, threshold)
        if not isinstance(model, SpikingModel):
            raise ValueError(f"EarlyExit: expected a student, found {type(model).__name__}, which has no steps.")
        self.model, self.threshold, self.score = model, threshold, score

    @torch.no_grad()
    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Answer images [N, C, H, W], or a sequence [T, N, C, H, W] of which every frame is one step.

        Returns:
            The mean logits [N, K] at the exit of each sample, and the steps [N] it took.

        Raises:
            ValueError: If the model is in training mode.
        """
        if self.model.training:
            raise ValueError(
                "EarlyExit: expected a model in evaluation mode, found training mode, where norms learn from answers. "
                "Call its eval()."
            )
        x, num_steps = to_sequence(x, self.model.kind), self.model.num_steps
        total = len(x) if len(x) > 1 else num_steps
        active = torch.arange(x.shape[1], device=x.device)  # samples that go on
        answers, steps, so_far = [], torch.full_like(active, total), torch.zeros((), device=x.device)
        try:
            self.model.num_steps = 1
            with carry_state(self.model):
                for t in range(1, total + 1):
                    frame = x[t - 1 : t] if len(x) > 1 else x
                    so_far = so_far + self.model.forward_sequence(frame[:, active])[0]  # [n, K]
                    stops = (scores(so_far[None] / t, self.score)[0] > self.threshold) | (t == total)
                    steps[active[stops]] = t
                    answers.append((active[stops], so_far[stops] / t))
                    active, so_far = active[~stops], so_far[~stops]
                    if not len(active):
                        break
                    self.forget(stops)
        finally:
            self.model.num_steps = num_steps
        order = torch.cat([samples for samples, _ in answers]).argsort()
        return torch.cat([logits for _, logits in answers])[order], steps

    def forget(self, stops: Tensor) -> None:
        """Drop the state of samples that have stopped."""
        for layer in stateful_layers(self.model):
            assert layer.state is not None  # it ran, and carries
            layer.state = tuple(part[~stops] for part in layer.state)


def check(score: str = "confidence", threshold: float = 0.0) -> None:
    """Refuse a score that does not exist and a threshold outside [0, 1] (ValueError)."""
    if score not in SCORES:
        raise ValueError(unknown("score", score, SCORES))
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold of an early exit: expected a score in [0, 1], found {threshold}.")
