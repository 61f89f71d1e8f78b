"""The contract of a student, checked for every student that is registered."""

import copy
import pickle
import subprocess
import sys
from functools import partial
from itertools import chain

import pytest
import timm
import torch
from timm.models import group_parameters
from torch import nn

import zoo
from zoo.model import SpikingModel, TimeMeanFeatures, read, silent_layers, spiking_neurons, to_sequence
from zoo.neurons import IF, NEURONS

PARAMETERS = {  # zoo/models/*.py; the first five from the papers, the rest from `closed_form`
    "sew_resnet18": 11_689_512,
    "sew_resnet34": 21_797_672,
    "sew_resnet50": 25_557_032,
    "spiking_vgg11": 9_231_114,
    "spiking_vgg16": 14_728_266,
}


def is_student(name):
    """Of images; those of spike trains have a contract of their own beside their architecture."""
    with torch.device("meta"):
        model = timm.create_model(name)
    return isinstance(model, SpikingModel) and model.sequence_ndim == 5


STUDENTS = [name for name in zoo.list_models() if is_student(name)]
SMALL = [name for name in STUDENTS if name.endswith(("tiny", "resnet8", "resnet20"))]
every_student = pytest.mark.parametrize("name", STUDENTS)
every_small_student = pytest.mark.parametrize("name", SMALL)


def make(name, dtype=torch.float32, **changes):
    """A student and a batch that makes it spike: images of its smallest size, norms calibrated."""
    torch.manual_seed(0)
    model = timm.create_model(name, **{"num_classes": 7, "num_steps": 3, **changes}).to(dtype)
    x = torch.randn(4, model.in_chans, *model.pretrained_cfg["min_input_size"][1:], dtype=dtype)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average: calibrated after a few passes
    with torch.no_grad():
        for _ in range(2):
            model.train()(x)
    return model.eval(), x


def closed_form(widths, depth, classes, in_chans=3):
    """Parameters of a small SEW-ResNet of basic blocks: 3x3 convolutions without bias, two numbers a norm channel."""
    total, chans = 9 * in_chans * widths[0] + 2 * widths[0], widths[0]
    for index, width in enumerate(widths):
        for block in range(depth):
            first = block == 0 and index > 0
            total += 9 * chans * width + 9 * width * width + 4 * width
            total += (chans * width + 2 * width) if first else 0
            chans = width
    return total + chans * classes + classes


def test_every_student_is_known_here():
    assert set(PARAMETERS) | {"sew_resnet18_small", "spiking_vgg_tiny", *SMALL} == set(STUDENTS)


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameters(name, count):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in timm.create_model(name).parameters()) == count


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("sew_resnet18_small", closed_form((64, 128, 256, 512), 2, 10)),
        ("sew_resnet20", closed_form((16, 32, 64), 3, 10)),
        ("sew_resnet8", closed_form((16, 32, 64), 1, 10)),
        ("sew_resnet_tiny", closed_form((32, 64, 128), 1, 10)),
        ("spiking_vgg_tiny", (27 + 3) * 32 + (9 * 32 + 3) * 64 + (9 * 64 + 3) * 128 + (9 * 128 + 3) * 128 + 1290),
    ],
)
def test_parameters_of_the_small_ones(name, count):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in timm.create_model(name).parameters()) == count


@every_student
def test_a_sample_does_not_depend_on_its_batch(name):
    model, x = make(name, dtype=torch.float64)  # no rounding decides about a spike
    with torch.no_grad():
        together = model(x)
        alone = torch.cat([model(sample[None]) for sample in x])
        turned = model(x.flip(0)).flip(0)
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


@every_small_student
def test_can_be_pickled(name):
    model, x = make(name)
    with torch.no_grad():
        assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))


@every_student
def test_spikes_are_binary_and_reach_the_convolutions(name):
    model, x = make(name)
    inputs, outputs = {}, {}
    for layer, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, args, layer=layer: inputs.__setitem__(layer, args[0]))
    for layer, neuron in spiking_neurons(model).items():
        neuron.register_forward_hook(lambda _, __, out, layer=layer: outputs.__setitem__(layer, out))
    with torch.no_grad():
        model(x)
    assert outputs
    assert all(set(out.unique().tolist()) <= {0.0, 1.0} for out in outputs.values())
    inputs.pop(model.pretrained_cfg["first_conv"])  # reads the image
    if name.startswith("sew_"):
        assert all(torch.equal(value, value.round()) and value.min() >= 0 for value in inputs.values())
    else:
        assert all(set(value.unique().tolist()) <= {0.0, 1.0} for value in inputs.values())


