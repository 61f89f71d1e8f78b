"""Outputs of models, and an oracle in plain Python floats (float64) that shares no line with the objectives."""

import math

import pytest
import torch

from zoo.model import Outputs


class Oracle:
    """The textbook definitions, on lists of numbers."""

    @staticmethod
    def log_softmax(logits):
        total = math.fsum(math.exp(z) for z in logits)
        return [z - math.log(total) for z in logits]

    @classmethod
    def cross_entropy(cls, logits, probs):
        return -math.fsum(p * log_q for p, log_q in zip(probs, cls.log_softmax(logits), strict=True))

    @classmethod
    def kl(cls, logits_p, logits_q):
        pairs = zip(cls.log_softmax(logits_p), cls.log_softmax(logits_q), strict=True)
        return math.fsum(math.exp(log_p) * (log_p - log_q) for log_p, log_q in pairs)

    @staticmethod
    def time_mean(sequence, n):
        """Row n of a list [T][N][K], averaged over T."""
        return [math.fsum(step[n][k] for step in sequence) / len(sequence) for k in range(len(sequence[0][n]))]

    @staticmethod
    def one_hot(target, num_classes):
        return [[float(k == y) for k in range(num_classes)] for y in target]


@pytest.fixture
def oracle():
    return Oracle


@pytest.fixture
def make_info():
    """The `feature_info` of a model with the given channels, one stage each."""

    def make(*channels):
        return [{"num_chs": c, "reduction": 2**i, "module": f"layer{i}"} for i, c in enumerate(channels)]

    return make


@pytest.fixture
def make_outputs():
    """Outputs of random numbers: logits [T, N, K], features [T, N, *shape] like spikes summed (>= 0)."""

    def make(steps, *shapes, batch=4, classes=5, seed=0, requires_grad=False):
        generator = torch.Generator().manual_seed(seed)
        logits = 2 * torch.randn(steps, batch, classes, generator=generator)
        features = [2 * torch.rand(steps, batch, *shape, generator=generator) for shape in shapes]
        return Outputs(logits.requires_grad_(requires_grad), [f.requires_grad_(requires_grad) for f in features])

    return make


@pytest.fixture
def target():
    return torch.tensor([0, 3, 4, 1])


@pytest.fixture
def soft_target():
    """As mixup gives it: two classes per sample, [4, 5]."""
    return torch.tensor([[0.7, 0, 0, 0.3, 0], [0, 0, 0.1, 0.9, 0], [0, 0, 0, 0, 1], [0.5, 0.5, 0, 0, 0]])
