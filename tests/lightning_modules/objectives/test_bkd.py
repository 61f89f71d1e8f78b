import numpy as np
import pytest
import torch
from torch import nn

from lightning_modules.objectives import BKD, FeatureMSE
from zoo.model import Outputs


def build(make_info, found=3, wanted=3, **arguments):
    torch.manual_seed(0)
    term = BKD(**arguments)
    term.build(make_info(found), make_info(wanted))
    return term


def restore_nothing(term):
    """Make both 3x3 convolutions the identity; the ReLU between them is one on inputs >= 0."""
    for conv in (term.restore[0], term.restore[2]):
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)
    return term


def convolve(x, conv):
    """A convolution with zero padding that keeps the size, by loops over x [C, H, W]."""
    weight, bias = conv.weight.detach().double().numpy(), conv.bias.detach().double().numpy()
    half = weight.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (half, half), (half, half)))
    out = np.zeros((len(weight), *x.shape[1:]))
    for c, i, j in np.ndindex(out.shape):
        out[c, i, j] = bias[c]
        for k, di, dj in np.ndindex(weight.shape[1:]):
            out[c, i, j] += weight[c, k, di, dj] * padded[k, i + di, j + dj]
    return out


def restored(term, feature):
    """What the convolutions make of a sequence of features [T, N, C, H, W], without blur."""
    x = feature.double().numpy().mean(0)
    if isinstance(term.align, nn.Conv2d):
        x = [convolve(sample, term.align) for sample in x]
    return np.stack([convolve(np.maximum(convolve(sample, term.restore[0]), 0), term.restore[2]) for sample in x])


@pytest.mark.parametrize("wanted", [3, 2])
def test_map(make_info, make_outputs, target, wanted):
    student, teacher = make_outputs(3, (3, 4, 4), seed=1), make_outputs(2, (wanted, 4, 4), seed=2)
    term = build(make_info, 3, wanted, blur=0.0)
    error = restored(term, student.features[0]) - teacher.features[0].double().numpy().mean(0)
    assert term(student, teacher, target).item() == pytest.approx((error**2).mean(), rel=1e-5)


@pytest.mark.parametrize("wanted", [3, 2])
def test_pool(make_info, make_outputs, target, wanted):
    student, teacher = make_outputs(3, (3, 4, 4), seed=1), make_outputs(1, (wanted, 7, 5), seed=2)
    term = build(make_info, 3, wanted, blur=0.0, reduce="pool")
    ours = restored(term, student.features[0]).mean((2, 3))
    theirs = teacher.features[0].double().numpy()[0].mean((2, 3))
    assert term(student, teacher, target).item() == pytest.approx(((ours - theirs) ** 2).mean(), rel=1e-5)


@pytest.mark.parametrize("reduce", ["map", "pool"])
@pytest.mark.parametrize("wanted", [3, 2])
def test_vectors(make_info, make_outputs, target, wanted, reduce):
    """Of neurons, not pixels, in which R is a perceptron with one hidden layer."""
    student, teacher = make_outputs(6, (3,), seed=1), make_outputs(4, (wanted,), seed=2)
    term = build(make_info, 3, wanted, blur=0.0, reduce=reduce)

    def apply(conv, x):
        weight, bias = conv.weight.detach().double().numpy(), conv.bias.detach().double().numpy()
        centre = weight.shape[-1] // 2
        return x @ weight[:, :, centre, centre].T + bias

    ours = student.features[0].double().numpy().mean(0)
    if wanted != 3:
        ours = apply(term.align, ours)
    ours = apply(term.restore[2], np.maximum(apply(term.restore[0], ours), 0))
    error = ours - teacher.features[0].double().numpy().mean(0)
    assert term(student, teacher, target).item() == pytest.approx((error**2).mean(), rel=1e-5)


def test_without_blur_and_restoration_it_is_the_mean_squared_error(make_info, make_outputs, target):
    student, teacher = make_outputs(3, (3, 8, 8), seed=1), make_outputs(1, (3, 4, 4), seed=2)
    plain = FeatureMSE()
    plain.build(make_info(3), make_info(3))
    loss = restore_nothing(build(make_info, blur=0.0))(student, teacher, target)
    torch.testing.assert_close(loss, plain(student, teacher, target))


def test_a_perfect_restoration_costs_nothing(make_info, make_outputs, target):
    teacher = make_outputs(1, (3, 4, 4))
    assert restore_nothing(build(make_info, blur=0.0))(teacher, teacher, target) == 0


# The blur -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blur", [0.15, 0.6])
def test_whole_channels_are_dropped_for_each_sample(make_info, blur):
    term = build(make_info, blur=blur)
    x = 1 + torch.rand(400, 50, 2, 3)
    kept = term.blurred(x) != 0
    assert torch.equal(kept, kept[:, :, :1, :1].expand_as(kept))  # a channel is dropped whole or not at all
    assert not torch.equal(kept, term.blurred(x) != 0)  # and it is drawn anew at every call
    mask = kept[:, :, 0, 0].double()
    tolerance = 5 * (blur * (1 - blur) / mask.numel()) ** 0.5
    assert 1 - mask.mean().item() == pytest.approx(blur, abs=tolerance)
    for independent in (mask.mean(0), mask.mean(1)):  # no channel and no sample is favoured: binomial spread
        count = mask.numel() / independent.numel()
        assert independent.std().item() == pytest.approx((blur * (1 - blur) / count) ** 0.5, rel=0.4)


