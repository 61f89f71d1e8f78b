import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import TensorDataset

import zoo
from cli import main
from lightning_modules import ClassificationModule
from lightning_modules.callbacks import GrowSteps
from lightning_modules.objectives import TET, CrossEntropy
from lightning_modules.rules.sltt import SLTT


class Seen(Callback):
    """T of the logits of every forward pass: `training[epoch]` and `validation[epoch]`."""

    def __init__(self, stop_at=None):
        self.training, self.validation, self.stop_at = {}, {}, stop_at

    def on_fit_start(self, trainer, pl_module):
        def note(module, _, logits):
            kind = self.training if pl_module.training else self.validation
            kind.setdefault(trainer.current_epoch, []).append(len(logits))

        self.hook = pl_module.model.fc.register_forward_hook(note)

    def on_fit_end(self, trainer, pl_module):
        self.hook.remove()

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.stop_at:
            raise KeyError("power cut")


def make(data_args, adam, steps=4, **changes):
    student = {"model": "spiking_vgg_tiny", "model_args": {"num_steps": steps}}
    return ClassificationModule(**student, optimizer=adam, **data_args, **changes)


def test_trains_at_few_steps_and_validates_at_all(blobs, data_args, adam, trainer):
    module, seen = make(data_args, adam), Seen()
    run = trainer(max_epochs=5, callbacks=[GrowSteps([1, 2], [2, 1]), seen])
    run.fit(module, blobs)
    assert seen.training == {0: [1] * 6, 1: [1] * 6, 2: [2] * 6, 3: [4] * 6, 4: [4] * 6}
    assert {steps for counts in seen.validation.values() for steps in counts} == {4}
    assert run.callback_metrics["train/num_steps"] == 4
    assert module.model.num_steps == 4


