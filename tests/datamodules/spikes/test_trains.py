import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datamodules.errors import DataError
from datamodules.spikes.trains import Bin, Blend, JitterTrain, ShiftTrain, SpikeTrain, SpikeTrains, check_spikes

SPIKES = st.lists(st.tuples(st.floats(-5, 130, allow_subnormal=False), st.integers(-3, 12)), max_size=40)


def train_of(spikes, label=0):
    time, unit = zip(*spikes, strict=True) if spikes else ((), ())
    return SpikeTrain(np.array(time, np.float64), np.array(unit, np.int64), label)


def trains_of(*samples, labels):
    pieces = [
        [np.array([spike[part] for spike in spikes], kind) for spikes in samples] for part, kind in enumerate("eH")
    ]
    return SpikeTrains.of(*pieces, [len(spikes) for spikes in samples], labels)


@given(SPIKES, st.sampled_from([1, 2, 3, 10]), st.booleans())
def test_bins_against_a_loop(spikes, unit_sum, binary):
    """Every spike inside is in exactly one cell; 95 ms in steps of 10 are ten."""
    expected = np.zeros((10, -(-10 // unit_sum)))
    for time, unit in spikes:
        if 0 <= time < 100 and 0 <= unit < 10:
            expected[int(time // 10), unit // unit_sum] += 1
    x = Bin(10, 10.0, 95.0, unit_sum, binary)(train_of(spikes))
    assert x.dtype == torch.float32
    assert np.array_equal(x.numpy(), expected > 0 if binary else expected)


def test_samples_are_kept_as_recorded():
    trains = trains_of([(0.1, 3), (1.37, 699)], [], [(65.0, 0)], labels=[4, 5, 6])
    assert (trains.times.dtype, trains.units.dtype) == (np.float16, np.uint16)
    train, label = trains[0]
    assert label == train.label == 4
    assert train.time.tolist() == [1000 * float(np.float16(0.1)), 1000 * float(np.float16(1.37))]
    assert train.unit.tolist() == [3, 699]
    assert len(trains[1][0].time) == 0
    assert trains[2][0].time[0] * 1000 == 65e6, "beyond float16: tonic's issue 321"
    some = pickle.loads(pickle.dumps(trains.subset(np.array([False, True, True]))))
    assert len(some) == 2
    assert some[1][0].time.tolist() == [65000.0]
    assert trains.share_after(1000) == 2 / 3


def test_blend_meets_in_the_middle():
    """Both parts keep their shape; the centre of mass is the mean of the two; half of the spikes stay."""
    one = [(0.125 + 0.0005 * i, 100 + i % 3) for i in range(300)]
    two = [(0.625 + 0.0005 * i, 300 + i % 3) for i in range(300)]
    other = [(0.0, 600)] * 300
    trains = trains_of(one, two, other, labels=[7, 7, 8])
    blend, seen = Blend(trains, share=1.0), set()
    for seed in range(8):
        torch.manual_seed(seed)
        mixed = blend(trains[0][0])
        assert mixed.label == 7
        assert 220 < len(mixed.time) < 380
        span = (mixed.unit.min(), mixed.unit.max())
        seen.add(span)
        assert span in ((100, 102), (200, 202)), "with itself, or halfway to the other"
        assert abs(mixed.time.mean() - (200 if span[0] == 100 else 450)) < 15
    assert len(seen) == 2
    assert not torch.equal(torch.rand(3), torch.rand(3))
    untouched = Blend(trains, share=0.0)(trains[0][0])
    assert untouched.time.tolist() == trains[0][0].time.tolist()


def test_blend_of_empty_samples():
    trains = trains_of([], [(0.1, 1)], labels=[0, 0])
    for _ in range(8):
        assert len(Blend(trains, 1.0)(trains[0][0]).time) == 0
        assert len(Blend(trains, 1.0)(trains[1][0]).time) <= 2


def test_shift_moves_all_spikes_alike():
    train, units, times = train_of([(10.0, 5), (30.0, 8)]), set(), []
    for _ in range(200):
        moved = ShiftTrain(2, 4.0)(train)
        assert moved.time[1] - moved.time[0] == pytest.approx(20.0)
        assert moved.unit[1] - moved.unit[0] == 3
        units.add(int(moved.unit[0] - 5))
        times.append(moved.time[0] - 10)
    assert units == {-2, -1, 0, 1, 2}
    assert -4 <= min(times) < -3
    assert 3 < max(times) <= 4


def test_jitter_has_the_given_deviations():
    train = train_of([(500.0, 300)] * 20000)
    moved = JitterTrain(10.0, 3.0)(train)
    assert moved.time.std() == pytest.approx(3.0, rel=0.03)
    assert moved.unit.std() == pytest.approx(10.0, rel=0.03)
    assert moved.unit.dtype == np.int64
    assert abs(moved.time.mean() - 500) < 0.1


def test_augmentation_draws_from_torchs_generator():
    trains = trains_of([(0.1, 5)] * 50, [(0.3, 9)] * 50, labels=[0, 0])
    steps = (Blend(trains), ShiftTrain(3, 5.0), JitterTrain(2.0, 2.0))

    def drawn(seed):
        torch.manual_seed(seed)
        train = trains[0][0]
        for step in steps:
            train = step(train)
        return train.time.tolist() + train.unit.tolist()

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize(
    ("times", "units", "message"),
    [
        (np.array([0.1, np.nan]), np.array([1, 2]), r"sample 3, spike 1 has time nan; expected finite"),
        (np.array([np.inf], np.float16), np.array([1]), "spike 0 has time inf"),
        (np.array([-0.1]), np.array([1]), "spike 0 has time -0.1"),
        (np.array([0.1, 0.2]), np.array([1, 700]), "spike 1 has unit 700; expected 0 to 699"),
        (np.array([0.1]), np.array([-1]), "spike 0 has unit -1"),
        (np.array([0.1]), np.array([1.5]), "spike 0 has unit 1.5"),
        (np.array([0.1]), np.array([np.nan]), "spike 0 has unit nan"),
        (np.array([0.1]), np.array([1, 2]), r"times of float64 \(1,\) and units of int64 \(2,\)"),
        (np.array([1]), np.array([1]), "times of int64"),
        (np.array([0.1]), np.array(["a"]), "units of <U1"),
    ],
)
def test_spikes_that_cannot_be(times, units, message):
    with pytest.raises(DataError, match=message) as error:
        check_spikes("a.h5", "sample 3", times, units, 700)
    assert str(error.value).startswith("a.h5: ")
