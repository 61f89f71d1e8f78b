import pytest
import torch
from torch.utils.data import TensorDataset

from datamodules import BaseDataModule
from datamodules.spikes.yin_yang import YinYangDataModule
from lightning_modules import ClassificationModule
from lightning_modules.callbacks import Plots, PredictionWriter
from lightning_modules.objectives import TET, CrossEntropy, LogitKD
from lightning_modules.rules.sltt import SLTT


def make(data_args, adam, model="spiking_vgg_tiny", **changes):
    return ClassificationModule(model=model, optimizer=adam, **{**data_args, **changes})


def test_learns(blobs, data_args, adam, trainer):
    module = make(data_args, adam, model_args={"num_steps": 2})
    run = trainer(max_epochs=12)
    run.fit(module, blobs)
    assert run.test(module, blobs, verbose=False)[0]["test/acc"] > 0.9


class Repeats(BaseDataModule):
    """Trains [T=12, N, 2] whose channel tells the class of six steps each; the first step has no label."""

    num_classes, in_chans, image_size, sequence_ndim = 2, 2, 1, 3
    mean, std, label_names, max_workers = (0.0, 0.0), (1.0, 1.0), ("left", "right"), 0

    def load(self):
        labels = torch.randint(2, (64, 2)).repeat_interleave(6, 1)
        trains = torch.nn.functional.one_hot(labels, 2).float()
        labels[:, 0] = -100
        return dict.fromkeys(("train", "val", "test"), TensorDataset(trains, labels))

    def transform(self, split):
        return torch.nn.Identity()


def test_every_step_that_has_a_label_is_an_answer(trainer, tmp_path, capsys):
    data = Repeats(batch_size=16)
    args = {"num_classes": 2, "in_chans": 2, "input_cfg": data.input_cfg}
    args |= {"model": "lif_mlp_tiny", "model_args": {"readout": "potential", "drop_rate": 0.0}}
    module = ClassificationModule(optimizer=lambda groups: torch.optim.Adam(groups, lr=3e-2), **args)
    run = trainer(max_epochs=10, callbacks=[Plots(), PredictionWriter()])
    run.fit(module, data)
    results = run.test(module, data, verbose=False)[0]
    x, y = (torch.cat(parts, 1) for parts in zip(*data.test_dataloader(), strict=True))
    with torch.no_grad():
        answers = module.eval().model.forward_sequence(x).argmax(-1)
    assert results["test/acc"] == pytest.approx((answers[1:] == y[1:]).float().mean().item(), abs=1e-6)
    assert results["test/acc"] > 0.65
    assert (tmp_path / "plots/confusion_matrix.png").exists()

    run.predict(module, data, return_predictions=False)
    rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert len(rows) == 1 + 64
    spans = [part.split() for part in rows[1].split('"')[1].split(", ")]
    told = [name for name, count in spans for _ in range(int(count))]
    assert told == [data.label_names[k] for k in answers[:, 0]]


@pytest.mark.parametrize("changes", [{}, {"accumulate_grad_batches": 2, "precision": "bf16-mixed"}])
def test_saving_memory_changes_no_weight(blobs, data_args, adam, trainer, changes):
    found = []
    for save_memory in (False, True):
        torch.manual_seed(0)
        model_args = {"num_steps": 2, "drop_rate": 0.5}
        module = make(data_args, adam, model_args=model_args, save_memory=save_memory)
        torch.manual_seed(1)
        trainer(**changes).fit(module, blobs)
        found.append(module.state_dict())
    assert module.model.grad_checkpointing
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())


def test_what_cannot_save_memory(data_args, adam):
    with pytest.raises(ValueError, match=r"save_memory keeps spikes .* this model has none"):
        make(data_args, adam, model="test_resnet", save_memory=True)
    with pytest.raises(ValueError, match=r"save_memory .* and sltt .* Choose one"):
        make(data_args, adam, objectives=[TET()], sltt=SLTT(), save_memory=True)


