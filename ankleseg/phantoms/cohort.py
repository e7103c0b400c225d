"""Phantom cohorts on disk, in the BIDS layout, with exact masks."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ankleseg.errors import AnklesegError, ConfigError
from ankleseg.phantoms.ankle import Ankle, Side
from ankleseg.phantoms.dynamic_protocol import TASKS, DynamicSettings, Task
from ankleseg.phantoms.dynamic_scan import DynamicScan
from ankleseg.phantoms.exam import ankle_exam
from ankleseg.phantoms.protocol import Contrast, Scan, Size, check_settings
from ankleseg.phantoms.sequences import moving_ankle, write_sequence
from ankleseg.volumes import write_volume

EDITION = 2  # raised whenever the same settings give other images
SETTINGS_FILE = "phantom.json"
Describe = Callable[[Path, Sequence[str], Sequence[Mapping[str, Any]]], None]


@dataclass(frozen=True)
class Subject:
    """What is written of one subject.

    Attributes:
        scan: the static scan.
        row: of ``participants.tsv``.
        sequences: dynamic sequences by task.
    """

    scan: Scan
    row: Mapping[str, Any]
    sequences: Mapping[Task, DynamicScan] = field(default_factory=dict)

    def write(self, root: Path, name: str) -> None:
        """Write the scan and the sequences into a BIDS folder."""
        write_scan(root, name, self.scan)
        for task, sequence in self.sequences.items():
            write_sequence(root, name, task, sequence)


class Writable(Protocol):
    """A subject that can write its files into a BIDS folder.

    Attributes:
        row: of ``participants.tsv``.
    """

    @property
    def row(self) -> Mapping[str, Any]: ...

    def write(self, root: Path, name: str) -> None:
        """Write everything there is of subject `name`."""


def write_ankle_cohort(
    out: str | Path,
    *,
    size: Size = "demo",
    subjects: int = 14,
    seed: int = 0,
    side: Side | None = None,
    contrast: Contrast = "t1",
    dynamic: bool = False,
    motion: DynamicSettings | None = None,
    repeats: int = 1,
    snr: float | None = None,
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
        dynamic: write an active and a passive dynamic sequence of each subject too; the static scans are the same.
        motion: how the ankles move and how the sequences are taken.
        repeats: scans of each foot lying still, the same but for their noise: ``anat/sub-*_run-<number>_T1w``, with
            the scan without noise under ``derivatives/truth``.
        snr: signal-to-noise ratio of the static scans; None draws it for each, 24 to 40.
        workers: subjects made at once; None: one for each core.

    Returns:
        `out`.

    Raises:
        ConfigError: an unknown size, side or contrast, no subject, or repeats of a foot in motion.
        AnklesegError: `out` holds something else.
    """
    check_settings(size, side, contrast, subjects)
    static = _static_settings(repeats, snr, dynamic)
    settings = {
        "cohort": "ankle", "recipe": EDITION, "size": size, "subjects": subjects, "seed": seed, "side": side,
        "contrast": contrast,
    }  # fmt: skip
    settings |= dynamic_settings(dynamic, motion) | static
    drawn: dict[str, Any] = {"size": size, "seed": seed, "side": side, "contrast": contrast}

    def make(name: str) -> Subject:
        sequences = {}
        if dynamic:
            subject = moving_ankle(name, **drawn)
            ankle, scan = subject.ankle, subject.scan
            sequences = {task: subject.sequence(task, motion) for task in TASKS}
        else:
            ankle, scan = ankle_scan(name, **drawn, **static)
        return Subject(scan, {"group": ankle.group, "side": ankle.side, "age": f"{ankle.age:.1f}"}, sequences)

    return write_cohort(out, settings, ankle_names(subjects), make, workers)


def dynamic_settings(dynamic: bool, motion: DynamicSettings | None) -> dict[str, Any]:
    """What ``phantom.json`` says of dynamic sequences: nothing where there are none."""
    return {"dynamic": asdict(motion or DynamicSettings())} if dynamic else {}


def _static_settings(repeats: int, snr: float | None, dynamic: bool) -> dict[str, Any]:
    """What is asked of the static scans beyond one of a drawn SNR, as ``phantom.json`` says it."""
    if repeats < 1:
        raise ConfigError(f"invalid number of repeats {repeats}: expected at least 1")
    if snr is not None and not snr > 0:
        raise ConfigError(f"invalid snr {snr:g}: expected more than 0")
    asked = {"repeats": (repeats, 1), "snr": (snr, None)}
    settings = {name: value for name, (value, usual) in asked.items() if value != usual}
    if settings and dynamic:
        raise ConfigError(
            f"{' and '.join(settings)} can be set of static scans only", mend="write the cohort in motion without"
        )
    return settings


def ankle_names(subjects: int) -> list[str]:
    """Names of the subjects: the first half controls, the second half with equinus."""
    controls = (subjects + 1) // 2
    return [f"sub-C{number + 1:02d}" for number in range(controls)] + [
        f"sub-E{number + 1:02d}" for number in range(subjects - controls)
    ]


