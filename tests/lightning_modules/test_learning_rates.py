import pytest
import torch
from torch import nn

import zoo
from cli import main
from lightning_modules import ClassificationModule, DistillationModule
from lightning_modules.learning_rates import parameter_factors
from lightning_modules.objectives import LogitKD


def make(data_args, optimizer, **changes):
    return ClassificationModule(model="spiking_vgg_tiny", optimizer=optimizer, **data_args, **changes)


def sgd(groups):
    return torch.optim.SGD(groups, lr=0.5, weight_decay=0.1)


def test_a_step_is_as_long_as_its_factor_says(blobs, data_args, trainer):
    """Of SGD without momentum: the change of a parameter over its gradient is the learning rate."""
    module = make(data_args, sgd, lr_factors={r"bn\.bias$": 4.0, "^fc": 0.5, r"fc\.bias": 3.0})
    before = {name: parameter.detach().clone() for name, parameter in module.model.named_parameters()}
    gradients = {}

    def note(*_):
        gradients.update({name: parameter.grad.clone() for name, parameter in module.model.named_parameters()})

    module.on_before_optimizer_step = note
    trainer(max_steps=1, limit_val_batches=0).fit(module, blobs)
    expected = {name: 4.0 if name.endswith("bn.bias") else 1.0 for name in before} | {"fc.weight": 0.5, "fc.bias": 1.5}
    assert sorted(set(expected.values())) == [0.5, 1.0, 1.5, 4.0]
    for name, parameter in module.model.named_parameters():
        decay = 0.1 * before[name] if parameter.ndim > 1 else 0
        step = -0.5 * expected[name] * (gradients[name] + decay)
        torch.testing.assert_close(parameter.detach() - before[name], step, rtol=1e-4, atol=1e-7)


def test_schedule_and_factor_multiply(blobs, data_args, trainer):
    module = make(data_args, sgd, lr_factors={"^fc": 0.5})
    run = trainer(max_epochs=2, limit_val_batches=0)
    run.fit(module, blobs)
    schedule = run.lr_scheduler_configs[0].scheduler
    assert {group["initial_lr"] for group in run.optimizers[0].param_groups} == {0.5, 0.25}
    assert schedule.get_last_lr() == pytest.approx([0.0] * 4)


def test_no_factors_leave_the_groups_as_they_were(blobs, data_args, trainer):
    run = trainer(max_steps=1, limit_val_batches=0)
    run.fit(make(data_args, sgd), blobs)
    assert [group["weight_decay"] for group in run.optimizers[0].param_groups] == [0.1, 0.0]


class Own(nn.Linear):
    def lr_factors(self):
        return {"bias": 100.0}


def test_factors_of_the_network_multiply_too():
    network = Own(2, 2)
    assert parameter_factors(network, {}, network.lr_factors()) == {"bias": 100.0}
    assert parameter_factors(network, {".": 0.1}, network.lr_factors()) == pytest.approx({"weight": 0.1, "bias": 10.0})


def test_names_of_a_teacher_are_those_of_its_network(blobs, data_args, trainer):
    module = ClassificationModule(
        model="test_resnet", input_size=32, optimizer=sgd, lr_factors={"^fc": 0.5}, **data_args
    )
    assert module.lr_factors == {"model.model.fc.weight": 0.5, "model.model.fc.bias": 0.5}
    run = trainer(max_steps=1, limit_val_batches=0)
    run.fit(module, blobs)
    assert {group["initial_lr"] for group in run.optimizers[0].param_groups} == {0.5, 0.25}


@pytest.mark.parametrize("factor", [0.0, -1.0, float("inf"), float("nan")])
def test_factors_are_positive(data_args, factor):
    with pytest.raises(ValueError, match=r"expected a factor > 0 and finite for '\^fc', found"):
        make(data_args, sgd, lr_factors={"^fc": factor})


def test_patterns_that_match_nothing_name_the_closest(data_args):
    with pytest.raises(ValueError, match=r"Unknown parameter 'fc\.wieght'\. Did you mean 'fc\.weight'"):
        make(data_args, sgd, lr_factors={"fc.wieght": 2.0})
    with pytest.raises(ValueError, match=r"expected a regular expression, found '\(fc' \(missing \)"):
        make(data_args, sgd, lr_factors={"(fc": 2.0})


def test_a_recipe_names_them(tmp_path, capsys):
    fit = ["fit", "--config", "configs/digits/sew_resnet_ce.yaml", "--trainer.fast_dev_run", "1"]
    main([*fit, "--run", str(tmp_path / "right"), "--model.lr_factors", '{"bn.*bias$": 8.0}'])
    with pytest.raises(SystemExit):
        main([*fit, "--run", str(tmp_path / "wrong"), "--model.lr_factors", '{"bn.*bais$": 8.0}'])
    assert "lr_factors: expected regular expressions of parameter names" in capsys.readouterr().err


def test_a_distilled_student_has_them_too(data_args, tmp_path, blobs, adam):
    teacher = zoo.create_model("test_resnet", num_classes=3, in_chans=1)
    teacher.pretrained_cfg.update(blobs.input_cfg | {"input_size": (1, 32, 32)})
    zoo.publish(teacher, tmp_path / "test_resnet.blobs")
    module = DistillationModule(
        "spiking_vgg_tiny",
        f"local-dir:{tmp_path}/test_resnet.blobs",
        [LogitKD()],
        adam,
        lr_factors={r"^fc\.weight$": 2.0},
        **data_args,
    )
    assert module.lr_factors == {"model.fc.weight": 2.0}
