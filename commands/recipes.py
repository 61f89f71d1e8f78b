"""Recipes: where ours are, how one is read from its file, and which one a wrong name may mean."""

import difflib
from pathlib import Path
from typing import Any

import yaml

CONFIGS = Path(__file__).parents[1] / "configs"
EXAMPLE = CONFIGS / "digits/sew_resnet_ce.yaml"


def read_recipe(path: str | Path) -> dict[str, Any]:
    """A recipe as it stands in its file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not YAML, or not a recipe.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(missing_recipe(str(path)))
    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}. See {shown(EXAMPLE)}.") from error
    if not isinstance(recipe, dict) or not {"run", "model", "data"} <= set(recipe):
        raise ValueError(f"{path} is not a recipe: expected run, model and data in it. See {shown(EXAMPLE)}.")
    return recipe


def missing_recipe(path: str) -> str:
    """The message for a recipe that does not exist, with the closest of our recipes."""
    recipes = {str(recipe.relative_to(CONFIGS.parent)): recipe for recipe in sorted(CONFIGS.glob("*/*.yaml"))}
    name = shown(Path(path))
    close = difflib.get_close_matches(name, recipes, n=1)
    hint = f"the closest is {shown(recipes[close[0]])}" if close else f"one is {shown(EXAMPLE)}"
    return f"There is no recipe {name}; {hint}."


def shown(path: Path) -> str:
    """A path as a user would type it: from the working directory, if it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
