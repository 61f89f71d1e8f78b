import itertools
import math

import pytest
import torch
from lightning import Callback

from lightning_modules import ClassificationModule
from lightning_modules.schedule import epochs_of, warmup_cosine


def test_rises_linearly_then_falls_to_zero():
    factors = [warmup_cosine(step, 4, 20) for step in range(21)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[12] == pytest.approx(0.5)  # half-way of the cosine
    assert factors[20] == pytest.approx(0.0)
    assert all(a > b for a, b in itertools.pairwise(factors[4:]))


def test_without_warmup_starts_at_the_base_rate():
    assert warmup_cosine(0, 0, 10) == 1.0
    assert warmup_cosine(5, 0, 10) == pytest.approx((1 + math.cos(math.pi / 2)) / 2)


def test_never_negative_past_the_end():
    assert warmup_cosine(50, 0, 10) == pytest.approx(0.0)


class Rates(Callback):
    """Keeps the learning rate of every step, and the length of the training."""

    def on_fit_start(self, trainer, pl_module):
        self.epochs, self.factors = epochs_of(trainer), []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.factors.append(trainer.optimizers[0].param_groups[0]["lr"] / 0.01)


@pytest.mark.parametrize(
    ("length", "warmup", "steps", "epochs"),
    [  # 96 samples in batches of 24: 4 steps an epoch, half of that if two batches are accumulated
        ({"max_epochs": 3}, 4, 12, 3),
        ({"max_epochs": -1, "max_steps": 12}, 4, 12, 3),
        ({"max_epochs": 1000, "max_steps": 12}, 4, 12, 3),
        ({"max_epochs": 2, "max_steps": 12}, 4, 8, 2),
        ({"max_epochs": -1, "max_steps": 5, "accumulate_grad_batches": 2}, 2, 5, 3),
    ],
)
@pytest.mark.filterwarnings("ignore:.*did not fire once")
def test_an_epoch_of_warm_up_has_the_steps_of_an_epoch(blobs, data_args, trainer, length, warmup, steps, epochs):
    blobs.batch_size = 24
    module = ClassificationModule(
        "spiking_vgg_tiny", model_args={"num_steps": 1}, optimizer=sgd, warmup_epochs=1, **data_args
    )
    rates = Rates()
    trainer(callbacks=[rates], limit_val_batches=0, **length).fit(module, blobs)
    expected = [warmup_cosine(step, warmup, steps) for step in range(steps)]
    every = length.get("accumulate_grad_batches", 1)
    assert rates.factors == pytest.approx([rate for rate in expected for _ in range(every)])
    assert rates.epochs == epochs


def sgd(groups):
    return torch.optim.SGD(groups, lr=0.01)


def test_a_training_without_a_known_length_is_refused(blobs, data_args, trainer):
    module = ClassificationModule("spiking_vgg_tiny", optimizer=sgd, **data_args)
    with pytest.raises(ValueError, match=r"expected max_epochs or max_steps, .* found neither. Set --trainer.max_epoc"):
        trainer(max_epochs=-1, max_time="00:00:01:00").fit(module, blobs)
