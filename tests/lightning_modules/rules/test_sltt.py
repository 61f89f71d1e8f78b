"""SLTT against one backward pass over a whole unrolled sequence whose potentials are cut, and through the trainer."""

import copy
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo
from lightning_modules import ClassificationModule, DistillationModule, LanguageModule, PlacesModule
from lightning_modules.objectives import TET, CrossEntropy, LogitKD, PerStep
from lightning_modules.rules.sltt import SLTT
from zoo.model import read
from zoo.neurons import carry_state

ROOT = Path(__file__).parents[3]


@pytest.fixture
def teacher(tmp_path, blobs):
    """A published ANN that knows the three classes (and little more)."""
    model = zoo.create_model("test_resnet", num_classes=3, in_chans=1)
    model.pretrained_cfg.update(blobs.input_cfg | {"input_size": (1, 32, 32)})
    zoo.publish(model, tmp_path / "registry/test_resnet.blobs")
    return f"local-dir:{tmp_path}/registry/test_resnet.blobs"


@pytest.fixture
def make(data_args, adam):
    def make(model="spiking_vgg_tiny", steps=4, objectives=None, **sltt):
        return ClassificationModule(
            model=model,
            optimizer=adam,
            model_args={"num_steps": steps},
            objectives=objectives or [TET()],
            sltt=SLTT(**sltt),
            **data_args,
        )

    return make


def batch(module, steps=1, samples=6):
    size = module.model.pretrained_cfg["input_size"]
    return torch.randn(steps, samples, *size), torch.arange(samples) % module.num_classes


def gradients(module):
    return {name: p.grad.clone() for name, p in module.model.named_parameters()}


def learn(module, x, target, factor=1.0):
    module.zero_grad()
    module.log_dict = lambda *_, **__: None
    return module.rule.learn(module, x, target, factor)


def test_equals_the_unrolled_graph_with_cut_potentials(make):
    """One graph over all steps, the state detached from step to step, and one backward pass of the mean loss."""
    module = make()
    x, target = batch(module)
    logits = learn(module, x, target, factor=2.0)
    found = gradients(module)
    module.zero_grad()
    module.model.num_steps = 1
    with carry_state(module.model):
        steps = torch.cat([read(module.model, x).logits for _ in range(4)])
    (2 * torch.stack([nn.functional.cross_entropy(z, target) for z in steps]).mean()).backward()
    torch.testing.assert_close(logits, steps)
    for name, expected in gradients(module).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-6)


def test_a_sequence_is_learned_frame_by_frame(make):
    """With T = 1 it is plain backpropagation; a repeated image equals a sequence of that image."""
    module = make(steps=3)
    x, target = batch(module)
    learn(module, x, target)
    still = gradients(module)
    with pytest.warns(UserWarning, match="leaves out every gradient from one time step to another"):
        learn(module, x.expand(3, -1, -1, -1, -1), target)
    for name, grad in gradients(module).items():
        torch.testing.assert_close(grad, still[name], rtol=1e-4, atol=1e-6)
    single = make(steps=1)
    learn(single, x, target)
    found = gradients(single)
    single.zero_grad()
    nn.functional.cross_entropy(single.model(x), target).backward()
    for name, grad in gradients(single).items():
        torch.testing.assert_close(found[name], grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("normalise_by", "share"), [("T", 0.5), ("K", 1.0)])
def test_k_of_t_steps(make, normalise_by, share):
    """Over many draws the mean gradient is that of SLTT, K/T of it if it is divided by T."""
    every, some = make(), make(k=2, normalise_by=normalise_by)
    some.model.load_state_dict(every.model.state_dict())
    x, target = batch(every)
    learn(every, x, target)
    expected = every.model.fc.weight.grad.clone() * share
    draws = []
    for _ in range(60):
        learn(some, x, target)
        draws.append(some.model.fc.weight.grad.clone())
    assert len({draw.sum().item() for draw in draws}) > 3
    cosine = nn.functional.cosine_similarity(torch.stack(draws).mean(0).flatten(), expected.flatten(), dim=0)
    assert cosine > 0.99
    assert torch.stack(draws).mean(0).norm().item() == pytest.approx(expected.norm().item(), rel=0.1)
    assert every.model.encoder.bn.num_batches_tracked == 4, "the norms see every step"
    assert some.model.encoder.bn.num_batches_tracked == 60 * 4


