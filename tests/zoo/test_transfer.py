"""Copied weights against the teacher's, key by key; the scale of currents as a property; and that it helps."""

import copy

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from timm.models.resnet import BasicBlock, ResNet
from timm.models.vgg import VGG
from torch import nn

import zoo
from zoo.model import SpikingModel, silent_layers, spiking_neurons
from zoo.transfer import copy_weights, init_from_teacher


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def randomise(model):
    for norm in norms(model):
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return model


def test_a_sew_resnet_takes_every_tensor_of_a_resnet():
    widths = {"layers": (1, 1, 2, 1), "num_classes": 4}
    teacher = randomise(ResNet(BasicBlock, channels=(64, 72, 80, 88), **widths))
    student = zoo.create_model("sew_resnet18", widths=(64, 72, 80, 88), **widths)
    done = copy_weights(student, teacher)
    assert done.left == ()
    assert all(name == source for name, source in done.copied.items())
    for key, value in teacher.state_dict().items():
        assert torch.equal(student.state_dict()[key], value), key


def test_an_ms_resnet_takes_the_blocks_of_a_resnet():
    widths = {"layers": (1, 2, 1, 1), "num_classes": 4}
    teacher = randomise(ResNet(BasicBlock, channels=(64, 72, 80, 88), **widths))
    student = zoo.create_model("ms_resnet18", widths=(64, 72, 80, 88), **widths)
    done = copy_weights(student, teacher)
    blocks = [
        (f"layer{stage}.{block}", layer)
        for stage, block in ((1, 0), (2, 0), (2, 1), (3, 0), (4, 0))
        for layer in (1, 2)
    ]
    for block, layer in blocks:
        assert done.copied[f"{block}.conv{layer}"] == f"{block}.conv{layer}"
        assert done.copied[f"{block}.bn{layer}"] == f"{block}.bn{layer}"
    assert set(done.left) == {name for name in done.left if name.startswith("layer1.0.")}  # a shortcut no ResNet has


def test_a_spiking_vgg_takes_the_layers_of_a_vgg():
    teacher = randomise(VGG(cfg=[8, "M", 16, "M", 24, 24, "M"], norm_layer=nn.BatchNorm2d, num_classes=4))
    student = zoo.create_model("spiking_vgg_tiny", stages=((8,), (16,), (24, 24)), num_classes=4)
    copy_weights(student, teacher)
    pairs = [(student.encoder, 0), (student.stages[1][0], 4), (student.stages[2][0], 8), (student.stages[2][1], 11)]
    for ours, index in pairs:
        assert torch.equal(ours.conv.weight, teacher.features[index].weight)
        assert torch.equal(ours.conv.bias, teacher.features[index].bias)
        for key, value in teacher.features[index + 1].state_dict().items():
            assert torch.equal(ours.bn.state_dict()[key], value)


def test_grey_images_see_the_sum_of_the_colours():
    teacher = zoo.create_model("cifar_resnet20", num_classes=4)
    student = zoo.create_model("sew_resnet20", num_classes=4, in_chans=1)
    done = copy_weights(student, teacher)
    torch.testing.assert_close(student.conv1.weight, teacher.conv1.weight.sum(1, keepdim=True))
    assert done.left == tuple(f"layer{s}.0.downsample.{i}" for s in (2, 3) for i in (0, 1))  # option A has none


def test_a_classifier_of_other_classes_stays():
    student = zoo.create_model("sew_resnet20", num_classes=5)
    assert "fc" in copy_weights(student, zoo.create_model("cifar_resnet20", num_classes=4)).left


@pytest.mark.parametrize("neuron", ["if", "lif", {"name": "lif", "decay_input": False, "v_threshold": 0.5}, "plif"])
def test_the_strongest_currents_fire_at_once(neuron):
    torch.manual_seed(0)
    student = zoo.create_model("spiking_vgg_tiny", num_classes=4, num_steps=3, neuron=neuron)
    teacher = randomise(VGG(cfg=[32, "M", 64, "M", 128, 128, "M"], norm_layer=nn.BatchNorm2d, num_classes=4))
    x = torch.randn(16, 3, 16, 16)
    init_from_teacher(student, zoo.teacher.StillModel(teacher_of(teacher), CFG), [x], percentile=90)
    spec = {"name": neuron} if isinstance(neuron, str) else neuron
    decays = spec["name"] in ("lif", "plif") and spec.get("decay_input", True)
    enough = spec.get("v_threshold", 1.0) * (2 if decays else 1)
    shares = []
    for layer in spiking_neurons(student).values():
        layer.register_forward_pre_hook(lambda _, args: shares.append((args[0] >= enough).float().mean().item()))
    with torch.no_grad():
        student(x)  # in evaluation mode: the statistics taken anew are those of this batch
    assert shares[0] == pytest.approx(0.1, abs=0.01)
    assert all(0.03 < share < 0.3 for share in shares)  # deeper, the spikes have changed since they were scaled
    assert silent_layers(student, x) == []