def test_accuracy_at_every_step_is_that_of_the_mean_so_far(blobs, data_args, adam, trainer):
    module = make(data_args, adam, model_args={"num_steps": 3})
    run = trainer()
    run.fit(module, blobs)
    logged = run.test(module, blobs, verbose=False)[0]
    blobs.setup("test")
    x, y = (
        torch.cat(parts, dim) for parts, dim in zip(zip(*blobs.test_dataloader(), strict=True), (1, 0), strict=True)
    )
    with torch.no_grad():
        logits = module.eval().model.forward_sequence(x)
    for t in (1, 2, 3):
        expected = (logits[:t].mean(0).argmax(-1) == y).float().mean().item()
        assert logged[f"test/acc_at_{t}"] == pytest.approx(expected)
    assert logged["test/acc"] == logged["test/acc_at_3"]


def test_logs_every_term_and_their_weighted_sum(blobs, data_args, adam, trainer):
    module = make(data_args, adam, objectives=[CrossEntropy(weight=0.5), TET(weight=2.0)])
    run = trainer(max_epochs=1)
    run.fit(module, blobs)
    logs = run.callback_metrics
    total = 0.5 * logs["val/CrossEntropy"] + 2.0 * logs["val/TET"]
    assert logs["val/loss"].item() == pytest.approx(total.item(), rel=1e-5)


def test_two_terms_of_one_kind_have_two_names(data_args, adam):
    module = make(data_args, adam, objectives=[TET(), CrossEntropy(), TET(lam=0.1)])
    assert list(module.objectives) == ["TET", "CrossEntropy", "TET_2"]


@pytest.mark.parametrize(("classes", "shown"), [(3, False), (6, True)])
def test_top5_only_where_it_means_something(data_args, adam, classes, shown):
    cfg = data_args["input_cfg"] | {"num_classes": classes}
    module = make({"input_cfg": cfg}, adam)
    assert module.num_classes == classes
    assert ("acc_top5" in module.val_metrics.keys(keep_base=True)) is shown


