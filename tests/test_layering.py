"""The rooms of the house: who may import whom, what is imported where, and where the tests stand."""

import ast
import importlib.util
import socket
from graphlib import TopologicalSorter
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
    "huggingface_hub": ("zoo/registry/hub.py",),
}
SOURCES = [ROOT / "cli.py", *(path for room in sorted(OURS - {"cli"}) for path in sorted((ROOT / room).rglob("*.py")))]
NAMES = [str(path.relative_to(ROOT)) for path in SOURCES]


def imports(path):
    """Top-level names of absolute imports, also those inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_down(name):
    room = name.split("/")[0].removesuffix(".py")
    assert (imports(ROOT / name) & OURS) <= MAY_IMPORT[room] | {room}


def import_map(room):
    """The modules of a room that each of its modules imports: inside functions and for type checkers, too."""
    paths = {dotted(path): path for path in SOURCES if path.relative_to(ROOT).parts[0] == room}
    found = {}
    for name, path in paths.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        targets = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                names = [f"{base}.{alias.name}" for alias in node.names]
                targets |= {inner if inner in paths else base for inner in names}
        found[name] = targets & paths.keys() - {name}
    return found


def dotted(path):
    """The name of a module by its path."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("room", ["zoo"])
def test_the_import_map_has_no_circle(room):
    """`pytest -s` prints the map. The sorter raises CycleError, which names the modules of a circle."""
    found = import_map(room)
    assert len(found) > 10
    for name in TopologicalSorter(found).static_order():
        print(f"{name}: {', '.join(sorted(found[name]))}")


@pytest.mark.parametrize("name", NAMES)
def test_libraries_stay_in_their_rooms(name):
    for library in imports(ROOT / name) & set(ONLY_IN):
        assert name.startswith(ONLY_IN[library]), f"{library} must not be imported in {name}"


def test_no_room_for_everything():
    assert not [name for name in NAMES if Path(name).stem in {"utils", "helpers", "common", "misc"}]


def test_every_test_file_mirrors_a_source_file():
    of_the_whole = {"tests/test_layering.py", "tests/test_configs.py"}
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
