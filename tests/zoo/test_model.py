"""The contract of a student, checked for every student that is registered."""

import copy
import json
import pickle
import re
import subprocess
import sys
from functools import cache, partial
from itertools import chain
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models import group_parameters
from torch import nn

import zoo
from zoo.layers.stateless import Residual
from zoo.model import SpikingModel, TimeMeanFeatures, read, silent_layers, spiking_neurons
from zoo.neurons import IF, NEURONS, Stateful, has_activations
from zoo.registry.build import noise_input
from zoo.sequence import SequenceKind, to_sequence


@cache
def on_meta(name, **changes):
    """A student without numbers, only shapes; made once a run, and only read."""
    with torch.device("meta"):
        return zoo.create_model(name, **changes)


# Every student runs here: the tiny ones of every architecture on numbers, all of them without numbers (on the meta
# device), and all with numbers in `make test-slow`.
NO_STUDENTS = ("cifar_resnet", "pool_vgg")  # a teacher, and the twins without spikes
STUDENTS = [name for name in zoo.list_models() if not name.startswith(NO_STUDENTS)]
TINY = [name for name in STUDENTS if name.endswith("tiny")]
KINDS = {name: on_meta(name).kind for name in TINY}
large = [
    pytest.param(name, marks=[pytest.mark.slow, pytest.mark.timeout(900)]) for name in STUDENTS if name not in TINY
]
every_student = pytest.mark.parametrize("name", [*TINY, *large])
every_student_without_numbers = pytest.mark.parametrize("name", STUDENTS)
every_tiny_student = pytest.mark.parametrize("name", TINY)
every_still_student = pytest.mark.parametrize("name", [name for name in TINY if KINDS[name].still])
every_student_of_frames = pytest.mark.parametrize("name", [name for name in TINY if KINDS[name] is SequenceKind.IMAGES])


def noise(model):
    """A sequence of four samples of what the model takes; images are as smooth as photographs, of the least size."""
    if model.kind is not SequenceKind.IMAGES:
        return to_sequence(noise_input(model), model.kind)[:, :4]
    smallest = model.pretrained_cfg.get("min_input_size") or model.pretrained_cfg["input_size"]
    return F.interpolate(torch.randn(4, model.in_chans, 4, 4), smallest[1:], mode="bicubic")[None]


def make(name, dtype=torch.float32, **changes):
    """A student and a sequence that makes it spike, its norms calibrated."""
    torch.manual_seed(0)
    steps = {"num_steps": 3} if on_meta(name).kind.still else {}  # else those of the data
    model = zoo.create_model(name, **{"num_classes": 7, **steps, **changes})
    x = noise(model)
    model, x = model.to(dtype), x.to(dtype) if x.is_floating_point() else x
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the plain average: calibrated after a few passes
            if "adlif" in name:
                nn.init.constant_(module.weight, 2.0)  # on noise, adaptive layers without training are often silent
            if not module.weight.any():
                nn.init.ones_(module.weight)  # at 0 it hides what is behind it: a block that starts as its shortcut
    with torch.no_grad():
        for _ in range(2):
            model.train()(x)
    return model.eval(), x


def test_every_architecture_has_a_tiny_student():
    assert {type(on_meta(name)) for name in STUDENTS} == {type(on_meta(name)) for name in TINY}


def test_every_model_that_spikes_is_tested_here():
    models = {name: on_meta(name) for name in zoo.list_models()}
    spiking = {name for name, model in models.items() if isinstance(model, SpikingModel) and not has_activations(model)}
    assert spiking == set(STUDENTS)


def test_parameters_of_every_student():
    """Against the table that stands beside; against paper or closed form, every architecture's own tests count."""
    table = json.loads((Path(__file__).parent / "models/parameters.json").read_text())
    assert {name: sum(weight.numel() for weight in on_meta(name).parameters()) for name in STUDENTS} == table


