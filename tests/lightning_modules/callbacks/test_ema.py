from types import SimpleNamespace

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy

import zoo
from cli import main
from lightning_modules import ClassificationModule, DistillationModule
from lightning_modules.callbacks import EMA
from lightning_modules.objectives import BKD, TET, CrossEntropy
from lightning_modules.rules.sltt import SLTT
from zoo.registry.runs import load_run


class Watch(Callback):
    """The trained weights after every batch, and those of every validation; stops in a step."""

    def __init__(self, stop_at=None):
        self.trained, self.validated, self.stop_at = [], [], stop_at

    def on_train_start(self, trainer, pl_module):
        self.trained.append(snapshot(pl_module))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.stop_at:
            raise KeyError("power cut")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.trained.append(snapshot(pl_module))

    def on_validation_batch_start(self, trainer, pl_module, *_):
        if not trainer.sanity_checking:
            self.validated.append(snapshot(pl_module))


def snapshot(module):
    return {name: x.clone() for name, x in module.state_dict().items() if not name.startswith("teacher.")}


def oracle(weights, decay, until):
    """The recursion in float64 over the weights after every step."""
    mean = {name: x.double() for name, x in weights[0].items()}
    for t in range(1, until + 1):
        d = min(decay, (1 + t) / (10 + t))
        mean = {name: d * mean[name] + (1 - d) * x.double() for name, x in weights[t].items()}
    return mean


