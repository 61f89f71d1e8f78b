"""Every stage against loops over single events, in Python."""

import math
import statistics
from itertools import pairwise

import pytest
import torch

from zoo.layers.cloud_encoder import (
    CloudEncoder,
    describe_groups,
    farthest_points,
    in_order,
    nearest,
    pick,
    sample,
)


def test_order_is_that_of_time_then_place():
    """Coordinates of few values, so that there are many ties; padding last."""
    events = torch.randint(0, 3, (4, 40, 3)).float() / 2
    events[torch.rand(4, 40) < 0.3] = -1
    for found, cloud in zip(in_order(events).tolist(), events.tolist(), strict=True):
        kept = sorted((t, x, y) for x, y, t in cloud if t >= 0)
        assert [(t, x, y) for x, y, t in found if t >= 0] == kept
        assert all(t < 0 for _, _, t in found[len(kept) :])


@pytest.mark.parametrize("count", [5, 12, 30])
def test_sample_takes_every_event_before_it_takes_one_again(count):
    events, keys = torch.rand(3, 20, 3), torch.rand(3, 20)
    events[1, 12:] = -1
    events[2, 1:] = -1
    points, distinct = sample(events, keys, count)
    assert points.shape == (3, count, 3)
    for cloud, key, found, different in zip(events.tolist(), keys.tolist(), points.tolist(), distinct, strict=True):
        order = [event for _, event in sorted((k, event) for k, event in zip(key, cloud, strict=True) if event[2] >= 0)]
        assert found == [order[m % len(order)] for m in range(count)]
        assert different == min(count, len(order))


def test_sample_is_uniform():
    """Each of 10 events is among 4 chosen in 4 of 10 draws, to 5 standard deviations."""
    events = torch.linspace(0, 1, 10)[:, None].expand(4000, 10, 2)
    points, _ = sample(events, torch.rand(4000, 10), 4)
    shares = torch.stack([(points[..., 0] == value).any(1).float().mean() for value in events[0, :, 0]])
    assert (shares - 0.4).abs().max() < 5 * math.sqrt(0.24 / 4000)


def test_farthest_points():
    points = torch.rand(3, 30, 3, dtype=torch.float64)
    for cloud, found in zip(points.tolist(), farthest_points(points, 9).tolist(), strict=True):
        chosen = [0]
        while len(chosen) < 9:
            gaps = [min(math.dist(point, cloud[index]) for index in chosen) for point in cloud]
            chosen.append(gaps.index(max(gaps)))
        assert found == chosen


def test_nearest():
    """Among the first of the points only, the others being repetitions."""
    points, centroids = torch.rand(2, 30, 3, dtype=torch.float64), torch.rand(2, 5, 3, dtype=torch.float64)
    found = nearest(points, torch.tensor([30, 11]), centroids, 6)
    for cloud, limit, own, groups in zip(points.tolist(), (30, 11), centroids.tolist(), found.tolist(), strict=True):
        for centre, group in zip(own, groups, strict=True):
            assert group == sorted(range(limit), key=lambda m: math.dist(cloud[m], centre))[:6]
    for cloud, groups, picked in zip(points.tolist(), found.tolist(), pick(points, found).tolist(), strict=True):
        assert picked == [[cloud[m] for m in group] for group in groups]


def test_description_of_a_group():
    groups, centroids = torch.rand(2, 4, 6, 3, dtype=torch.float64), torch.rand(2, 4, 3, dtype=torch.float64)
    groups[0, 1, :, 2] = centroids[0, 1, 2]  # no extent in time
    values = describe_groups(groups, centroids)
    assert values.shape == (2, 6, 4, 6)
    for n in range(2):
        for g in range(4):
            for d in range(3):
                column = groups[n, g, :, d].tolist()
                spread = statistics.stdev(column) or math.inf
                scaled = [min(1.0, abs(value - centroids[n, g, d].item()) / spread) for value in column]
                assert values[n, d, g].tolist() == pytest.approx(scaled)
                assert values[n, 3 + d, g].tolist() == [min(column)] * 6
    assert not values[0, 2, 1].any()