CFG = {"input_size": (3, 16, 16), "mean": (0.0,) * 3, "std": (1.0,) * 3}


def teacher_of(model):
    model.pretrained_cfg = dict(CFG)
    model.head.global_pool = nn.AdaptiveAvgPool2d(1)
    model.pre_logits = nn.Identity()
    return model


def test_it_starts_above_chance():
    """Handwritten digits: a small ResNet, a hundred steps; its spiking twin before any."""
    torch.manual_seed(0)
    digits = load_digits()
    x, y = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
    x = (x - 0.3) / 0.37
    train, test = slice(0, 1200), slice(1200, None)
    teacher = zoo.create_model("cifar_resnet20", num_classes=10, in_chans=1)
    optimiser = torch.optim.AdamW(teacher.parameters(), 3e-3)
    for _ in range(100):
        chosen = torch.randint(1200, (64,))
        loss = F.cross_entropy(teacher(x[train][chosen]), y[train][chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    teacher.eval()
    student = zoo.create_model("sew_resnet20", num_classes=10, in_chans=1, num_steps=4)
    batches = list(x[train].split(200))
    assert isinstance(student, SpikingModel)
    teacher.pretrained_cfg.update(input_size=(1, 8, 8), mean=(0.0,), std=(1.0,))
    init_from_teacher(student, zoo.teacher.StillModel(teacher, teacher.pretrained_cfg), batches)
    with torch.no_grad():
        accuracy = (student.eval()(x[test]).argmax(1) == y[test]).float().mean()
    assert accuracy > 0.2, "chance is 0.1"


def test_a_teacher_may_come_as_timm_made_it():
    """And nothing in it changes, not even in training mode."""
    torch.manual_seed(0)
    teacher, x = randomise(zoo.create_model("cifar_resnet20", num_classes=10)).train(), torch.randn(4, 3, 32, 32)
    before = copy.deepcopy(teacher.state_dict())
    first = zoo.create_model("sew_resnet20", num_classes=10)
    second = copy.deepcopy(first)
    init_from_teacher(first, teacher, [x])
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert teacher.training
    init_from_teacher(second, zoo.teacher.StillModel(teacher.eval(), second.pretrained_cfg), [x])
    for key, value in second.state_dict().items():
        torch.testing.assert_close(first.state_dict()[key], value)


def test_what_cannot_be_matched():
    student = zoo.create_model("sew_resnet20")
    with pytest.raises(ValueError, match=r"SEWResNet and VGG: expected four in five .* found 0 of 21"):
        copy_weights(student, VGG(cfg=[8, "M"], norm_layer=nn.BatchNorm2d))
    with pytest.raises(ValueError, match="expected four in five"):  # a quarter of the blocks has a counterpart
        copy_weights(zoo.create_model("sew_resnet20", layers=(6, 6, 6)), zoo.create_model("cifar_resnet20"))
    for batches in (torch.zeros(1, 3, 8, 8), [(torch.zeros(1, 3, 8, 8), torch.zeros(1))]):
        with pytest.raises(ValueError, match=r"batches: expected \[x for x, _ in loader\], found another"):
            init_from_teacher(student, zoo.create_model("cifar_resnet20"), batches)
    with pytest.raises(ValueError, match="batches: expected .* found another list"):
        init_from_teacher(student, zoo.create_model("cifar_resnet20"), [])
    with pytest.raises(ValueError, match="percentile: expected a number in .* found 0"):
        init_from_teacher(student, zoo.create_model("cifar_resnet20"), [torch.zeros(1, 3, 8, 8)], percentile=0)
