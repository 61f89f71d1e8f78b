import copy
from itertools import islice

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn.modules.batchnorm import _BatchNorm

from cli import main
from lightning_modules import ClassificationModule
from lightning_modules.callbacks import EMA, FiringRate, GrowSteps, RecalibrateNorms
from lightning_modules.objectives import TET
from lightning_modules.rules.sltt import SLTT
from zoo.registry.runs import load_run

BATCHES = 3


class Watch(Callback):
    """What is trained after every batch, and validated after every epoch; stops in a step."""

    def __init__(self, stop_at=None):
        self.trained, self.validated, self.stop_at = [], [], stop_at

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.trained.append(snapshot(pl_module))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.stop_at:
            raise KeyError("power cut")

    def on_train_epoch_end(self, trainer, pl_module):
        self.trained.append(snapshot(pl_module))

    def on_validation_batch_end(self, trainer, pl_module, *_):
        if not trainer.sanity_checking:
            assert not pl_module.training
            self.validated.append(snapshot(pl_module))


def snapshot(module):
    return {name: x.clone() for name, x in module.state_dict().items()}


def same(found, expected):
    return all(torch.equal(x, found[name]) for name, x in expected.items())


def make(data_args, adam, steps=3, **changes):
    student = {"model": "spiking_vgg_tiny", "model_args": {"num_steps": steps, "drop_rate": 0.3}}
    return ClassificationModule(**student, optimizer=adam, **data_args, **changes)


def oracle(model, blobs):
    """Means over batches of the mean and the unbiased variance of what enters every norm, in float64."""
    model = copy.deepcopy(model).double().eval()
    seen = {name: ([], []) for name, layer in model.named_modules() if isinstance(layer, _BatchNorm)}
    for name, (means, variances) in seen.items():

        def note(layer, args, means=means, variances=variances):
            x = args[0].transpose(0, 1).flatten(1)
            means.append(x.mean(1))
            variances.append(x.var(1, unbiased=True))

        layer = model.get_submodule(name)
        layer.register_forward_pre_hook(note)
        layer.train()
    blobs.trainer = None
    for x, _ in islice(blobs.train_dataloader(), BATCHES):
        model(x.double())
    return {
        f"model.{name}.{key}": torch.stack(values).mean(0)
        for name, both in seen.items()
        for key, values in zip(("running_mean", "running_var"), both, strict=True)
    }


def check(found, expected):
    assert len(expected) >= 4
    for name, x in expected.items():
        torch.testing.assert_close(found[name].double(), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["plain", "sltt", "ema first", "ema last", "grow"])
def test_the_validated_statistics_are_the_mean_over_batches(blobs, data_args, adam, trainer, tmp_path, how):
    options = {"sltt": SLTT(), "objectives": [TET()]} if how == "sltt" else {}
    module, watch, saver = make(data_args, adam, **options), Watch(), ModelCheckpoint(tmp_path, filename="last")
    callbacks = [RecalibrateNorms(BATCHES), watch, saver]
    if how.startswith("ema"):
        callbacks.insert(0 if how == "ema first" else 2, EMA(0.8))
    if how == "grow":
        callbacks.insert(0, GrowSteps([1], [1]))
    trainer(max_epochs=2, callbacks=callbacks, enable_checkpointing=True).fit(module, blobs)
    expected = oracle(module.model, blobs)
    check(snapshot(module), expected)
    check(watch.validated[-1], expected)
    assert same(watch.validated[-1], snapshot(module)), "after the fit the module is what was validated"
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert same(saved["state_dict"], snapshot(module))
    assert same(watch.trained[-1], saved["trained_weights"])
    statistic = "model.encoder.bn.running_mean"
    assert not torch.equal(watch.trained[-1][statistic], expected[statistic].float()), "the test would see nothing"
    assert same(
        {f"model.{name}": x for name, x in load_run(tmp_path / "last.ckpt").state_dict().items()}, snapshot(module)
    )


def test_only_the_last_epochs(blobs, data_args, adam, trainer):
    module, watch = make(data_args, adam), Watch()
    trainer(max_epochs=4, callbacks=[RecalibrateNorms(BATCHES, epochs=2), watch], limit_val_batches=1).fit(
        module, blobs
    )
    counts = [int(weights["model.encoder.bn.num_batches_tracked"]) for weights in watch.validated]
    assert counts == [6, 12, BATCHES, BATCHES]