@pytest.mark.parametrize("training", [True, False])
def test_rates_are_the_coordinates(training):
    """Of the centroids, over 2000 steps, to 5 standard deviations; every coordinate by itself."""
    encoder = CloudEncoder(num_points=10, neighbours=4).train(training)
    x = torch.rand(1, 2, 10, 3)
    groups, centroids = encoder(x, 2000)
    assert groups.shape == (2000, 2, 6, 40)
    rates = centroids.mean(0).transpose(1, 2)  # [N, G, D], the points in an order of their own
    for n in range(2):
        distance = torch.cdist(rates[n], x[0, n])
        assert sorted(distance.argmin(1).tolist()) == list(range(10))
        assert distance.min(1).values.max() < 5 * math.sqrt(3 * 0.25 / 2000)
    steps = centroids[:, 0] - rates[0].T
    together = torch.einsum("tcg,tdg->cdg", steps, steps) / 2000
    assert together[~torch.eye(3, dtype=torch.bool)].abs().max() < 5 * 0.25 / math.sqrt(2000)


def test_draws_in_evaluation():
    """The same for every sample; those of fewer steps and of fewer events are the first of those of more."""
    encoder = CloudEncoder(num_points=20, neighbours=4).eval()
    x = torch.rand(1, 1, 20, 3)
    groups, centroids = encoder(x.expand(1, 5, 20, 3), 6)
    assert all(torch.equal(part, part[:, :1].expand_as(part)) for part in (groups, centroids))
    for fewer, more in zip(encoder(x, 2), encoder(x, 6), strict=True):
        assert torch.equal(fewer, more[:2])
    for shape, longer in (((7,), (3000,)), ((3, 5), (900, 5))):
        few, many = (encoder.draw(0, 4, *size, device="cpu") for size in (shape, longer))
        assert torch.equal(few, many[:, : shape[0]])
    streams = [encoder.draw(stream, 1, 500, device="cpu") for stream in range(3)]
    assert all((one != other).float().mean() > 0.99 for one, other in pairwise(streams))


def test_draws_in_training():
    """Anew in every call, from torch's generator, and for every sample."""
    encoder, x = CloudEncoder(num_points=20, neighbours=4).train(), torch.rand(1, 1, 40, 3).expand(1, 2, 40, 3)
    torch.manual_seed(1)
    first, second = encoder(x, 4)[1], encoder(x, 4)[1]
    torch.manual_seed(1)
    assert torch.equal(encoder(x, 4)[1], first)
    assert not torch.equal(first, second)
    assert not torch.equal(first[:, 0], first[:, 1])


def test_a_sequence_has_a_cloud_for_every_step():
    """Each sampled by itself, with the draws that a still cloud would have at that step."""
    encoder, x = CloudEncoder(num_points=16, num_centroids=8, neighbours=4).eval(), torch.rand(3, 2, 20, 3)
    together = encoder(x, 99)
    for t in range(3):
        for part, alone in zip(together, encoder(x[t : t + 1], 3), strict=True):
            assert torch.equal(part[t], alone[t])


def test_spikes_have_the_dtype_of_the_cloud():
    encoder = CloudEncoder(num_points=16, neighbours=4)
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        assert {part.dtype for part in encoder(torch.rand(1, 2, 20, 3, dtype=dtype), 3)} == {dtype}


def test_a_cloud_of_as_many_events_as_neighbours_is_one_group():
    encoder = CloudEncoder(num_points=16, neighbours=4)
    assert encoder(torch.rand(1, 2, 4, 3), 3)[0].shape == (3, 2, 6, 64)
    with pytest.raises(ValueError, match="at least 4 events, .* found one with 3 .* padding"):
        encoder(torch.rand(1, 2, 3, 3), 3)


@pytest.mark.parametrize("value", [float("nan"), 1.5, -0.5])
def test_coordinates_out_of_range(value):
    x = torch.rand(1, 2, 20, 3)
    x[0, 1, 3, 0] = value
    with pytest.raises(ValueError, match=r"expected numbers in \[0, 1\], found (nan|1.5|-0.5)\. Divide x and y"):
        CloudEncoder(num_points=16, neighbours=4)(x, 3)