def test_what_is_kept_is_not_rescaled(make_info):
    term = build(make_info, blur=0.5)
    x = 1 + torch.rand(20, 30, 2, 2)
    blurred = term.blurred(x)
    assert torch.equal(blurred, x.where(blurred != 0, 0))
    assert 0 < (blurred == 0).sum() < x.numel()


def test_dropped_channels_get_no_gradient(make_info, make_outputs, target):
    student, teacher = make_outputs(2, (3, 4, 4), seed=1, requires_grad=True), make_outputs(1, (3, 4, 4), seed=2)
    term = build(make_info, blur=0.5)
    torch.manual_seed(1)
    mask = term.blurred(torch.ones(4, 3, 1, 1)) != 0
    torch.manual_seed(1)
    term(student, teacher, target).backward()
    reached = student.features[0].grad.abs().sum((0, 3, 4)) > 0
    assert torch.equal(reached, mask[:, :, 0, 0])
    assert 0 < mask.sum() < mask.numel()


def test_of_vectors_whole_neurons_are_dropped(make_info, make_outputs, target):
    student, teacher = make_outputs(6, (40,), seed=1, requires_grad=True), make_outputs(4, (40,), seed=2)
    term, seen = build(make_info, 40, 40, blur=0.5), []
    term.restore.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    term(student, teacher, target).backward()
    kept = seen[0][:, :, 0, 0] != 0  # [N, F]
    assert torch.equal((student.features[0].grad != 0).any(0), kept)
    assert kept.double().mean().item() == pytest.approx(0.5, abs=5 * (0.25 / kept.numel()) ** 0.5)
    assert not (kept == kept[0]).all()  # for each sample


def test_the_blur_acts_on_aligned_channels(make_info, make_outputs, target):
    student, teacher = make_outputs(2, (1, 4, 4), seed=1, requires_grad=True), make_outputs(1, (8, 4, 4), seed=2)
    term = build(make_info, 1, 8, blur=0.5)
    seen = []
    term.restore.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    term(student, teacher, target)
    dropped = (seen[0] == 0).all(-1).all(-1)  # [N, 8]
    assert dropped.shape == (4, 8)
    assert 0 < dropped.sum() < dropped.numel()


def test_validation_is_deterministic_and_not_blurred(make_info, make_outputs, target):
    student, teacher = make_outputs(2, (3, 4, 4), seed=1), make_outputs(1, (3, 4, 4), seed=2)
    term, sharp = build(make_info, blur=0.6), build(make_info, blur=0.0)
    assert len({term(student, teacher, target).item() for _ in range(5)}) > 1
    expected = sharp(student, teacher, target)
    state = torch.get_rng_state()
    assert torch.equal(term.eval()(student, teacher, target), expected)
    assert torch.equal(state, torch.get_rng_state())


# The published scale ------------------------------------------------------------------------------------------------


def test_the_published_scale_on_the_last_map_of_a_resnet18():
    shape = (512, 7, 7)
    generator = torch.Generator().manual_seed(0)
    restored, teacher = torch.rand(2, *shape, generator=generator), torch.rand(2, *shape, generator=generator)
    term = BKD(blur=0.0, alpha_sum=7e-5)
    term.restore = nn.Identity()
    published = 7e-5 * ((restored - teacher).double() ** 2).sum().item() / 2
    assert term.compare(restored, teacher).item() == pytest.approx(published, rel=1e-5)
    assert 1.756 * (restored - teacher).square().mean().item() == pytest.approx(published, rel=1e-3)


def test_the_published_scale_on_vectors(make_info, make_outputs, target):
    student, teacher = make_outputs(2, (3, 4, 4), seed=1), make_outputs(1, (3, 4, 4), seed=2)
    mean = build(make_info, blur=0.0, reduce="pool")(student, teacher, target)
    published = build(make_info, blur=0.0, reduce="pool", alpha_sum=2e-3)(student, teacher, target)
    torch.testing.assert_close(published, 2e-3 * 3 * mean)


def test_large_features_do_not_overflow_in_half_precision(make_info, target):
    features = [torch.full((2, 4, 3, 32, 32), 300.0, dtype=torch.float16)]  # 300^2 > 65504
    student = Outputs(torch.zeros(2, 4, 5), features)
    teacher = Outputs(torch.zeros(1, 4, 5), [torch.zeros(1, 4, 3, 32, 32, dtype=torch.float16)])
    loss = restore_nothing(build(make_info, blur=0.0))(student, teacher, target)
    assert loss.item() == pytest.approx(300**2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blur": 1.0}, r"blur of BKD is the share of dropped channels, in \[0, 1\), found 1.0"),
        ({"blur": -0.1}, "blur of BKD"),
        ({"reduce": "pol"}, "Unknown reduce of BKD 'pol'. Did you mean 'pool'"),
        ({"alpha_sum": 0.0}, "alpha_sum of BKD must be > 0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        BKD(**arguments)
