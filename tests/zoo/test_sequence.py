import pytest
import torch

from zoo.sequence import SequenceKind, check_finite, to_sequence

SIZES = {2: (50, 8, 1), 3: (20, 1, 1), 4: (3, 16, 1), 5: (2, 8, 9)}


def test_a_sequence_has_the_axes_of_its_model():
    frames, trains, image = torch.rand(4, 2, 1, 8, 8), torch.rand(4, 2, 5), torch.rand(2, 1, 8, 8)
    assert to_sequence(frames) is frames
    assert to_sequence(trains, SequenceKind.SPIKE_TRAINS) is trains
    assert torch.equal(to_sequence(image), image[None])
    for x, ndim, accepted in ((trains, 5, "images"), (frames, 3, "spike trains"), (image, 3, "spike trains")):
        with pytest.raises(ValueError, match=rf"input: expected {accepted}.*found shape"):
            to_sequence(x, SequenceKind(ndim))


@pytest.mark.parametrize("kind", SequenceKind)
def test_noise_is_a_sequence_of_its_kind(kind):
    """What stands still has no axis of time; the same generator gives the same noise."""
    x, again = (kind.noise(SIZES[kind], 6, 5, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(x, again)
    assert x.ndim == len(kind.axes) - kind.still == kind - kind.still
    assert to_sequence(x, kind).shape[kind.axes.index("N")] == 6


@pytest.mark.parametrize("kind", SequenceKind)
def test_the_code_for_a_card_makes_a_sequence_of_its_kind(kind):
    x, noise = eval(kind.code.format(*SIZES[kind])), kind.noise(SIZES[kind], 1, 100, torch.Generator())
    assert x.shape == noise.shape


def test_axes_of_a_sample_leave_the_batch_out():
    assert [kind.sample_axes for kind in SequenceKind] == ["[T]", "[T, F]", "[T, P, D]", "[T, C, H, W]"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused_with_their_place(value):
    x = torch.zeros(2, 1, 4, 4)
    x[1, 0, 2, 3] = value
    with pytest.raises(ValueError, match=rf"expected finite numbers, found {value} at \[0, 1, 0, 2, 3\] .* 1 such"):
        check_finite(x[None])


@pytest.mark.parametrize("kind", SequenceKind)
def test_a_sequence_has_a_step(kind):
    with pytest.raises(ValueError, match="T >= 1, found shape"):
        to_sequence(torch.zeros(0, *[2] * (kind - 1)), kind)