@every_student
def test_steps_change_at_run_time(name):
    """And no step sees a later one: six steps begin as two do."""
    model, x = make(name, dtype=torch.float64, num_steps=6)
    with torch.no_grad():
        six = model.forward_sequence(to_sequence(x))
        assert six.shape == (6, 4, 7)
        assert (six[1:] != six[:-1]).any(), "all steps give the same: the test would see nothing"
        for steps in (1, 2):
            model.num_steps = steps
            torch.testing.assert_close(model.forward_sequence(to_sequence(x)), six[:steps], atol=1e-9, rtol=1e-9)


@every_student
def test_an_image_is_a_repeated_sequence_encoded_once(name):
    model, x = make(name)
    seen = []
    model.get_submodule(model.pretrained_cfg["first_conv"]).register_forward_pre_hook(
        lambda _, args: seen.append(len(args[0]))
    )
    with torch.no_grad():
        image, sequence = model(x), model(x.expand(3, *x.shape))
    torch.testing.assert_close(image, sequence, atol=1e-5, rtol=1e-4)
    assert seen == [4, 12]


@every_student
def test_gradient_reaches_every_parameter(name):
    model, x = make(name)
    model.train()(x).square().sum().backward()
    dead = [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not dead


@every_student
def test_no_layer_is_silent_at_the_start(name):
    model = timm.create_model(name)
    x = torch.randn(8, 3, *(2 * side for side in model.pretrained_cfg["min_input_size"][1:]))
    assert silent_layers(model.train(), x) == []
    assert spiking_neurons(model)


@every_student
def test_the_parts_make_the_whole(name):
    model, x = make(name)
    with torch.no_grad():
        final, features = model.forward_intermediates(to_sequence(x))
        logits = model.forward_sequence(to_sequence(x))
        torch.testing.assert_close(model.forward_head(final), logits)
        torch.testing.assert_close(model.forward_features(to_sequence(x)), final)
        torch.testing.assert_close(model(x), logits.mean(0))
        pooled = model.forward_head(final, pre_logits=True)
    assert pooled.shape == (3, 4, model.head_hidden_size)
    for feature, info in zip(features, model.feature_info, strict=True):
        side = -(-x.shape[-1] // info["reduction"])
        assert feature.shape == (3, 4, info["num_chs"], side, side)


@every_student
def test_features_only(name):
    model, x = make(name)
    chosen = (0, len(model.feature_info) - 2)
    getter = timm.create_model(name, features_only=True, out_indices=chosen, num_steps=3).eval()
    assert isinstance(getter, TimeMeanFeatures)
    getter.model.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        maps = getter(x)
        _, features = model.forward_intermediates(to_sequence(x))
        model.get_submodule(model.feature_info[-1]["module"]).register_forward_pre_hook(pytest.fail)
        early = model.forward_intermediates(to_sequence(x), [0], stop_early=True, intermediates_only=True)
    for index, found, chans in zip(chosen, maps, getter.feature_info.channels(), strict=True):
        torch.testing.assert_close(found, features[index].mean(0))
        assert found.shape[1] == chans
    torch.testing.assert_close(early, [features[0]])


@every_student
def test_classifier_and_channels(name):
    model, x = make(name, num_classes=0, in_chans=2)
    assert x.shape[1] == 2
    with torch.no_grad():
        assert model(x).shape == (4, model.num_features)
        model.reset_classifier(10)
        assert model(x).shape == (4, 10)
        model.double().reset_classifier(3)
        assert model(x.double()).shape == (4, 3)  # the new layer follows the model's dtype, and device
    assert isinstance(model.get_classifier(), nn.Linear)
    with pytest.raises(ValueError, match="global_pool='max'"):
        model.reset_classifier(10, "max")


@every_student
def test_parameter_groups_of_timm(name):
    model, _ = make(name, neuron={"name": "plif"})
    groups = group_parameters(model, model.group_matcher())
    assert sorted(chain(*groups.values())) == sorted(dict(model.named_parameters()))
    assert len(groups) > 2
    for coarse in (False, True):
        layer_of = group_parameters(model, model.group_matcher(coarse), reverse=True)
        assert list(layer_of.values()) == sorted(layer_of.values()), "depth must rise in the order of the parameters"
        last = {key for key, layer in layer_of.items() if layer == max(layer_of.values())}
        assert last == {"fc.weight", "fc.bias"}  # timm gives what no expression matches to the head
    spared = model.no_weight_decay()
    assert spared == {key for key in dict(model.named_parameters()) if key.endswith(".w")}
    assert spared


@pytest.mark.parametrize("frames", [1, 4], ids=["still", "sequence"])
@every_small_student
def test_checkpointing_changes_nothing_but_the_runs(name, frames):
    """Gradients and running statistics to the bit, in fp32 and under bf16 autocast, with dropout."""
    for bf16 in (False, True):
        found, runs = [], []
        for enable in (False, True):
            model, x = make(name, num_steps=4, drop_rate=0.5)
            model.set_grad_checkpointing(enable)
            last = model.get_submodule(model.feature_info[-1]["module"])[-1]
            last.register_forward_pre_hook(lambda *_, enable=enable, runs=runs: runs.append(enable))
            x = torch.randn(frames, *x.shape)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                torch.manual_seed(1)
                logits = model.train()(x)
            logits.float().square().sum().backward()
            found.append([parameter.grad for parameter in model.parameters()] + list(model.buffers()))
        assert runs == [False, True, True], "a checkpointed block runs again in the backward pass"
        assert all(grad.any() for grad in found[0][: len(list(model.parameters()))])
        assert all(map(torch.equal, *found))


@every_small_student
def test_round_trip_through_timm(name, tmp_path):
    model, x = make(name, num_steps=2, neuron={"name": "lif", "tau": 3.0})
    arguments = {"num_steps": 2, "neuron": {"name": "lif", "tau": 3.0}, "num_classes": 7}
    timm.models.save_for_hf(model, tmp_path, model_args=arguments, safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    assert again.num_steps == 2
    other = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=3, in_chans=2, num_steps=5).eval()
    assert other(x[:, :2]).shape == (4, 3)
    changed = (model.pretrained_cfg["first_conv"], model.pretrained_cfg["classifier"])
    for key, value in model.state_dict().items():
        assert key.startswith(changed) or torch.equal(value, other.state_dict()[key])


def test_names_are_not_those_of_timm():
    code = f"import sys, timm; sys.exit(any(timm.is_model(name) for name in {zoo.list_models()!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("steps", [0, -1, True, 1.5, "4", None])
def test_impossible_steps(steps):
    model = timm.create_model("spiking_vgg_tiny")
    with pytest.raises(ValueError, match=r"num_steps .* integer >= 1"):
        model.num_steps = steps


def test_wrong_number_of_axes():
    model = timm.create_model("spiking_vgg_tiny")
    with pytest.raises(ValueError, match=r"\[N, C, H, W\] or a sequence .* found shape \(3, 8, 8\)"):
        model(torch.zeros(3, 8, 8))


def test_only_nchw():
    model = timm.create_model("spiking_vgg_tiny")
    with pytest.raises(ValueError, match="output_fmt must be 'NCHW'"):
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


def test_a_sequence_has_the_axes_of_its_model():
    frames, trains, image = torch.rand(4, 2, 1, 8, 8), torch.rand(4, 2, 5), torch.rand(2, 1, 8, 8)
    assert to_sequence(frames) is frames
    assert to_sequence(trains, 3) is trains
    assert torch.equal(to_sequence(image), image[None])
    for x, ndim, accepted in ((trains, 5, "images"), (frames, 3, "spike trains"), (image, 3, "spike trains")):
        with pytest.raises(ValueError, match=rf"Expected {accepted}.*found shape"):
            to_sequence(x, ndim)


@pytest.mark.parametrize("name", ["sew_resnet_tiny", "spiking_vgg_tiny", "delay_mlp_tiny", "eventprop_mlp_tiny"])
def test_every_way_in_refuses_other_axes(name):
    model = zoo.create_model(name)
    for x in (torch.zeros(2, 5), torch.zeros(4, 2, 5) if model.sequence_ndim == 5 else torch.zeros(4, 2, 3, 8, 8)):
        for way_in in (model, model.forward_sequence, model.forward_features, partial(read, model)):
            with pytest.raises(ValueError, match=r"Expected (images|spike trains) .*found shape"):
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
