"""What the package exports, under which names recipes record it, and what importing it costs."""

import re
import subprocess
import sys
from inspect import isabstract
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser
from torch import nn

import datamodules
from datamodules.events.arrays import EventTransform
from datamodules.events.camera import EventCamera
from datamodules.events.frames import Representation
from datamodules.images.transforms import ImageAugmentation

ROOT = Path(__file__).parents[2]
HEAVY = ("matplotlib", "sklearn", "scipy", "tonic", "h5py", "numba", "tokenizers", "aedat")
OLD_NAMES = [  # of classes that the first recipes recorded by their file
    *(f"event_augmentation.{name}" for name in ("Flip", "Roll", "Crop", "Rotate", "Shear", "Cutout", "TimeJitter")),
    *(f"event_augmentation.{name}" for name in ("TimeReversal", "DropByTime", "DropByArea", "DropEvents")),
    *("event_augmentation.EventDrop", "event_augmentation.NDA"),
    *("event_clouds.Cloud", "event_clouds.SampleEvents", "frames.Frames", "frames.VoxelGrid", "frames.TimeSurface"),
    *("event_filters.Denoise", "event_filters.Refractory", "event_filters.HotPixels"),
    *("image_augmentation.AlternatingFlip", "image_augmentation.SquareCutout"),
]
NEEDED = {  # arguments without a default
    "EventTwinDataModule": {"source": "DigitsDataModule"},
    "StaticEventPairsDataModule": {"events": "DigitsDataModule"},
    "EventFolderDataModule": {"root": "data"},
    "ImageFolderDataModule": {"root": "data"},
    "SquareCutout": {"size": 2},
    "Frames": {"num_steps": 2},
    "TimeSurface": {"num_steps": 2},
}


def parser_of(kind):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(kind, "part")
    return parser


def base_of(kind):
    bases = (datamodules.BaseDataModule, Representation, EventTransform, ImageAugmentation, EventCamera)
    return next(base for base in bases if issubclass(kind, base))


def test_every_public_class_is_exported():
    def subclasses(kind):
        return {kind}.union(*(subclasses(child) for child in kind.__subclasses__()))

    bases = (datamodules.BaseDataModule, Representation, EventTransform, ImageAugmentation, EventCamera)
    ours = {kind for base in bases for kind in subclasses(base) if kind.__module__.startswith("datamodules.")}
    expected = {kind.__name__ for kind in ours if not isabstract(kind)} | {"BaseDataModule"}
    assert set(datamodules.__all__) == expected
    assert len(datamodules.__all__) == len(expected)


@pytest.mark.parametrize(
    "name", [name for name in datamodules.__all__ if name not in ("BaseDataModule", "EventCamera")]
)
def test_a_recipe_records_the_short_path(name):
    """EventCamera is a dataclass, which is recorded by its fields."""
    parser = parser_of(base_of(getattr(datamodules, name)))
    found = parser.parse_object({"part": {"class_path": name, "init_args": NEEDED.get(name, {})}})
    assert re.findall(r"datamodules\.[\w.]+", parser.dump(found))[0] == f"datamodules.{name}"
    assert not re.search(r"datamodules\.\w+\.", parser.dump(found))


def test_no_recipe_names_the_file_of_a_class():
    for recipe in (ROOT / "configs").glob("*/*.yaml"):
        assert not re.search(r"datamodules\.\w+\.", recipe.read_text()), recipe


@pytest.mark.parametrize("name", OLD_NAMES)
def test_the_names_in_old_recipes_load(name):
    kind = name.split(".")[1]
    settings = {"part": {"class_path": f"datamodules.{name}", "init_args": NEEDED.get(kind, {})}}
    module = issubclass(getattr(datamodules, kind), nn.Module)
    for base in (base_of(getattr(datamodules, kind)), *([nn.Module] if module else [])):  # as the DataModules take them
        parser = parser_of(base)
        part = parser.instantiate_classes(parser.parse_object(settings)).part
        assert type(part) is getattr(datamodules, kind)


def test_no_other_name_is_found():
    with pytest.raises(AttributeError, match="module 'datamodules' has no attribute 'event_frames'"):
        datamodules.event_frames  # noqa: B018


def test_importing_it_loads_no_heavy_library():
    """lightning itself loads matplotlib and scipy, so who imports them is watched."""
    code = f"""
import builtins, sys
real, found = builtins.__import__, []
def watch(name, globals=None, locals=None, fromlist=(), level=0):
    if not level and name.split(".")[0] in {HEAVY} and (globals or {{}}).get("__name__", "").startswith("datamodules"):
        found.append((globals["__name__"], name))
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = watch
import datamodules
assert not found, found
assert "sklearn" not in sys.modules and "tonic" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=200)
    assert done.returncode == 0, done.stderr
