import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

import zoo
from lightning_modules import ClassificationModule, DistillationModule
from lightning_modules.objectives import BKD, WSLD, CrossEntropy, FeatureMSE


@pytest.fixture
def teacher(tmp_path, blobs, data_args):
    """A published ANN that knows the three classes (and little more)."""
    model = zoo.create_model("test_resnet", num_classes=3, in_chans=1)
    model.pretrained_cfg.update(blobs.input_cfg | {"input_size": (1, 32, 32)})
    zoo.publish(model, tmp_path / "registry/test_resnet.blobs")
    return f"local-dir:{tmp_path}/registry/test_resnet.blobs"


def make(teacher, data_args, adam, objectives=None, **changes):
    objectives = objectives or [CrossEntropy(), WSLD(), BKD()]
    arguments = {"student": "spiking_vgg_tiny", "student_args": {"num_steps": 2}, **data_args, **changes}
    return DistillationModule(teacher=teacher, objectives=objectives, optimizer=adam, **arguments)


def test_teacher_is_frozen_and_unchanged(teacher, blobs, data_args, adam, trainer):
    module = make(teacher, data_args, adam)
    before = {key: value.clone() for key, value in module.teacher.state_dict().items()}
    trainer().fit(module, blobs)
    module.train()
    assert not module.teacher.training
    assert not any(parameter.requires_grad for parameter in module.teacher.parameters())
    assert all(torch.equal(value, before[key]) for key, value in module.teacher.state_dict().items())


def test_learns_and_reports_the_teacher(teacher, blobs, data_args, adam, trainer):
    module = make(teacher, data_args, adam)
    run = trainer(max_epochs=12)
    run.fit(module, blobs)
    logs = run.test(module, blobs, verbose=False)[0]
    assert logs["test/acc"] > 0.9
    assert {"test/teacher_acc", "test/agreement", "test/ece", "test/BKD", "test/WSLD"} <= set(logs)


def test_teacher_accuracy_and_agreement_are_what_they_say(teacher, blobs, data_args, adam, trainer):
    module = make(teacher, data_args, adam)
    logs = trainer().test(module, blobs, verbose=False)[0]
    ann = zoo.create_model(teacher).eval()
    module.eval()
    agree = right = count = 0
    for x, y in blobs.test_dataloader():
        image = torch.nn.functional.interpolate(x[0], (32, 32), mode="bilinear", antialias=True)
        with torch.no_grad():
            answers, student = ann(image).argmax(-1), module.model(x).argmax(-1)
        right, agree, count = right + (answers == y).sum(), agree + (answers == student).sum(), count + len(y)
    assert logs["test/teacher_acc"] == pytest.approx(right.item() / count)
    assert logs["test/agreement"] == pytest.approx(agree.item() / count)


def test_teacher_and_student_are_compared_at_every_step_that_has_a_class(teacher, data_args, adam, monkeypatch):
    module = make(teacher, data_args, adam)
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    student, teacher = (zoo.model.Outputs(torch.randn(4, 5, 3), []) for _ in range(2))
    target = torch.randint(3, (4, 5))
    target[0] = -100
    module.compare(student, teacher, target, "test")
    ours, theirs = student.logits[1:].argmax(-1), teacher.logits[1:].argmax(-1)
    assert module.test_agreement.compute() == (ours == theirs).float().mean()
    assert module.test_teacher_acc.compute() == (theirs == target[1:]).float().mean()
    monkeypatch.setattr(module, "evaluate", lambda *_: student)
    assert torch.equal(module.test_step((None, target), 0), student.logits[1:].flatten(0, 1))  # no early exit


class Start(Callback):
    """The student's weights when training starts."""

    def on_train_start(self, trainer, module):
        self.weights = {key: value.clone() for key, value in module.model.state_dict().items()}


def test_starts_from_its_teacher(tmp_path, blobs, data_args, adam, trainer):
    ann = zoo.create_model("cifar_resnet20", num_classes=3, in_chans=1)
    ann.pretrained_cfg.update(blobs.input_cfg)
    zoo.publish(ann, tmp_path / "registry/cifar_resnet20.blobs")
    teacher, start = f"local-dir:{tmp_path}/registry/cifar_resnet20.blobs", Start()
    options = {"student": "sew_resnet20", "objectives": [CrossEntropy()], "init_from_teacher": True}
    run = trainer(max_epochs=1, callbacks=[start])
    run.fit(make(teacher, data_args, adam, **options), blobs)
    for key in ("conv1.weight", "layer2.1.conv2.weight"):
        assert torch.equal(start.weights[key], ann.state_dict()[key])
    assert not torch.equal(start.weights["bn1.weight"], ann.bn1.weight), "the scale is that of spikes"
    run.save_checkpoint(tmp_path / "last.ckpt")
    trained = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    again = trainer(max_epochs=2, callbacks=[start])
    again.fit(make(teacher, data_args, adam, **options), blobs, ckpt_path=tmp_path / "last.ckpt")
    assert all(torch.equal(value, trained[f"model.{key}"]) for key, value in start.weights.items())
    with pytest.raises(ValueError, match="expected four in five convolutions"):
        make(teacher, data_args, adam, init_from_teacher=True)
    with pytest.raises(ValueError, match="mutually exclusive"):
        make(teacher, data_args, adam, pretrained=True, **options)


