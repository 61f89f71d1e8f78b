import pytest
import torch

from lightning_modules.objectives import CrossEntropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_is_the_cross_entropy_of_the_mean_over_time(make_outputs, oracle, soft_target, smoothing):
    student = make_outputs(3)
    logits = student.logits.double().tolist()
    expected = 0.0
    for n, probs in enumerate(soft_target.double().tolist()):
        smoothed = [(1 - smoothing) * p + smoothing / 5 for p in probs]
        expected += oracle.cross_entropy(oracle.time_mean(logits, n), smoothed) / 4
    assert CrossEntropy(label_smoothing=smoothing)(student, None, soft_target).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_classes(make_outputs, oracle, target):
    student = make_outputs(3)
    logits, probs = student.logits.double().tolist(), oracle.one_hot(target.tolist(), 5)
    expected = sum(oracle.cross_entropy(oracle.time_mean(logits, n), probs[n]) for n in range(4)) / 4
    assert CrossEntropy()(student, None, target).item() == pytest.approx(expected, rel=1e-5)


def test_classes_of_steps(make_outputs, oracle):
    student = make_outputs(3)  # [T=3, N=4, K=5]
    target = torch.tensor([[0, 1, 2, 3], [4, -100, 0, 1], [-100, -100, 2, 2]])
    logits, terms = student.logits.double().tolist(), []
    for t, row in enumerate(target.tolist()):
        terms += [oracle.cross_entropy(logits[t][n], oracle.one_hot([y], 5)[0]) for n, y in enumerate(row) if y >= 0]
    assert len(terms) == 9
    assert CrossEntropy()(student, None, target).item() == pytest.approx(sum(terms) / 9, rel=1e-5)
    with pytest.raises(ValueError, match=r"needs a class for every step, \[T, N\], found .*targets \[2, 4\]"):
        CrossEntropy()(student, None, target[:2])


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_label_smoothing_out_of_range(value):
    with pytest.raises(ValueError, match=r"label_smoothing of CrossEntropy must lie in \[0, 1\)"):
        CrossEntropy(label_smoothing=value)