def saved_bytes(module, run):
    """The most that the graph held at any time, parameters and buffers aside."""
    own = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}
    held, most = {}, 0

    def pack(tensor):
        nonlocal most
        box = [tensor]
        storage = tensor.untyped_storage()
        held[id(box)] = (storage.data_ptr(), 0 if storage.data_ptr() in own else storage.nbytes())
        most = max(most, sum(dict(held.values()).values()))
        return Box(box)

    class Box:
        def __init__(self, box):
            self.box = box

        def __del__(self):
            held.pop(id(self.box), None)

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.box[0]):
        run()
    return most


def test_memory_does_not_grow_with_time(make):
    peaks = []
    for steps in (2, 8):
        module = make(steps=steps)
        x, target = batch(module)
        peaks.append(saved_bytes(module, partial(learn, module, x, target)))
    through_time = saved_bytes(module, lambda: nn.functional.cross_entropy(module.model(x), target).backward())
    assert peaks[1] < 1.05 * peaks[0]
    assert peaks[1] < 0.3 * through_time


@pytest.mark.parametrize(
    "changes", [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 1e-3}, {"precision": "bf16-mixed"}]
)
def test_the_trainer_does_the_rest(make, trainer, blobs, changes):
    """Clipping and accumulation are Lightning's; the loss falls, and is logged."""
    module = make()
    module.optimizer = partial(torch.optim.SGD, lr=1.0)
    before = copy.deepcopy(module.model.state_dict())
    run = trainer(**changes)
    run.fit(module, blobs)
    moved = torch.stack([(before[name] - p).norm() for name, p in module.model.named_parameters()]).norm()
    assert moved > 0
    assert {"train/TET", "train/loss", "train/acc"} <= set(run.callback_metrics)
    if "gradient_clip_val" in changes:
        assert moved <= 1e-3 * run.global_step


def test_accumulated_batches_are_averaged(make):
    module = make()
    x, target = batch(module)
    learn(module, x, target, factor=0.5)
    half = gradients(module)
    module.rule.learn(module, x, target, 0.5)
    for name, grad in gradients(module).items():
        torch.testing.assert_close(grad, 2 * half[name], rtol=1e-3, atol=1e-6)


TWO_PROCESSES = """
import copy, os, sys, torch
from functools import partial
from pathlib import Path
from lightning import Trainer
from torch.utils.data import DataLoader, TensorDataset
from lightning_modules import ClassificationModule
from lightning_modules.objectives import TET
from lightning_modules.rules.sltt import SLTT


class Batches(DataLoader):
    def __iter__(self):
        return ((x.transpose(0, 1), y) for x, y in super().__iter__())


torch.manual_seed(0)
cfg = {"input_size": (1, 8, 8), "mean": (0.5,), "std": (0.25,)}
sgd = partial(torch.optim.SGD, lr=0.1)
learning = {"objectives": [TET()], "sltt": eval(sys.argv[1])}
module = ClassificationModule("spiking_vgg_tiny", sgd, 3, 1, cfg, {"num_steps": 3}, **learning)
torch.manual_seed(1)
x, y = torch.randn(8, 1, 1, 8, 8), torch.arange(8) % 3

# Alone: the gradients of both halves, averaged. Process 0 gets the even samples, process 1 the odd ones.
both = []
for rank in range(2):
    alone = copy.deepcopy(module)
    sequence, target = x[rank::2].transpose(0, 1), y[rank::2]
    if isinstance(alone.rule, SLTT):
        alone.log_dict = lambda *_, **__: None
        alone.rule.learn(alone, sequence, target, 1.0)
    else:
        logits = alone.model.forward_sequence(sequence)
        torch.stack([torch.nn.functional.cross_entropy(z, target) for z in logits]).mean().backward()
    both.append([p.grad for p in alone.model.parameters()])
expected = [p - 0.1 * (a + b) / 2 for p, a, b in zip(module.model.parameters(), *both)]

quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "enable_checkpointing": False}
two = {"accelerator": "cpu", "devices": 2, "strategy": "ddp", "use_distributed_sampler": False}
trainer = Trainer(max_steps=1, **two, **quiet)
rank = int(os.environ.get("LOCAL_RANK", 0))
trainer.fit(module, Batches(TensorDataset(x[rank::2], y[rank::2]), batch_size=4))
assert trainer.world_size == 2 and trainer.global_step == 1
for found, wanted in zip(module.model.parameters(), expected):
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
torch.save(dict(module.model.named_buffers()), Path(sys.argv[2]) / f"buffers{rank}.pt")
"""