@every_student
def test_a_sample_does_not_depend_on_its_batch(name):
    model, x = make(name, dtype=torch.float64)  # no rounding decides about a spike
    with torch.no_grad():
        together = model(x)
        alone = torch.cat([model(x[:, sample : sample + 1]) for sample in range(4)])
        turned = model(x.flip(1)).flip(0)
    assert silent_layers(model, x) == [], "the test would see nothing"
    assert together.std(0).max() > 0.01, "all samples give the same: the test would see nothing"
    torch.testing.assert_close(together, alone, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(together, turned, atol=1e-9, rtol=1e-9)


@every_student
def test_no_state_survives_a_forward(name):
    model, x = make(name)
    keys = set(model.state_dict())
    with torch.no_grad():
        first, second = model(x), model(x)
    assert torch.equal(first, second)
    assert set(model.state_dict()) == keys
    assert torch.equal(copy.deepcopy(model)(x), first)
    model.train()(x).sum().backward()
    loose = {
        key for module in model.modules() for key, value in vars(module).items() if isinstance(value, torch.Tensor)
    }
    assert not loose, "a tensor that is neither parameter nor buffer lives on in a module"


@every_tiny_student
def test_can_be_pickled(name):
    model, x = make(name)
    with torch.no_grad():
        assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))


@every_student
def test_layers_read_the_numbers_they_declare(name):
    """Spikes, but for the first convolution, the classifier, and what the architecture declares."""
    model, x = make(name)
    own = (model.pretrained_cfg.get("first_conv") or "-", model.pretrained_cfg["classifier"])
    neurons = spiking_neurons(model)
    levels = {value / neuron.levels for neuron in neurons.values() for value in range(neuron.levels + 1)}
    inputs, outputs = {}, {}

    def note(kept, layer, value):
        kept.setdefault(layer, []).append(value)

    for layer, module in model.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear) and not layer.startswith(own):
            module.register_forward_pre_hook(lambda _, args, layer=layer: note(inputs, layer, args[0]))
    for layer, neuron in neurons.items():
        neuron.register_forward_hook(lambda _, __, out, layer=layer: note(outputs, layer, out))
    with torch.no_grad():
        model(x)
    assert outputs
    for out in chain(*outputs.values()):
        assert set(out.unique().tolist()) <= levels  # 0 and 1, if the neurons do not declare more
    for layer, values in inputs.items():
        seen = torch.cat([value.flatten() for value in values])
        sums, real = re.search(model.integer_inputs, layer), re.search(model.real_inputs, layer)
        if sums:
            assert torch.equal(seen, seen.round())
            assert seen.min() >= 0
        elif not real:
            assert set(seen.unique().tolist()) <= levels, f"{layer} reads other numbers and does not say so"


@every_still_student
def test_steps_change_at_run_time(name):
    """And no step sees a later one: six steps begin as two do."""
    model, x = make(name, dtype=torch.float64, num_steps=6)
    with torch.no_grad():
        six = model.forward_sequence(x)
        assert six.shape == (6, 4, 7)
        remembers = any(neuron.levels == 1 for neuron in spiking_neurons(model).values())
        assert (six[1:] != six[:-1]).any() == remembers, "all steps give the same: the test would see nothing"
        for steps in (1, 2):
            model.num_steps = steps
            torch.testing.assert_close(model.forward_sequence(x), six[:steps], atol=1e-9, rtol=1e-9)


@every_student_of_frames
def test_an_image_is_a_repeated_sequence_encoded_once(name):
    model, x = make(name, dtype=torch.float64)
    seen = []
    model.get_submodule(model.pretrained_cfg["first_conv"]).register_forward_pre_hook(
        lambda _, args: seen.append(len(args[0]))
    )
    with torch.no_grad():
        image, sequence = model(x[0]), model(x.expand(3, *x.shape[1:]))
    torch.testing.assert_close(image, sequence, atol=1e-9, rtol=1e-9)
    assert seen == [4, 12]


@every_tiny_student
def test_the_order_of_the_data_does_not_matter(name):
    """One class after another or shuffled: every sample gets the same answer, in batches of any neighbours."""
    model, _ = make(name, dtype=torch.float64)
    x = torch.cat([noise(model) for _ in range(4)], 1)
    x = x.to(torch.float64) if x.is_floating_point() else x
    with torch.no_grad():
        labels = model(x).argmax(-1)  # the accuracy of the sorted set is 1
        order = torch.randperm(16)
        for sequence in (labels.argsort(), order):
            found = torch.cat([model(x[:, part]).argmax(-1) for part in sequence.split(4)])
            assert torch.equal(found, labels[sequence])


