import pytest
import torch
import torch.nn.functional as F

import zoo
from zoo.layers.stateless import SequenceDropout
from zoo.neurons import PLIF, Neuron


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("plif_nmnist", {}, 17_134_440),
        ("plif_cifar10dvs", {}, 4_691_818),
        ("plif_dvsgesture", {}, 1_698_933),
        (  # 36.72 M
            "plif_cifar10",
            {},
            (9 * 3 * 256 + 513) + 5 * (9 * 256 * 256 + 513) + (256 * 64 * 2048 + 2049) + (2049 * 100 + 1),
        ),
        ("plif_dvsgesture", {"num_classes": 10}, 1_698_933 - 513 * 10),
        ("plif_dvs_tiny", {}, (18 * 32 + 65) + (9 * 32 * 32 + 65) + (32 * 16 * 64 + 64 + 1) + (65 * 100 + 1)),
    ],
)
def test_parameters(count, name, changes, expected):
    assert count(name, **changes) == expected


def step(walk, x, stages, classes):
    """Logits of the paper's table at one step, without dropout."""
    for index, widths in enumerate(stages):
        first = ["encoder"] if index == 0 else []
        for name in [*first, *(f"stages.{index}.{number}" for number in range(len(widths) - len(first)))]:
            x = walk.fire(walk.norm(walk.conv(x, f"{name}.conv"), f"{name}.bn"), f"{name}.act")
        x = F.max_pool2d(x, 2)
    x = walk.fire(walk.linear(x.flatten(1), "hidden.1.linear"), "hidden.1.act")
    votes = walk.fire(walk.linear(x, "fc"), "act")
    return torch.stack([votes[:, 10 * label : 10 * label + 10].sum(1) / 10 for label in range(classes)], 1)


@pytest.mark.parametrize("stages", [((6,), (7,)), ((5, 6), (7, 8))], ids=["as for events", "as for CIFAR-10"])
def test_equals_the_table_step_by_step(walk, calibrate, stages):
    model = zoo.create_model("plif_dvs_tiny", stages=stages, img_size=(17, 12), num_classes=5)
    frames = 2 * torch.rand(5, 3, 2, 17, 12, dtype=torch.float64)
    reference = walk(calibrate(model, frames))
    with torch.no_grad():
        logits = model.forward_sequence(frames)
        expected = torch.stack([step(reference, frame, stages, 5) for frame in frames])
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)


def test_parts_of_the_papers_nets():
    with torch.device("meta"):
        model = zoo.create_model("plif_dvsgesture")
    neurons = [module for module in model.modules() if isinstance(module, Neuron)]
    assert {type(neuron) for neuron in neurons} == {PLIF}
    assert len(neurons) == 5 + 2
    assert [module.p for module in model.modules() if isinstance(module, SequenceDropout)] == [0.5, 0.5]


def test_dropout_takes_a_neuron_away_for_all_steps():
    model, seen = zoo.create_model("plif_dvs_tiny").train(), []
    for layer in (model.hidden[1].linear, model.fc):
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    spikes = (torch.rand(4, 3, 32, 8, 8) < 0.5).float()
    model.forward_head(spikes)
    fired = model.downsample(spikes).flatten(2) > 0
    kept = (seen[0] > 0).any(0)
    assert 0.4 < kept.float().mean() < 0.6
    assert torch.equal(seen[0], 2.0 * (fired & kept))
    assert set(seen[1].unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("neuron", ["plif", "adlif"])
def test_new_voters(neuron):
    """Also of a neuron with numbers for every unit."""
    model = zoo.create_model("plif_dvs_tiny", num_classes=0, neuron=neuron).double()
    x = torch.randn(2, 2, 16, 16, dtype=torch.float64)
    assert model(x).shape == (2, 64)
    model.reset_classifier(3)
    assert model(x).shape == (2, 3)
    assert model.get_classifier().out_features == 30
    assert neuron == "adlif" or model(x).any(), "new voters fire"


def test_another_size():
    with pytest.raises(ValueError, match=r"images of 34x34 pixels, found 28x28. Resize .* img_size=\(28, 28\)"):
        zoo.create_model("plif_nmnist", hidden=8)(torch.zeros(1, 2, 28, 28))
    with pytest.raises(ValueError, match="halved 5 times: sides must be of 32 pixels or more, found 34x31"):
        zoo.create_model("plif_dvsgesture", img_size=(34, 31))
