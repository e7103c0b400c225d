"""Phantom cohorts on disk, in the BIDS layout, with exact masks."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ankleseg.errors import AnklesegError, ConfigError
from ankleseg.phantoms.ankle import SIDES, Ankle, AnkleLabels, Group, Pose, Side, draw_ankle
from ankleseg.phantoms.bones import Bone
from ankleseg.phantoms.contrast import SignalTable, random_contrast, t1_contrast
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.pose import rotation_about
from ankleseg.phantoms.scanner import LabelSource, Scanner, scan
from ankleseg.phantoms.tissues import bone_of
from ankleseg.volumes import write_volume

Size = Literal["demo", "full"]
Contrast = Literal["t1", "random"]

RECIPE = 1  # raised whenever the same settings give other images
SETTINGS_FILE = "phantom.json"
STRUCTURES = {"calcaneus": Bone.CALCANEUS, "talus": Bone.TALUS, "tibia": Bone.TIBIA}


@dataclass(frozen=True)
class Protocol:
    """Matrix and voxel of a scan: sagittal slices, stored with axes towards posterior, superior and right."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    through_plane: int


PROTOCOLS: Mapping[str, Protocol] = {
    "full": Protocol((576, 576, 90), (0.28, 0.28, 0.8), 2),
    "demo": Protocol((192, 192, 30), (0.84, 0.84, 2.4), 3),
}
CONTRASTS: Mapping[str, Callable[[np.random.Generator], SignalTable]] = {"t1": t1_contrast, "random": random_contrast}


@dataclass(frozen=True)
class Scan:
    """An image with its exact masks.

    Attributes:
        image: int16, axes P, S, R.
        affine: voxel to RAS+ mm.
        masks: uint8 0/1 by structure.
    """

    image: np.ndarray
    affine: np.ndarray
    masks: Mapping[str, np.ndarray]


def write_ankle_cohort(
    out: str | Path,
    *,
    size: Size = "demo",
    subjects: int = 14,
    seed: int = 0,
    side: Side | None = None,
    contrast: Contrast = "t1",
    workers: int | None = None,
) -> Path:
    """Write a cohort of digital children's ankles, half controls (sub-C01…) and half with equinus (sub-E01…).

    Args:
        out: folder of the cohort; one that already holds this phantom is used as it is.
        size: ``full`` is 576×576×90 voxels of 0.28×0.28×0.8 mm, ``demo`` 192×192×30 of 0.84×0.84×2.4 mm.
        subjects: how many; a subject is the same whatever their number.
        seed: another seed, other children.
        side: all feet of one side; None draws it for each child.
        contrast: ``t1``, or ``random`` for a different, made-up contrast in every scan.
        workers: subjects made at once; None: one for each core.

    Returns:
        `out`.

    Raises:
        ConfigError: an unknown size, side or contrast, or no subject.
        AnklesegError: `out` holds something else.
    """
    _check(size, side, contrast, subjects)
    settings = {
        "cohort": "ankle", "recipe": RECIPE, "size": size, "subjects": subjects, "seed": seed, "side": side,
        "contrast": contrast,
    }  # fmt: skip
    names = ankle_names(subjects)

    def make(name: str) -> tuple[Scan, dict[str, Any]]:
        ankle, scan = ankle_scan(name, size=size, seed=seed, side=side, contrast=contrast)
        return scan, {"group": ankle.group, "side": ankle.side, "age": f"{ankle.age:.1f}"}

    return write_cohort(out, settings, names, make, workers)


def _check(size: str, side: str | None, contrast: str, subjects: int) -> None:
    for what, value, known in (
        ("size", size, PROTOCOLS),
        ("side", side, (None, *SIDES)),
        ("contrast", contrast, CONTRASTS),
    ):
        if value not in known:
            raise ConfigError(f"{what} {value!r} is unknown", mend=f"use {' or '.join(str(item) for item in known if item)}")
    if subjects < 1:
        raise ConfigError(f"a cohort of {subjects} subjects has nobody in it", mend="ask for at least 1")


def ankle_names(subjects: int) -> list[str]:
    """Names of the subjects: the first half controls, the second half with equinus."""
    controls = (subjects + 1) // 2
    return [f"sub-C{number + 1:02d}" for number in range(controls)] + [
        f"sub-E{number + 1:02d}" for number in range(subjects - controls)
    ]


def ankle_scan(
    name: str, *, size: Size = "demo", seed: int = 0, side: Side | None = None, contrast: Contrast = "t1"
) -> tuple[Ankle, Scan]:
    """Draw one subject of a cohort and scan it; `name` is as in `ankle_names`."""
    group: Group = "equinus" if name.startswith("sub-E") else "control"
    number = int(name.removeprefix("sub-")[1:])
    anatomy, scanning = (
        np.random.default_rng(sequence)
        for sequence in np.random.SeedSequence([seed, group == "equinus", number]).spawn(2)
    )
    ankle = draw_ankle(anatomy, group=group, side=side)
    grid = draw_grid(PROTOCOLS[size], ankle.pose, scanning)
    scanner = draw_scanner(PROTOCOLS[size], contrast, scanning)
    table = CONTRASTS[contrast](scanning)
    return ankle, scan_bones(AnkleLabels(ankle, grid), table, grid, scanner, scanning)


