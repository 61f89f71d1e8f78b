import pytest

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


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_label_smoothing_out_of_range(value):
    with pytest.raises(ValueError, match=r"label_smoothing of CrossEntropy must lie in \[0, 1\)"):
        CrossEntropy(label_smoothing=value)