def test_training_does_not_change(blobs, data_args, adam, trainer):
    """Neither its statistics nor its random numbers: dropout is on."""
    runs = []
    for callbacks in ([RecalibrateNorms(BATCHES, epochs=3)], []):
        torch.manual_seed(0)
        watch = Watch()
        trainer(max_epochs=3, callbacks=[watch, *callbacks]).fit(make(data_args, adam), blobs)
        runs.append(watch.trained)
    assert all(same(found, expected) for found, expected in zip(*runs, strict=True))


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.parametrize("every", [{"every_n_epochs": 1}, {"every_n_train_steps": 5}], ids=["epoch", "within an epoch"])
@pytest.mark.parametrize("averaged", [True, False])
def test_a_resumed_fit_equals_an_uninterrupted_one(blobs, data_args, adam, trainer, tmp_path, every, averaged):
    def run(watch, folder):
        saver = ModelCheckpoint(tmp_path / folder, save_last=True, enable_version_counter=False, **every)
        callbacks = [saver, RecalibrateNorms(BATCHES, epochs=2), watch, *([EMA(0.8)] if averaged else [])]
        return trainer(max_epochs=3, callbacks=callbacks, enable_checkpointing=True)

    student = {"model": "spiking_vgg_tiny", "model_args": {"num_steps": 2}}
    module, broken, again = (ClassificationModule(**student, optimizer=adam, **data_args) for _ in range(3))
    broken.load_state_dict(module.state_dict())
    whole = Watch()
    run(whole, "whole").fit(module, blobs)
    with pytest.raises(KeyError, match="power cut"):
        run(Watch(stop_at=16), "broken").fit(broken, blobs)  # in the middle of epoch 2, after a calibration
    resumed = Watch()
    run(resumed, "broken").fit(again, blobs, ckpt_path=tmp_path / "broken/last.ckpt")
    assert len(resumed.trained) < len(whole.trained)
    assert same(resumed.trained[-1], whole.trained[-1])
    assert same(snapshot(again), snapshot(module))
    if "every_n_epochs" in every:  # the others were written at different steps
        files = [torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "broken")]
        assert all(same(files[0][key], files[1][key]) for key in ("state_dict", "trained_weights"))


def test_the_firing_rate_is_of_the_validation_alone(blobs, data_args, adam, trainer):
    module = make(data_args, adam)
    run = trainer(max_epochs=1, callbacks=[FiringRate(), RecalibrateNorms(BATCHES)])
    run.fit(module, blobs)
    inside = run.callback_metrics["val/firing_rate"].item()
    alone = trainer(callbacks=[FiringRate()]).validate(module, blobs, verbose=False)[0]
    assert alone["val/firing_rate"] == pytest.approx(inside)


def test_fast_dev_run(blobs, data_args, adam, trainer):
    module = make(data_args, adam)
    trainer(fast_dev_run=2, callbacks=[RecalibrateNorms()]).fit(module, blobs)
    assert module.model.encoder.bn.num_batches_tracked == 2


@pytest.mark.parametrize("numbers", [{"num_batches": 0}, {"epochs": 0}])
def test_numbers_are_positive(numbers):
    with pytest.raises(
        ValueError, match=f"{next(iter(numbers))} of RecalibrateNorms: expected an integer >= 1, found 0"
    ):
        RecalibrateNorms(**numbers)


@pytest.mark.parametrize(
    "options", [{"limit_val_batches": 0}, {"check_val_every_n_epoch": 2, "max_epochs": 3}, {"max_epochs": -1}]
)
def test_a_fit_that_ends_without_a_validation_is_refused(blobs, data_args, adam, trainer, options):
    with pytest.raises(ValueError, match="expected a validation after the last epoch, found max_epochs ="):
        trainer(**options, max_steps=20, callbacks=[RecalibrateNorms()]).fit(make(data_args, adam), blobs)


def test_a_fit_whose_length_is_in_steps_is_refused(blobs, data_args, adam, trainer):
    with pytest.raises(ValueError, match="expected a fit that ends after max_epochs, found max_steps = 20"):
        trainer(max_epochs=2, max_steps=20, callbacks=[RecalibrateNorms()]).fit(make(data_args, adam), blobs)


def test_a_checkpoint_within_an_epoch_has_the_statistics_that_belong_to_its_weights(
    blobs, data_args, adam, trainer, tmp_path
):
    """Those of the training, not those that were taken for the weights of the epoch before."""

    class Save(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if (trainer.current_epoch, batch_idx) == (1, 2):
                trainer.save_checkpoint(tmp_path / "middle.ckpt")
                self.trained = snapshot(pl_module)

    save = Save()
    calls = [RecalibrateNorms(BATCHES, epochs=2), save]
    trainer(max_epochs=2, callbacks=calls).fit(make(data_args, adam), blobs)
    state = torch.load(tmp_path / "middle.ckpt", weights_only=True)["state_dict"]
    assert same(state, {key: value for key, value in save.trained.items() if key.startswith("model.")})


def test_frozen_norms_and_networks_without_norms_are_refused(blobs, data_args, adam, trainer):
    with pytest.raises(ValueError, match="expected norms that learn, found freeze_backbone: true"):
        trainer(callbacks=[RecalibrateNorms()]).fit(make(data_args, adam, freeze_backbone=True), blobs)
    module = make(data_args, adam)
    for name, layer in list(module.model.named_modules()):
        if isinstance(layer, _BatchNorm):
            module.model.set_submodule(name, torch.nn.Identity())
    with pytest.raises(ValueError, match="expected a network with batch norms, found none"):
        trainer(callbacks=[RecalibrateNorms()]).fit(module, blobs)


def test_a_recipe_names_it(tmp_path):
    callbacks = '[{"class_path": "RecalibrateNorms", "init_args": {"num_batches": 4}}, {"class_path": "EMA"}]'
    tiny = ["--model.model", "spiking_vgg_tiny", "--data.batch_size", "128", "--trainer.max_epochs", "1"]
    fit = ["fit", "--config", "configs/digits/sew_resnet_ce.yaml", *tiny, "--run", str(tmp_path / "run")]
    main([*fit, "--trainer.callbacks", callbacks])
    assert load_run(tmp_path / "run").encoder.bn.num_batches_tracked == 4
