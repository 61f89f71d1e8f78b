import pytest

from lightning_modules.objectives import RateMSE


def by_hand(oracle, steps, probs):
    errors = [
        (rate - p) ** 2 for n, row in enumerate(probs) for rate, p in zip(oracle.time_mean(steps, n), row, strict=True)
    ]
    return sum(errors) / len(errors)


def test_it_is_the_mean_over_samples_and_classes(make_outputs, oracle, target, soft_target):
    student = make_outputs(3)
    steps = student.logits.double().tolist()
    for labels, probs in ((target, oracle.one_hot(target.tolist(), 5)), (soft_target, soft_target.double().tolist())):
        assert RateMSE()(student, None, labels).item() == pytest.approx(by_hand(oracle, steps, probs), rel=1e-5)
