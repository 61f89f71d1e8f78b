"""What is refused before training, whatever the module; training itself: test_classification, test_distillation."""

import copy

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

import zoo
from datamodules.sound.spoken_digits import SpokenDigitsDataModule
from datamodules.spikes.yin_yang import YinYangDataModule
from lightning_modules import ClassificationModule, DistillationModule
from lightning_modules.module import ClassifierModule
from lightning_modules.networks import make_network
from lightning_modules.objectives import BKD, CrossEntropy, FeatureMSE, LogitKD, PerStep
from zoo.data_info import DataInfo
from zoo.neurons import LIF
from zoo.registry.build import noise_input
from zoo.sequence import SequenceKind, to_sequence


@pytest.fixture
def points():
    """Spike trains [T, N, 5] in steps of 2 ms."""
    return YinYangDataModule(batch_size=16, dt=2.0, train_size=64)


@pytest.fixture
def trains_args(points):
    """What the CLI links from them."""
    return {"num_classes": 3, "in_chans": 5, "input_cfg": points.input_cfg}


@pytest.fixture
def spiking_teacher(points, tmp_path):
    """A published student of spike trains."""
    model = zoo.create_model("delay_mlp_tiny", num_classes=3, in_chans=5, num_steps=20)
    model.pretrained_cfg.update(points.input_cfg)
    for block in model.blocks:
        nn.init.constant_(block.bn.bias, 1.0)  # so that it fires
    zoo.publish(model, tmp_path / "teacher/delay_mlp_tiny.points", license="mit")
    return f"local-dir:{tmp_path}/teacher/delay_mlp_tiny.points"


# EventProp has gradients of spike times -------------------------------------------------------------------------------


@pytest.mark.parametrize("term", [FeatureMSE(), BKD(), PerStep(FeatureMSE())], ids=lambda term: term.name)
def test_eventprop_learns_no_features(term, spiking_teacher, trains_args, adam):
    options = {"student": "eventprop_mlp_tiny", "student_args": {"dt": 2.0}, "teacher": spiking_teacher}
    with pytest.raises(ValueError, match=rf"{term.name} compares features, .* EventProp layer .*layers\.0"):
        DistillationModule(**options, objectives=[CrossEntropy(), term], optimizer=adam, **trains_args)
    DistillationModule(**options, objectives=[CrossEntropy(), LogitKD()], optimizer=adam, **trains_args)
    options |= {"student": "delay_mlp_tiny", "student_args": {}}
    DistillationModule(**options, objectives=[term], optimizer=adam, **trains_args)


def test_eventprop_is_not_mixed_with_surrogates(trains_args, adam):
    class Module(ClassifierModule):
        def read_teacher(self, x):
            return None

    info = DataInfo.from_dict(trains_args["input_cfg"])
    model = make_network("eventprop_mlp_tiny", {"dt": 2.0}, False, 3, 5, info)
    Module(model, [CrossEntropy()], adam, 0.0)
    model.layers.append(LIF())
    with pytest.raises(ValueError, match="cannot be mixed"):
        Module(model, [CrossEntropy()], adam, 0.0)


# Data and model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["delay_mlp_tiny", "eventprop_mlp_tiny"])
def test_images_are_no_spike_trains(model, data_args, adam):
    with pytest.raises(ValueError, match=rf"{model} takes spike trains \[T, N, F\], but the data are images \[N, C"):
        ClassificationModule(model=model, optimizer=adam, **data_args)


@pytest.mark.parametrize("model", ["sew_resnet_tiny", "test_resnet"])
def test_spike_trains_are_no_images(model, trains_args, adam, tmp_path):
    message = r"takes images .*, but the data are spike trains \[T, N, F\]"
    with pytest.raises(ValueError, match=f"{model} {message}"):
        ClassificationModule(model=model, optimizer=adam, **trains_args)
    teacher = zoo.create_model(model, num_classes=3, in_chans=5).eval()
    teacher.pretrained_cfg.update(input_size=(5, 32, 32), mean=(0.0,) * 5, std=(1.0,) * 5)
    for norm in (module for module in teacher.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.constant_(norm.bias, 1.4)  # so that every layer fires
    zoo.publish(teacher, tmp_path / f"{model}.points", license="mit")
    with pytest.raises(ValueError, match=message):
        DistillationModule("delay_mlp_tiny", f"local-dir:{tmp_path}/{model}.points", [LogitKD()], adam, **trains_args)


@pytest.mark.parametrize("data", [YinYangDataModule, SpokenDigitsDataModule])
def test_steps_of_model_and_data_are_equally_long(data, adam):
    trains = data(dt=5.0)
    args = {"num_classes": data.num_classes, "in_chans": trains.in_chans, "input_cfg": trains.input_cfg}
    for model, model_args in (("eventprop_mlp_tiny", {"dt": 5.0}), ("delay_mlp_tiny", {})):  # the latter counts steps
        ClassificationModule(model=model, model_args=model_args, optimizer=adam, **args)
    with pytest.raises(ValueError, match=r"dt of eventprop_mlp_tiny is 1 ms, and that of the data 5 ms"):
        ClassificationModule(model="eventprop_mlp_tiny", optimizer=adam, **args)


# Every architecture ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", zoo.list_models("*tiny"))
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("distilled", [False, True], ids=["alone", "distilled"])
@pytest.mark.filterwarnings("ignore")
def test_every_architecture_trains(name, precision, distilled):
    """One batch through Lightning: every step of the constructor, the loop and the optimiser; every weight moves."""
    model = zoo.create_model(name, num_classes=3)
    if model.kind is SequenceKind.TOKENS:
        pytest.skip("tokens have a module of their own")
    smallest = model.pretrained_cfg.get("min_input_size") or model.pretrained_cfg["input_size"]
    model.pretrained_cfg.update(input_size=smallest)
    x = to_sequence(noise_input(model), model.kind)[:, :4]
    options = {"num_classes": 3, "in_chans": model.in_chans}
    if distilled:
        objectives = [CrossEntropy(), LogitKD()]
        module = DistillationModule(model, copy.deepcopy(model), objectives, **options)
    else:
        module = ClassificationModule(model, **options)
    before = {key: value.clone() for key, value in module.model.named_parameters()}
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(max_steps=1, precision=precision, accelerator="cpu", enable_checkpointing=False, **quiet)
    batch = x, torch.arange(4) % 3
    trainer.fit(module, DataLoader([0], collate_fn=lambda _: batch))
    assert trainer.callback_metrics["train/loss"].isfinite()
    assert any(not torch.equal(value, before[key]) for key, value in module.model.named_parameters())
