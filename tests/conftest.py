"""What all tests share: shapes are checked, real scans are found, nothing reaches the network."""

from __future__ import annotations

import fcntl
import os
import re
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jaxtyping import install_import_hook

for room in "volumes measures rigid transforms deformable motion networks losses data inference".split():
    install_import_hook(f"ankleseg.{room}", "shape_checks.checked")

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from ankleseg.volumes import write_volume  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give one worker all tests of a file that makes fixtures once, and of files of one ``xdist_group``.

    The groups of xdist 3.8 are lost with pytest 9.2 (it writes them into ``_nodeid``, which is no longer read), so that
    each worker made every fixture.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFixtures(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid.partition("::")[0]) or nodeid

    config.option.loadscopereorder = False
    return ByFixtures(config, log)


@cache
def group_of(path: str) -> str | None:
    """What a test file is done with: its ``xdist_group``, itself if it makes fixtures once, or nothing."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if named := re.search(r'xdist_group\("(\w+)"\)', text):
        return named[1]
    return path if 'scope="module"' in text else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real scans; the test is skipped where they are absent."""
    folder = Path(os.environ.get("ANKLESEG_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"real scans are not at {folder}; set ANKLESEG_SHARED to the folder that holds data/")
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to reach another machine fails the test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):  # type: ignore[index]
            raise AssertionError(f"network access to {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def touch(tmp_path: Path) -> Callable[[str], Path]:
    """Make an empty file under the temporary folder."""

    def make(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    return make


@pytest.fixture(scope="session")
def phantom_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom cohort of the demo size, two controls and two equinus, made once for all test processes."""
    from ankleseg.phantoms import write_ankle_cohort

    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with open(base / "phantom.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return write_ankle_cohort(base / "phantom_cohort", size="demo", subjects=4, seed=7)


@pytest.fixture(scope="session")
def tiny_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of four small scans, each a bright ball with its mask ``ball`` in a dim body."""
    folder = tmp_path_factory.mktemp("tiny")
    generator = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (40, 36, 6)), indexing="ij"), -1).astype(float)
    rows = ["subject,image,mask_ball"]
    for number in range(4):
        centre = np.array([18, 16, 2.5]) + generator.uniform(-3, 3, 3) * [1, 1, 0.2]
        ball = (((grid - centre) / [7, 7, 2.6]) ** 2).sum(-1) < 1
        body = (((grid - [20, 18, 2.5]) / [17, 15, 9]) ** 2).sum(-1) < 1
        image = 40 + 500 * body + 600 * ball + generator.normal(0, 30, ball.shape)
        affine = np.diag([1.0, 1.0, 4.0, 1.0])
        write_volume(folder / f"{number}.nii.gz", image.astype(np.int16), affine)
        write_volume(folder / f"{number}_ball.nii.gz", ball.astype(np.uint8), affine)
        rows.append(f"s{number},{number}.nii.gz,{number}_ball.nii.gz")
    table = folder / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    return table
