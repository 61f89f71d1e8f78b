"""Shadow weights by themselves, with all that trains on few cores, and in two processes; see also the tests of EMA."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torchvision.transforms import v2

import zoo
from datamodules import AlternatingFlip, SquareCutout
from lightning_modules import DistillationModule
from lightning_modules.callbacks import EMA, GrowSteps, RecalibrateNorms
from lightning_modules.objectives import CrossEntropy, LogitKD
from lightning_modules.shadow import ShadowWeights, tensors_of


@pytest.fixture
def layer():
    layer = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    layer.teacher = nn.Linear(2, 2)
    return layer


def copies(tensors):
    return {name: x.detach().clone() for name, x in tensors.items()}


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(x, found[name]) for name, x in expected.items())


def test_a_swap_is_undone_by_another(layer):
    shadow, names = ShadowWeights(), ["0.weight", "1.running_mean", "1.num_batches_tracked"]
    shadow.follow(layer, names)
    for x in shadow.tensors.values():
        x += 3
    trained, kept = copies(tensors_of(layer)), copies(shadow.tensors)
    places = {name: x.data_ptr() for name, x in tensors_of(layer).items()}
    for _ in range(2):  # the second one changes nothing
        shadow.swap(layer, inside=True)
        assert same(copies(tensors_of(layer)), trained | kept)
    for _ in range(2):
        shadow.swap(layer, inside=False)
        assert same(copies(tensors_of(layer)), trained)
        assert same(shadow.tensors, kept)
    assert {name: x.data_ptr() for name, x in tensors_of(layer).items()} == places, "an optimiser holds these tensors"


@pytest.mark.parametrize("inside", [True, False])
def test_a_checkpoint_holds_both_wherever_they_are(layer, inside):
    shadow, trained = ShadowWeights(), copies(layer.state_dict())
    shadow.follow(layer, ["0.weight"])
    shadow.tensors["0.weight"] += 3
    kept = copies(shadow.tensors)
    shadow.swap(layer, inside)
    full = {"state_dict": dict(layer.state_dict()), "optimizer_states": []}
    light = {"state_dict": dict(layer.state_dict())}
    shadow.save(full)
    shadow.save(light)
    assert same(full["state_dict"], trained | kept)
    assert same(light["state_dict"], trained | kept)
    assert same(full["trained_weights"], {"0.weight": trained["0.weight"]})
    assert "trained_weights" not in light

    other = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    other.teacher = nn.Linear(2, 2)
    other.load_state_dict(full["state_dict"])
    again = ShadowWeights()
    again.load(full)
    again.begin(other, resumed=True)
    assert same(copies(other.state_dict()), trained)
    again.follow(other, ["0.weight", "0.bias"])
    assert same(again.tensors, kept | {"0.bias": trained["0.bias"]})


def test_nothing_followed_leaves_a_checkpoint_alone(layer):
    checkpoint = {"state_dict": dict(layer.state_dict()), "optimizer_states": []}
    ShadowWeights().save(checkpoint)
    assert checkpoint.keys() == {"state_dict", "optimizer_states"}


# All that trains on few cores -----------------------------------------------------------------------------------------


class PowerCut(Callback):
    def __init__(self, step):
        self.step = step

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step:
            raise KeyError("power cut")


@pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize("step", [9, 23])  # at one time step, and at the final T after a calibration
def test_all_at_once_resume_to_the_same_weights(blobs, data_args, adam, trainer, tmp_path, step):
    teacher = zoo.create_model("test_resnet", num_classes=3, in_chans=1)
    teacher.pretrained_cfg.update(blobs.input_cfg | {"input_size": (1, 32, 32)})
    zoo.publish(teacher, tmp_path / "test_resnet.blobs")

    def make():
        return DistillationModule(
            student="spiking_vgg_tiny",
            student_args={"num_steps": 4},
            teacher=f"local-dir:{tmp_path}/test_resnet.blobs",
            objectives=[CrossEntropy(label_smoothing=0.1), LogitKD(per_step=True)],
            optimizer=adam,
            warmup_epochs=1,
            lr_factors={"bias$": 2.0},
            cache_teacher=True,
            **data_args,
        )

    def run(folder, *more):
        saver = ModelCheckpoint(tmp_path / folder, save_last=True, enable_version_counter=False, every_n_train_steps=1)
        callbacks = [EMA(0.9), RecalibrateNorms(2, epochs=2), GrowSteps([1, 2], [2, 1]), saver, *more]
        return trainer(max_epochs=5, callbacks=callbacks, enable_checkpointing=True)

    def images():
        augmentation = [v2.RandomCrop(8, padding=1, padding_mode="reflect"), AlternatingFlip(), SquareCutout(3)]
        return type(blobs)(batch_size=16, augmentation=augmentation)

    module, broken, again = make(), make(), make()
    broken.load_state_dict(module.state_dict())
    run("whole").fit(module, images())
    with pytest.raises(KeyError, match="power cut"):
        run("broken", PowerCut(step)).fit(broken, images())
    run("broken").fit(again, images(), ckpt_path=tmp_path / "broken/last.ckpt")
    assert same(tensors_of(again), tensors_of(module))


# Two processes --------------------------------------------------------------------------------------------------------

TWO_PROCESSES = """
import os, sys, warnings
import torch
sys.path.insert(0, sys.argv[1])
warnings.filterwarnings("ignore")
from lightning import Callback, Trainer
from tests.conftest import Blobs
from lightning_modules import ClassificationModule
from lightning_modules.callbacks import EMA, RecalibrateNorms

class Watch(Callback):
    def __init__(self):
        self.trained = []
    def on_train_start(self, trainer, module):
        self.note(module)
    def on_train_batch_end(self, trainer, module, *_):
        self.note(module)
    def note(self, module):
        self.trained.append({name: x.detach().double().clone() for name, x in module.model.named_parameters()})

torch.manual_seed(0)
data = Blobs(batch_size=16)
args = {"num_classes": 3, "in_chans": 1, "input_cfg": data.input_cfg}
adam = lambda groups: torch.optim.AdamW(groups, lr=3e-3)
module = ClassificationModule(model="spiking_vgg_tiny", model_args={"num_steps": 2}, optimizer=adam, **args)
watch = Watch()
quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
two = dict(accelerator="cpu", devices=2, strategy="ddp", callbacks=[watch, EMA(0.8), RecalibrateNorms(2)])
trainer = Trainer(max_epochs=2, **two, **quiet)
trainer.fit(module, data)
assert trainer.world_size == 2 and len(watch.trained) == 1 + 6
mean = watch.trained[0]
for t, weights in enumerate(watch.trained[1:], 1):
    d = min(0.8, (1 + t) / (10 + t))
    mean = {name: d * mean[name] + (1 - d) * x for name, x in weights.items()}
for name, x in module.model.named_parameters():
    torch.testing.assert_close(x.detach().double(), mean[name], rtol=1e-5, atol=1e-6)
torch.save(module.model.state_dict(), os.path.join(sys.argv[2], f"rank{trainer.global_rank}.pt"))
"""


def test_two_processes_average_alike(tmp_path):
    script, root = tmp_path / "two.py", Path(__file__).parents[2]
    script.write_text(TWO_PROCESSES)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    command = [sys.executable, str(script), str(root), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same(first, second), "also the norms, which see the same batches"
