import pytest
import torch

import zoo
from zoo.neurons import Neuron


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("spiking_resnet19", 10, 12_630_858),
        ("spiking_resnet19", 100, 12_653_988),
        ("spiking_resnet_tiny", 10, 78_042 - 65 * 10 + 65 * 48 + 49 * 10),  # `ms_resnet_tiny` and a hidden layer
    ],
)
def test_parameters(count, name, classes, expected):
    assert count(name, num_classes=classes) == expected


def step(walk, x, layers):
    """Logits of the paper's table at one step."""
    x = walk.fire(walk.norm(walk.conv(x, "conv1"), "bn1"), "act1")
    for stage, depth in enumerate(layers, 1):
        for number in range(depth):
            name, stride = f"layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1
            y = walk.fire(walk.norm(walk.conv(x, f"{name}.conv1", stride), f"{name}.bn1"), f"{name}.act1")
            y = walk.norm(walk.conv(y, f"{name}.conv2"), f"{name}.bn2")
            if walk.has(f"{name}.downsample.0"):
                x = walk.norm(walk.conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = walk.fire(x + y, f"{name}.act2")
    x = walk.fire(walk.linear(x.mean((2, 3)), "hidden.linear"), "hidden.act")
    return walk.linear(x, "fc")


def test_equals_the_table_step_by_step(walk, calibrate):
    layers = (2, 1, 2)
    model = zoo.create_model(
        "spiking_resnet_tiny", layers=layers, widths=(8, 12, 16), stem_width=6, num_classes=5, num_steps=5
    )
    image = torch.randn(3, 3, 13, 13, dtype=torch.float64)
    reference = walk(calibrate(model, image), decay=0.5, gain=1.0)
    with torch.no_grad():
        logits = model.forward_sequence(image[None])
        expected = torch.stack([step(reference, image, layers) for _ in range(5)])
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)


def test_neuron_of_the_papers_net():
    model = zoo.create_model("spiking_resnet19")
    neurons = [module for module in model.modules() if isinstance(module, Neuron)]
    assert len(neurons) == 1 + 2 * 8 + 1
    assert {(neuron.tau, neuron.decay_input, neuron.detach_reset, str(neuron.surrogate)) for neuron in neurons} == {
        (2.0, False, False, "Triangle(gamma=1.0)")
    }


def test_bad_input():
    with pytest.raises(ValueError, match="as many stages"):
        zoo.create_model("spiking_resnet_tiny", layers=(1, 1))
