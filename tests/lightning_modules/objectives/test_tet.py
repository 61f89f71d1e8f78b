import pytest
import torch

from lightning_modules.objectives import TET, CrossEntropy


@pytest.mark.parametrize(
    ("lam", "phi", "smoothing"), [(0.0, 1.0, 0.0), (0.05, 1.0, 0.0), (0.3, -0.5, 0.1), (1.0, 2.0, 0.0)]
)
def test_it_is_the_mean_over_steps(make_outputs, oracle, soft_target, lam, phi, smoothing):
    student = make_outputs(3)
    steps = student.logits.double().tolist()
    entropy = distance = 0.0
    for step in steps:
        for n in range(4):
            smoothed = [(1 - smoothing) * p + smoothing / 5 for p in soft_target[n].double().tolist()]
            entropy += oracle.cross_entropy(step[n], smoothed) / (3 * 4)
            distance += sum((z - phi) ** 2 for z in step[n]) / (3 * 4 * 5)
    loss = TET(lam=lam, phi=phi, label_smoothing=smoothing)(student, None, soft_target)
    assert loss.item() == pytest.approx((1 - lam) * entropy + lam * distance, rel=1e-5)


def test_classes(make_outputs, oracle, target):
    student = make_outputs(3)
    probs = oracle.one_hot(target.tolist(), 5)
    expected = sum(oracle.cross_entropy(step[n], probs[n]) / 12 for step in student.logits.tolist() for n in range(4))
    assert TET()(student, None, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_never_below_the_cross_entropy_of_the_mean(make_outputs, soft_target, seed):
    student = make_outputs(6, seed=seed)
    assert TET()(student, None, soft_target) > CrossEntropy()(student, None, soft_target)


def test_one_step_is_the_cross_entropy(make_outputs, target):
    student = make_outputs(1)
    torch.testing.assert_close(TET()(student, None, target), CrossEntropy()(student, None, target))


@pytest.mark.parametrize("name", ["lam", "label_smoothing"])
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_shares_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"{name} of TET must lie in"):
        TET(**{name: value})
