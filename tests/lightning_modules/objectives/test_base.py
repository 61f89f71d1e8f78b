"""The contract, for every objective that the package exports."""

import inspect

import pytest
import torch

from lightning_modules import objectives
from lightning_modules.objectives import Objective
from zoo.model import Outputs

TERMS = {
    "CrossEntropy": {},
    "CrossEntropy smoothed": {"label_smoothing": 0.1},
    "TET": {},
    "TET near phi": {"lam": 0.05},
    "LogitKD": {},
    "LogitKD per step": {"per_step": True},
    "WSLD": {},
    "FeatureMSE": {},
    "BKD": {"blur": 0.0},
    "BKD pooled": {"blur": 0.0, "reduce": "pool"},
    "BKD as published": {"blur": 0.0, "alpha_sum": 7e-5},
    "FirstSpike": {},
    "MaxCrossEntropy": {},
    "NextToken": {},
    "ShapedCrossEntropy": {},
    "RateMSE": {},
    "PerStep": {"objective": objectives.LogitKD()},
}


@pytest.fixture(params=TERMS)
def term(request, make_info):
    torch.manual_seed(0)
    objective = getattr(objectives, request.param.split()[0])(**TERMS[request.param])
    objective.build(make_info(2, 3), make_info(2, 4))
    return objective


@pytest.fixture
def student(request, make_outputs):
    outputs = make_outputs(3, (2, 8, 8), (3, 4, 4), seed=1, requires_grad=True)
    if "FirstSpike" in request.node.name:  # reads first-spike times: -T before the first spike, then 0
        waiting = outputs.logits.detach().cummax(0).values < 0
        outputs.logits = (-3.0 * waiting).requires_grad_()
    return outputs


@pytest.fixture
def teacher(make_outputs):
    return make_outputs(1, (2, 8, 8), (4, 2, 2), seed=2, requires_grad=True)


def cast(outputs, dtype):
    return Outputs(outputs.logits.to(dtype), [feature.to(dtype) for feature in outputs.features])


def test_every_exported_objective_is_tested_here():
    exported = {name for name in objectives.__all__ if not inspect.isabstract(getattr(objectives, name))}
    assert {name.split()[0] for name in TERMS} == exported


def test_it_is_a_finite_scalar(term, student, teacher, target, soft_target):
    for labels in (target, soft_target):
        loss = term(student, teacher, labels)
        assert loss.shape == ()
        assert loss.dtype == torch.float32
        assert loss.isfinite()


def test_the_gradient_reaches_the_student_and_never_the_teacher(term, student, teacher, target):
    term(student, teacher, target).backward()
    read = [x for x in (student.logits, *student.features) if x.grad is not None]
    assert len(read) == 1
    assert read[0].grad.abs().sum() > 0
    assert all(x.grad is None for x in (teacher.logits, *teacher.features))


def test_the_gradient_reaches_its_own_layers(term, student, teacher, target):
    term(student, teacher, target).backward()
    for name, parameter in term.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_a_one_hot_soft_target_is_the_class(term, student, teacher, target):
    one_hot = torch.nn.functional.one_hot(target, 5).float()
    torch.testing.assert_close(term(student, teacher, target), term(student, teacher, one_hot))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_outputs_are_computed_in_float32(term, student, teacher, soft_target, dtype):
    student, teacher = cast(student, dtype), cast(teacher, dtype)
    exact = term(cast(student, torch.float32), cast(teacher, torch.float32), soft_target)
    loss = term(student, teacher, soft_target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact)
    assert term(student, teacher, soft_target.to(dtype)).dtype == torch.float32


def test_autocast_changes_nothing(term, student, teacher, target):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = term(student, teacher, target)
    assert torch.equal(loss, term(student, teacher, target))


def test_double_precision_is_kept(term, student, teacher, soft_target):
    loss = term.double()(cast(student, torch.float64), cast(teacher, torch.float64), soft_target.double())
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss.float(), term.float()(student, teacher, soft_target))


def test_a_term_that_needs_a_teacher_says_so(term, student, target):
    if term.needs_teacher:
        with pytest.raises(ValueError, match=f"{term.name} learns from a teacher"):
            term(student, None, target)
    else:
        assert term(student, None, target).isfinite()


@pytest.mark.parametrize("weight", [-0.1, float("nan")])
@pytest.mark.parametrize("name", sorted({name.split()[0] for name in TERMS}))
def test_a_negative_weight_is_refused(name, weight):
    with pytest.raises(ValueError, match=f"weight of {name} must be >= 0"):
        getattr(objectives, name)(**TERMS[name] | {"weight": weight})


def test_the_weight_is_not_applied_here(student, target):
    assert torch.equal(
        objectives.CrossEntropy(3.0)(student, None, target), objectives.CrossEntropy()(student, None, target)
    )


def test_a_new_objective_is_one_method(student, target):
    class LogitNorm(Objective):
        def loss(self, student, teacher, target):
            return student.logits.square().mean()

    assert LogitNorm().name == "LogitNorm"
    torch.testing.assert_close(LogitNorm()(student, None, target), student.logits.square().mean())
