import pytest
import torch
import torch.nn.functional as F

import zoo
from zoo.layers.stateless import MatMul
from zoo.model import spiking_neurons
from zoo.models.spike_driven import SpikeDrivenAttention

PUBLISHED = [  # the paper's nets; per block an 8 x 8 convolution between the heads that never runs
    ("spike_driven_8_384", {}, 16_816_536, 8 * 64),
    ("spike_driven_6_512", {}, 23_373_736, 6 * 64),
    ("spike_driven_8_512", {}, 29_689_896, 8 * 64),
    ("spike_driven_10_512", {}, 36_006_056, 10 * 64),
    ("spike_driven_8_768", {}, 66_339_144, 8 * 64),
    ("spike_driven_cifar_2_256", {}, 2_567_082, 2 * 64),
    ("spike_driven_cifar_2_512", {}, 10_233_546, 2 * 64),
    ("spike_driven_cifar_2_512", {"num_classes": 100}, 10_279_716, 2 * 64),
    ("spike_driven_dvsgesture_2_256", {}, 2_567_051, 2 * 64),
    ("spike_driven_cifar10dvs_2_256", {"num_classes": 11}, 2_567_051, 2 * 64),  # pools elsewhere
]


@pytest.mark.parametrize(("name", "changes", "published", "dead"), PUBLISHED)
def test_parameters_are_the_published_ones_but_for_what_never_runs(count, name, changes, published, dead):
    assert count(name, **changes) + dead == published


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("spike_driven_8_384", 16_816_024),
        ("spike_driven_6_512", 23_373_352),
        ("spike_driven_8_512", 29_689_384),
        ("spike_driven_10_512", 36_005_416),
        ("spike_driven_8_768", 66_338_632),
        ("spike_driven_cifar_2_256", 2_566_954),
        ("spike_driven_cifar_2_512", 10_233_418),
        ("spike_driven_cifar10dvs_2_256", 2_566_666),
        ("spike_driven_dvsgesture_2_256", 2_566_923),
        ("spike_driven_tiny", 163_666),
        ("spike_driven_cifar_tiny", 163_666),
        ("spike_driven_dvs_tiny", 163_594),
    ],
)
def test_parameters_are_those_of_the_docstrings(count, name, total):
    assert count(name) == total
    assert f"{total:,} parameters" in getattr(zoo.models.spike_driven, name).__doc__


def wide(x):
    """Max-pool 3x3 of stride 1."""
    return F.max_pool2d(x, 3, 1, 1)


def simulate(walk, frames, depth, pools, dilate):
    """Logits [T, N, K] of the paper's table, every layer at one step before any layer sees the next."""
    widen = wide if dilate else (lambda x: x)
    logits = []
    for x in frames:
        for name, pool in zip(("encoder", "stem.0", "stem.1"), pools[:3], strict=True):
            x = walk.spikes(x, name)
            x = F.max_pool2d(x, 3, 2, 1) if pool else x
        x = F.max_pool2d(walk.unit(x, "stem.2"), 3, 2, 1)
        x = x + walk.current(x, "stem.3.0")
        for index in range(depth):
            attn, mlp = f"blocks.{index}.attn", f"blocks.{index}.mlp"
            spikes = walk.fire(x, attn)
            q, k, v = (walk.spikes(spikes, f"{attn}.1.{name}") for name in "qkv")
            meets = widen(widen(k) * widen(v)).flatten(2).sum(2)  # [N, C]
            mask = walk.fire(meets, f"{attn}.1", threshold=0.5)
            x = x + walk.unit(widen(q * mask[:, :, None, None]), f"{attn}.1.proj")
            x = x + walk.current(walk.current(x, f"{mlp}.0"), f"{mlp}.1")
        logits.append(walk.linear(walk.fire(x.mean((2, 3)), "head_act"), "fc"))
    return torch.stack(logits)


@pytest.mark.parametrize(
    ("name", "pools", "dilate"),
    [
        ("spike_driven_tiny", (1, 1, 1, 1), False),
        ("spike_driven_cifar_tiny", (0, 0, 1, 1), False),
        ("spike_driven_dvs_tiny", (0, 1, 1, 1), True),
    ],
)
@torch.no_grad()
def test_equals_the_paper_step_by_step(walk, calibrate, name, pools, dilate):
    model = zoo.create_model(name, dim=48, num_classes=5, num_steps=5)
    x = torch.randn(5 if dilate else 1, 2, model.in_chans, 40, 40, dtype=torch.float64)
    model = calibrate(model, x)
    logits = model.forward_sequence(x)
    expected = simulate(walk(model), x.expand(5, *x.shape[1:]), 2, pools, dilate)
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("spike_driven_8_384", 14),  # 224 / 16
        ("spike_driven_cifar_2_512", 8),  # 32 / 4
        ("spike_driven_cifar10dvs_2_256", 16),  # 64 / 4
        ("spike_driven_dvsgesture_2_256", 16),  # 128 / 8
    ],
)
def test_tokens_of_the_paper(name, side):
    with torch.device("meta"):
        model = zoo.create_model(name)
        final = model.forward_features(torch.zeros(1, 1, *model.pretrained_cfg["input_size"]))
    assert final.shape[2:] == (model.num_features, side, side)


def test_neurons_of_the_paper():
    neurons = spiking_neurons(zoo.create_model("spike_driven_tiny"))
    assert {(type(neuron).__name__, neuron.tau) for neuron in neurons.values()} == {("LIF", 2.0)}
    assert {str(neuron.surrogate) for neuron in neurons.values()} == {"Sigmoid(alpha=4.0)"}
    low = {name for name, neuron in neurons.items() if neuron.v_threshold != 1.0}
    assert low == {f"blocks.{index}.attn.1.act" for index in range(2)}


@pytest.mark.parametrize("dilate", [False, True])
def test_attention_only_masks_and_adds(dilate):
    """No product of two activations, and no branch reads anything but bits."""
    attention, seen = SpikeDrivenAttention(16, "lif", dilate), []
    attention.proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    spikes = (torch.rand(4, 2, 16, 5, 5) < 0.3).float()
    attention(spikes)
    assert seen[0].any()
    assert set(seen[0].unique().tolist()) <= {0.0, 1.0}
    assert not any(isinstance(module, MatMul) for module in attention.modules())


@torch.no_grad()
def test_a_mask_is_one_for_all_tokens():
    """A channel in which key and value never meet lets nothing through."""
    attention, seen = SpikeDrivenAttention(16, "lif"), []
    attention.v.bn.bias[:8] = -100.0
    attention.act.register_forward_hook(lambda _, __, out: seen.append(out))
    attention((torch.rand(4, 2, 16, 5, 5) < 0.3).float())
    assert seen[0].shape == (4, 2, 16, 1, 1)
    assert not seen[0][:, :, :8].any()
    assert seen[0][:, :, 8:].any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dim": 60}, "dim .* multiple of 8, found 60"),
        ({"depth": 0}, "depth .* >= 1, found 0"),
        ({"pools": (True, True)}, "pools must say of each of the four units"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        zoo.create_model("spike_driven_tiny", **arguments)
