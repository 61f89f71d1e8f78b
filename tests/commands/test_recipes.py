import pytest

from commands.recipes import CONFIGS, missing_recipe, read_recipe


def test_every_recipe_of_ours_is_one():
    assert {"run", "model", "data"} <= set(read_recipe(CONFIGS / "digits/spiking_vgg_ladder.yaml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run: [runs/x\nmodel: {", "is not YAML"),
        ("- a list", "is not a recipe: expected run, model and data"),
        ("run: x", "is not a recipe"),
    ],
)
def test_a_file_of_something_else(tmp_path, text, words):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_recipe(path)


def test_the_closest_name():
    assert missing_recipe("configs/digits/spiking_vgg_lader.yaml").endswith("digits/spiking_vgg_ladder.yaml.")
    assert missing_recipe("x").endswith("digits/sew_resnet_ce.yaml.")
