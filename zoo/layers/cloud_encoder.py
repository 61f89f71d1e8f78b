"""Event clouds as spikes: sampling, grouping and rate coding, the input stage of networks on points.

A cloud [P, D] holds P events with D coordinates in [0, 1], the last of which is time: (x, y, t). A row with t < 0 is
padding, by which clouds of different sizes make a batch. SpikePoint, Ren et al. 2024, arXiv:2310.07189: written from
the paper's text, which has no code. Shapes: T time steps, N batch, P events, M sampled points, G groups, k neighbours.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

STREAMS = 3  # of random numbers: of the sample, of the groups, of the centroids


class CloudEncoder(nn.Module):
    r"""Event clouds [T, N, P, D] to spikes: of groups [T, N, 2 D, G k], and of their centroids [T, N, D, G].

    1. `sample`: M of the events, at random; where there are fewer, each several times.
    2. `farthest_points`: G of them, spread over the cloud, are centroids. With G = M, as published, all points are, and
       the step is left out: it would only put them in another order.
    3. `nearest`: the k points nearest to every centroid, itself among them, make its group.
    4. `describe_groups`: numbers p in [0, 1] that say what a group looks like and where it is.
    5. Rate coding: S_t = 1[u_t < p], with u_t uniform in [0, 1), fires with probability p at every step.

    A still cloud (T = 1) goes through 1 to 4 once, and is coded for `num_steps` steps. In training what is random comes
    from torch's generator. In evaluation it comes from `seed`, is the same for every sample, and meets the events in
    the order of their time (then x, then y): the answer depends on neither the rest of the batch, nor the padding, nor
    the order of the events.

    Args:
        num_points: Points M.
        num_centroids: Groups G <= M; None for all points.
        neighbours: Points k of a group, 2 <= k <= M.
        in_chans: Coordinates D >= 2 of an event.
        seed: Of the random numbers in evaluation.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> encoder = CloudEncoder(num_points=32, neighbours=8).eval()
        >>> groups, centroids = encoder(torch.rand(1, 2, 50, 3), num_steps=4)
        >>> groups.shape, centroids.shape, groups.unique().tolist()
        (torch.Size([4, 2, 6, 256]), torch.Size([4, 2, 3, 32]), [0.0, 1.0])
    """

    def __init__(
        self,
        num_points: int = 1024,
        num_centroids: int | None = None,
        neighbours: int = 24,
        in_chans: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_points, self.num_centroids = num_points, num_points if num_centroids is None else num_centroids
        self.neighbours, self.in_chans, self.seed = neighbours, in_chans, seed
        for name, lowest, value, highest in (
            ("neighbours", 2, neighbours, num_points),
            ("num_centroids", 1, self.num_centroids, num_points),
            ("in_chans", 2, in_chans, math.inf),
        ):
            if not lowest <= value <= highest:
                most = f" and at most num_points, {num_points}" if highest == num_points else ""
                raise ValueError(f"{name}: expected at least {lowest}{most}, found {value}.")

    def forward(self, x: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
        """Spikes [T, N, 2 D, G k] and [T, N, D, G]; T is that of a sequence, `num_steps` for a still cloud.

        Raises:
            ValueError: If a cloud has other coordinates, coordinates outside [0, 1], or fewer than k events.
        """
        check_clouds(x, self.in_chans, self.neighbours)
        with torch.no_grad():
            events = in_order(x.flatten(0, 1).to(torch.promote_types(x.dtype, torch.float32)))  # [T*N, P, D]
            keys = self.draw(0, len(events), events.shape[1], device=x.device)
            points, distinct = sample(events, keys, self.num_points)
            centroids = points
            if self.num_centroids < self.num_points:
                centroids = pick(points, farthest_points(points, self.num_centroids))
            groups = pick(points, nearest(points, distinct, centroids, self.neighbours))  # [T*N, G, k, D]
            local = describe_groups(groups, centroids).flatten(2)
            steps = num_steps if len(x) == 1 else len(x)
            return self.code(1, local, x, steps), self.code(2, centroids.transpose(1, 2), x, steps)

    def code(self, stream: int, values: Tensor, x: Tensor, steps: int) -> Tensor:
        """Spikes [T, N, ...] in the dtype of the clouds x, of their probabilities [T*N, ...] ([N, ...] if still)."""
        values = values.unflatten(0, x.shape[:2])
        draws = self.draw(stream, x.shape[1], steps, *values.shape[2:], device=x.device)  # [N or 1, T, ...]
        return (draws.transpose(0, 1) < values).to(x.dtype)

    def draw(self, stream: int, samples: int, *shape: int, device: Any) -> Tensor:
        """Uniform numbers in [0, 1): [samples, *shape] in training; in evaluation [1, *shape], always the same.

        The numbers of a shorter first axis of the shape are the first of a longer one's.
        """
        if self.training:
            return torch.rand(samples, *shape, device=device)
        generator = torch.Generator().manual_seed(STREAMS * self.seed + stream)
        return torch.rand(1, *shape, generator=generator).to(device)

    def extra_repr(self) -> str:
        """In `print(model)`."""
        return (
            f"num_points={self.num_points}, num_centroids={self.num_centroids}, neighbours={self.neighbours}, "
            f"seed={self.seed}"
        )


def check_clouds(x: Tensor, in_chans: int, neighbours: int) -> None:
    """Refuse clouds [..., P, D] that cannot be encoded.

    Raises:
        ValueError: If D is not in_chans, a coordinate of an event lies outside [0, 1], or events are too few.
    """
    if x.shape[-1] != in_chans:
        raise ValueError(
            f"An event has {in_chans} coordinates here, the last of them time; found clouds of shape {tuple(x.shape)}, "
            f"with {x.shape[-1]}. Give (x, y, t), without the polarity."
        )
    if x.is_meta:  # shapes without numbers
        return
    is_event = ~(x[..., -1] < 0)
    counts = is_event.sum(-1)
    fewest = int(counts.min()) if counts.numel() else neighbours
    if fewest < neighbours:
        raise ValueError(
            f"event clouds: expected at least {neighbours} events, as many as a group has neighbours, found one with "
            f"{fewest} (rows with t < 0 are padding and do not count). Leave such windows out, or make them longer."
        )
    outside = is_event[..., None] & ~((x >= 0) & (x <= 1))  # also nan
    if outside.any():
        raise ValueError(
            f"coordinates of events: expected numbers in [0, 1], found {x[outside][0].item():g}. Divide x and y by the "
            "size of the sensor, and give t as the part of the window that has passed; a row of -1 is padding."
        )


def pick(points: Tensor, index: Tensor) -> Tensor:
    """The points [B, M, D] of an index [B, ...]: [B, ..., D]."""
    flat = index.flatten(1)[..., None].expand(-1, -1, points.shape[-1])
    return points.gather(1, flat).unflatten(1, index.shape[1:])


def in_order(events: Tensor) -> Tensor:
    """Events [B, P, D] by time, then by the first coordinate, the second, ...; padding last.

    Example:
        >>> in_order(torch.tensor([[[0.5, 0.9], [0.0, -1.0], [0.2, 0.9], [0.7, 0.1]]])).tolist()[0][:2]
        [[0.699999988079071, 0.10000000149011612], [0.20000000298023224, 0.8999999761581421]]
    """
    time = events.shape[-1] - 1
    for column in (*reversed(range(time)), time):  # stable: the last sort decides, the others break its ties
        key = events[..., column]
        key = key.masked_fill(key < 0, math.inf) if column == time else key
        events = pick(events, key.argsort(dim=1, stable=True))
    return events


def sample(events: Tensor, keys: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Choose points without replacement while there are any left, and then the same ones over again.

    Args:
        events: [B, P, D], padding last.
        keys: Random numbers [B or 1, P]; the events with the lowest are chosen, in the order of their keys.
        count: Points M.

    Returns:
        Points [B, M, D], and how many of them [B], which come first, are different events.
    """
    found = (~(events[..., -1] < 0)).sum(1, keepdim=True)  # [B, 1]
    padding = torch.arange(events.shape[1], device=events.device) >= found
    order = keys.expand(len(events), -1).masked_fill(padding, math.inf).argsort(dim=1, stable=True)
    turns = torch.arange(count, device=events.device) % found  # [B, M]
    return pick(events, order.gather(1, turns)), found[:, 0].clamp(max=count)


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Indices [B, G] of points [B, M, D]: the first, then always the one farthest from all that were chosen.

    Source: Eldar et al. 1997; PointNet++, Qi et al. 2017, arXiv:1706.02413.
    """
    index = torch.zeros(len(points), dtype=torch.long, device=points.device)
    distance = torch.full(points.shape[:2], math.inf, dtype=points.dtype, device=points.device)
    chosen = []
    for _ in range(count):
        chosen.append(index)
        distance = distance.minimum((points - pick(points, index[:, None])).square().sum(-1))
        index = distance.argmax(1)
    return torch.stack(chosen, 1)


def nearest(points: Tensor, distinct: Tensor, centroids: Tensor, count: int) -> Tensor:
    """Indices [B, G, k] of the points nearest to every centroid [B, G, D], the nearest first.

    Args:
        points: [B, M, D].
        distinct: How many of them [B], from the first, to choose from: the others are repetitions.
        centroids: [B, G, D].
        count: Neighbours k.
    """
    # Differences, not the faster product of matrices, whose rounding depends on the rest of the batch.
    distance = torch.cdist(centroids, points, compute_mode="donot_use_mm_for_euclid_dist")  # [B, G, M]
    repeated = torch.arange(points.shape[1], device=points.device) >= distinct[:, None]
    return distance.masked_fill(repeated[:, None], math.inf).topk(count, largest=False).indices


def describe_groups(groups: Tensor, centroids: Tensor) -> Tensor:
    r"""Probabilities [B, 2 D, G, k] of groups [B, G, k, D] around centroids [B, G, D].

        min(1, |g - c| / SD(G)),   min over the group of g

    for each coordinate, with the standard deviation over the group (k - 1 in the denominator). The paper takes absolute
    values, since a rate cannot be negative, and does not say what becomes of those above 1, a third of them; here they
    fire at every step. In a group without extent in a coordinate the first is 0.
    """
    distance = (groups - centroids[:, :, None]).abs()
    scaled = (distance / groups.std(2, keepdim=True).clamp(min=1e-6)).clamp(max=1)
    corner = groups.amin(2, keepdim=True).expand_as(groups)
    return torch.cat([scaled, corner], -1).permute(0, 3, 1, 2)
