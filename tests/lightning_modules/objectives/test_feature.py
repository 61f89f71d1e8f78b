import pytest
import torch
from torch import nn

import zoo
from lightning_modules.objectives import BKD, FeatureMSE
from lightning_modules.objectives.feature import pick_stage, same_size
from zoo.model import read


@pytest.fixture(params=[FeatureMSE, BKD])
def term(request):
    return request.param


def test_a_stage_is_counted_from_either_end(make_info):
    info = make_info(8, 16, 32)
    assert [pick_stage(info, stage, "student")["num_chs"] for stage in (0, 2, -1, -3)] == [8, 32, 32, 8]


@pytest.mark.parametrize("stage", [3, -4])
@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_a_missing_stage_lists_the_stages(term, make_info, whose, stage):
    with pytest.raises(
        ValueError, match=f"The {whose} has no stage {stage}. Its stages are 0: layer0 .8 channels"
    ) as error:
        term(**{f"{whose}_stage": stage}).build(make_info(8, 16, 32), make_info(8, 16, 32))
    assert "2: layer2 (32 channels, 1/4 of the input size)" in str(error.value)


def test_a_model_without_stages(term, make_info):
    with pytest.raises(ValueError, match=r"The teacher has no stage -1\. Its stages are none"):
        term().build(make_info(8), [])


def test_channels_are_aligned_only_if_they_differ(term, make_info):
    objective = term(student_stage=0, teacher_stage=1)
    objective.build(make_info(8, 16), make_info(16, 32))
    assert isinstance(objective.align, nn.Conv2d)
    assert objective.align.weight.shape == (32, 8, 1, 1)
    objective.build(make_info(32, 16), make_info(16, 32))
    assert isinstance(objective.align, nn.Identity)


def test_the_chosen_stages_are_compared(term, make_info, make_outputs, target):
    torch.manual_seed(0)
    student = make_outputs(2, (3, 8, 8), (5, 4, 4), seed=1, requires_grad=True)
    teacher = make_outputs(1, (5, 8, 8), (3, 4, 4), seed=2)
    objective = term(student_stage=0, teacher_stage=-1)
    objective.build(make_info(3, 5), make_info(5, 3))
    objective(student, teacher, target).backward()
    assert student.features[0].grad is not None
    assert student.features[1].grad is None


def test_the_order_of_the_steps_does_not_count(term, make_info, make_outputs, target):
    objective = term().eval()
    objective.build(make_info(3), make_info(3))
    student, teacher = make_outputs(4, (3, 4, 4), seed=1), make_outputs(1, (3, 4, 4), seed=2)
    loss = objective(student, teacher, target)
    student.features[0] = student.features[0].flip(0)
    torch.testing.assert_close(objective(student, teacher, target), loss)


@pytest.mark.parametrize("hidden", [(24, 16), (20, 12)])
def test_students_of_spike_trains_learn_from_each_other(term, target, hidden):
    """Their features are vectors [T, N, F]; as wide as the teacher's, and not."""
    torch.manual_seed(0)
    student = zoo.create_model("delay_mlp_tiny", hidden=hidden, in_chans=6, num_classes=5)
    teacher = zoo.create_model("delay_mlp_tiny", in_chans=6, num_classes=5)
    for norm in (module for model in (student, teacher) for module in model.modules()):
        if isinstance(norm, nn.BatchNorm1d):
            nn.init.ones_(norm.bias)  # so that every layer fires
    x, objective = (torch.rand(20, 4, 6) < 0.3).float(), term()
    objective.build(student.feature_info, teacher.feature_info)
    objective(read(student, x), read(teacher, x), target).backward()
    reached = [*student.blocks.parameters(), *objective.parameters()]
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in reached)
    assert not any(parameter.grad is not None for parameter in teacher.parameters())


def test_build_comes_first(term, make_outputs, target):
    with pytest.raises(RuntimeError, match=r"call build\(student, teacher\) first"):
        term()(make_outputs(2, (3, 4, 4)), make_outputs(1, (3, 4, 4)), target)


def test_the_layers_are_in_the_checkpoint(term, make_info):
    objective = term()
    objective.build(make_info(2), make_info(3))
    assert {"align.weight", "align.bias"} <= set(objective.state_dict())


def test_the_larger_map_is_averaged_down():
    large = torch.arange(16.0).view(1, 1, 4, 4)
    small = torch.zeros(1, 1, 2, 2)
    expected = [[2.5, 4.5], [10.5, 12.5]]  # means of the 2x2 blocks
    for a, b in (same_size(large, small), reversed(same_size(small, large))):
        assert a[0, 0].tolist() == expected
        assert b is small


def test_maps_that_are_larger_in_one_direction_each():
    a, b = same_size(torch.rand(2, 3, 8, 2), torch.rand(2, 3, 4, 6))
    assert a.shape == b.shape == (2, 3, 4, 2)


def test_equal_sizes_are_left_alone():
    a, b = torch.rand(1, 2, 3, 3), torch.rand(1, 2, 3, 3)
    assert all(x is y for x, y in zip(same_size(a, b), (a, b), strict=True))