def close(found, expected, last):
    """Equal to the average; what is a whole number is that of the last step."""
    assert {name for name in found if not name.startswith("teacher.")} == set(expected)
    for name, x in expected.items():
        if found[name].is_floating_point():
            torch.testing.assert_close(found[name].double(), x, rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(found[name], last[name])


def make(data_args, adam, **changes):
    student = {"model": "spiking_vgg_tiny", "model_args": {"num_steps": 2}}
    return ClassificationModule(**student, optimizer=adam, **data_args, **changes)


@pytest.mark.parametrize("how", ["bptt", "sltt", "accumulated"])
def test_the_average_is_validated_saved_and_left_behind(blobs, data_args, adam, trainer, tmp_path, how):
    options = {"sltt": SLTT(), "objectives": [TET()]} if how == "sltt" else {}
    module, watch, saver = make(data_args, adam, **options), Watch(), ModelCheckpoint(tmp_path, filename="last")
    accumulate = 2 if how == "accumulated" else 1
    run = trainer(
        max_epochs=3, callbacks=[watch, saver, EMA(0.7)], enable_checkpointing=True, accumulate_grad_batches=accumulate
    )
    run.fit(module, blobs)
    steps = [watch.trained[0], *watch.trained[accumulate::accumulate]]
    assert len(steps) == 1 + 18 // accumulate
    expected = oracle(steps, 0.7, len(steps) - 1)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    close(saved["state_dict"], expected, watch.trained[-1])
    close(watch.validated[-1], expected, watch.trained[-1])
    close(snapshot(module), expected, watch.trained[-1])
    close(watch.validated[0], oracle(steps, 0.7, 6 // accumulate), watch.trained[6])
    close(saved["trained_weights"], {name: x.double() for name, x in watch.trained[-1].items()}, watch.trained[-1])
    weights = {f"model.{name}": x for name, x in load_run(tmp_path / "last.ckpt").state_dict().items()}
    close(weights, expected, watch.trained[-1])
    assert any(not torch.equal(weights[name], watch.trained[-1][name]) for name in weights), (
        "the test would see nothing"
    )


def test_training_does_not_change(blobs, data_args, adam, trainer):
    found = []
    for callbacks in ([EMA()], []):
        torch.manual_seed(0)
        watch = Watch()
        trainer(callbacks=[watch, *callbacks]).fit(make(data_args, adam), blobs)
        found.append(watch.trained[-1])
    assert all(torch.equal(x, found[1][name]) for name, x in found[0].items())


def test_what_validation_and_test_report_is_of_the_average(blobs, data_args, adam, trainer):
    module = make(data_args, adam)
    run = trainer(max_epochs=2, callbacks=[EMA(0.9)])
    run.fit(module, blobs)
    inside = {key: value for key, value in run.callback_metrics.items() if key.startswith("val/")}
    again = trainer().validate(module, blobs, verbose=False)[0]
    assert again == pytest.approx({key: value.item() for key, value in inside.items()}, abs=1e-6)
    assert trainer().validate(module, blobs, verbose=False)[0] == again, "a validation leaves the average where it is"


@pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore:You.re resuming from a checkpoint")
@pytest.mark.parametrize("every", [{"every_n_epochs": 1}, {"every_n_train_steps": 5}], ids=["epoch", "within an epoch"])
def test_a_resumed_fit_equals_an_uninterrupted_one(blobs, data_args, adam, trainer, tmp_path, every):
    def run(watch, folder):
        saver = ModelCheckpoint(tmp_path / folder, save_last=True, enable_version_counter=False, **every)
        return trainer(max_epochs=4, callbacks=[saver, EMA(0.8), watch], enable_checkpointing=True)

    module = make(data_args, adam)
    start, whole = snapshot(module), Watch()
    run(whole, "whole").fit(module, blobs)

    broken, resumed, again = make(data_args, adam), Watch(), make(data_args, adam)
    broken.load_state_dict(start)
    with pytest.raises(KeyError, match="power cut"):
        run(Watch(stop_at=15), "broken").fit(broken, blobs)
    run(resumed, "broken").fit(again, blobs, ckpt_path=tmp_path / "broken/last.ckpt")
    assert len(resumed.trained) < len(whole.trained)
    for found, expected in ((again, module), (resumed.trained[-1], whole.trained[-1])):
        found, expected = (x if isinstance(x, dict) else snapshot(x) for x in (found, expected))
        assert all(torch.equal(x, found[name]) for name, x in expected.items())


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`", "ignore:You.re resuming")
def test_a_checkpoint_between_a_step_and_the_end_of_its_batch(blobs, data_args, adam, trainer, tmp_path):
    """Written by a callback before EMA in the list: the missing average is made up for when the fit goes on."""

    class Save(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            if trainer.global_step == 8:
                trainer.save_checkpoint(tmp_path / "early.ckpt")

    module = make(data_args, adam)
    trainer(max_epochs=3, callbacks=[Save(), EMA(0.8)]).fit(module, blobs)
    again = make(data_args, adam)
    trainer(max_epochs=3, callbacks=[EMA(0.8)]).fit(again, blobs, ckpt_path=tmp_path / "early.ckpt")
    assert all(torch.equal(x, snapshot(again)[name]) for name, x in snapshot(module).items())


def test_a_checkpoint_in_a_validation_and_one_of_weights_only(blobs, data_args, adam, trainer, tmp_path):
    class Save(Callback):
        def on_validation_batch_start(self, trainer, pl_module, *_):
            if trainer.global_step == 12:
                trainer.save_checkpoint(tmp_path / "inside.ckpt")

        def on_train_epoch_end(self, trainer, pl_module):
            trainer.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)

    module = make(data_args, adam)
    trainer(callbacks=[Save(), EMA(0.9), watch := Watch()]).fit(module, blobs)
    inside, weights = (torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("inside", "weights"))
    assert "trained_weights" not in weights
    for name, x in snapshot(module).items():
        assert torch.equal(inside["state_dict"][name], x)
        assert torch.equal(weights["state_dict"][name], x)
        assert torch.equal(inside["trained_weights"][name], watch.trained[-1][name])


@pytest.fixture
def teacher(tmp_path, blobs):
    model = zoo.create_model("test_resnet", num_classes=3, in_chans=1)
    model.pretrained_cfg.update(blobs.input_cfg | {"input_size": (1, 32, 32)})
    zoo.publish(model, tmp_path / "registry/test_resnet.blobs")
    return f"local-dir:{tmp_path}/registry/test_resnet.blobs"


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`", "ignore:You.re resuming")
def test_the_teacher_is_neither_averaged_nor_saved_and_objectives_are(
    teacher, blobs, data_args, adam, trainer, tmp_path
):
    student = {"student": "spiking_vgg_tiny", "student_args": {"num_steps": 2}, "teacher": teacher}
    objectives = [CrossEntropy(), BKD()]
    module = DistillationModule(**student, objectives=objectives, optimizer=adam, init_from_teacher=False, **data_args)
    watch, saver = Watch(), ModelCheckpoint(tmp_path / "run", filename="last")
    before = {name: x.clone() for name, x in module.teacher.state_dict().items()}
    trainer(callbacks=[EMA(0.5), watch, saver], enable_checkpointing=True).fit(module, blobs)
    assert not [name for name in module.shadow.tensors if name.startswith("teacher")]
    assert all(torch.equal(x, before[name]) for name, x in module.teacher.state_dict().items())
    saved = torch.load(tmp_path / "run/last.ckpt", weights_only=True)
    assert not [name for key in ("state_dict", "trained_weights") for name in saved[key] if name.startswith("teacher")]
    assert any(name.startswith("objectives.BKD") for name in saved["state_dict"])
    close(saved["state_dict"], oracle(watch.trained, 0.5, 12), watch.trained[-1])
    again = DistillationModule(**student, objectives=[CrossEntropy(), BKD()], optimizer=adam, **data_args)
    trainer(max_epochs=3, callbacks=[EMA(0.5)]).fit(again, blobs, ckpt_path=tmp_path / "run/last.ckpt")


def test_init_from_teacher_comes_before_the_first_average(blobs, data_args, adam, trainer, tmp_path):
    model = zoo.create_model("cifar_resnet20", num_classes=3, in_chans=1)
    model.pretrained_cfg.update(blobs.input_cfg)
    zoo.publish(model, tmp_path / "registry/cifar_resnet20.blobs")
    module = DistillationModule(
        student="sew_resnet20",
        student_args={"num_steps": 1},
        teacher=f"local-dir:{tmp_path}/registry/cifar_resnet20.blobs",
        objectives=[CrossEntropy()],
        optimizer=adam,
        init_from_teacher=True,
        **data_args,
    )
    trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=1, callbacks=[EMA(0.5), watch := Watch()]).fit(
        module, blobs
    )
    close(snapshot(module), oracle(watch.trained, 0.5, 1), watch.trained[-1])


def test_frozen_weights_stay_to_the_bit(blobs, data_args, adam, trainer):
    module = make(data_args, adam, freeze_backbone=True)
    before = snapshot(module)
    trainer(callbacks=[EMA(0.7)]).fit(module, blobs)
    changed = {name for name, x in snapshot(module).items() if not torch.equal(x, before[name])}
    assert changed == {"model.fc.weight", "model.fc.bias"}
    assert "model.stages.0.0.weight" not in module.shadow.tensors


def test_weights_that_are_frozen_later_are_still_averaged(blobs, data_args, adam, trainer):
    class Freeze(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            pl_module.model.fc.requires_grad_(trainer.current_epoch == 0)

    module, watch = make(data_args, adam), Watch()
    trainer(callbacks=[Freeze(), EMA(0.7), watch]).fit(module, blobs)
    close(snapshot(module), oracle(watch.trained, 0.7, 12), watch.trained[-1])


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`", "ignore:You.re resuming")
def test_a_run_without_it_goes_on_from_what_was_trained(blobs, data_args, adam, trainer, tmp_path):
    module = make(data_args, adam)
    saver = ModelCheckpoint(tmp_path, filename="last")
    trainer(max_epochs=1, callbacks=[EMA(0.9), saver, watch := Watch()], enable_checkpointing=True).fit(module, blobs)
    again = make(data_args, adam)
    trainer(max_epochs=2, callbacks=[plain := Watch()]).fit(again, blobs, ckpt_path=tmp_path / "last.ckpt")
    assert all(torch.equal(x, plain.trained[0][name]) for name, x in watch.trained[-1].items())
    assert again.shadow.tensors == {}


def test_fast_dev_run(blobs, data_args, adam, trainer):
    trainer(fast_dev_run=2, callbacks=[EMA()]).fit(make(data_args, adam), blobs)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, float("nan")])
def test_a_decay_is_a_part(decay):
    with pytest.raises(ValueError, match=r"decay of EMA: expected a number in \(0, 1\), found"):
        EMA(decay)


def test_sharded_weights_are_refused_before_training(data_args, adam):
    with pytest.raises(ValueError, match="expected all weights in every process, found FSDPStrategy"):
        EMA().setup(SimpleNamespace(strategy=FSDPStrategy()), make(data_args, adam), "fit")


def test_a_recipe_and_a_ladder(tmp_path):
    callback = '[{"class_path": "EMA", "init_args": {"decay": 0.9}}]'
    tiny = ["--model.model_args.stages", "[[8], [16]]", "--data.batch_size", "128", "--trainer.callbacks", callback]
    main(
        [
            "ladder",
            "--config",
            "configs/digits/spiking_vgg_ladder.yaml",
            "--run",
            str(tmp_path),
            "--steps",
            "2,1",
            "--epochs",
            "1",
            *tiny,
        ]
    )
    checkpoint = torch.load(tmp_path / "T2/checkpoints/best.ckpt", weights_only=True)
    average, trained = checkpoint["state_dict"], checkpoint["trained_weights"]
    assert any(not torch.equal(x, trained[name]) for name, x in average.items())
    start = zoo.create_model(str(tmp_path / "T2")).state_dict()
    assert all(torch.equal(x, average[f"model.{name}"]) for name, x in start.items())
