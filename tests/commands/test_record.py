import copy

import pytest
import torch
import yaml

from commands.record import CALL_OPTIONS, differences, forbidden_changes, load_checkpoint, may_differ, past_of

RECIPE = {
    "seed_everything": 0,
    "run": "runs/a",
    "model": {
        "class_path": "lightning_modules.ClassificationModule",
        "init_args": {
            "model": "sew_resnet_tiny",
            "model_args": {"num_steps": 4},
            "objectives": [{"class_path": "TET", "init_args": {"weight": 1.0}}, {"class_path": "Other"}],
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.003, "weight_decay": 0.05}},
        },
    },
    "data": {"class_path": "Digits", "init_args": {"batch_size": 64, "root": "data", "num_workers": None}},
    "trainer": {"max_epochs": 30, "max_steps": -1, "callbacks": None, "accelerator": "auto", "devices": "auto"},
}


def changed(key, value):
    """The recipe with another value."""
    recipe = copy.deepcopy(RECIPE)
    *path, last = key.split(".")
    inside = recipe
    for name in path:
        inside = inside[int(name) if name.isdigit() else name]
    inside[last] = value
    return recipe


def test_options_of_one_call():
    assert {"ckpt_path", "weights_only", "verbose", "overwrite", "return_predictions"} == CALL_OPTIONS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed_everything", 1),
        ("model.class_path", "lightning_modules.DistillationModule"),
        ("model.init_args.model", "spiking_vgg_tiny"),
        ("model.init_args.model_args.num_steps", 2),
        ("model.init_args.optimizer.class_path", "torch.optim.SGD"),
        ("model.init_args.optimizer.init_args.lr", 0.1),
        ("model.init_args.optimizer.init_args.weight_decay", 0.0),
        ("model.init_args.objectives.0.init_args.weight", 2.0),
        ("data.class_path", "MNIST"),
        ("data.init_args.batch_size", 32),
        ("trainer.max_epochs", 60),
        ("trainer.max_steps", 100),
        ("trainer.callbacks", [{"class_path": "DelayAnnealing"}]),
    ],
)
def test_what_is_learned_must_not_change(key, value):
    now = changed(key, value)
    ((found, old, new),) = forbidden_changes(RECIPE, now)
    assert (found, new) == (key, value)
    assert forbidden_changes(now, RECIPE) == [(key, value, old)]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run", "runs/b"),
        ("data.init_args.root", "/elsewhere"),
        ("data.init_args.num_workers", 4),
        ("trainer.accelerator", "gpu"),
        ("trainer.devices", 1),
        ("trainer.logger", {"class_path": "TensorBoardLogger", "init_args": {"save_dir": "x"}}),
        ("trainer.enable_progress_bar", False),
        ("trainer.max_time", "00:08:00:00"),
        ("ckpt_path", "last"),
    ],
)
def test_what_changes_nothing_that_is_learned_may_differ(key, value):
    assert forbidden_changes(RECIPE, changed(key, value)) == []


def test_how_a_distilled_language_model_writes_may_differ():
    assert may_differ("model.init_args.num_tokens")
    assert may_differ("model.init_args.task.init_args.num_tokens")
    assert not may_differ("model.init_args.task.class_path")


def test_the_root_of_nested_data_may_differ_and_other_roots_may_not():
    assert may_differ("data.init_args.images.init_args.root")
    assert not may_differ("model.init_args.root")
    assert not may_differ("data.init_args.images.init_args.batch_size")


def test_an_added_argument_of_the_network_is_a_change_and_a_new_option_is_none():
    args = {"num_steps": 4, "drop_rate": 0.2}
    found = forbidden_changes(RECIPE, changed("model.init_args.model_args", args))
    assert found == [("model.init_args.model_args.drop_rate", None, 0.2)]
    for key in ("model.init_args.new_option", "model.init_args.objectives.0.init_args.new", "trainer.new"):
        assert forbidden_changes(RECIPE, changed(key, 1)) == [], "it is newer than the record"
    assert forbidden_changes(changed("trainer.old_option", 1), RECIPE) == [("trainer.old_option", 1, None)]


def test_every_difference_is_named():
    old = {"a": 1, "b": {"c": 2, "d": [3]}, "e": None}
    new = {"a": 1, "b": {"c": 2, "d": [4]}, "f": 5}
    assert differences("x", old, new) == [("x.b.d", [3], [4]), ("x.f", None, 5)]
    assert differences("x", old, old) == []
    assert differences("", [{"a": 1}, {"b": 2}], [{"a": 1}, {"b": 3}]) == [("1.b", 2, 3)]
    assert differences("x", [{"a": 1}], []) == [("x", [{"a": 1}], [])]


# Checkpoints ----------------------------------------------------------------------------------------------------------


def test_the_recipe_in_a_checkpoint_comes_before_the_one_beside_it(tmp_path):
    """The file beside it may have been edited."""
    path = tmp_path / "checkpoints/last.ckpt"
    path.parent.mkdir()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"seed_everything": 1}))
    torch.save({"run": {"recipe": yaml.safe_dump(RECIPE), "steps": 600}, "optimizer_states": []}, path)
    assert past_of(path, load_checkpoint(path)) == {"recipe": RECIPE, "steps": 600}
    torch.save({"state_dict": {}, "optimizer_states": []}, path)  # of an earlier version
    assert past_of(path, load_checkpoint(path)) == {"recipe": {"seed_everything": 1}}


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 broken"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"last.ckpt is not a checkpoint of a run, or is damaged"):
        load_checkpoint(path)


def test_a_file_of_something_else_is_named(tmp_path):
    torch.save(torch.zeros(2), tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"x.ckpt is not a checkpoint of a run: expected a dict, found Tensor"):
        load_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize("content", [{"state_dict": {}}, {"run": {"recipe": "- a list"}}, {"run": {"recipe": "{"}}])
def test_a_checkpoint_without_a_recipe_cannot_go_on(tmp_path, content):
    torch.save(content, path := tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"expected a recipe in it, or the config.yaml of its run, found neither"):
        past_of(path, load_checkpoint(path))


@pytest.mark.parametrize(("key", "option"), [("model", "model"), ("student", "student")])
def test_a_checkpoint_of_weights_only_cannot_go_on(tmp_path, key, option):
    """The state of the optimiser would begin anew, in the middle of the schedule."""
    recipe = changed("model.init_args", {key: "sew_resnet_tiny"})
    torch.save({"state_dict": {}, "run": {"recipe": yaml.safe_dump(recipe)}}, path := tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=rf"holds weights only.*--model\.{option} {path} --run NEW"):
        past_of(path, load_checkpoint(path))
