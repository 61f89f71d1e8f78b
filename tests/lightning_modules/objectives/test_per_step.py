"""Against the other terms that see every step, and against a loop."""

import pytest
import torch

from lightning_modules.objectives import TET, CrossEntropy, FeatureMSE, LogitKD, PerStep
from zoo.model import Outputs

INFO = [{"num_chs": 3, "reduction": 4, "module": "layer1"}]


def outputs(steps):
    return Outputs(torch.randn(steps, 5, 4), [torch.randn(steps, 5, 3, 2, 2)])


def test_of_cross_entropy_is_tet_and_of_logit_kd_its_own_option():
    student, teacher, target = outputs(3), outputs(1), torch.arange(5) % 4
    torch.testing.assert_close(PerStep(CrossEntropy())(student, None, target), TET()(student, None, target))
    found = PerStep(LogitKD())(student, teacher, target)
    torch.testing.assert_close(found, LogitKD(per_step=True)(student, teacher, target))


def test_features_too():
    term, student, teacher, target = PerStep(FeatureMSE()), outputs(3), outputs(1), torch.zeros(5).long()
    term.build(INFO, INFO)
    steps = [(student.features[0][t] - teacher.features[0][0]).square().mean() for t in range(3)]
    torch.testing.assert_close(term(student, teacher, target), sum(steps) / 3)


def test_name_weight_and_teacher():
    assert PerStep(LogitKD(), weight=2.0).name == "PerStepLogitKD"
    assert PerStep(LogitKD()).per_step
    assert (PerStep(LogitKD()).needs_teacher, PerStep(CrossEntropy()).needs_teacher) == (True, False)
    with pytest.raises(ValueError, match="weight of PerStep must be >= 0"):
        PerStep(CrossEntropy(), weight=-1.0)
