"""Folded networks against themselves before, in double precision; which norms may go, by hand."""

import copy

import pytest
import torch
from torch import nn

import zoo
from zoo.fold import fold

TINY = [name for name in zoo.list_models() if name.endswith("tiny")]


def norms(model):
    return [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def disturbed(model, x):
    """Norms of any gain and shift, with the statistics of x: the network fires."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the plain average
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, 0.2, 1)
    with torch.no_grad():
        for _ in range(3):
            model.double().train()(x)
    return model.eval()


@pytest.mark.parametrize("name", TINY)
def test_answers_stay(name):
    torch.manual_seed(0)
    model = zoo.create_model(name, num_classes=5)
    x = zoo.noise_input(model)
    model = disturbed(model, x := x.double() if x.is_floating_point() else x)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        folded = fold(model)
        expected, found = model(x), folded(x)
    assert expected.std() > 1e-6
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), "the model was touched"
    assert not any(module._forward_hooks for module in (*model.modules(), *folded.modules()))


def test_every_norm_of_a_convolution_goes():
    for name in ("sew_resnet_tiny", "spiking_vgg_tiny"):
        model = zoo.create_model(name)
        assert norms(model)
        assert norms(fold(model)) == []
        assert norms(model)


class Toy(nn.Module):
    """Two convolutions: the norm of the first reads it alone, that of the second shares it with the sum."""

    def __init__(self, shared):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
        self.conv2, self.bn2, self.pool = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.MaxPool2d(1)
        self.shared = shared

    def forward(self, x):
        x = self.bn1(self.conv1(x))
        y = self.conv2(x)
        return self.bn2(y) + self.pool(y) if self.shared else self.bn2(self.pool(y))


class Sum(Toy):
    """A function, which is no module, reads the second convolution beside its norm."""

    def forward(self, x):
        y = self.conv2(self.bn1(self.conv1(x)))
        return self.bn2(y) + y


class Tied(Toy):
    """A function uses the weights of the second convolution once more."""

    def forward(self, x):
        x = self.bn1(self.conv1(x))
        return self.bn2(self.conv2(x)) + nn.functional.conv2d(x, self.conv2.weight)


def test_a_layer_whose_weights_something_else_uses_is_noticed():
    model = disturbed(Tied(True), x := torch.randn(2, 1, 5, 5, dtype=torch.float64))
    with pytest.raises(ValueError, match="Tied cannot be folded: .* something else uses the weights"):
        fold(model, x)


def test_the_dtype_is_kept():
    model = zoo.create_model("sew_resnet_tiny")
    assert {value.dtype for value in fold(model).parameters()} == {torch.float32}


@pytest.mark.parametrize("toy", [Toy(True), Toy(False), Sum(True)], ids=["shared", "pool", "sum"])
def test_a_norm_that_does_not_read_the_layer_alone_stays(toy):
    x = torch.randn(2, 1, 5, 5, dtype=torch.float64)
    model = disturbed(toy, x)
    with torch.no_grad():
        folded = fold(model, x)
        torch.testing.assert_close(folded(x), model(x), atol=1e-12, rtol=1e-12)
    assert norms(folded) == ["bn2"]
