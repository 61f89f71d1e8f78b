import pytest
import torch
import torch.nn.functional as F

import zoo
from zoo.neurons import Neuron


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("vggsnn", {}, 9_271_498),
        ("vggsnn", {"num_classes": 11}, 9_271_498 + 4609),
        ("vggsnn", {"img_size": 64}, 9_271_498 + 512 * (16 - 9) * 10),
        ("vggsnn_tiny", {}, 21 * 16 + 147 * 16 + 147 * 32 + 291 * 32 + (32 * 16 + 1) * 10),
    ],
)
def test_parameters(count, name, changes, expected):
    assert count(name, **changes) == expected


def step(walk, x, stages):
    """Logits of the paper's table at one step."""
    for index, widths in enumerate(stages):
        first = ["encoder"] if index == 0 else []
        for name in [*first, *(f"stages.{index}.{number}" for number in range(len(widths) - len(first)))]:
            x = walk.fire(walk.norm(walk.conv(x, f"{name}.conv"), f"{name}.bn"), f"{name}.act")
        x = F.avg_pool2d(x, 2)
    return walk.linear(x.flatten(1), "fc")


def test_equals_the_table_step_by_step(walk, calibrate):
    stages = ((6, 7), (8, 9))
    model = zoo.create_model("vggsnn_tiny", stages=stages, img_size=(13, 16), num_classes=5)
    frames = 2 * torch.rand(5, 3, 2, 13, 16, dtype=torch.float64)
    reference = walk(calibrate(model, frames), decay=0.5, gain=1.0)
    with torch.no_grad():
        logits = model.forward_sequence(frames)
        expected = torch.stack([step(reference, frame, stages) for frame in frames])
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)


def test_neuron_of_the_papers_net():
    neurons = [module for module in zoo.create_model("vggsnn").modules() if isinstance(module, Neuron)]
    assert len(neurons) == 8
    assert {(neuron.tau, neuron.decay_input, neuron.detach_reset, str(neuron.surrogate)) for neuron in neurons} == {
        (2.0, False, False, "Triangle(gamma=1.0)")
    }


def test_another_size():
    with pytest.raises(ValueError, match=r"images of 48x48 pixels, found 128x128. Resize .* img_size=\(128, 128\)"):
        zoo.create_model("vggsnn")(torch.zeros(1, 2, 128, 128))
    with pytest.raises(ValueError, match="halved 4 times: sides must be of 16 pixels or more, found 15x15"):
        zoo.create_model("vggsnn", img_size=15)
