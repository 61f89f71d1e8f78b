import pytest
import torch

from lightning_modules.objectives import TET, NextToken
from zoo.model import Outputs


@pytest.mark.parametrize("l2wrap", [0.0, 1e-4, 0.3])
def test_is_the_mean_over_tokens(make_outputs, oracle, l2wrap):
    student, target = make_outputs(3), torch.randint(5, (3, 4))
    expected = 0.0
    for step, classes in zip(student.logits.double().tolist(), target.tolist(), strict=True):
        for logits, probs in zip(step, oracle.one_hot(classes, 5), strict=True):
            expected += (oracle.cross_entropy(logits, probs) + l2wrap / 2 * max(logits) ** 2) / 12
    assert NextToken(l2wrap=l2wrap)(student, None, target).item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_of_l2wrap_is_that_of_rwkv(make_outputs):
    """1e-4 / (T N) times the largest logit, at the largest logit; nothing elsewhere."""
    target, gradients = torch.randint(5, (3, 4)), []
    for l2wrap in (0.0, 1e-4):
        student = make_outputs(3, requires_grad=True)
        NextToken(l2wrap=l2wrap)(student, None, target).backward()
        gradients.append(student.logits.grad)
    best, index = student.logits.detach().max(-1, keepdim=True)
    expected = torch.zeros(3, 4, 5).scatter(-1, index, best * 1e-4 / 12)
    torch.testing.assert_close(gradients[1] - gradients[0], expected, atol=1e-8, rtol=1e-3)


def test_one_target_for_all_steps_is_tet(make_outputs, target, soft_target):
    student = make_outputs(3)
    for labels in (target, soft_target):
        torch.testing.assert_close(NextToken(l2wrap=0.0)(student, None, labels), TET()(student, None, labels))


@pytest.mark.parametrize("shape", [(2, 4), (4, 3), (3, 5)])
def test_another_number_of_steps(shape):
    with pytest.raises(ValueError, match=r"NextToken needs the next token at every step, \[T, N\], found logits"):
        NextToken()(Outputs(torch.zeros(3, 4, 5)), None, torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize("value", [-1e-4, float("nan")])
def test_a_negative_l2wrap_is_refused(value):
    with pytest.raises(ValueError, match="l2wrap of NextToken must be >= 0"):
        NextToken(l2wrap=value)
