import itertools
import math

import pytest

from lightning_modules.schedule import warmup_cosine


def test_rises_linearly_then_falls_to_zero():
    factors = [warmup_cosine(step, 4, 20) for step in range(21)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[12] == pytest.approx(0.5)  # half-way of the cosine
    assert factors[20] == pytest.approx(0.0)
    assert all(a > b for a, b in itertools.pairwise(factors[4:]))


def test_without_warmup_starts_at_the_base_rate():
    assert warmup_cosine(0, 0, 10) == 1.0
    assert warmup_cosine(5, 0, 10) == pytest.approx((1 + math.cos(math.pi / 2)) / 2)


def test_never_negative_past_the_end():
    assert warmup_cosine(50, 0, 10) == pytest.approx(0.0)