@every_student
def test_gradient_reaches_every_parameter(name):
    model, x = make(name)
    model.train()(x).square().sum().backward()
    dead = [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not dead


@every_student
def test_no_layer_is_silent_at_the_start(name):
    torch.manual_seed(0)
    model = zoo.create_model(name)
    assert silent_layers(model.train(), torch.cat([noise(model), noise(model)], 1)) == []
    assert spiking_neurons(model)


@every_student
def test_the_parts_make_the_whole(name):
    model, x = make(name, dtype=torch.float64)
    with torch.no_grad():
        final, features = model.forward_intermediates(x)
        logits = model.forward_sequence(x)
        torch.testing.assert_close(model.forward_head(final), logits)
        torch.testing.assert_close(model.forward_features(x), final)
        pooled = model.forward_head(final, pre_logits=True)
    assert pooled.shape == (*final.shape[:2], model.head_hidden_size)
    assert len(features) == len(model.feature_info)


@every_student_without_numbers
def test_shapes(name):
    """Of every feature and of the logits, for its own classes and input; its classifier can be left out."""
    steps = {"num_steps": 1} if on_meta(name).kind.still else {}  # else those of the data
    model, bare = on_meta(name, **steps), on_meta(name, num_classes=0, **steps)
    x = noise(model)
    if model.kind is SequenceKind.IMAGES:
        x = torch.empty(1, 2, *model.pretrained_cfg["input_size"])
    if model.kind is SequenceKind.SPIKE_TRAINS:  # EventProp follows the numbers
        model, bare = zoo.create_model(name), zoo.create_model(name, num_classes=0)
    x = x.to(next(model.parameters()).device)
    features = model.train().forward_intermediates(x, intermediates_only=True)
    for feature, info in zip(features, model.feature_info, strict=True):
        assert feature.shape[1] == x.shape[1]
        if model.kind is SequenceKind.IMAGES:
            side = -(-x.shape[-1] // info["reduction"])
            borders = 1 if name.startswith("spiking_pool_vgg") else 0  # whose first convolution has no padding
            assert feature.shape[2] == info["num_chs"]
            assert feature.shape[3] == feature.shape[4] in (side, side - borders)
        else:
            assert info["num_chs"] in feature.shape[2:]
    assert model.forward_sequence(x).shape[1:] == (x.shape[1], model.num_classes)
    assert bare.train()(x).shape == (x.shape[1], bare.num_features)
    reductions = [info["reduction"] for info in model.feature_info]
    assert reductions == sorted(reductions)


@every_student_without_numbers
def test_frames_of_two_channels(name):
    model = on_meta(name, num_steps=1, in_chans=2)
    if model.kind is SequenceKind.IMAGES:
        x = torch.empty(1, 2, 2, *model.pretrained_cfg["input_size"][1:], device="meta")
        assert model.train()(x).shape == (2, model.num_classes)


@every_tiny_student
def test_features_only(name):
    model, x = make(name)
    chosen = (0, len(model.feature_info) - 2) if len(model.feature_info) > 2 else (0,)
    options = {"out_indices": chosen, "num_steps": model.num_steps, "num_classes": 7}
    getter = timm.create_model(name, features_only=True, **options).eval()
    assert isinstance(getter, TimeMeanFeatures)
    getter.model.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        maps = getter(x)
        _, features = model.forward_intermediates(x)
        model.get_submodule(model.feature_info[-1]["module"]).register_forward_pre_hook(pytest.fail)
        early = model.forward_intermediates(x, [0], stop_early=True, intermediates_only=True)
    for index, found, chans in zip(chosen, maps, getter.feature_info.channels(), strict=True):
        torch.testing.assert_close(found, features[index].mean(0))
        assert chans in (found.shape[1], found.shape[-1])
    torch.testing.assert_close(early, [features[0]])


@every_tiny_student
def test_features_that_are_not_there(name):
    count = len(on_meta(name).feature_info)
    with pytest.raises(ValueError, match=f"indices: expected 0..{count - 1}, .* found"):
        timm.create_model(name, features_only=True, out_indices=(0, count))
    model, x = make(name)
    with pytest.raises(ValueError, match=f"expected 0..{count - 1}"):
        model.forward_intermediates(x, indices=[count])


@every_student
def test_classifier(name):
    model, x = make(name, num_classes=0)
    with torch.no_grad():
        assert model(x).shape == (4, model.num_features)
        model.reset_classifier(10)
        assert model(x).shape == (4, 10)
        model.double().reset_classifier(3)
        assert model(x.double() if x.is_floating_point() else x).shape == (4, 3)  # it follows the model's dtype
    with pytest.raises(ValueError, match="global_pool.*'max'"):
        model.reset_classifier(10, "max")


@every_student_without_numbers
def test_parameter_groups_of_timm(name):
    model = on_meta(name)
    groups = group_parameters(model, model.group_matcher())
    assert sorted(chain(*groups.values())) == sorted(dict(model.named_parameters()))
    assert len(groups) >= 2
    for coarse in (False, True):
        layer_of = group_parameters(model, model.group_matcher(coarse), reverse=True)
        assert list(layer_of.values()) == sorted(layer_of.values()), "depth must rise in the order of the parameters"
        last = {key for key, layer in layer_of.items() if layer == max(layer_of.values())}
        assert {key for key, _ in model.named_parameters() if key.startswith("fc.")} <= last
    decayed = {name for name, _ in model.named_parameters()} - model.no_weight_decay()
    neurons = [name for name, module in model.named_modules() if isinstance(module, Stateful)]
    assert not [key for key in decayed if key.rpartition(".")[0] in neurons and not key.endswith("recurrent")]


@pytest.mark.parametrize("steps", [1, 4], ids=["still", "sequence"])
@every_tiny_student
def test_checkpointing_changes_nothing_but_the_runs(name, steps):
    """Gradients and running statistics to the bit, in fp32 and under bf16 autocast, with dropout."""
    for bf16 in (False, True):
        found, runs = [], []
        for enable in (False, True):
            drops = not name.startswith("eventprop")  # its spike times are exact: nothing is dropped
            model, x = make(name, **({"drop_rate": 0.5} if drops else {}))
            model.set_grad_checkpointing(enable)
            last = model.get_submodule(model.feature_info[-1]["module"])
            last = last[-1] if isinstance(last, nn.Sequential | nn.ModuleList) else last
            last.register_forward_pre_hook(lambda *_, enable=enable, runs=runs: runs.append(enable))
            x = torch.cat([noise(model) for _ in range(steps)]) if model.kind.still else x
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                torch.manual_seed(1)
                logits = model.train()(x)
            logits.float().square().sum().backward()
            found.append([parameter.grad for parameter in model.parameters()] + list(model.buffers()))
        assert runs == [False, True, True], "a checkpointed block runs again in the backward pass"
        assert all(grad.any() for grad in found[0][: len(list(model.parameters()))])
        assert all(map(torch.equal, *found))


def test_a_checkpointed_shortcut_is_still_one():
    """A `Residual` is a sequence of modules, but not their sequence."""
    model, x = timm.create_model("spiking_vgg_tiny").train(), torch.ones(2, requires_grad=True)
    model.set_grad_checkpointing()
    assert model.stage(Residual(nn.Identity()), x).tolist() == [2, 2]
    assert model.stage(nn.Sequential(Residual(), nn.Flatten(0)), x).tolist() == [2, 2]


@every_tiny_student
def test_round_trip_through_timm(name, tmp_path):
    arguments = {"num_steps": 2, "num_classes": 7}
    model, x = make(name, **arguments)
    timm.models.save_for_hf(model, tmp_path, model_args=arguments, safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    assert again.num_steps == 2
    frames = {"in_chans": 2} if model.kind is SequenceKind.IMAGES else {}
    other = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=3, num_steps=5, **frames).eval()
    assert other(x[:, :, :2] if frames else x).shape == (4, 3)
    changed = (model.pretrained_cfg.get("first_conv") or "-", model.pretrained_cfg["classifier"])
    for key, value in model.state_dict().items():
        assert key.startswith(changed) or torch.equal(value, other.state_dict()[key])


def test_names_are_not_those_of_timm():
    code = f"import sys, timm; sys.exit(any(timm.is_model(name) for name in {zoo.list_models()!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("steps", [0, -1, True, 1.5, "4", None])
def test_impossible_steps(steps):
    model = timm.create_model("spiking_vgg_tiny")
    with pytest.raises(ValueError, match=r"num_steps: expected .* integer >= 1"):
        model.num_steps = steps


def test_wrong_number_of_axes():
    model = timm.create_model("spiking_vgg_tiny")
    with pytest.raises(ValueError, match=r"\[N, C, H, W\] or a sequence .* found shape \(3, 8, 8\)"):
        model(torch.zeros(3, 8, 8))


@every_tiny_student
def test_wrong_number_of_channels(name):
    model = on_meta(name)
    if model.kind.counted:
        x = noise(model).to("meta")
        for wrong in (torch.cat([x, x], 2), x[:, :, :0]):
            with pytest.raises(
                ValueError, match=rf"expected {x.shape[2]} (channels|inputs .spike trains.), found {wrong.shape[2]}"
            ):
                model(wrong)


def test_only_nchw():
    model = timm.create_model("spiking_vgg_tiny")
    with pytest.raises(ValueError, match="output_fmt: expected 'NCHW'"):
        model.forward_intermediates(torch.zeros(1, 1, 3, 8, 8), output_fmt="NLC")


def test_silent_layers_are_found():
    model, x = make("spiking_vgg_tiny")
    assert silent_layers(model, x) == []
    nn.init.constant_(model.stages[2][0].bn.bias, -100.0)
    assert silent_layers(model, x)[0] == "stages.2.0.act"
    assert not any(neuron._forward_hooks for neuron in spiking_neurons(model).values())


def test_a_layer_that_never_runs_is_silent_and_one_that_fires_once_is_not():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice, self.never = IF(), IF()

        def forward(self, x):
            return self.twice(x) + self.twice(-x)

    assert silent_layers(Model(), torch.full((2, 3), 5.0)) == ["never"]


@pytest.mark.parametrize("name", ["sew_resnet_tiny", "spiking_vgg_tiny", "delay_mlp_tiny", "eventprop_mlp_tiny"])
def test_every_way_in_refuses_other_axes(name):
    model = zoo.create_model(name)
    other = torch.zeros(4, 2, 5) if model.kind is SequenceKind.IMAGES else torch.zeros(4, 2, 3, 8, 8)
    for x in (torch.zeros(2, 5), other):
        for way_in in (model, model.forward_sequence, model.forward_features, partial(read, model)):
            with pytest.raises(ValueError, match=r"input: expected (images|spike trains) .*found shape"):
                way_in(x)


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("name", ["sew_resnet_tiny", "spiking_vgg_tiny"])
def test_a_whole_student_compiles_without_a_graph_break(make, name, neuron):
    torch.compiler.reset()
    model = make(name, neuron=neuron).train()
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")
    x = torch.rand(2, 1, 16, 16)
    expected, found = model(x), compiled(x)
    assert torch.equal(found, expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    for parameter, gradient in zip(compiled.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@every_tiny_student
def test_the_dtype_of_the_input_is_that_of_the_weights(name):
    """float64, integer counts, bool and fp16 give what the same numbers give in fp32; tokens are integers only."""
    model, x = make(name)
    with torch.no_grad():
        if model.kind is SequenceKind.TOKENS:
            assert torch.equal(model(x.int()), model(x))
            with pytest.raises(ValueError, match="expected integers, found torch.float32"):
                model(x.float())
            return
        counts = x.round().clamp(0, 1)
        for dtype in (torch.float64, torch.float16, torch.uint8, torch.int32):
            assert torch.equal(model(counts.to(dtype)), model(counts)), dtype
        assert torch.equal(model(counts > 0), model(counts))


@every_student_of_frames
def test_pixels_are_refused_as_images(name):
    model = on_meta(name)
    with pytest.raises(ValueError, match=r"expected a normalised image .* found torch.uint8. Use \(x / 255"):
        model.sequence(torch.zeros(1, model.in_chans, 8, 8, dtype=torch.uint8))


@every_tiny_student
def test_nan_is_refused(name):
    model, x = make(name)
    if x.is_floating_point():
        x[0, 1].view(-1)[0] = float("nan")
        with pytest.raises(ValueError, match=r"expected finite numbers, found nan at \[0, 1"):
            model(x)