def test_weight_decay_spares_vectors_and_neurons(data_args, adam, trainer, blobs):
    module = make(data_args, adam, model_args={"neuron": {"name": "plif"}})
    module.trainer = trainer()
    module.trainer.fit(module, blobs)
    decayed, spared = module.trainer.optimizers[0].param_groups
    assert decayed["weight_decay"] == 0.05
    assert spared["weight_decay"] == 0.0
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    assert all(names[id(p)].endswith("weight") and p.ndim > 1 for p in decayed["params"])
    assert any(names[id(p)].endswith(".w") for p in spared["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(list(module.parameters()))


def test_trains_a_timm_teacher_on_enlarged_images(blobs, data_args, adam, trainer):
    module = make(data_args, adam, model="test_resnet", input_size=32)
    run = trainer(max_epochs=10)
    run.fit(module, blobs)
    assert module.model.frame(torch.zeros(1, 2, 1, 8, 8)).shape == (2, 1, 32, 32)
    assert run.test(module, blobs, verbose=False)[0]["test/acc"] > 0.9


def test_frozen_backbone_trains_the_classifier_only(blobs, data_args, adam, trainer):
    module = make(data_args, adam, freeze_backbone=True)
    before = {key: value.clone() for key, value in module.model.state_dict().items()}
    trainer(max_epochs=1).fit(module, blobs)
    changed = {key for key, value in module.model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"fc.weight", "fc.bias"}  # not even the statistics of a norm


def test_frozen_backbone_trains_the_delays_of_a_readout(adam, trainer):
    points = YinYangDataModule(batch_size=50, dt=2.0, train_size=100)
    args = {"num_classes": 3, "in_chans": 5, "input_cfg": points.input_cfg}
    module = make(args, adam, model="delay_mlp_tiny", freeze_backbone=True)
    for block in module.model.blocks:
        torch.nn.init.constant_(block.bn.bias, 1.0)  # so that it fires
    before = {key: value.clone() for key, value in module.model.state_dict().items()}
    trainer(max_epochs=1).fit(module, points)
    changed = {key for key, value in module.model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"fc.weight", "fc.delay"}


def test_same_seed_same_weights(blobs, data_args, adam, trainer, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        module = make(data_args, adam, model_args={"drop_rate": 0.5})
        trainer(max_epochs=1).fit(module, blobs)
        states.append(module.model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_soft_targets_train(blobs, data_args, adam, trainer):
    blobs.mixup = 0.4
    module = make(data_args, adam)
    trainer(max_epochs=1).fit(module, blobs)


# Bad input ------------------------------------------------------------------------------------------------------------


def test_unknown_model_names_the_closest(data_args, adam):
    with pytest.raises(ValueError, match="Unknown model 'sew_resnet_tinny'.*'sew_resnet_tiny'"):
        make(data_args, adam, model="sew_resnet_tinny")


def test_objective_that_needs_a_teacher(data_args, adam):
    with pytest.raises(ValueError, match="LogitKD needs a teacher.*DistillationModule"):
        make(data_args, adam, objectives=[CrossEntropy(), LogitKD()])


def test_images_of_another_size_than_the_student_was_made_for(data_args, adam):
    with pytest.raises(ValueError, match=r"vggsnn_tiny was made for images of 16x16 .* 8x8. .*img_size: \[8, 8\]"):
        ClassificationModule(model="vggsnn_tiny", optimizer=adam, **data_args)
    ClassificationModule(model="vggsnn_tiny", model_args={"img_size": [8, 8]}, optimizer=adam, **data_args)


def test_images_too_small_for_the_student(data_args, adam):
    with pytest.raises(ValueError, match="spiking_vgg11 takes images of at least 32x32.*data has 8x8"):
        make(data_args, adam, model="spiking_vgg11")


def test_no_steps(data_args, adam):
    with pytest.raises(ValueError, match="num_steps.*>= 1, found 0"):
        make(data_args, adam, model_args={"num_steps": 0})


def test_unknown_argument_of_the_architecture(data_args, adam):
    with pytest.raises(ValueError, match="num_stepz"):
        make(data_args, adam, model_args={"num_stepz": 4})


def test_unknown_neuron(data_args, adam):
    with pytest.raises(ValueError, match="Unknown neuron 'lfi'.*'lif'"):
        make(data_args, adam, model_args={"neuron": "lfi"})


def test_input_size_is_not_for_students(data_args, adam):
    with pytest.raises(ValueError, match="input_size is for non-spiking models"):
        make(data_args, adam, input_size=32)


def test_a_twin_of_several_steps_is_refused(data_args, adam):
    for neuron in ("relu", {"name": "qcfs", "levels": 4}):
        with pytest.raises(
            ValueError, match=r"an ANN twin\) gives the same at every step: expected num_steps 1, found 4"
        ):
            make(data_args, adam, model="spiking_vgg_tiny", model_args={"neuron": neuron})
    make(data_args, adam, model="spiking_vgg_tiny", model_args={"neuron": "relu", "num_steps": 1})


def test_half_weights_are_refused(data_args, adam, blobs, trainer):
    module = ClassificationModule(model="sew_resnet_tiny", optimizer=adam, **data_args)
    with pytest.raises(ValueError, match="precision bf16-true .* Use bf16-mixed"):
        trainer(precision="bf16-true").fit(module, blobs)


def test_convolutions_run_channels_last(data_args, adam):
    module = ClassificationModule(model="sew_resnet_tiny", optimizer=adam, **data_args)
    kernels = [p for p in module.model.parameters() if p.ndim == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    feature = module.model.forward_features(torch.randn(1, 2, module.model.in_chans, 8, 8))
    assert feature.flatten(0, 1).is_contiguous(memory_format=torch.channels_last), "a neuron keeps the layout"


def test_a_spike_train_has_no_answer_at_every_step(adam, trainer):
    points = YinYangDataModule(batch_size=50, dt=2.0, train_size=100)
    args = {"num_classes": 3, "in_chans": 5, "input_cfg": points.input_cfg}
    module = make(args, adam, model="eventprop_mlp_tiny", model_args={"dt": 2.0})
    run = trainer(max_epochs=1)
    run.fit(module, points)
    logged = run.test(module, points, verbose=False)[0]
    assert logged["test/acc"] > 0
    assert not [name for name in logged if "acc_at" in name]
    assert module.exit_curve is None
