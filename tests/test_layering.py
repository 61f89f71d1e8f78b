"""The rooms of the house: who imports whom, what is imported where, how long files are, and where the tests stand.

`pytest tests/test_layering.py -s -k map` prints the rooms with their lines, files and arrows.
"""

import ast
import socket
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"cli", "commands", "lightning_modules", "datamodules", "zoo"}
MAY_IMPORT = {
    "cli": {"commands", "lightning_modules", "datamodules", "zoo"},
    "commands": {"lightning_modules", "datamodules", "zoo"},
    "lightning_modules": {"zoo"},
    "datamodules": set(),
    "zoo": set(),
}
ONLY_IN = {
    "lightning": ("commands/", "lightning_modules/", "datamodules/"),
    "tonic": ("datamodules/",),
    "huggingface_hub": (
        "zoo/registry/hub.py",
        "zoo/registry/card.py",
    ),
}
LONGEST = 400  # lines of a file
MAY_BE_LONGER = {
    "zoo/neurons/fused.py": "one idea: the fused kernels, their gradients and when they are chosen",
}
MAY_SHARE_A_NAME = {"__init__", "base", "errors"}  # a package; what all files of a folder share; messages of a room
SOURCES = [ROOT / "cli.py", *(path for room in sorted(OURS - {"cli"}) for path in sorted((ROOT / room).rglob("*.py")))]
NAMES = [str(path.relative_to(ROOT)) for path in SOURCES]


def module_of(name):
    """The module of a source file: zoo/neurons/lif.py is zoo.neurons.lif, zoo/neurons/__init__.py is zoo.neurons."""
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module_of(name): name for name in NAMES}


def absolute(module, node):
    """The absolute name of the module that a `from ... import` in `module` names."""
    if not node.level:
        return node.module
    package = module if MODULES[module].endswith("__init__.py") else module.rpartition(".")[0]
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parents, *filter(None, [node.module])])


@cache
def imports(module):
    """Absolute names that a module imports: at its top, in functions and under TYPE_CHECKING.

    `from a import b` gives a.b, which is a module or a name in one. A string that names a module of ours, such as
    "commands.draw:draw", is an import too. A package that looks at its `__path__` imports every file of its folder.
    """
    text = (ROOT / MODULES[module]).read_text(encoding="utf-8")
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{absolute(module, node)}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value.split(":")[0]:
            found |= {node.value.split(":")[0]} & MODULES.keys()
    if "__path__" in text:
        found |= {name for name in MODULES if name.rpartition(".")[0] == module}
    return found


def import_map():
    """Each module of ours with the modules of ours that it imports.

    An import of a package counts as one of its `__init__`, which counts with all that it imports in turn. Python also
    runs the `__init__` of the packages that a module lies in, `zoo` before `zoo.fold`; these do not count.
    """

    def nearest(name):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        return name

    return {module: {nearest(name) for name in imports(module)} - {""} for module in MODULES}


def room_of(module):
    """The folder of a module."""
    return str(Path(MODULES[module]).parent) if "/" in MODULES[module] else module


def lines_of(name):
    """Number of lines of a source file."""
    return len((ROOT / name).read_bytes().splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_down(name):
    room = name.split("/")[0].removesuffix(".py")
    found = {imported.split(".")[0] for imported in imports(module_of(name))}
    assert (found & OURS) <= MAY_IMPORT[room] | {room}


@pytest.mark.parametrize("name", NAMES)
def test_libraries_stay_in_their_rooms(name):
    for library in {imported.split(".")[0] for imported in imports(module_of(name))} & ONLY_IN.keys():
        assert name.startswith(ONLY_IN[library]), f"{library} must not be imported in {name}"


def test_the_import_map_has_no_circle():
    try:
        TopologicalSorter(import_map()).prepare()
    except CycleError as error:
        pytest.fail(f"Expected no circle of imports, found: {' <- '.join(error.args[1])}.")


def test_the_map_of_the_rooms():
    """Every import is found, whatever its form; the map is printed for those who look (`-s`)."""
    arrows = import_map()
    assert arrows["zoo"] >= {"zoo.fold", "zoo.transfer"}  # from .fold import fold
    assert arrows["zoo.fold"] >= {"zoo.model"}
    assert arrows["zoo.models"] >= {"zoo.models.sew_resnet"}  # scanned
    assert "zoo.neurons.lif" in arrows["zoo.neurons"]
    assert "zoo.neurons" in arrows["zoo.models.sew_resnet"]  # from ..neurons import make_neuron
    assert any(module.startswith("commands.") for module in arrows["cli"])  # in functions, or by name
    between = Counter((room_of(start), room_of(end)) for start in arrows for end in arrows[start])
    print(f"\n{'room':36}{'files':>6}{'lines':>7}  imports from (number of imports)")
    for room in sorted({room_of(module) for module in MODULES}):
        lines = [
            len((ROOT / MODULES[module]).read_bytes().splitlines()) for module in MODULES if room_of(module) == room
        ]
        to = [f"{end} {count}" for (start, end), count in sorted(between.items()) if start == room != end]
        print(f"{room:36}{len(lines):6}{sum(lines):7}  {', '.join(to)}")


def test_no_file_is_long():
    lengths = {name: lines_of(name) for name in NAMES}
    too_long = {name: count for name, count in lengths.items() if count > LONGEST and name not in MAY_BE_LONGER}
    assert not too_long, f"expected at most {LONGEST} lines, found {too_long}. Split by what changes together."
    assert all(lengths[name] > LONGEST for name in MAY_BE_LONGER)  # else it needs no exception
    assert lengths["cli.py"] < 100


def test_a_file_name_stands_for_one_thing():
    """A model file may not share its name with a dataset, say: a traceback or a search shows which is meant."""
    found = Counter(Path(name).stem.removeprefix("_") for name in NAMES if Path(name).stem not in MAY_SHARE_A_NAME)
    assert not {stem for stem, count in found.items() if count > 1}


def test_no_room_for_everything():
    assert not [name for name in NAMES if Path(name).stem in {"utils", "helpers", "common", "misc"}]


def test_every_test_file_mirrors_a_source_file():
    of_the_whole = {f"tests/test_{name}.py" for name in ("layering", "configs", "first_house", "extending")}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = str(path.relative_to(ROOT))
        source = ROOT / path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_"))
        assert source.exists() or name in of_the_whole, f"{name} tests no {source.relative_to(ROOT)}"


def test_what_a_package_exports_exists():
    import datamodules
    import lightning_modules.callbacks
    import lightning_modules.objectives
    import zoo

    for package in (datamodules, lightning_modules, lightning_modules.callbacks, lightning_modules.objectives, zoo):
        assert all(hasattr(package, name) for name in package.__all__)


def test_no_test_reaches_another_machine():
    """The guard of conftest.py; 192.0.2.1 belongs to no machine (RFC 5737)."""
    with pytest.raises(pytest.fail.Exception, match="example.invalid"):
        socket.create_connection(("example.invalid", 80))
    with pytest.raises(pytest.fail.Exception, match="mark.network"), socket.socket() as client:
        client.settimeout(0.01)
        client.connect(("192.0.2.1", 80))
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
