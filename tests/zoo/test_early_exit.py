"""Early exit against a slow loop over single samples in float64, and the curves that are known beforehand."""

import math

import pytest
import torch

import zoo
from zoo.early_exit import SCORES, EarlyExit, exit_counts, exit_steps, mean_so_far, scores
from zoo.model import spiking_neurons

T, N, K = 5, 200, 6
every_score = pytest.mark.parametrize("score", SCORES)


@pytest.fixture
def batch():
    """Logits [T, N, K] whose samples become sure at different steps, and their classes."""
    torch.manual_seed(0)
    target = torch.randint(K, (N,))
    logits = torch.randn(T, N, K, dtype=torch.float64) * 3
    logits[..., 0] += torch.linspace(0, 4, N)
    return logits, target


def slow_exit(z, threshold, score):
    """One sample z, T lists of K numbers: its answer and its steps, by the definitions."""
    for t in range(1, len(z) + 1):
        mean = [sum(step[k] for step in z[:t]) / t for k in range(len(z[0]))]
        top = max(mean)
        p = [math.exp(m - top) for m in mean]
        p = [v / sum(p) for v in p]
        sure = max(p) if score == "confidence" else 1 - sum(-v * math.log(v) for v in p if v > 0) / math.log(len(p))
        if sure > threshold or t == len(z):
            return mean.index(top), t
    raise AssertionError("the last step ends it")


@every_score
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 0.9, 0.99, 1.0])
def test_equals_the_slow_loop(batch, score, threshold):
    logits, target = batch
    expected = [slow_exit(logits[:, n].tolist(), threshold, score) for n in range(N)]
    sure = scores(mean_so_far(logits), score)
    assert exit_steps(sure, threshold).tolist() == [steps for _, steps in expected]
    right = sum(answer == label for (answer, _), label in zip(expected, target.tolist(), strict=True))
    assert exit_counts(logits, target, score, [threshold]).tolist() == [[right, sum(steps for _, steps in expected)]]


@every_score
def test_the_ends_of_the_curve(batch, score):
    """Threshold 0 is the first step's answer, threshold 1 that of all steps; between them, the steps only grow."""
    logits, target = batch
    counts = exit_counts(logits, target, score)
    assert counts[0].tolist() == [(logits[0].argmax(-1) == target).sum(), N]
    assert counts[-1].tolist() == [(logits.mean(0).argmax(-1) == target).sum(), N * T]
    assert (counts[:, 1].diff() >= 0).all()
    assert N < counts[5, 1] < N * T, "the test would see nothing"


@every_score
def test_threshold_1_never_stops_early_even_if_the_score_rounds_to_1(score):
    logits = torch.zeros(3, 4, K)
    logits[..., 2] = 1e4
    assert scores(logits, score).max() == 1
    assert exit_steps(scores(logits, score), 1.0).tolist() == [3] * 4


def test_scores_of_known_answers():
    uniform, sure = torch.zeros(1, 1, 4), torch.tensor([[[50.0, 0, 0, 0]]])
    half = torch.tensor([[[0.0, 0.0, -1e3, -1e3]]])
    assert [scores(x).item() for x in (uniform, half, sure)] == pytest.approx([0.25, 0.5, 1])
    assert [scores(x, "entropy").item() for x in (uniform, half, sure)] == pytest.approx([0, 0.5, 1], abs=1e-6)


def test_the_mean_not_the_sum():
    """Equal logits at every step stay equally sure; by the sum of the released codes, confidence would grow."""
    logits = torch.tensor([1.0, 0.0]).expand(4, 1, 2)
    assert scores(mean_so_far(logits)).flatten().tolist() == pytest.approx([math.e / (1 + math.e)] * 4)


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    model = zoo.create_model("spiking_vgg_tiny", num_classes=K, in_chans=1, num_steps=4, neuron="leaky").double()
    with torch.no_grad():
        for _ in range(30):
            model(torch.randn(16, 1, 8, 8).double())
    model.fc.weight.data.mul_(8)
    return model.eval()


@every_score
@pytest.mark.parametrize("shape", [(60, 1, 8, 8), (3, 60, 1, 8, 8)], ids=["still", "sequence"])
def test_really_stopping_gives_the_answers_of_the_curve(student, score, shape):
    x = torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        z = student.forward_sequence(x[None] if x.ndim == 4 else x)
    middle = scores(mean_so_far(z), score)[:-1].median().item()
    for threshold in (0.0, middle, 1.0):
        steps = exit_steps(scores(mean_so_far(z), score), threshold)
        logits, taken = EarlyExit(student, threshold, score)(x)
        assert torch.equal(taken, steps)
        expected = mean_so_far(z)[steps - 1, torch.arange(60)]
        torch.testing.assert_close(logits, expected)
    assert student.num_steps == 4
    assert all(neuron.state is None for neuron in spiking_neurons(student).values())
    assert len(set(exit_steps(scores(mean_so_far(z), score), middle).tolist())) > 1, "the test would see nothing"


def test_it_runs_only_what_is_unsure(student):
    seen = []
    hook = student.encoder.act.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[:2])))
    EarlyExit(student, 0.0)(torch.randn(5, 1, 8, 8).double())
    hook.remove()
    assert seen == [(1, 5)]


def test_bad_input(student):
    with pytest.raises(ValueError, match=r"threshold of an early exit: expected a score in \[0, 1\], found 1.5"):
        EarlyExit(student, 1.5)
    with pytest.raises(ValueError, match="Unknown score 'entropi'. Did you mean 'entropy'"):
        EarlyExit(student, score="entropi")
    with pytest.raises(ValueError, match="Unknown score"):
        scores(torch.zeros(1, 1, 3), "margin")
    with pytest.raises(ValueError, match=r"found -0.1"):
        exit_steps(torch.zeros(2, 3), -0.1)
    with pytest.raises(ValueError, match="two classes"):
        scores(torch.zeros(1, 1, 1), "entropy")


def test_takes_a_student_that_does_not_train(make):
    with pytest.raises(ValueError, match=r"training mode.*eval"):
        EarlyExit(make().train())(torch.rand(1, 1, 16, 16))
    with pytest.raises(ValueError, match="expected a student, found Linear"):
        EarlyExit(torch.nn.Linear(2, 2))
