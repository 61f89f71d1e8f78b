import pytest
import torch

from lightning_modules.objectives import CrossEntropy, MaxCrossEntropy


def test_it_is_the_cross_entropy_of_the_peaks(make_outputs, oracle, soft_target):
    student = make_outputs(3)
    steps, expected = student.logits.tolist(), 0.0
    for n in range(4):
        peaks = [max(step[n][k] for step in steps) for k in range(5)]
        expected += oracle.cross_entropy(peaks, soft_target[n].tolist()) / 4
    assert MaxCrossEntropy()(student, None, soft_target).item() == pytest.approx(expected, rel=1e-5)


def test_only_the_peaks_get_a_gradient(make_outputs, target):
    student = make_outputs(6, requires_grad=True)
    MaxCrossEntropy()(student, None, target).backward()
    assert torch.equal((student.logits.grad != 0).sum(0), torch.ones(4, 5, dtype=torch.int64))
    assert torch.equal(student.logits.grad.abs().argmax(0), student.logits.argmax(0))


def test_one_step_is_the_cross_entropy(make_outputs, target):
    student = make_outputs(1)
    torch.testing.assert_close(MaxCrossEntropy()(student, None, target), CrossEntropy()(student, None, target))
