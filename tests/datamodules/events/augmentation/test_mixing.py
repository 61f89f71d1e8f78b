"""EventMix takes a region of the partner, and weighs the classes by the shares of events."""

import math

import numpy as np
import pytest
import torch

from datamodules.events.augmentation import mixing
from datamodules.events.augmentation.mixing import EventMix


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EventMix(0.0, 10), "alpha of EventMix: expected above 0"),
        (lambda: EventMix(1.0, 10)(torch.zeros(5, 2, 7), torch.zeros(2).long()), r"found \[5, 2, 7\]"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def mixed(seed, x, y, alpha=1.0, num_classes=4):
    torch.manual_seed(seed)
    return EventMix(alpha, num_classes)(x, y)


def test_event_mix_takes_a_region_of_the_partner_and_weighs_shares_of_events():
    counts = torch.poisson(torch.full((5, 6, 2, 7, 8), 2.0), generator=torch.Generator().manual_seed(0))
    x, y = 2 * counts + 1, torch.tensor([0, 1, 2, 3, 0, 1])  # odd
    x[:, ::2] *= 1024  # every other sample is far busier: its partner is a quiet one, so each cell tells whose it is
    before, fractions = x.clone(), []
    for seed in range(20):
        after, target = mixed(seed, x, y)
        assert torch.equal(x, before)
        torch.testing.assert_close(target.sum(1), torch.ones(6))
        for n in range(6):
            own, other = x[:, n], x[:, n - 1]
            taken = after[:, n] == other
            assert torch.equal(after[:, n], torch.where(taken, other, own))
            assert torch.equal(taken[:, 0], taken[:, 1])  # both polarities of a place together
            kept_share = float(own[~taken].sum() / own.sum())
            got_share = float(other[taken].sum() / other.sum())
            expected = [0.0] * 4
            expected[y[n]] += kept_share / (kept_share + got_share)
            expected[y[n - 1]] += got_share / (kept_share + got_share)
            assert target[n].tolist() == pytest.approx(expected, abs=1e-5)
        taken = (after == x.roll(1, 1))[:, :, 0]
        fraction = taken.float().mean((0, 2, 3))
        if 0.1 < fraction[0] < 0.9:
            assert len({tuple(taken[:, n].flatten().tolist()) for n in range(6)}) == 6  # a region for each sample
        torch.testing.assert_close(fraction, fraction[:1].expand(6), atol=2 / 280, rtol=0)  # of one size
        fractions.append(float(fraction[0]))
        torch.manual_seed(seed)
        again = EventMix(1.0, 4)
        again.density((5, 7, 8), 6)
        assert fractions[-1] == pytest.approx(1 - float(again.beta.sample()), abs=2 / 280)
    assert min(fractions) < 0.2
    assert max(fractions) > 0.8


def test_event_mix_s_gaussians_of_plain_numbers(monkeypatch):
    monkeypatch.setattr(mixing, "random_int", lambda low, high: high)
    torch.manual_seed(0)
    density = EventMix(1.0, 2).density((3, 4, 5), 2)
    torch.manual_seed(0)
    mean_t, spread_t, mean_y, spread_y, mean_x, spread_x = torch.cat(
        [torch.rand(2, 2, 4, 1) for _ in range(3)]
    ).tolist()
    weight = torch.rand(2, 4).tolist()
    for n in range(2):
        for t, row, column in np.ndindex(3, 4, 5):
            total = 0.0
            for k in range(4):
                exponent = 0.0
                for index, side, mean, spread in (
                    (t, 3, mean_t, spread_t),
                    (row, 4, mean_y, spread_y),
                    (column, 5, mean_x, spread_x),
                ):
                    sigma = max(spread[n][k][0], 0.1) / 2
                    exponent += ((index + 0.5) / side - mean[n][k][0]) ** 2 / (2 * sigma**2)
                total += weight[n][k] * math.exp(-exponent)
            assert float(density[t, n, row, column]) == pytest.approx(total, rel=1e-4)


def test_event_mix_of_empty_samples_counts_cells():
    x, y = torch.zeros(3, 2, 2, 6, 6), torch.tensor([0, 1])
    after, target = mixed(1, x, y)
    assert not after.any()
    torch.testing.assert_close(target.sum(1), torch.ones(2))
    assert 0 < target[0, 0] < 1
    x[:, 1] = 1  # what is seen of the other is all there is
    after, target = mixed(1, x, y)
    assert after[:, 0].sum() > 0
    assert target.tolist() == [[0, 1, 0, 0], [0, 1, 0, 0]]


def test_event_mix_of_one_sample_is_itself():
    x, y = torch.rand(3, 1, 2, 6, 6), torch.tensor([2])
    after, target = mixed(0, x, y)
    assert torch.equal(after, x)
    assert target.tolist() == [[0, 0, 1, 0]]


def test_event_mix_can_be_repeated():
    x, y = torch.rand(3, 4, 2, 6, 6), torch.arange(4)
    assert all(torch.equal(a, b) for a, b in zip(mixed(5, x, y), mixed(5, x, y), strict=True))
    assert not torch.equal(mixed(5, x, y)[0], mixed(6, x, y)[0])
