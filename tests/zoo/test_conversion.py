"""Converted students against slow references: loops that emit theta times a spike through unabsorbed weights."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.conversion import CALIBRATIONS, ConversionSettings, convert, convert_with_thresholds
from zoo.conversion_report import layer_fits
from zoo.model import silent_layers, spiking_neurons
from zoo.neurons import IF, QCFS, Activation, UnitIF
from zoo.registry.build import describe
from zoo.thresholds import over_units
from zoo.trace import submodules, watching

pytestmark = pytest.mark.filterwarnings("ignore:.*max-pool:UserWarning")

VGG = {"pool": "avg", "num_steps": 1}
FAMILIES = {  # twins, and the neuron of their students
    "pool_vgg": ("pool_vgg_tiny", {}, IF),
    "pool_vgg_avg": ("pool_vgg_tiny", {"pool": "avg"}, IF),
    "chip": ("pool_vgg_chip", {"widths": (8, 12)}, IF),
    "spiking_vgg": ("spiking_vgg_tiny", VGG, IF),
    "large_head": ("spiking_vgg_large_tiny", VGG, IF),
    "ms_resnet": ("ms_resnet_tiny", {"num_steps": 1}, UnitIF),
    "ms_resnet_deep": ("ms_resnet_deep_tiny", {"num_steps": 1}, UnitIF),
    "spiking_resnet": ("spiking_resnet_tiny", {"num_steps": 1, "layers": (2, 1, 2)}, UnitIF),
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def twin(family, neuron="relu", dtype=torch.float64, **changes):
    """A twin with drawn norms, and a batch of smooth images."""
    torch.manual_seed(0)
    name, arguments, _ = FAMILIES[family]
    model = zoo.create_model(name, **{**arguments, "neuron": neuron, **changes})
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.5)
    x = F.interpolate(torch.randn(6, model.in_chans, 4, 4), (16, 16), mode="bicubic")
    with torch.no_grad():
        for _ in range(2):
            model.train()(x)
    return model.to(dtype).eval(), x.to(dtype)


def spike_by_hand(x, theta, start, current):
    """Theta times the spikes [T, ...] of soft-reset neurons of threshold theta, in the units of the twin."""
    v, out = start * theta, []
    for step in x:
        h = v + step + current * theta
        s = (h >= theta).to(x)
        v = h - theta * s
        out.append(theta * s)
    return torch.stack(out)


def reference(ann, thresholds, x, steps, start=0.5, current=0.0):
    """Logits [T, N, K] of the twin whose activations emit theta times spikes; no weight is touched."""
    slow = copy.deepcopy(ann)
    slow.num_steps = steps

    def emit(name, module, args, out):
        return spike_by_hand(args[0], over_units(thresholds[name], out), start, current)

    with watching(submodules(slow, thresholds), emit), torch.no_grad():
        return slow.forward_sequence(x[None])


@every_family
@pytest.mark.parametrize("neuron", ["relu", {"name": "qcfs", "levels": 4}], ids=["ltb", "qcfs"])
def test_the_absorbed_student_equals_the_slow_reference(family, neuron):
    ann, x = twin(family, neuron)
    for start in ("potential", "bias"):
        student, thresholds = convert_with_thresholds(ann, x.split(2), ConversionSettings(steps=6, start=start))
        by_hand = {"start": 0.5} if start == "potential" else {"start": 0.0, "current": 0.5 / 6}
        expected = reference(ann, thresholds, x, 6, **by_hand)
        with torch.no_grad():
            found = student.forward_sequence(x[None])
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        assert found.std(1).max() > 1e-3, "the test would see nothing"
        assert {type(neuron) for neuron in spiking_neurons(student).values()} == {FAMILIES[family][2]}


@every_family
@pytest.mark.parametrize("calibrate", CALIBRATIONS)
def test_a_student_is_rebuilt_from_its_config_and_spikes_are_bits(family, calibrate, tmp_path):
    ann, x = twin(family, dtype=torch.float32)
    student = convert(ann, x.split(2), steps=4, calibrate=calibrate)
    assert set(student.state_dict()) >= set(ann.state_dict())
    assert silent_layers(student, x) == []
    about, outputs = describe(student), []
    target = tmp_path / f"{about['architecture']}.converted"
    zoo.publish(student, target, golden_input=x)
    again = zoo.create_model(str(target)).eval()
    with torch.no_grad(), watching(spiking_neurons(student), lambda *call: outputs.append(call[-1])):
        assert torch.equal(again(x), student(x))
        assert torch.equal(again(x), again(x))
    assert all(set(out.unique().tolist()) <= {0.0, 1.0} for out in outputs)
    assert about["model_args"]["num_steps"] == 4
    spiking = {"pool_vgg": "spiking_pool_vgg_tiny", "chip": "spiking_pool_vgg_chip"}
    assert about["architecture"] == spiking.get(family, about["architecture"])


def test_a_converted_chip_folds_into_convolutions_and_neurons():
    """Seven layers that read bits, but for the first, and the classifier; the same logits."""
    ann, x = twin("chip", widths=(6, 8, 10))
    student = convert(ann, x.split(2), steps=4, start="bias")
    folded = zoo.fold(student, x)
    layers = [module for module in folded.modules() if not any(module.children())]
    assert not any(isinstance(module, nn.BatchNorm2d | nn.AvgPool2d) for module in layers)
    assert sum(isinstance(module, nn.Conv2d) for module in layers) == 7
    with torch.no_grad():
        torch.testing.assert_close(folded(x), student(x))


@every_family
def test_the_twin_is_left_as_it_is(family):
    ann, x = twin(family)
    before, mode = copy.deepcopy(ann.state_dict()), ann.train().training
    convert(ann, [x], calibrate="bias")
    assert ann.training == mode
    assert all(torch.equal(value, before[key]) for key, value in ann.state_dict().items())
    assert not any(module._forward_hooks for module in ann.modules())


# Thresholds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 4, 8])
def test_qcfs_is_exact_where_spikes_arrive_evenly(levels):
    """At T = L: the first layer gets a constant current; its spikes come at every step or never, so the second, too."""
    ann, x = twin("spiking_vgg", {"name": "qcfs", "levels": levels, "step": 1.5}, stages=((8,), (9,)))
    with torch.no_grad():
        ann.encoder.bn.weight.mul_(1e6)
        ann.stages[1][0].act.step.fill_(0.7)
        seen = {}
        watched = submodules(ann, ["encoder.act", "stages.1.0.act"])
        with watching(watched, lambda name, *call: seen.update({name: call[-1]})):
            expected = ann(x)
        found = convert(ann, [x], "qcfs", steps=levels)(x)
    assert seen["encoder.act"].unique().tolist() == [0, 1.5]
    assert len(seen["stages.1.0.act"].unique()) == levels + 1
    assert (found - expected).abs().max() < 1e-6


@pytest.mark.parametrize("levels", [1, 4, 7])
def test_one_layer_of_qcfs_is_exact_at_any_input(levels):
    ann, x = twin("pool_vgg", {"name": "qcfs", "levels": levels})
    student, thresholds = convert_with_thresholds(ann, [x], ConversionSettings(steps=levels))
    fit = layer_fits(ann, (student, thresholds), [x])[0]
    assert fit.name == "stages.0.0.act"
    assert fit.error < 1e-9
    assert fit.activation > 0.1


def balanced_by_hand(ann, batches):
    """Local threshold balancing of the encoder and one layer of a spiking VGG, in a loop over channels."""
    weights = ann.state_dict()

    def current(x, name):
        x = F.conv2d(x, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"], padding=1)
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(weights[f"{name}.bn.{key}"] for key in keys))

    names = ("encoder", "stages.1.0")
    thresholds = {name: [0.0] * len(weights[f"{name}.bn.weight"]) for name in names}
    for x in batches:
        for name in names:
            x = current(x, name).clamp(min=0)
            for channel, theta in enumerate(thresholds[name]):
                over = (x[:, channel] - theta).clamp(min=0)
                thresholds[name][channel] = theta + 2 * over.mean().item()
            x = torch.minimum(x, torch.tensor(thresholds[name], dtype=x.dtype).view(1, -1, 1, 1))
            x = F.avg_pool2d(x, 2)
    return {f"{name}.act": torch.tensor(values, dtype=torch.float64) for name, values in thresholds.items()}


def test_local_threshold_balancing_by_hand():
    ann, x = twin("spiking_vgg", stages=((4,), (5,)))
    batches = x.split(2)
    _, thresholds = convert_with_thresholds(ann, batches, ConversionSettings("ltb"))
    for name, expected in balanced_by_hand(ann, batches).items():
        torch.testing.assert_close(thresholds[name], expected, rtol=1e-9, atol=1e-9)


def test_local_threshold_balancing_as_spikingjelly_does_it():
    recipes = pytest.importorskip("spikingjelly.activation_based.ann2snn.recipes.local_threshold_balancing")
    ann, x = twin("spiking_vgg", stages=((4,), (5,)))
    hooks = {name: recipes.LocalThresholdBalancingHook() for name in ("encoder.act", "stages.1.0.act")}

    def balance(name, module, args, out):
        return hooks[name](args[0].squeeze(0)).unsqueeze(0)

    with watching(submodules(ann, hooks), balance), torch.no_grad():
        for batch in x.split(2):
            ann(batch)
    _, thresholds = convert_with_thresholds(ann, x.split(2), ConversionSettings("ltb"))
    for name, hook in hooks.items():
        torch.testing.assert_close(thresholds[name], hook.compute_threshold().double(), rtol=1e-9, atol=1e-9)


def test_a_percentile_of_all_images():
    ann, x = twin("spiking_vgg")
    seen = []
    with torch.no_grad(), watching(submodules(ann, ["stages.1.0.act"]), lambda *call: seen.append(call[-1])):
        ann(x)
    _, thresholds = convert_with_thresholds(ann, x.split(3), ConversionSettings("percentile", percentile=95.0))
    theta = thresholds["stages.1.0.act"]
    assert theta.unique().numel() == 1
    assert theta[0].item() == pytest.approx(seen[0].quantile(0.95).item())


def test_a_channel_that_is_silent_on_the_data_keeps_a_threshold():
    ann, x = twin("spiking_vgg")
    with torch.no_grad():
        ann.encoder.bn.weight[3], ann.encoder.bn.bias[3] = 0.0, -1.0
    student, thresholds = convert_with_thresholds(ann, [x])
    theta = thresholds["encoder.act"]
    assert theta[3].item() == pytest.approx(1e-3 * theta.max().item())
    assert all(value.isfinite().all() for value in student.state_dict().values())


@pytest.mark.parametrize(("method", "percentile"), [("ltb", 99.9), ("percentile", 10.0)])
def test_a_layer_that_is_silent_on_the_data_is_refused(method, percentile):
    ann, x = twin("spiking_vgg")
    if method == "ltb":
        nn.init.constant_(ann.stages[1][0].bn.bias, -100.0)
    layer = "stages.1.0.act" if method == "ltb" else "encoder.act"
    with pytest.raises(ValueError, match=f"threshold of {layer} would be 0, because its activation is 0"):
        convert(ann, [x], method, percentile=percentile)


# Start and correction -------------------------------------------------------------------------------------------------


def many(x):
    """Enough batches for local threshold balancing, which takes one step a batch."""
    return [*x.split(3)] * 8


def rates(student, x):
    """Mean spikes [N, C, ...] of every neuron."""
    found = {}
    with torch.no_grad(), watching(spiking_neurons(student), lambda n, *call: found.update({n: call[-1]})):
        student(x)
    return {name: spikes.mean(0) for name, spikes in found.items()}


@pytest.mark.parametrize("steps", [4, 16])
def test_a_start_by_current_or_by_potential_differ_by_one_spike(steps):
    """theta / T in the mean of a layer that gets constant currents; after T steps both had the same charge."""
    ann, x = twin("spiking_vgg", stages=((8,),))
    both = [convert(ann, [x], steps=steps, start=start) for start in ("potential", "bias")]
    assert [spiking_neurons(student)["encoder.act"].v_init for student in both] == [0.5, 0]
    differ = 0.0
    for shown in range(1, steps + 1):
        for student in both:
            student.num_steps = shown
        (one,), (other,) = (rates(student, x).values() for student in both)
        differ = (one - other).abs().max().item()
        assert (differ > 0) == (shown < steps)
        assert differ <= 1 / shown + 1e-9


def test_the_correction_of_the_first_layer_by_hand():
    ann, x = twin("spiking_vgg", stages=((8,),))
    plain, thresholds = convert_with_thresholds(ann, x.split(4), ConversionSettings(steps=5))
    theta = thresholds["encoder.act"]
    with torch.no_grad():
        a = ann.encoder.act(ann.encoder.current(x[None]))[0]
    error = (a / over_units(theta, a[None]) - rates(plain, x)["encoder.act"]).mean((0, 2, 3))  # in units of theta
    assert error.abs().max() > 0.01, "the test would see nothing"
    bias, potential = (convert(ann, x.split(4), steps=5, calibrate=how) for how in ("bias", "potential"))
    torch.testing.assert_close(bias.encoder.bn.bias - plain.encoder.bn.bias, error)
    torch.testing.assert_close(potential.encoder.act.v_init - 0.5, 5 * error)


@pytest.mark.parametrize("family", ["chip", "large_head", "ms_resnet", "spiking_resnet"])
@pytest.mark.parametrize("calibrate", ["bias", "potential"])
def test_a_correction_lowers_the_mean_error_of_every_layer(family, calibrate):
    ann, x = twin(family)

    def errors(how):
        student, thresholds = convert_with_thresholds(ann, many(x), ConversionSettings(steps=8, calibrate=how))
        expected, found = {}, rates(student, x)
        with torch.no_grad(), watching(submodules(ann, thresholds), lambda n, *call: expected.update({n: call[-1][0]})):
            ann(x)
        means = [
            (expected[name] / over_units(theta, expected[name][None]) - found[name]).transpose(0, 1).flatten(1).mean(1)
            for name, theta in thresholds.items()
        ]
        return torch.stack([mean.abs().mean() for mean in means])

    corrected, plain = errors(calibrate), errors(None)
    assert (corrected < plain).all()
    assert corrected.sum() < 0.9 * plain.sum()


def test_more_steps_come_closer_to_the_twin():
    ann, x = twin("spiking_vgg")
    with torch.no_grad():
        student = convert(ann, many(x) * 10)  # hardly an activation is clipped
        distances = []
        for steps in (1, 8, 64):
            student.num_steps = steps
            distances.append((student(x) - ann(x)).norm())
    assert distances[0] > 1.5 * distances[1] > 2.2 * distances[2]


def test_a_max_pool_of_currents_is_warned_about_because_more_steps_do_not_help():
    """The maximum of noisy currents is too high on average, whatever T is; the average is not."""

    def errors(family):
        ann, x = twin(family)
        student = convert(ann, [x], method="percentile", percentile=100)
        found = []
        with torch.no_grad():
            for student.num_steps in (4, 64):
                found.append(((student(x) - ann(x)).norm() / ann(x).norm()).item())
        return found

    with pytest.warns(UserWarning, match=r"^stages\.1\.0\.pool: .*does not shrink.*pool: avg"):
        biased = errors("pool_vgg")  # the current of stages.0.0.pool is constant
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unbiased = errors("pool_vgg_avg")
    assert unbiased[1] < 0.3 * unbiased[0]
    assert biased[1] > 10 * unbiased[1]


# Refusals -------------------------------------------------------------------------------------------------------------


def of_two_activations():
    ann, _ = twin("spiking_vgg")
    ann.stages[1][0].act = QCFS()
    return ann


@pytest.mark.parametrize(
    ("ann", "options", "words"),
    [
        (lambda: zoo.create_model("vgg11_bn"), {}, r"vgg11_bn is not the ANN twin of a student. Its layer features\.2"),
        (lambda: zoo.create_model("spiking_vgg_tiny"), {}, r"encoder\.act is LIF, which spikes already.*pool_vgg_s"),
        (lambda: zoo.create_model("spikformer_tiny"), {}, "which spikes already"),
        (lambda: nn.Linear(3, 3), {}, "Linear is not the ANN twin"),
        (lambda: twin("spiking_vgg", pool="max")[0], {}, r"pool is a max-pool behind encoder\.act.*pool: avg"),
        (lambda: zoo.create_model("sew_resnet_tiny", neuron="relu", num_steps=1), {}, r"layer1\.0 adds what"),
        (
            lambda: twin("pool_vgg")[0],
            {"method": "qcfs"},
            r"QCFS .* found ReLU at .*act.*ltb or percentile.*neuron: qcfs",
        ),
        (
            lambda: twin("pool_vgg", "qcfs")[0],
            {"method": "ltb"},
            r"found QCFS at .* Choose method qcfs, .* neuron: relu",
        ),
        (of_two_activations, {}, r"found QCFS at stages\.1\.0\.act"),
        (lambda: twin("pool_vgg")[0], {"method": "qfcs"}, "Unknown conversion method 'qfcs'. Did you mean 'qcfs'"),
        (lambda: twin("pool_vgg")[0], {"calibrate": "weights"}, "Unknown calibration 'weights'.*bias, none, potential"),
        (lambda: twin("pool_vgg")[0], {"start": "half"}, "Unknown start 'half'"),
        (lambda: twin("pool_vgg")[0], {"steps": 0}, "steps: expected an integer >= 1, found 0"),
        (lambda: twin("pool_vgg")[0], {"steps": 2.0}, "steps: expected an integer >= 1, found 2.0"),
        (lambda: twin("pool_vgg")[0], {"percentile": 0}, r"expected a number in \(0, 100\], found 0"),
        (lambda: twin("pool_vgg")[0], {"calibrate": "potential", "start": "bias"}, "hardware that has none. Choose"),
        (lambda: twin("pool_vgg")[0], {"batches": []}, "batches: expected about 1,000 training images, found none"),
        (lambda: twin("pool_vgg")[0], {"batches": [torch.zeros(2, 4, 3, 16, 16)]}, "still images .* found .* 2 steps"),
    ],
)
def test_what_cannot_be_converted_is_refused(ann, options, words):
    with pytest.raises(ValueError, match=words):
        convert(ann(), **{"batches": [torch.randn(2, 3, 16, 16)], **options})


def test_a_network_that_was_taken_apart_wrongly_is_refused(monkeypatch):
    ann, x = twin("spiking_vgg")
    monkeypatch.setattr("zoo.conversion.scale_inputs", lambda layer, theta: None)
    with pytest.raises(ValueError, match="SpikingVGG: expected the logits of the twin, found others"):
        convert(ann, [x])


def test_every_activation_has_a_neuron():
    ann, x = twin("spiking_resnet")
    names = [name for name, module in ann.named_modules() if isinstance(module, Activation)]
    assert list(spiking_neurons(convert(ann, [x]))) == names