def draw_grid(protocol: Protocol, pose: Pose, rng: np.random.Generator) -> Grid:
    """A sagittal field of view that holds the heel and the ankle, a few degrees and millimetres off."""
    angles = np.clip(rng.normal(0, 2.5, 3), -6, 6)
    tilt = np.eye(4)
    for axis, angle in zip(np.eye(3), angles, strict=True):
        tilt = tilt @ rotation_about(axis, angle)
    directions = tilt[:3, :3] @ np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    affine = np.eye(4)
    affine[:3, :3] = directions * protocol.spacing
    half = np.array(protocol.shape) * protocol.spacing / 2
    ankle, heel = pose.world_from_shin[:3, 3], (pose.world_from_foot() @ [4.0, -65.0, -36.0, 1.0])[:3]
    behind = ankle[1] - heel[1] + rng.uniform(6, 16)  # the field ends this far behind the ankle
    centre = ankle + [0, half[0] - behind, -9] + np.clip(rng.normal(0, (2, 1, 4)), -8, 8)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(protocol.shape) - 1) / 2)
    return Grid(protocol.shape, affine)


def draw_scanner(protocol: Protocol, contrast: Contrast, rng: np.random.Generator) -> Scanner:
    """A scanner's settings, different in every scan; with random contrast anything goes."""
    if contrast == "t1":
        return Scanner(
            snr=float(rng.uniform(24, 40)), bias=float(rng.uniform(0.05, 0.16)), through_plane=protocol.through_plane
        )
    return Scanner(
        snr=float(np.exp(rng.uniform(np.log(6), np.log(60)))),
        bias=float(rng.uniform(0, 0.35)),
        profile="gaussian" if rng.random() < 0.5 else "box",
        thickness=float(rng.uniform(0.7, 1.5)),
        through_plane=protocol.through_plane,
        grain_mm=float(rng.uniform(0.6, 2.0)),
        patches_mm=float(rng.uniform(3, 12)),
        septa_mm=float(rng.uniform(2, 6)),
        blur_mm=float(rng.uniform(0, 0.8)),
        gamma=float(np.exp(rng.uniform(-0.4, 0.4))),
    )


def scan_bones(
    source: LabelSource, table: SignalTable, grid: Grid, scanner: Scanner, rng: np.random.Generator
) -> Scan:
    """Image labels as whole numbers, with the exact masks of calcaneus, talus and tibia."""
    members = [bone_of(np.arange(256)) == bone for bone in STRUCTURES.values()]
    image, masks = scan(source, table, grid, scanner, rng, members)
    return Scan(
        np.clip(np.rint(image), 0, 32767).astype(np.int16),
        grid.affine,
        {name: mask.astype(np.uint8) for name, mask in zip(STRUCTURES, masks, strict=True)},
    )


def write_cohort(
    out: str | Path,
    settings: Mapping[str, Any],
    names: Sequence[str],
    make: Callable[[str], tuple[Scan, dict[str, Any]]],
    workers: int | None = None,
) -> Path:
    """Write subjects as a BIDS cohort, all of it or nothing.

    Args:
        out: the cohort's folder.
        settings: what the cohort is made from; kept in ``phantom.json`` to recognise it.
        names: the subjects.
        make: makes one subject: its scan and its row of ``participants.tsv``.
        workers: subjects made at once.
    """
    out = Path(out)
    if _already_there(out, settings):
        return out
    with _whole_folder(out) as part:
        rows = _write_subjects(part, names, make, workers)
        columns = ["participant_id", *rows[0]]
        lines = ["\t".join(columns)]
        lines += ["\t".join([name, *(str(row[column]) for column in columns[1:])]) for name, row in zip(names, rows, strict=True)]
        (part / "participants.tsv").write_text("\n".join(lines) + "\n")
        _write_json(part / "dataset_description.json", {"Name": "ankleseg phantom", "BIDSVersion": "1.9.0", "DatasetType": "raw"})
        _write_json(
            part / "derivatives" / "manual" / "dataset_description.json",
            {
                "Name": "Exact masks of the phantom",
                "BIDSVersion": "1.9.0",
                "DatasetType": "derivative",
                "GeneratedBy": [{"Name": "ankleseg.phantoms"}],
            },
        )
        _write_json(part / SETTINGS_FILE, dict(settings))
    return out


def _write_subjects(
    folder: Path, names: Sequence[str], make: Callable[[str], tuple[Scan, dict[str, Any]]], workers: int | None
) -> list[dict[str, Any]]:
    from tqdm import tqdm

    def write(name: str) -> dict[str, Any]:
        scan, row = make(name)
        write_scan(folder, name, scan)
        return row

    count = min(workers or os.cpu_count() or 1, len(names))
    with ThreadPoolExecutor(count) as pool, tqdm(total=len(names), desc="phantoms: drawing and scanning", unit="subject") as bar:
        tasks = [pool.submit(write, name) for name in names]
        try:
            for task, name in zip(tasks, names, strict=True):
                task.result()
                bar.set_postfix_str(name)
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [task.result() for task in tasks]


def write_scan(root: Path, name: str, scan: Scan) -> None:
    """Write one subject's image and masks into a BIDS folder."""
    anat = root / name / "anat"
    masks = root / "derivatives" / "manual" / name / "anat"
    for folder in (anat, masks):
        folder.mkdir(parents=True, exist_ok=True)
    write_volume(anat / f"{name}_T1w.nii.gz", scan.image, scan.affine)
    for structure, mask in scan.masks.items():
        write_volume(masks / f"{name}_label-{structure}_mask.nii.gz", mask, scan.affine)


def _already_there(out: Path, settings: Mapping[str, Any]) -> bool:
    """Whether `out` holds this phantom; an absent or empty folder is free."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / SETTINGS_FILE).read_text())
    except (OSError, ValueError):
        found = None
    if found == dict(settings):
        return True
    what = "something else than a phantom" if found is None else "another phantom"
    raise AnklesegError(f"holds {what}", file=out, mend="choose another folder with out=, or remove this one")


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its name at the end, or vanishes if anything fails."""
    part = out.parent / f".{out.name}.part-{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if out.exists():
            out.rmdir()
        os.replace(part, out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
