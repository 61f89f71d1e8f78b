import pytest
import timm
import torch
import torch.nn.functional as F

import zoo
from zoo.model import read
from zoo.sequence import SequenceKind
from zoo.teacher import StillModel, kind_of

GREY = {"input_size": (1, 28, 28), "mean": (0.3,), "std": (0.2,)}
RGB = {"input_size": (3, 32, 32), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


def ann(name="test_resnet", size=32, **changes):
    model = timm.create_model(name, num_classes=5, **changes)
    model.pretrained_cfg |= {"input_size": (3, size, size), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    return model.eval()


def test_sees_its_own_statistics():
    """Whatever the data was normalised by, the model sees (pixel - its mean) / its std."""
    pixels = torch.rand(2, 3, 32, 32)
    column = torch.tensor([RGB["mean"], RGB["std"], (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)])[:, :, None, None]
    arrives = (pixels - column[0]) / column[1]
    seen = StillModel(ann(), RGB).frame(arrives[None])
    torch.testing.assert_close(seen, (pixels - column[2]) / column[3], atol=1e-5, rtol=1e-5)


def test_grey_is_shown_in_all_channels_at_its_size():
    pixels = torch.rand(2, 1, 28, 28)
    seen = StillModel(ann(), GREY).frame(((pixels - 0.3) / 0.2)[None])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    large = F.interpolate(pixels, (32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(seen, (large - mean) / std, atol=1e-5, rtol=1e-5)


def test_sees_the_mean_frame():
    still = StillModel(ann(), RGB)
    x = torch.randn(4, 2, 3, 32, 32)
    torch.testing.assert_close(still.frame(x), still.frame(x.mean(0, keepdim=True)))


@pytest.mark.parametrize(("name", "size"), [("test_resnet", 32), ("test_vit", 160), ("test_convnext", 32)])
def test_is_read_like_a_student(name, size):
    model = ann(name, size)
    still = StillModel(model, RGB)
    x = torch.randn(3, 2, 3, 32, 32)
    with torch.no_grad():
        outputs = read(still, x)
        torch.testing.assert_close(outputs.logits[0], model(still.frame(x)), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(still(x), outputs.logits[0], atol=1e-5, rtol=1e-4)
        assert still.forward_sequence(x).shape == (1, 2, 5)
    assert len(outputs.features) == len(still.feature_info)
    for feature, info in zip(outputs.features, still.feature_info, strict=True):
        assert feature.shape[:3] == (1, 2, info["num_chs"])
        assert feature.ndim == 5


def test_adds_nothing_to_the_checkpoint():
    model = ann()
    assert set(StillModel(model, RGB).state_dict()) == {f"model.{key}" for key in model.state_dict()}


@pytest.mark.parametrize("chans", [1, 2])
def test_a_model_made_for_the_channels_of_the_data(chans):
    """What the error below advises. timm sums the first weights; the statistics of the weights are averaged."""
    data = {"input_size": (chans, 32, 32), "mean": (0.5,) * chans, "std": (0.25,) * chans}
    still = StillModel(ann(in_chans=chans), data)
    pixels = torch.rand(2, chans, 32, 32)
    seen = still.frame(((pixels - 0.5) / 0.25)[None])
    mean, std = sum((0.485, 0.456, 0.406)) / 3, sum((0.229, 0.224, 0.225)) / 3
    torch.testing.assert_close(seen, (pixels - mean) / std, atol=1e-5, rtol=1e-5)
    assert still(pixels[None]).shape == (2, 5)


def test_gradient_passes():
    still, x = StillModel(ann(), GREY), torch.randn(2, 2, 1, 28, 28, requires_grad=True)
    read(still, x).logits.sum().backward()
    assert x.grad.abs().sum() > 0
    assert torch.equal(x.grad[0], x.grad[1])  # it sees the mean frame
    assert all(parameter.grad is not None for parameter in still.parameters())


def test_channels_that_cannot_be_shown():
    with pytest.raises(ValueError, match="takes 3 channels, but the data has 2; .*in_chans=2"):
        StillModel(ann(), {"input_size": (2, 32, 32), "mean": (0.5, 0.5), "std": (0.2, 0.2)})


def test_spike_trains_are_no_frames():
    still = StillModel(ann(), RGB)
    for way_in in (still, still.forward_sequence, lambda x: read(still, x)):
        with pytest.raises(ValueError, match=r"input: expected images .*found shape \(4, 2, 3\)"):
            way_in(torch.zeros(4, 2, 3))


def test_has_the_surface_of_a_student():
    """Callers ask a `SequenceModel` and need not distinguish the two."""
    still = StillModel(ann())
    student = zoo.create_model("sew_resnet_tiny", num_steps=3)
    assert (kind_of(still.network), still.kind, student.kind) == (SequenceKind.IMAGES,) * 3
    assert kind_of(zoo.create_model("delay_mlp_tiny")) is SequenceKind.SPIKE_TRAINS
    assert (still.num_steps, student.num_steps) == (1, 3)
    assert still.network is still.model
    assert student.network is student
    for model in (still, student):
        assert (model.sequence_ndim, model.dt, model.img_size) == (5, None, None)
        names = {name for name, _ in model.network.named_parameters()}
        assert model.no_weight_decay() <= names
        assert set(model.lr_factors()) <= names
