"""One subject from files to report; what is whole already is not done again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg import __version__
from ankleseg.cohorts import Case
from ankleseg.errors import AnklesegError
from ankleseg.files import replace_file
from ankleseg.measures.kinematics import motion_rows, ranges_of_motion
from ankleseg.motion.cleaning import Cleaned, clean_into, derivative_name, read_cleaned
from ankleseg.motion.cleaning.cohort import RECORD
from ankleseg.motion.overrule import Overrules
from ankleseg.motion.page import subject_page
from ankleseg.motion.plain import plain_settings
from ankleseg.motion.result import SubjectResult
from ankleseg.motion.settings import MotionSettings
from ankleseg.volumes import Volume, write_volume

log = logging.getLogger(__name__)


def process_subject(case: Case, out: Path, settings: MotionSettings, overrules: Overrules) -> SubjectResult:
    """Clean a case, follow its bones through its sequences, and write all of it with a report.

    What goes wrong is told in the result, so that the other subjects go on.
    """
    name = derivative_name(case.name)
    try:
        return _process(case, name, out, settings, overrules)
    except AnklesegError as error:
        problem = str(error)
    except Exception as error:  # a bug met by one subject must not cost the others
        log.exception("%s", name)
        problem = f"unexpected {type(error).__name__}: {error}"
    return SubjectResult(name, case.name, case.group, case.side, "failed", problem, [], [], {}, {})


def _process(case: Case, name: str, out: Path, settings: MotionSettings, overrules: Overrules) -> SubjectResult:
    cleaning = clean_into(case, out, settings.cleaning)
    folder = out / name
    inputs = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    status, side, group = inputs["status"], inputs["side"], inputs["group"]
    sequences = [Path(file).name.removesuffix("_dynamic.nii.gz") for file in inputs["files"] if "_dynamic.nii" in file]
    keys = {sequence: _key(inputs["inputs"], settings, sequence, overrules) for sequence in sequences}
    records = {sequence: _read_record(folder / "dyn", sequence, key) for sequence, key in keys.items()}
    told = (folder / "report.html").is_file()
    if status != "excluded" and records and not (told and all(records.values())):
        records |= _move(case, name, out, settings, overrules, inputs["inputs"], keys, records)
    elif not told:
        _write_report(case, name, out, settings, {})
    done = {sequence: record for sequence, record in records.items() if record is not None}
    return SubjectResult(
        name=name,
        case=case.name,
        group=group,
        side=side,
        status=status,
        problem="",
        cleaning=cleaning,
        quality=[row for record in done.values() for row in record["quality"]],
        angles={sequence: record["angles"] for sequence, record in done.items()},
        ranges={sequence: record["ranges"] for sequence, record in done.items()},
    )


def _move(
    case: Case,
    name: str,
    out: Path,
    settings: MotionSettings,
    overrules: Overrules,
    inputs: str,
    keys: Mapping[str, str],
    records: Mapping[str, dict[str, Any] | None],
) -> dict[str, dict[str, Any]]:
    """Do the sequences that are not whole, and write the subject's report anew."""
    import torch

    from ankleseg.motion.files import quality_rows, write_sequence
    from ankleseg.motion.registered import registered
    from ankleseg.motion.sequence import move_sequence
    from ankleseg.rigid.static_bones import static_bones

    torch.set_num_threads(settings.threads)
    cleaned = read_cleaned(case, out)
    assert cleaned is not None
    folder = out / name
    (folder / "report.html").unlink(missing_ok=True)
    assert cleaned.static is not None
    weights = {bone: settings.weights(bone, mask, cleaned.static.affine) for bone, mask in cleaned.masks.items()}
    written, moved_sequences = {}, {}
    with ThreadPoolExecutor(1) as beside:  # what registration does not wait for
        bones = beside.submit(static_bones, cleaned.masks, cleaned.static.affine)
        weights_written = beside.submit(_write_weights, weights, cleaned.static, name, folder / "anat")
        for sequence, key in keys.items():
            source = cleaned.sequences[sequence]
            found = registered(cleaned, source, weights, settings, folder / "dyn", inputs)
            moved = move_sequence(cleaned, source, found, settings, overrules)
            moved_sequences[sequence] = moved
            if records[sequence] is not None:
                continue
            _remove(folder / "dyn", sequence)
            weights_written.result()  # what failed beside fails here, before a record calls the sequence whole
            files = write_sequence(moved, cleaned, bones.result(), name, folder / "dyn", settings)
            record = {
                "inputs": key,
                "files": [file.relative_to(folder / "dyn").as_posix() for file in files],
                "quality": quality_rows(moved, name),
                "angles": motion_rows(moved.motion),
                "ranges": ranges_of_motion(moved.motion),
            }
            with replace_file(_record_file(folder / "dyn", sequence)) as part:
                part.write_text(json.dumps(record), encoding="utf-8")
            written[sequence] = record
    _write_report(case, name, out, settings, moved_sequences, cleaned)
    return written


def _write_weights(weights: Mapping[str, np.ndarray], static: Volume, name: str, folder: Path) -> None:
    for bone, weight in weights.items():
        steps = 255 * weight
        np.rint(steps, out=steps)
        steps /= 255
        write_volume(folder / f"{name}_label-{bone}_weights.nii.gz", steps, static.affine, like=static.header)


def _write_report(
    case: Case,
    name: str,
    out: Path,
    settings: MotionSettings,
    sequences: Mapping[str, Any],
    cleaned: Cleaned | None = None,
) -> None:
    from ankleseg.motion.files import soft_tissue_rows

    cleaned = cleaned or read_cleaned(case, out)
    assert cleaned is not None
    soft_tissue = {sequence: soft_tissue_rows(out / name / "dyn", sequence) for sequence in sequences}
    page = subject_page(replace(cleaned, name=name), sequences, settings, soft_tissue)
    with replace_file(out / name / "report.html") as part:
        part.write_text(page, encoding="utf-8")


def _key(inputs: str, settings: MotionSettings, sequence: str, overrules: Overrules) -> str:
    """Hash of all that the files of a sequence depend on."""
    said = sorted((key, value) for key, value in overrules.items() if key[0] == sequence)
    told = json.dumps([__version__, inputs, plain_settings(settings), said])
    return hashlib.sha256(told.encode()).hexdigest()


def _record_file(folder: Path, sequence: str) -> Path:
    return folder / f".{sequence}.json"


def _read_record(folder: Path, sequence: str, key: str) -> dict[str, Any] | None:
    try:
        record = json.loads(_record_file(folder, sequence).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = record.get("inputs") == key and all((folder / file).is_file() for file in record["files"])
    return record if whole else None


def _remove(folder: Path, sequence: str) -> None:
    """Remove what an earlier run made of a sequence, its record first, so that nothing stale looks new."""
    record = _record_file(folder, sequence)
    files: Sequence[str] = []
    if record.is_file():
        try:
            files = json.loads(record.read_text(encoding="utf-8"))["files"]
        except (ValueError, KeyError):
            files = []
    record.unlink(missing_ok=True)
    for file in files:
        (folder / file).unlink(missing_ok=True)
