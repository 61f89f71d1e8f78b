import pytest
import torch

from zoo.layers.wkv import linear_scan, running_max, wkv


def naive(k, v, decay, bonus):
    """The definition, in O(T^2): a softmax over all the past for every step, channel by channel."""
    out = []
    for t in range(len(k)):
        past = [k[i] + (t - 1 - i) * decay for i in range(t)]
        share = torch.stack([*past, k[t] + bonus]).softmax(0)
        out.append((share * v[: t + 1]).sum(0))
    return torch.stack(out)


def draw(steps, scale=1.0, batch=2, dim=5, dtype=torch.float64):
    k, v = (torch.randn(steps, batch, dim, dtype=dtype) for _ in range(2))
    decay = -torch.tensor([1e-3, 0.05, 0.5, 3.0, 20.0], dtype=dtype)[:dim]
    return scale * k, v, decay, torch.randn(dim, dtype=dtype)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("steps", [1, 2, 70])
def test_is_the_definition(steps, scale):
    inputs = draw(steps, scale)
    torch.testing.assert_close(wkv(*inputs)[0], naive(*inputs), atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("scale", [1.0, 300.0, 1e4])
def test_no_key_overflows_in_float32(scale):
    """exp(89) is infinite; differences of keys are what counts, rounded as the keys are."""
    inputs = draw(100, scale, dtype=torch.float32)
    found = wkv(*inputs)[0]
    assert found.isfinite().all()
    torch.testing.assert_close(found, naive(*(x.double() for x in inputs)).float(), atol=1e-4 + 1e-7 * scale, rtol=1e-3)


def test_the_mean_lies_between_the_values():
    k, v, decay, bonus = draw(200, 50.0, dtype=torch.float32)
    found = wkv(k, v, decay, bonus)[0]
    assert (found <= v.cummax(0).values + 1e-5).all()
    assert (found >= v.cummin(0).values - 1e-5).all()


@pytest.mark.parametrize("steepness", [1e3, 1e6, 1e20])
def test_the_steepest_decay_leaves_two_tokens(steepness):
    k, v, _, bonus = draw(50, dtype=torch.float32)
    decay = torch.full((5,), -steepness)
    share = torch.sigmoid(k[:-1] - k[1:] - bonus)
    expected = torch.cat([v[:1], share * v[:-1] + (1 - share) * v[1:]])
    torch.testing.assert_close(wkv(k, v, decay, bonus)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cuts", [[1, 10], [7], list(range(1, 20))])
def test_goes_on_where_it_was(cuts):
    k, v, decay, bonus = draw(20, 5.0)
    state, parts = None, []
    for keys, values in zip(k.tensor_split(cuts), v.tensor_split(cuts), strict=True):
        out, state = wkv(keys, values, decay, bonus, state)
        parts.append(out)
    whole, after = wkv(k, v, decay, bonus)
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-11, rtol=1e-11)
    unit = (state[2] - after[2]).exp()  # the sums are in units of exp(m)
    torch.testing.assert_close(state[0] * unit, after[0])
    torch.testing.assert_close(state[1] * unit, after[1])


@pytest.mark.parametrize("carried", [False, True])
def test_gradient(carried):
    k, v, decay, bonus = (x.requires_grad_() for x in draw(6, 2.0))
    state = tuple(x.detach() for x in wkv(*draw(4))[1]) if carried else None
    assert torch.autograd.gradcheck(lambda *x: wkv(*x, state)[0], (k, v, decay, bonus))


def test_gradient_is_that_of_the_definition_for_large_keys():
    found, expected = [], []
    inputs = [x.requires_grad_() for x in draw(40, 100.0)]
    weight = torch.randn(40, 2, 5, dtype=torch.float64)
    for function, gradients in ((lambda *x: wkv(*x)[0], found), (naive, expected)):
        gradients += torch.autograd.grad((weight * function(*inputs)).sum(), inputs)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-9)


def test_half_precision_is_computed_in_float32():
    k, v, decay, bonus = draw(30, dtype=torch.float32)
    k, v = k.bfloat16(), v.bfloat16()
    out, state = wkv(k, v, decay, bonus)
    assert out.dtype == torch.bfloat16
    assert {part.dtype for part in state} == {torch.float32}
    torch.testing.assert_close(out, wkv(k.float(), v.float(), decay, bonus)[0].bfloat16())


@pytest.mark.parametrize("steps", [1, 2, 7, 9, 50])
def test_linear_scan(steps):
    a, x, start = torch.rand(steps, 1, 3).double(), torch.randn(steps, 2, 3).double(), torch.randn(2, 3).double()
    y, expected = start, []
    for t in range(steps):
        y = a[t] * y + x[t]
        expected.append(y)
    torch.testing.assert_close(linear_scan(a, x, start), torch.stack(expected))
    if steps < 10:
        assert torch.autograd.gradcheck(linear_scan, tuple(z.requires_grad_() for z in (a, x, start)))


def test_running_max():
    k, _, decay, _ = draw(50, 3.0)
    m, expected = torch.full((2, 5), -torch.inf, dtype=torch.float64), []
    for key in k:
        m = torch.maximum(m + decay, key)
        expected.append(m)
    found = running_max(k, decay, torch.full((2, 5), -torch.inf, dtype=torch.float64))
    assert (found[0] == -torch.inf).all()
    torch.testing.assert_close(found[1:], torch.stack(expected))
