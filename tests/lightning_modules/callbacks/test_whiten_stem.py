import pytest
import torch
from lightning import Callback

from lightning_modules import ClassificationModule
from lightning_modules.callbacks import WhitenStem


@pytest.fixture
def module(data_args, adam):
    def make(model="spiking_pool_vgg_tiny", **args):
        args = args or {"stem_width": 8, "num_steps": 2}
        return ClassificationModule(model=model, model_args=args, optimizer=adam, **data_args)

    return make


def second_moments(conv, images):
    out = torch.nn.functional.conv2d(images, conv.weight).transpose(0, 1).flatten(1)[:4]
    return out @ out.T / out.shape[1]


def test_the_stem_is_white_stays_so_and_its_biases_learn(module, blobs, trainer):
    fitted = module()
    trainer(callbacks=[WhitenStem(96)], max_epochs=2).fit(fitted, blobs)
    stem = fitted.model.stem.conv
    images = torch.cat([x for x, _ in blobs.train_dataloader()], 1)[0]
    torch.testing.assert_close(second_moments(stem, images), torch.eye(4), atol=0.02, rtol=0)
    assert stem.bias.any()


def test_a_trained_network_keeps_its_filters(module, blobs, trainer):
    trained = module()
    trained.model(torch.rand(4, 1, 8, 8))  # norms count what they saw
    before = trained.model.stem.conv.weight.clone()
    trainer(callbacks=[WhitenStem(96)], max_epochs=1).fit(trained, blobs)
    assert torch.equal(trained.model.stem.conv.weight, before)


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(module, blobs, trainer, tmp_path):
    torch.manual_seed(0)
    whole = module()
    start = {key: value.clone() for key, value in whole.state_dict().items()}
    other = module()
    trainer(callbacks=[WhitenStem(96)], max_epochs=2).fit(whole, blobs)
    other.load_state_dict(start)
    path = tmp_path / "half.ckpt"

    class SaveHalf(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 0:
                trainer.save_checkpoint(path)

    trainer(callbacks=[WhitenStem(96), SaveHalf()], max_epochs=2).fit(other, blobs)
    resumed = module()
    trainer(callbacks=[WhitenStem(96)], max_epochs=2).fit(resumed, blobs, ckpt_path=path)
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


def test_refusals(module, blobs, trainer):
    with pytest.raises(ValueError, match="num_images of WhitenStem: expected an integer >= 1, found 0"):
        WhitenStem(0)
    with pytest.raises(ValueError, match="needs a model with a 'whiten' stem.*found SpikingVGG"):
        trainer(callbacks=[WhitenStem()]).fit(module("spiking_vgg_tiny", num_steps=2), blobs)
    with pytest.raises(ValueError, match="expected stem_width 8 .* found 24"):
        trainer(callbacks=[WhitenStem()]).fit(module(num_steps=2), blobs)
