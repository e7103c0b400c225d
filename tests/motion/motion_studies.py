"""A small study in motion: two feet, three short sequences, and what a run leaves behind."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from broken_studies import LEFT, RIGHT, rewrite, sequence, sidecar

from ankleseg.config import build, compose
from ankleseg.motion import MotionSettings

FRAMES = 2
SETTINGS = (f"motion.cleaning.frames={FRAMES}", "motion.highres=false", "motion.threads=1")
SEQUENCES = {RIGHT: (f"{RIGHT}_task-active", f"{RIGHT}_task-passive"), LEFT: (f"{LEFT}_task-active",)}


def write_motion_study(whole_study: Path, root: Path) -> Path:
    """Write the feet of `write_study` with short sequences, the right one with two, and a truth that is wrong."""
    shutil.copytree(whole_study, root)
    for subject in (RIGHT, LEFT):
        rewrite(sequence(root, subject), lambda volume: (volume.data[..., :FRAMES], volume.affine), 4)
    other = root / RIGHT / "dyn" / f"{RIGHT}_task-passive_dynamic"
    other.with_suffix(".json").write_bytes(sidecar(root, RIGHT).read_bytes())
    Path(f"{other}.nii.gz").write_bytes(sequence(root, RIGHT).read_bytes())
    rewrite(Path(f"{other}.nii.gz"), lambda volume: (volume.data[..., ::-1], volume.affine), 4)
    truth = root / "derivatives" / "truth" / RIGHT / "dyn"
    truth.mkdir(parents=True)
    (truth / f"{RIGHT}_task-active_poses.json").write_text(json.dumps("not to be read"))
    return root


@cache
def motion_settings(*changes: str) -> MotionSettings:
    """The settings of the command with those of these tests."""
    return build(compose("prepare", ["recipe=ankle_dynamic", "out=x", *SETTINGS, *changes]).motion)


def tree(folder: Path) -> dict[str, str]:
    """Hash of every file of a folder."""
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files_of(folder)}


def times(folder: Path) -> dict[str, int]:
    """When every file of a folder was written."""
    return {name: file.stat().st_mtime_ns for name, file in files_of(folder)}


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file