def test_saving_memory_changes_no_weight(teacher, blobs, data_args, adam, trainer):
    found = []
    for save_memory in (False, True):
        torch.manual_seed(0)
        module = make(teacher, data_args, adam, save_memory=save_memory)
        torch.manual_seed(1)
        trainer(max_epochs=1).fit(module, blobs)
        found.append(module.state_dict())
    assert module.model.grad_checkpointing
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())


def test_layers_of_an_objective_are_trained_with_the_student(teacher, blobs, data_args, adam, trainer):
    module = make(teacher, data_args, adam)
    before = {name: p.clone() for name, p in module.objectives.named_parameters()}
    trainer(max_epochs=1).fit(module, blobs)
    assert before
    assert all(not torch.equal(p, before[name]) for name, p in module.objectives.named_parameters())


def test_checkpoint_has_no_teacher_and_loads_strictly(teacher, blobs, data_args, adam, trainer, tmp_path):
    module = make(teacher, data_args, adam)
    saver = ModelCheckpoint(tmp_path / "checkpoints", save_last=True)
    trainer(max_epochs=1, callbacks=[saver], enable_checkpointing=True).fit(module, blobs)
    checkpoint = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert not [key for key in checkpoint["state_dict"] if key.startswith("teacher.")]
    assert checkpoint["zoo"]["architecture"] == "spiking_vgg_tiny"

    again = make(teacher, data_args, adam)
    tester = trainer(callbacks=[saver], enable_checkpointing=True)
    logs = tester.test(again, blobs, ckpt_path=tmp_path / "checkpoints/last.ckpt", verbose=False)[0]
    assert logs == trainer().test(module, blobs, verbose=False)[0]

    del checkpoint["state_dict"]["model.fc.bias"]
    torch.save(checkpoint, tmp_path / "broken.ckpt")
    with pytest.raises(RuntimeError, match=r"model\.fc\.bias"):
        tester.test(again, blobs, ckpt_path=tmp_path / "broken.ckpt", verbose=False)


def test_a_checkpoint_alone_rebuilds_the_student(teacher, blobs, data_args, adam, trainer, tmp_path):
    module = make(teacher, data_args, adam, student_args={"num_steps": 3, "neuron": {"name": "plif", "tau": 3.0}})
    saver = ModelCheckpoint(tmp_path / "checkpoints", filename="best")
    trainer(max_epochs=1, callbacks=[saver], enable_checkpointing=True).fit(module, blobs)
    model = zoo.create_model(str(tmp_path)).eval()
    x = torch.randn(4, 1, 8, 8)
    assert model.num_steps == 3
    assert model.pretrained_cfg["label_names"] == ["top", "middle", "bottom"]
    torch.testing.assert_close(model(x), module.eval()(x.unsqueeze(0)))


def test_a_run_can_be_the_teacher(blobs, data_args, adam, trainer, tmp_path):
    ann = ClassificationModule(model="test_resnet", optimizer=adam, input_size=32, **data_args)
    saver = ModelCheckpoint(tmp_path / "checkpoints", filename="best")
    trainer(max_epochs=1, callbacks=[saver], enable_checkpointing=True).fit(ann, blobs)
    module = make(str(tmp_path), data_args, adam)
    x = torch.randn(1, 4, 1, 8, 8)
    torch.testing.assert_close(module.read_teacher(x).logits[0], ann.eval()(x))
    assert module.teacher_facts()["architecture"] == "test_resnet"


def test_a_spiking_teacher(blobs, data_args, adam, trainer, tmp_path):
    model = zoo.create_model("sew_resnet_tiny", num_classes=3, in_chans=1)
    model.pretrained_cfg.update(blobs.input_cfg)
    for _ in range(80):  # until the statistics of the norms let every layer fire
        model(torch.randn(8, 1, 8, 8))
    zoo.publish(model, tmp_path / "sew_resnet_tiny.blobs")
    module = make(f"local-dir:{tmp_path}/sew_resnet_tiny.blobs", data_args, adam)
    assert module.read_teacher(torch.randn(1, 2, 1, 8, 8)).logits.shape == (4, 2, 3)
    trainer(max_epochs=1).fit(module, blobs)


# Bad input ------------------------------------------------------------------------------------------------------------


def test_class_counts_differ(teacher, blobs, data_args, adam):
    with pytest.raises(ValueError, match="expected 5 classes, as the data have, found 3"):
        make(teacher, {"input_cfg": data_args["input_cfg"] | {"num_classes": 5}}, adam)


def test_stage_out_of_range_lists_the_stages(teacher, data_args, adam):
    with pytest.raises(ValueError, match=r"(?s)teacher has no stage 9.*layer4.*96"):
        make(teacher, data_args, adam, [FeatureMSE(teacher_stage=9)])


def test_unknown_teacher(data_args, adam):
    with pytest.raises(ValueError, match="Unknown model 'resnet18x'.*resnet18"):
        make("resnet18x", data_args, adam)


def test_spiking_teacher_of_other_statistics(blobs, data_args, adam, tmp_path):
    model = zoo.create_model("sew_resnet_tiny", num_classes=3, in_chans=1)
    model.pretrained_cfg.update(blobs.input_cfg | {"mean": (0.1,)})
    for _ in range(80):  # until the statistics of the norms let every layer fire
        model(torch.randn(8, 1, 8, 8))
    zoo.publish(model, tmp_path / "sew_resnet_tiny.blobs")
    with pytest.raises(ValueError, match=r"normalised by mean \(0\.1,\).*found \(0\.5,\)"):
        make(f"local-dir:{tmp_path}/sew_resnet_tiny.blobs", data_args, adam)