def ankle_scan(
    name: str,
    *,
    size: Size = "demo",
    seed: int = 0,
    side: Side | None = None,
    contrast: Contrast = "t1",
    repeats: int = 1,
    snr: float | None = None,
) -> tuple[Ankle, Scan]:
    """Draw one subject of a cohort and scan it: `name` as in `ankle_names`, the rest as in `write_ankle_cohort`."""
    exam = ankle_exam(name, size=size, seed=seed, side=side, contrast=contrast)
    return exam.ankle, exam.take(repeats, snr)


def write_cohort(
    out: str | Path,
    settings: Mapping[str, Any],
    names: Sequence[str],
    make: Callable[[str], Writable],
    workers: int | None = None,
    describe: Describe | None = None,
) -> Path:
    """Write subjects as a BIDS cohort, all of it or nothing.

    Args:
        out: the cohort's folder.
        settings: what the cohort is made from; kept in ``phantom.json`` to recognise it.
        names: the subjects.
        make: makes one subject.
        workers: subjects made at once.
        describe: writes what lies beside the subjects, from the folder, their names and rows; None: as BIDS asks.

    Raises:
        ConfigError: fewer than one worker.
        AnklesegError: `out` holds something else, or cannot be written.
    """
    out = Path(out)
    if workers is not None and workers < 1:
        raise ConfigError(f"invalid number of workers {workers}: expected at least 1, or null for one each core")
    if _already_there(out, settings):
        return out
    with _whole_folder(out) as part:
        rows = _write_subjects(part, names, make, workers)
        if describe is None:
            _write_descriptions(part, names, rows, truth=_truth_in(settings))
        else:
            describe(part, names, rows)
        _write_json(part / SETTINGS_FILE, dict(settings))
    return out


def _truth_in(settings: Mapping[str, Any]) -> str | None:
    """What ``derivatives/truth`` of a cohort holds, None where there is none."""
    if "dynamic" in settings:
        return "Exact poses, masks and joint angles of the dynamic sequences"
    return "Scans without noise" if "repeats" in settings else None


def _write_descriptions(
    folder: Path, names: Sequence[str], rows: Sequence[Mapping[str, Any]], *, truth: str | None
) -> None:
    """The table of subjects and the descriptions that BIDS asks for."""
    lines = [["participant_id", *rows[0]]]
    lines += [[name, *map(str, row.values())] for name, row in zip(names, rows, strict=True)]
    (folder / "participants.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    common = {"BIDSVersion": "1.9.0", "GeneratedBy": [{"Name": "ankleseg.phantoms"}]}
    _write_json(folder / "dataset_description.json", {"Name": "ankleseg phantom", "DatasetType": "raw", **common})
    derived = {"manual": "Exact masks of the phantom"}
    if truth:
        derived["truth"] = truth
    for kind, title in derived.items():
        _write_json(
            folder / "derivatives" / kind / "dataset_description.json",
            {"Name": title, "DatasetType": "derivative", **common},
        )


def _write_subjects(
    folder: Path, names: Sequence[str], make: Callable[[str], Writable], workers: int | None
) -> list[Mapping[str, Any]]:
    from tqdm import tqdm

    def write(name: str) -> Mapping[str, Any]:
        subject = make(name)
        subject.write(folder, name)
        return subject.row

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
    if scan.clean is None:
        write_volume(anat / f"{name}_T1w.nii.gz", scan.image, scan.affine)
    else:
        for run, image in enumerate((scan.image, *scan.repeats), start=1):
            write_volume(anat / f"{name}_run-{run}_T1w.nii.gz", image, scan.affine)
        write_volume(root / "derivatives" / "truth" / name / "anat" / f"{name}_T1w.nii.gz", scan.clean, scan.affine)
    for structure, mask in scan.masks.items():
        write_volume(masks / f"{name}_label-{structure}_mask.nii.gz", mask, scan.affine)


def _already_there(out: Path, settings: Mapping[str, Any]) -> bool:
    """Whether `out` holds this phantom; an absent or empty folder is free."""
    if not out.exists() or (out.is_dir() and all(child.name.startswith(".") for child in out.iterdir())):
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
    """A new folder that becomes `out` at the end, or vanishes if anything fails.

    It lies beside `out`; inside, if there is an empty folder already, which may be a link, a mount or where one works.
    """
    there = out.is_dir()
    part = (out if there else out.parent) / f".{out.name}.part-{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise AnklesegError(
            f"cannot be written: {error.strerror}", file=out, mend="choose another folder with out="
        ) from error
    try:
        yield part
        if there:
            for child in sorted(part.iterdir(), key=lambda file: file.name == SETTINGS_FILE):  # what tells that all is
                os.replace(child, out / child.name)
            part.rmdir()
        else:
            os.replace(part, out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
