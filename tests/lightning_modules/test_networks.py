"""Networks given as modules, and plain loaders of images."""

import pytest
import timm
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import zoo
from lightning_modules import ClassificationModule, DistillationModule
from lightning_modules.networks import make_network
from zoo.data_info import DataInfo
from zoo.model import read

QUIET = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*Loading `train_dataloader`")


def plain():
    """A classifier of images 8x8 that has nothing of timm's surface."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))


@pytest.fixture
def images(blobs):
    """A plain loader of (images [N, 1, 8, 8], labels [N])."""
    blobs.setup("fit")
    sequences, labels = zip(*[blobs.splits["train"].source[n] for n in range(96)], strict=True)
    return DataLoader(
        TensorDataset(torch.stack(sequences)[:, 0], torch.tensor([int(y) for y in labels])), batch_size=16
    )


@QUIET
def test_images_are_a_sequence_of_one_step_everywhere(images, adam, trainer):
    module = ClassificationModule("spiking_vgg_tiny", adam, num_classes=3, in_chans=1, model_args={"num_steps": 2})
    run = trainer(max_epochs=8)
    run.fit(module, images, images)
    results = run.test(module, images, verbose=False)[0]
    assert results["test/acc"] > 0.8
    with torch.no_grad():
        answers = torch.cat([module.eval().model(x).softmax(-1) for x, _ in images])
    torch.testing.assert_close(torch.cat(run.predict(module, images)), answers)
    only = DataLoader(images.dataset.tensors[0], batch_size=16)
    torch.testing.assert_close(torch.cat(run.predict(module, only)), answers)


@QUIET
@pytest.mark.parametrize("teacher", [plain(), timm.create_model("test_resnet", num_classes=3, in_chans=1)])
def test_distils_from_a_module_with_defaults(teacher, images, trainer, tmp_path):
    options = {"student": "sew_resnet_tiny", "objectives": ["CrossEntropy", {"name": "LogitKD", "weight": 0.5}]}
    if isinstance(teacher, nn.Sequential):
        with pytest.raises(ValueError, match=r"num_classes: expected an integer"):
            DistillationModule(teacher=teacher, **options)
        options |= {"num_classes": 3, "in_chans": 1}
    module = DistillationModule(teacher=teacher, **options)
    assert module.model.num_classes == 3
    assert module.model.in_chans == 1
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    run = trainer(max_epochs=1)
    run.fit(module, images, images)
    assert run.optimizers[0].defaults["weight_decay"] == 0.05
    x = images.dataset.tensors[0][:4]
    torch.testing.assert_close(module.read_teacher(x[None]).logits[0], teacher.eval()(x))
    run.save_checkpoint(tmp_path / "student.ckpt")
    assert zoo.create_model(str(tmp_path / "student.ckpt")).num_classes == 3


@QUIET
def test_a_module_of_unknown_origin_says_that_it_cannot_be_published(images, adam, trainer, tmp_path):
    own = plain()
    module = ClassificationModule(own, adam, num_classes=3)
    run = trainer(max_epochs=1)
    run.fit(module, images, images)
    with pytest.warns(UserWarning, match="loaded by name: .* expected one made by zoo.create_model"):
        run.save_checkpoint(tmp_path / "own.ckpt")
    state = torch.load(tmp_path / "own.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(state["model.model.module.1.weight"], own[1].weight)


def test_a_student_made_by_hand_trains(data_args, adam):
    own = zoo.create_model("spiking_vgg_tiny", num_classes=3, in_chans=1)
    assert ClassificationModule(own, adam, **data_args).model is own


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_args": {"num_steps": 2}}, "Expected a name, .* found a SpikingVGG"),
        ({"pretrained": True}, "Expected a name, .* found a SpikingVGG"),
        ({"num_classes": 5}, r"Expected a model of 5 classes, .* found a SpikingVGG of 3.*reset_classifier\(5\)"),
    ],
)
def test_what_it_refuses(changes, message, data_args):
    own = zoo.create_model("spiking_vgg_tiny", num_classes=3, in_chans=1)
    info = DataInfo.from_dict(data_args["input_cfg"])
    options = {"model_args": None, "pretrained": False, "num_classes": 3, "in_chans": 1, "info": info, **changes}
    with pytest.raises(ValueError, match=message):
        make_network(own, **options)


def test_a_teacher_may_read_every_frame(data_args, adam, blobs):
    teacher = timm.create_model("test_resnet", num_classes=3, in_chans=1)
    teacher.pretrained_cfg |= {"input_size": (1, 32, 32), "mean": (0.5,), "std": (0.25,)}
    student = {"student": "spiking_vgg_tiny", "objectives": ["LogitKD"], "optimizer": adam, **data_args}
    x = torch.randn(3, 2, 1, 8, 8)
    frames = DistillationModule(teacher=teacher, teacher_frames="per_step", **student).read_teacher(x)
    mean = DistillationModule(teacher=teacher, **student)
    assert mean.read_teacher(x).logits.shape == (1, 2, 3)
    each = [read(mean.teacher, step[None]) for step in x]
    torch.testing.assert_close(frames.logits, torch.cat([step.logits for step in each]))
    torch.testing.assert_close(
        frames.features[-1], torch.cat([step.features[-1] for step in each]), rtol=1e-3, atol=1e-4
    )
    spiking = zoo.create_model("spiking_vgg_tiny", num_classes=3, in_chans=1)
    with pytest.raises(ValueError, match="teacher_frames: expected a non-spiking teacher, found a SpikingVGG"):
        DistillationModule(teacher=spiking, teacher_frames="per_step", **student)
    with pytest.raises(ValueError, match="Unknown choice of frames 'first'"):
        DistillationModule(teacher=teacher, teacher_frames="first", **student)


def test_classes_and_channels_are_those_of_the_data(data_args, adam):
    module = ClassificationModule("spiking_vgg_tiny", adam, input_cfg=data_args["input_cfg"])
    assert (module.model.num_classes, module.model.in_chans) == (3, 1)
    for changes in ({"num_classes": 5}, {"in_chans": 2}):
        with pytest.raises(ValueError, match="expected .*, as the data have, found"):
            ClassificationModule("spiking_vgg_tiny", adam, **data_args | changes)


def test_a_model_carries_nothing_from_the_data_to_the_metrics(data_args, adam):
    cfg = data_args["input_cfg"] | {"positions": [[0.0], [1.0], [2.0]], "tolerance": 1.0}
    module = ClassificationModule("spiking_vgg_tiny", adam, input_cfg=cfg)
    assert "recall_at_1" in module.val_metrics.keys(keep_base=True)
    assert not {"positions", "tolerance", "sequence_ndim"} & module.model.pretrained_cfg.keys()
