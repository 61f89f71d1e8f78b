"""What holds for every student of spike trains."""

import pytest
import torch
from torch import nn

import zoo
from zoo.models._spike_trains import without_other_readout

CHANS, STEPS = 6, 40
VARIANTS = {
    "delays": ("delay_mlp_tiny", {}),
    "voltages": ("eventprop_mlp_tiny", {}),
    "first spikes": ("eventprop_mlp_tiny", {"readout": "spike"}),
    "leaky readout": ("radlif_mlp_tiny", {}),
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def make(variant, **changes):
    """A student in which every layer fires, in evaluation mode."""
    name, options = VARIANTS[variant]
    model = zoo.create_model(name, **{"num_classes": 4, "in_chans": CHANS, "num_steps": STEPS, **options, **changes})
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm1d)):
        nn.init.constant_(norm.bias, 1.0)
    return model.eval()


@every_variant
def test_a_checkpoint_can_have_other_classes(variant, tmp_path):
    model = make(variant)
    name = f"{VARIANTS[variant][0]}.noise"
    zoo.publish(model, tmp_path / name, license="mit")
    x = (torch.rand(STEPS, 3, CHANS) < 0.2).float()
    for classes in (4, 7, 0):
        made = zoo.create_model(name, pretrained=True, registry=tmp_path, num_classes=classes).eval()
        assert made(x).shape == (3, classes or made.num_features)
        assert torch.equal(made.forward_features(x), model.forward_features(x))
        if classes == 4:
            assert torch.equal(made(x), model(x))


def test_what_stays_of_other_weights():
    model = make("voltages")
    own, other = model.state_dict(), make("voltages", num_classes=7).state_dict()
    assert without_other_readout(own, model) == own
    assert set(without_other_readout(other, model)) == {name for name in own if not name.startswith("fc.")}


@every_variant
@pytest.mark.parametrize("training", [True, False])
def test_a_new_readout_is_in_the_mode_of_the_model(variant, training):
    model = make(variant).train(training)
    for classes in (3, 0):
        model.reset_classifier(classes)
        assert all(module.training == training for module in model.modules())


@every_variant
def test_nothing_to_pool(variant):
    with pytest.raises(ValueError, match="MLP has nothing to pool, found global_pool='avg'"):
        make(variant).reset_classifier(3, "avg")


@pytest.mark.parametrize("hidden", [(), (8, 0)])
@every_variant
def test_no_hidden_neurons(variant, hidden):
    with pytest.raises(ValueError, match="hidden is the number of neurons of every hidden layer, each >= 1, found"):
        make(variant, hidden=hidden)


def test_delays_do_not_decay():
    for model in (make("delays"), make("voltages", max_delay=4.0)):
        delays = {name for name, _ in model.named_parameters() if name.endswith(".delay")}
        assert delays
        assert delays <= model.no_weight_decay()
