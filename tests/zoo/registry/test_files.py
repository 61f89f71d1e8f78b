"""Atomic writes, and damage of every kind to a published directory."""

import shutil

import pytest

import zoo
from zoo.registry.files import read_json, read_recipe, replacing, write_json

NAME = "sew_resnet_tiny.noise"


DAMAGE = {
    "weights": (
        lambda p, edit: edit.last_byte(p / "model.safetensors"),
        r"model\.safetensors was altered.*sha256.*found",
    ),
    "config": (lambda p, edit: edit.json(p / "config.json", num_classes=5), r"config\.json was altered"),
    "card": (lambda p, _: (p / "README.md").write_text("hello"), r"README\.md was altered.*'size': 5"),
    "missing": (lambda p, _: (p / "golden.safetensors").unlink(), r"expected golden\.safetensors, found none"),
    "missing card": (lambda p, _: (p / "README.md").unlink(), r"manifest\.json: expected a list of the files"),
    "no manifest": (lambda p, _: (p / "manifest.json").unlink(), r"expected manifest\.json, found none"),
    "broken manifest": (
        lambda p, _: (p / "manifest.json").write_text("{"),
        "expected a JSON object, found JSONDecodeError",
    ),
    "list as manifest": (lambda p, _: (p / "manifest.json").write_text("[]"), "expected a JSON object, found list"),
    "pickle": (
        lambda p, _: (p / "pytorch_model.bin").write_bytes(b"x"),
        r"nothing pickled.*, found pytorch_model\.bin",
    ),
    "unlisted": (lambda p, _: (p / "results.json").write_text("{}"), r"manifest\.json: expected a list of the files"),
    "gone": (lambda p, _: shutil.rmtree(p), r"the registry is empty|Invalid pretrained tag.*checkpoints: none"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(registry, edit, kind):
    damage, message = DAMAGE[kind]
    damage(registry / NAME, edit)
    for use in (zoo.pull, zoo.verify, lambda name, registry: zoo.create_model(name, True, registry)):
        with pytest.raises(ValueError, match=f"(?s){message}"):
            use(NAME, registry=registry)


# Writing --------------------------------------------------------------------------------------------------------------


def test_json_is_written_with_its_folder_and_read_again(tmp_path):
    record = {"name": "ü", "numbers": [1, 2.5, None]}
    write_json(tmp_path / "a/b/c.json", record)
    assert read_json(tmp_path / "a/b/c.json") == record
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["c.json"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    write_json(path, {"old": 1})

    def stop(part):
        part.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), replacing(path) as part:
        stop(part)
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"new": object()})
    assert read_json(path) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"\xff"])
def test_what_is_no_json(tmp_path, content):
    (tmp_path / "broken.json").write_bytes(content)
    with pytest.raises(zoo.RegistryError, match=r"broken\.json: expected a JSON object, found \w+Error"):
        read_json(tmp_path / "broken.json")


@pytest.mark.parametrize(("text", "message"), [("a: [", "ParserError"), ("- a", "list")])
def test_what_is_no_recipe(tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(zoo.RegistryError, match=rf"config\.yaml: expected a YAML mapping, found {message}"):
        read_recipe(tmp_path / "config.yaml")
