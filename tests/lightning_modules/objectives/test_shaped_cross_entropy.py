import math

import pytest
import torch

from lightning_modules.objectives import CrossEntropy, ShapedCrossEntropy

WEIGHTS = {
    "none": lambda s: 1.0,
    "exp": lambda s: math.exp(-s),
    "linear": lambda s: 1 - s,
    "sigmoid": lambda s: 1 / (1 + math.exp((s - 0.5) / 0.2)),
}


@pytest.mark.parametrize("shape", WEIGHTS)
def test_it_is_the_cross_entropy_of_a_weighted_mean(make_outputs, oracle, soft_target, shape):
    student = make_outputs(5)
    steps, expected = student.logits.tolist(), 0.0
    for n in range(4):
        z = [math.fsum(WEIGHTS[shape](t / 5) * steps[t][n][k] for t in range(5)) / 5 for k in range(5)]
        expected += oracle.cross_entropy(z, soft_target[n].tolist()) / 4
    assert ShapedCrossEntropy(shape=shape)(student, None, soft_target).item() == pytest.approx(expected, rel=1e-5)


def test_no_shape_is_the_cross_entropy(make_outputs, target):
    student = make_outputs(4)
    torch.testing.assert_close(
        ShapedCrossEntropy(shape="none")(student, None, target), CrossEntropy()(student, None, target)
    )


@pytest.mark.parametrize("shape", ["exp", "linear", "sigmoid"])
def test_late_steps_count_for_less(make_outputs, target, shape):
    student = make_outputs(8, requires_grad=True)
    ShapedCrossEntropy(shape=shape)(student, None, target).backward()
    sizes = student.logits.grad.abs().sum((1, 2))
    assert (torch.diff(sizes) < 0).all()


def test_unknown_shape():
    with pytest.raises(ValueError, match=r"shape of ShapedCrossEntropy.*'expo'.*exp"):
        ShapedCrossEntropy(shape="expo")
