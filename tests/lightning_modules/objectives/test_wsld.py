import math

import pytest
import torch

from lightning_modules.objectives import WSLD
from zoo.model import Outputs


@pytest.mark.parametrize("tau", [1.0, 2.0])
@pytest.mark.parametrize("soft", [False, True])
def test_it_is_the_weighted_soft_cross_entropy(make_outputs, oracle, target, soft_target, tau, soft):
    student, teacher = make_outputs(3, seed=1), make_outputs(2, seed=2)
    ours, theirs = student.logits.double().tolist(), teacher.logits.double().tolist()
    labels = soft_target.double().tolist() if soft else oracle.one_hot(target.tolist(), 5)
    expected = 0.0
    for n in range(4):
        z, z_teacher = oracle.time_mean(ours, n), oracle.time_mean(theirs, n)
        p = [math.exp(log_p) for log_p in oracle.log_softmax([value / tau for value in z_teacher])]
        ratio = oracle.cross_entropy(z, labels[n]) / (oracle.cross_entropy(z_teacher, labels[n]) + 1e-7)
        expected += tau**2 * (1 - math.exp(-ratio)) * oracle.cross_entropy([value / tau for value in z], p) / 4
    loss = WSLD(temperature=tau)(student, teacher, soft_target if soft else target)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_weights_rank_the_samples():
    teacher = torch.tensor([[3.0, 0.0, 0.0]]).expand(4, 3)
    student = torch.tensor([[30.0, 0.0, 0.0], [4.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # ever worse
    weights = WSLD().sample_weights(student, teacher, torch.zeros(4, dtype=torch.long))
    assert ((weights >= 0) & (weights < 1)).all()
    assert weights[0] < 1e-6
    assert weights[2].item() == pytest.approx(1 - math.exp(-1), abs=1e-5)  # as good as the teacher
    assert (weights.diff() > 0).all()


def test_a_certain_teacher_gives_finite_numbers(target):
    teacher = Outputs(1000 * torch.nn.functional.one_hot(target, 5).float().unsqueeze(0))
    student = Outputs(torch.zeros(2, 4, 5, requires_grad=True))
    loss = WSLD()(student, teacher, target)
    loss.backward()
    assert loss.item() == pytest.approx(4 * math.log(5), rel=1e-5)  # every weight is 1
    assert student.logits.grad.isfinite().all()


def test_two_certain_models_leave_nothing_to_teach(target):
    both = Outputs(1000 * torch.nn.functional.one_hot(target, 5).float().unsqueeze(0))
    assert WSLD()(both, both, target) == 0  # 0 / 0 without the 1e-7


def test_the_weights_carry_no_gradient(make_outputs, target):
    student, teacher = make_outputs(1, seed=1, requires_grad=True), make_outputs(1, seed=2)
    WSLD(temperature=2.0)(student, teacher, target).backward()
    z, z_teacher = student.logits[0].detach(), teacher.logits[0]
    weights = WSLD().sample_weights(z, z_teacher, target).unsqueeze(1)
    # of tau^2 mean w c with w constant: tau w (q - p) / N
    expected = 2 * weights * ((z / 2).softmax(1) - (z_teacher / 2).softmax(1)) / 4
    torch.testing.assert_close(student.logits.grad[0], expected)


def test_the_gradient_is_zero_at_equality(make_outputs, target):
    student, teacher = make_outputs(1, requires_grad=True), make_outputs(1)
    WSLD()(student, teacher, target).backward()
    assert student.logits.grad.abs().max() < 1e-6


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_temperature_out_of_range(value):
    with pytest.raises(ValueError, match="temperature of WSLD must be > 0"):
        WSLD(temperature=value)
