"""A room imports only rooms above it; light rooms stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "ankleseg"
ROOMS = (
    "keys errors files config labels volumes measures report cohorts phantoms networks losses rigid transforms "
    "deformable motion data inference tasks finetuning evaluate runs train prepare predict export register"
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


def test_networks_know_only_keys_and_errors():
    for path in MODULES:
        if room_of(path) == "networks":
            assert imports(path) <= {"keys", "errors", "networks"}, path


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
