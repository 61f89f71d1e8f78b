import numpy as np
import pytest
import torch

from lightning_modules.objectives import FeatureMSE
from zoo.model import Outputs


def build(make_info, found, wanted):
    torch.manual_seed(0)
    term = FeatureMSE()
    term.build(make_info(found), make_info(wanted))
    return term


def test_it_is_the_mean_squared_error_of_time_means(make_info, make_outputs, target):
    student, teacher = make_outputs(3, (2, 4, 4), seed=1), make_outputs(2, (2, 4, 4), seed=2)
    ours, theirs = student.features[0].double().numpy().mean(0), teacher.features[0].double().numpy().mean(0)
    total = 0.0
    for index in np.ndindex(4, 2, 4, 4):
        total += (ours[index] - theirs[index]) ** 2
    loss = build(make_info, 2, 2)(student, teacher, target)
    assert loss.item() == pytest.approx(total / (4 * 2 * 4 * 4), rel=1e-5)


def test_channels_and_sizes_differ(make_info, make_outputs, target):
    student, teacher = make_outputs(3, (2, 4, 4), seed=1), make_outputs(1, (3, 2, 2), seed=2)
    term = build(make_info, 2, 3)
    ours, theirs = student.features[0].double().numpy().mean(0), teacher.features[0].double().numpy()[0]
    weight, bias = term.align.weight.detach().double().numpy(), term.align.bias.detach().double().numpy()
    total = 0.0
    for n, c, i, j in np.ndindex(4, 3, 2, 2):
        pixels = [ours[n, :, 2 * i + di, 2 * j + dj] for di in (0, 1) for dj in (0, 1)]
        aligned = [sum(weight[c, k, 0, 0] * pixel[k] for k in range(2)) + bias[c] for pixel in pixels]
        total += (sum(aligned) / 4 - theirs[n, c, i, j]) ** 2
    assert term(student, teacher, target).item() == pytest.approx(total / (4 * 3 * 2 * 2), rel=1e-5)


@pytest.mark.parametrize("wanted", [5, 3])
def test_vectors(make_info, make_outputs, target, wanted):
    student, teacher = make_outputs(6, (5,), seed=1), make_outputs(3, (wanted,), seed=2)
    term = build(make_info, 5, wanted)
    ours, theirs = student.features[0].double().numpy().mean(0), teacher.features[0].double().numpy().mean(0)
    if wanted != 5:
        weight, bias = (p.detach().double().numpy() for p in (term.align.weight, term.align.bias))
        ours = ours @ weight.reshape(wanted, 5).T + bias
    assert term(student, teacher, target).item() == pytest.approx(((ours - theirs) ** 2).mean(), rel=1e-5)


def test_it_is_zero_at_equality(make_info, make_outputs, target):
    teacher = make_outputs(1, (2, 4, 4))
    spread = torch.tensor([0.0, 0.5, 1.5, 2.0]).view(4, 1, 1, 1, 1)  # mean 1 over the steps
    student = Outputs(teacher.logits, [(spread * teacher.features[0]).requires_grad_()])
    loss = build(make_info, 2, 2)(student, teacher, target)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert student.features[0].grad.abs().max() < 1e-7