@pytest.mark.parametrize("sltt", ["None", "SLTT()"])
def test_two_processes_learn_from_the_mean_of_their_gradients(tmp_path, sltt):
    """DDP, of the fused neurons with and without SLTT, against both halves of the batch on one process."""
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(script), sltt, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"buffers{rank}.pt", weights_only=True) for rank in (0, 1))
    if sltt != "None":  # else DDP lets them differ until the next batch
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_distillation_step_by_step(data_args, adam, trainer, blobs, teacher):
    module = DistillationModule(
        student="spiking_vgg_tiny",
        teacher=teacher,
        objectives=[TET(), PerStep(LogitKD())],
        optimizer=adam,
        student_args={"num_steps": 2},
        sltt=SLTT(k=1),
        **data_args,
    )
    run = trainer()
    run.fit(module, blobs)
    assert run.callback_metrics["train/PerStepLogitKD"] > 0


def test_what_it_refuses(make, data_args, adam):
    with pytest.raises(ValueError, match=r"CrossEntropy is defined on the mean over time.*PerStep"):
        make(objectives=[CrossEntropy()])
    with pytest.raises(ValueError, match="k of SLTT is 9, but there are 4 time steps"):
        make(k=9)
    with pytest.raises(ValueError, match="must be >= 1, found 0"):
        SLTT(k=0)
    with pytest.raises(ValueError, match="must be 'T' or 'K', found 'N'"):
        SLTT(normalise_by="N")
    with pytest.raises(ValueError, match="no time steps"):
        ClassificationModule(model="test_resnet", optimizer=adam, objectives=[TET()], sltt=SLTT(), **data_args)
    trains = data_args | {"input_cfg": data_args["input_cfg"] | {"input_size": (1, 1, 1), "sequence_ndim": 3}}
    with pytest.raises(ValueError, match=r"DelayedLinear\) needs whole sequences"):
        ClassificationModule(model="delay_mlp_tiny", optimizer=adam, objectives=[TET()], sltt=SLTT(), **trains)
    module = make()
    module.model.set_grad_checkpointing()
    with pytest.raises(ValueError, match="Gradient checkpointing"):
        learn(module, *batch(module))
    assert zoo.spiking_neurons(module.model)


def test_its_check_draws_no_random_number(make):
    """A student is the same with and without SLTT, and so is what is drawn after it."""
    found = []
    for rule in ({}, {"k": 2}):
        torch.manual_seed(0)
        make(**rule)
        found.append(torch.rand(3))
    assert torch.equal(*found)


def test_places_are_learned_step_by_step(data_args, adam, trainer, blobs):
    cfg = data_args["input_cfg"] | {"positions": [[0.0, 0.0], [9.0, 0.0], [18.0, 0.0]], "tolerance": 10.0}
    module = PlacesModule("spiking_vgg_tiny", adam, 3, 1, cfg, {"num_steps": 2}, objectives=[TET()], sltt=SLTT())
    run = trainer(max_epochs=1)
    run.fit(module, blobs)
    assert "test/recall_at_1" in run.test(module, blobs, verbose=False)[0]


def test_a_text_is_learned_token_by_token(adam):
    """One graph over all tokens, the state detached from token to token, against the rule."""
    cfg = {"input_size": (256, 6, 1), "mean": (0.0,), "std": (1.0,), "sequence_ndim": 2}
    args = {"depth": 1, "dim": 16, "drop_rate": 0.0}
    module = LanguageModule("spikegpt_tiny", adam, 256, 256, cfg, args, sltt=SLTT())
    module.log_dict = lambda *_, **__: None
    text = torch.randint(256, (7, 3))
    with pytest.warns(UserWarning, match="leaves out every gradient"):
        logits = module.rule.learn(module, text[:-1], text[1:], 1.0)
    found = gradients(module)
    module.zero_grad()
    with carry_state(module.model):
        steps = torch.cat([read(module.model, text[t : t + 1]).logits for t in range(6)])
    module.objectives["NextToken"](zoo.model.Outputs(steps), None, text[1:]).backward()
    torch.testing.assert_close(logits, steps)
    for name, expected in gradients(module).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-6)
