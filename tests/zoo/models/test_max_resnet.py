import pytest
import torch
import torch.nn.functional as F

import zoo
from zoo.neurons import Neuron


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("max_resnet18", 10, 12_502_090),
        ("max_resnet18", 100, 12_548_260),
        ("max_resnet_tiny", 10, 78_042),  # that of `ms_resnet_tiny`: a max-pool has no parameters
    ],
)
def test_parameters(count, name, classes, expected):
    assert count(name, num_classes=classes) == expected


def step(walk, x, layers):
    """Logits of the paper's table at one step."""
    x = walk.norm(walk.conv(x, "conv1"), "bn1")
    for stage, depth in enumerate(layers, 1):
        for number in range(depth):
            name, halve = f"layer{stage}.{number}", stage > 1 and number == 0
            y = walk.norm(walk.conv(walk.fire(x, f"{name}.act1"), f"{name}.conv1"), f"{name}.bn1")
            y = F.max_pool2d(y, 3, 2, 1) if halve else y
            y = walk.norm(walk.conv(walk.fire(y, f"{name}.act2"), f"{name}.conv2"), f"{name}.bn2")
            if walk.has(f"{name}.downsample.0"):
                x = walk.norm(walk.conv(x, f"{name}.downsample.0", 2 if halve else 1), f"{name}.downsample.1")
            x = x + y
    return walk.linear(walk.fire(x, "act").mean((2, 3)), "fc")


def test_equals_the_table_step_by_step(walk, calibrate):
    layers = (2, 1, 2)
    model = zoo.create_model(
        "max_resnet_tiny", layers=layers, widths=(8, 12, 16), stem_width=6, num_classes=5, num_steps=5
    )
    image = torch.randn(3, 3, 14, 14, dtype=torch.float64)  # 14, 7, 4
    reference = walk(calibrate(model, image))
    with torch.no_grad():
        logits = model.forward_sequence(image[None])
        expected = torch.stack([step(reference, image, layers) for _ in range(5)])
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)


def test_neuron_of_the_papers_net():
    neurons = [module for module in zoo.create_model("max_resnet18").modules() if isinstance(module, Neuron)]
    assert len(neurons) == 2 * 8 + 1
    assert {(neuron.tau, neuron.decay_input, str(neuron.surrogate)) for neuron in neurons} == {
        (2.0, True, "Sigmoid(alpha=4.0)")
    }


def test_bad_input():
    with pytest.raises(ValueError, match="as many stages"):
        zoo.create_model("max_resnet_tiny", layers=(1, 1))
