import pytest
import torch

from lightning_modules.objectives import LogitKD
from zoo.model import Outputs


@pytest.mark.parametrize("tau", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("teacher_steps", [1, 2])
@pytest.mark.parametrize("per_step", [False, True])
def test_it_is_the_divergence_from_the_teacher(make_outputs, oracle, target, tau, teacher_steps, per_step):
    student, teacher = make_outputs(3, seed=1), make_outputs(teacher_steps, seed=2)
    ours, theirs = student.logits.double().tolist(), teacher.logits.double().tolist()
    expected = 0.0
    for n in range(4):
        answers = [step[n] for step in ours] if per_step else [oracle.time_mean(ours, n)]
        p = [z / tau for z in oracle.time_mean(theirs, n)]
        expected += tau**2 * sum(oracle.kl(p, [z / tau for z in answer]) for answer in answers) / len(answers) / 4
    loss = LogitKD(temperature=tau, per_step=per_step)(student, teacher, target)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("per_step", [False, True])
def test_it_is_zero_at_equality(make_outputs, target, per_step):
    teacher = make_outputs(1)
    student = Outputs((teacher.logits + 3.0).expand(4, -1, -1).clone().requires_grad_())  # a shift changes no answer
    loss = LogitKD(per_step=per_step)(student, teacher, target)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert student.logits.grad.abs().max() < 1e-5


def test_only_the_mean_counts_unless_per_step(make_outputs, target):
    teacher = make_outputs(1)
    wavering = Outputs(
        torch.cat([teacher.logits + 1, 2 * teacher.logits, -1 - 0 * teacher.logits])
    )  # mean: the teacher
    assert LogitKD()(wavering, teacher, target).item() == pytest.approx(0, abs=1e-5)
    assert LogitKD(per_step=True)(wavering, teacher, target) > 0.1


@pytest.mark.parametrize("seed", range(5))
def test_per_step_is_never_below_the_mean(make_outputs, target, seed):
    student, teacher = make_outputs(6, seed=seed), make_outputs(1, seed=seed + 100)
    assert LogitKD(per_step=True)(student, teacher, target) > LogitKD()(student, teacher, target)


def test_the_gradient_keeps_its_size_at_high_temperature(make_outputs, target):
    teacher = make_outputs(1, seed=2)
    sizes = []
    for tau in (20.0, 200.0):
        student = make_outputs(1, seed=1, requires_grad=True)
        LogitKD(temperature=tau)(student, teacher, target).backward()
        sizes.append(student.logits.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_temperature_out_of_range(value):
    with pytest.raises(ValueError, match="temperature of LogitKD must be > 0"):
        LogitKD(temperature=value)
