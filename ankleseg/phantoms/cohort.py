"""Phantom cohorts on disk, in the BIDS layout, with exact masks."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.errors import AnklesegError
from ankleseg.phantoms.ankle import Ankle, Group, Side, draw_ankle
from ankleseg.phantoms.ankle_labels import AnkleLabels
from ankleseg.phantoms.protocol import (
    CONTRASTS,
    PROTOCOLS,
    Contrast,
    Scan,
    Size,
    check_settings,
    draw_grid,
    draw_scanner,
    scan_bones,
)
from ankleseg.volumes import write_volume

RECIPE = 2  # raised whenever the same settings give other images
HEEL = (4.0, -65.0, -36.0, 1.0)  # the skin behind the heel, in the frame of the bones
SETTINGS_FILE = "phantom.json"


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
    check_settings(size, side, contrast, subjects)
    settings = {
        "cohort": "ankle", "recipe": RECIPE, "size": size, "subjects": subjects, "seed": seed, "side": side,
        "contrast": contrast,
    }  # fmt: skip
    names = ankle_names(subjects)

    def make(name: str) -> tuple[Scan, dict[str, Any]]:
        ankle, scan = ankle_scan(name, size=size, seed=seed, side=side, contrast=contrast)
        return scan, {"group": ankle.group, "side": ankle.side, "age": f"{ankle.age:.1f}"}

    return write_cohort(out, settings, names, make, workers)


def ankle_names(subjects: int) -> list[str]:
    """Names of the subjects: the first half controls, the second half with equinus."""
    controls = (subjects + 1) // 2
    return [f"sub-C{number + 1:02d}" for number in range(controls)] + [
        f"sub-E{number + 1:02d}" for number in range(subjects - controls)
    ]


def subject_generators(name: str, seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Generators of one subject's anatomy and scan: each depends on the seed and the name, on nothing else."""
    label = name.removeprefix("sub-")
    sequence = np.random.SeedSequence([seed, ord(label[0]), int(label[1:])])
    anatomy, scanning = (np.random.default_rng(child) for child in sequence.spawn(2))
    return anatomy, scanning


def ankle_scan(
    name: str, *, size: Size = "demo", seed: int = 0, side: Side | None = None, contrast: Contrast = "t1"
) -> tuple[Ankle, Scan]:
    """Draw one subject of a cohort and scan it; `name` is as in `ankle_names`."""
    group: Group = "equinus" if name.startswith("sub-E") else "control"
    anatomy, scanning = subject_generators(name, seed)
    ankle = draw_ankle(anatomy, group=group, side=side)
    heel = (ankle.pose.world_from_foot() @ HEEL)[:3]
    grid = draw_grid(PROTOCOLS[size], ankle.pose.world_from_shin[:3, 3], heel, scanning)
    scanner = draw_scanner(PROTOCOLS[size], contrast, scanning)
    table = CONTRASTS[contrast](scanning)
    return ankle, scan_bones(AnkleLabels(ankle, grid), table, grid, scanner, scanning)


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
        _write_descriptions(part, names, rows)
        _write_json(part / SETTINGS_FILE, dict(settings))
    return out


def _write_descriptions(folder: Path, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """The table of subjects and the two descriptions that BIDS asks for."""
    lines = [["participant_id", *rows[0]]]
    lines += [[name, *map(str, row.values())] for name, row in zip(names, rows, strict=True)]
    (folder / "participants.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    common = {"BIDSVersion": "1.9.0", "GeneratedBy": [{"Name": "ankleseg.phantoms"}]}
    _write_json(folder / "dataset_description.json", {"Name": "ankleseg phantom", "DatasetType": "raw", **common})
    _write_json(
        folder / "derivatives" / "manual" / "dataset_description.json",
        {"Name": "Exact masks of the phantom", "DatasetType": "derivative", **common},
    )


def _write_subjects(
    folder: Path, names: Sequence[str], make: Callable[[str], tuple[Scan, dict[str, Any]]], workers: int | None
) -> list[dict[str, Any]]:
    from tqdm import tqdm

    def write(name: str) -> dict[str, Any]:
        scan, row = make(name)
        write_scan(folder, name, scan)
        return row

    count = min(workers or os.cpu_count() or 1, len(names))
    bar = tqdm(total=len(names), desc="phantoms: drawing and scanning", unit="subject")
    with bar, ThreadPoolExecutor(count) as pool:
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