def test_the_optimiser_and_its_schedule_go_on(blobs, data_args, adam, trainer):
    """The weights are those of three plain epochs of the same trainer, in which somebody sets num_steps by hand."""

    class ByHand(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            pl_module.model.num_steps = {0: 1, 1: 2, 2: 3}[trainer.current_epoch]

    runs = []
    for callback in (GrowSteps([1, 2], [1, 1]), ByHand()):
        torch.manual_seed(0)
        module = make(data_args, adam, steps=3)
        trainer(max_epochs=3, callbacks=[callback], limit_val_batches=0).fit(module, blobs)
        runs.append(module.state_dict())
    assert all(torch.equal(value, runs[1][key]) for key, value in runs[0].items())


def test_sltt_learns_at_few_steps(blobs, data_args, adam, trainer):
    module = make(data_args, adam, objectives=[TET()], sltt=SLTT())
    seen = Seen()
    trainer(max_epochs=2, callbacks=[GrowSteps([2], [1]), seen]).fit(module, blobs)
    assert [len(seen.training[epoch]) for epoch in (0, 1)] == [6 * 2, 6 * 4]  # one step at a time
    with pytest.raises(ValueError, match=r"expected k of sltt <= 1, .* found k = 2"):
        module = make(data_args, adam, objectives=[TET()], sltt=SLTT(k=2))
        trainer(callbacks=[GrowSteps([1], [1])]).fit(module, blobs)


@pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore:You.re resuming from a checkpoint")
@pytest.mark.parametrize("every", [{"every_n_epochs": 1}, {"every_n_train_steps": 5}], ids=["epoch", "within an epoch"])
def test_a_resumed_fit_equals_an_uninterrupted_one(blobs, data_args, adam, trainer, tmp_path, every, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")

    def run(seen):
        saver = ModelCheckpoint(tmp_path, save_last=True, enable_version_counter=False, **every)
        return trainer(max_epochs=4, callbacks=[saver, GrowSteps([1, 2], [1, 2]), seen], enable_checkpointing=True)

    module = make(data_args, adam)
    start = {key: value.clone() for key, value in module.state_dict().items()}
    run(Seen()).fit(module, blobs)

    broken, resumed, again = make(data_args, adam), Seen(), make(data_args, adam)
    broken.load_state_dict(start)
    with pytest.raises(KeyError, match="power cut"):
        run(Seen(stop_at=15)).fit(broken, blobs)  # in the middle of epoch 2
    assert broken.model.num_steps == 4, "an exception leaves the model as it was"
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["zoo"]["model_args"]["num_steps"] == 4, "what is saved within a phase has the final T"
    run(resumed).fit(again, blobs, ckpt_path=tmp_path / "last.ckpt")
    assert set(resumed.training[2]) == {2}
    assert set(resumed.training[3]) == {4}
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in module.state_dict().items())
    assert zoo.registry.runs.load_run(tmp_path / "last.ckpt").num_steps == 4


def test_fast_dev_run(blobs, data_args, adam, trainer):
    module = make(data_args, adam)
    trainer(fast_dev_run=2, callbacks=[GrowSteps([1], [6])]).fit(module, blobs)
    assert module.model.num_steps == 4


@pytest.mark.parametrize(
    ("steps", "epochs", "message"),
    [
        ([1, 2], [3], r"one number of epochs for each of the steps, found steps \[1, 2\] and epochs \[3\]"),
        ([], [], r"found steps \[\] and epochs \[\]"),
        ([2, 1], [1, 1], r"expected ascending integers >= 1, found \[2, 1\]"),
        ([1, 1], [1, 1], r"expected ascending integers >= 1, found \[1, 1\]"),
        ([0, 1], [1, 1], r"expected ascending integers >= 1, found \[0, 1\]"),
        ([1, 2], [1, 0], r"expected integers >= 1, found \[1, 0\]"),
    ],
)
def test_lists_that_make_no_phases(steps, epochs, message):
    with pytest.raises(ValueError, match=message):
        GrowSteps(steps, epochs)


@pytest.mark.parametrize(
    ("callback", "max_epochs", "message"),
    [
        (GrowSteps([1, 4], [1, 1]), 5, r"numbers below num_steps = 4 of the student, found \[1, 4\]"),
        (GrowSteps([1, 2], [1, 1]), 2, r"a sum below 2, .* num_steps = 4, found \[1, 1\]"),
        (GrowSteps([1, 2], [1, 1]), -1, r"a sum below 2, the epochs of the training"),
    ],
)
def test_phases_that_leave_nothing_are_refused_before_training(
    blobs, data_args, adam, trainer, callback, max_epochs, message
):
    module = make(data_args, adam)
    module.training_step = lambda *_: pytest.fail("it trained")
    with pytest.raises(ValueError, match=message):
        trainer(max_epochs=max_epochs, max_steps=9, callbacks=[callback]).fit(module, blobs)


def test_a_network_without_steps_is_refused(blobs, data_args, adam, trainer):
    module = ClassificationModule(model="test_resnet", input_size=32, optimizer=adam, **data_args)
    with pytest.raises(ValueError, match="expected a spiking student of still images, found StillModel"):
        trainer(callbacks=[GrowSteps([1], [1])]).fit(module, blobs)


def test_sequences_are_refused_before_a_step(blobs, data_args, adam, trainer):
    class Film(type(blobs)):
        def load(self):
            part = TensorDataset(torch.rand(32, 3, 1, 8, 8), torch.arange(32) % 3)
            return {"train": part, "val": part, "test": part}

    module = make(data_args, adam, objectives=[CrossEntropy()])
    module.training_step = lambda *_: pytest.fail("it trained")
    with pytest.raises(ValueError, match=r"expected still images \(T = 1\), found sequences of 3 frames"):
        trainer(callbacks=[GrowSteps([1], [1])]).fit(module, Film(batch_size=16))


def test_a_refused_fit_leaves_the_run_as_it_was(tmp_path, capsys):
    """Event frames, in place of a run that is there."""
    run = tmp_path / "run"
    fit = ["fit", "--config", "configs/event_digits/spiking_vgg_ce.yaml", "--run", str(run), "--data.num_workers", "0"]
    few = ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1"]
    main([*fit, *few])
    (run / "results.json").write_text("{}")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and "logs" not in path.parts}
    with pytest.raises(SystemExit):
        grow = '[{"class_path": "GrowSteps", "init_args": {"steps": [1], "epochs": [1]}}]'
        main([*fit, *few, "--overwrite", "true", "--trainer.callbacks", grow])
    assert "expected still images (T = 1), found sequences of" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_spike_trains_are_refused(trainer, adam):
    from datamodules.spikes.yin_yang import YinYangDataModule

    points = YinYangDataModule(batch_size=16, dt=2.0, train_size=64)
    args = {"num_classes": 3, "in_chans": 5, "input_cfg": points.input_cfg}
    module = ClassificationModule(model="delay_mlp_tiny", optimizer=adam, **args)
    with pytest.raises(ValueError, match="expected a spiking student of still images, found DelayMLP"):
        trainer(callbacks=[GrowSteps([1], [1])]).fit(module, points)


def test_a_recipe_names_it(tmp_path, capsys):
    recipe = "configs/digits/sew_resnet_ce.yaml"
    callback = '[{"class_path": "GrowSteps", "init_args": {"steps": [1, 2], "epochs": [1, 1]}}]'
    tiny = ["--model.model", "spiking_vgg_tiny", "--data.batch_size", "128", "--trainer.max_epochs", "3"]
    fit = ["fit", "--config", recipe, *tiny, "--run", str(tmp_path / "run"), "--trainer.callbacks", callback]
    main(fit)
    rows = (tmp_path / "run/logs/fit_0/metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/num_steps")
    assert [row.split(",")[column] for row in rows[1:] if row.split(",")[column]] == ["1.0", "2.0", "4.0"]
    assert zoo.registry.runs.load_run(tmp_path / "run").num_steps == 4
