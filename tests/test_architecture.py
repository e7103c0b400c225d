"""A room imports only rooms above it; light rooms stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "ankleseg"
ROOMS = (
    "keys errors files config labels volumes measures classical report cohorts phantoms spatial_transform networks "
    "losses rigid transforms deformable motion data inference tasks finetuning evaluate runs train prepare predict "
    "export register"
).split()


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ankleseg."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "ankleseg":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("ankleseg.")}
    return found - {"__version__"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def modules_of(path: Path) -> set[str]:
    """Modules that a module imports, wherever; not what is for types alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return found | {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or p.name != "__init__.py")


def test_modules_were_found():
    assert len(MODULES) > 30


def test_data_flows_one_way():
    for path in MODULES:
        here = room_of(path)
        assert here in ROOMS, f"{path.name} is in no room"
        for other in imports(path):
            assert other in ROOMS, f"{path} imports ankleseg.{other}, which is no room"
            assert ROOMS.index(other) <= ROOMS.index(here), f"{path} imports {other}, which lies below {here}"


def test_no_module_needs_another_that_needs_it():
    """Not even where it is imported late; a package is what its ``__init__`` imports, and none of ours needs those."""
    needed = {name_of(path): modules_of(path) for path in MODULES if path.name != "__init__.py"}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join([*way[way.index(name) :], name])
        for other in sorted(needed[name] & needed.keys()) if name not in done else ():
            visit(other, (*way, name))
        done.add(name)

    for name in needed:
        visit(name, ())


def test_networks_and_losses_know_only_keys_errors_and_how_space_is_transformed():
    for path in MODULES:
        room = room_of(path)
        if room in ("spatial_transform", "networks", "losses"):
            assert imports(path) <= {"keys", "errors", "spatial_transform", room}, path


def test_only_volumes_touch_image_libraries():
    for path in MODULES:
        if room_of(path) == "volumes" or path.name == "itk_registration.py":  # whose images are in memory
            continue
        text = path.read_text()
        assert "import nibabel" not in text and "import itk" not in text, path


def test_light_rooms_load_nothing_heavy():
    lightest = {room: {"scipy.ndimage", "matplotlib"} for room in ("volumes", "cohorts")}
    rooms = [*lightest, "measures", "report", "phantoms", "evaluate"]
    code = f"import sys\nfor room in {rooms}:\n    __import__('ankleseg.' + room)\n    print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for room, loaded in zip(rooms, result.stdout.splitlines(), strict=True):
        heavy = {"torch", "monai", "itk", "matplotlib.pyplot"} | lightest.get(room, set())
        assert not heavy & set(loaded.split()), room
