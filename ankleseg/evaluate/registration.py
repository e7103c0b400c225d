"""Registrations against labels of the fixed scan and true fields: overlap, surfaces, target error, folding, time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg import __version__
from ankleseg.cohorts.files import read_json
from ankleseg.errors import AnklesegError, FileError, GeometryError, told
from ankleseg.evaluate.registration_page import build_registration_page
from ankleseg.evaluate.registration_scores import SCORED, LabelScore, RegistrationEvaluation, RegistrationScore
from ankleseg.evaluate.tables import write_csv, write_json
from ankleseg.files import replace_file
from ankleseg.measures import overlap, surface_distance
from ankleseg.measures.deformation import target_errors
from ankleseg.volumes import Volume, read_label_map, read_volume, same_grid, spacing
from ankleseg.volumes.displacement_fields import read_displacement_field

TABLE = "registration.json"  # of a registration
RESULTS = ("registrations.csv", "structures.csv", "registrations.json", "report.html")
LABELS, FIELD = ("_labels.nii.gz", ".nii.gz"), "_field.nii.gz"
DEFINITIONS = {
    "dice": "of a label carried along and that of the fixed scan, 0 where only one of them has it; the mean is over "
    "the labels that either has",
    "hd95_mm": "larger of the two directed 95th percentiles of surface distances; the image diagonal where one is "
    "empty",
    "target_error_mm": "distance between where the estimated and the true field take a point, over the labelled "
    "voxels, or without labels over what the moved scan shows",
    "folded": "share of voxels of the fixed scan where the field folds",
    "log_jacobian_sd": "standard deviation of the logarithm of the field's Jacobian determinant",
    "seconds": "of the registration, without reading and writing",
}


def evaluate_registration(
    predictions: str | Path, references: str | Path, out: str | Path, *, date: str | None = None
) -> RegistrationEvaluation:
    """Score registrations, and write ``registrations.csv``, ``structures.csv``, ``registrations.json`` and a page.

    Args:
        predictions: the ``out=`` of ``ankleseg.register``, or a folder of several, each named after its registration.
        references: folder with ``NAME_labels.nii.gz``, the label map of the fixed scan of the registration NAME, and
            ``NAME_field.nii.gz``, the true displacement, one of them or both; or, for a single registration, the label
            map itself.
        out: folder that receives the results.
        date: printed on the report; None takes the present minute.

    Raises:
        FileError: there are no registrations, or no references.
    """
    folders, references, out = _registrations(Path(predictions)), Path(references), Path(out)
    if not references.exists():
        raise FileError("is not there", file=references, mend="give a folder of label maps and true fields")
    for name in RESULTS:
        (out / name).unlink(missing_ok=True)
    rows: list[RegistrationScore] = []
    labels: list[LabelScore] = []
    for name, folder in folders.items():
        row, found = _score(name, folder, _reference(references, name, LABELS), _reference(references, name, (FIELD,)))
        rows.append(row)
        labels += found
    evaluation = RegistrationEvaluation(out, tuple(rows), tuple(labels), date or time.strftime("%Y-%m-%d %H:%M"))
    _write(evaluation, references)
    return evaluation


def _registrations(folder: Path) -> dict[str, Path]:
    if (folder / TABLE).is_file():
        return {folder.resolve().name: folder}
    found = {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{TABLE}"))}
    if not found:
        raise FileError(f"holds no registration ({TABLE})", file=folder, mend="give the out= of ankleseg.register")
    return found


def _reference(references: Path, name: str, endings: Sequence[str]) -> Path | None:
    if references.is_file():
        return references if endings == LABELS else None
    files = [references / f"{name}{ending}" for ending in endings]
    return next((file for file in files if file.is_file()), None)


def _score(
    name: str, folder: Path, labels: Path | None, field: Path | None
) -> tuple[RegistrationScore, list[LabelScore]]:
    content: Mapping[str, Any] = {}
    found: list[LabelScore] = []
    values: dict[str, Any] = {}
    try:
        content = read_json(folder / TABLE, FileError, "run ankleseg.register again")
        values = {key: content[key] for key in ("folded", "log_jacobian_sd", "seconds")}
        reference = None if labels is None else read_label_map(labels)
        if reference is not None:
            found = _label_scores(name, read_label_map(folder / "moved_labels.nii.gz"), reference)
            values |= _means(found)
        if field is not None:
            values |= _target_errors(folder, field, reference)
        status, message = (
            (SCORED, "") if labels or field else ("no reference", "no labels and no true field of its name")
        )
    except (AnklesegError, KeyError) as error:
        status, message = "unreadable", told(error, name)
    method = str((content.get("settings") or {}).get("method", ""))
    return RegistrationScore(name, method, status, str(content.get("status", "")), message, **values), found


def _label_scores(name: str, moved: Volume, fixed: Volume) -> list[LabelScore]:
    _require_same(moved, fixed)
    rows = []
    for label in sorted({*np.unique(moved.data).tolist(), *np.unique(fixed.data).tolist()} - {0}):
        mine, true = moved.data == label, fixed.data == label
        shared = overlap(mine, true)
        distance = surface_distance(mine, true, spacing(fixed.affine))
        rows.append(LabelScore(name, int(label), shared.status, shared.dice, distance.hd95_mm))
    return rows


def _means(rows: Sequence[LabelScore]) -> dict[str, Any]:
    if not rows:
        return {}
    means = {key: float(np.mean([getattr(row, key) for row in rows])) for key in ("dice", "hd95_mm")}
    return means | {"labels": len(rows)}


def _target_errors(folder: Path, field: Path, labels: Volume | None) -> dict[str, float]:
    from ankleseg.deformable.scans import as_scan

    mine, true = read_displacement_field(folder / "field.nii.gz"), read_displacement_field(field)
    _require_same(mine, true)
    if labels is None:
        moved = read_volume(folder / "moved.nii.gz")
        inside = as_scan(moved).foreground()
    else:
        inside = labels.data > 0
    errors = target_errors(np.moveaxis(mine.data, -1, 0), np.moveaxis(true.data, -1, 0), (1, 1, 1), inside)
    if not errors.size:
        return {}
    return {"target_error_mm": float(errors.mean()), "target_error_p95_mm": float(np.percentile(errors, 95))}


def _require_same(mine: Volume, true: Volume) -> None:
    if not same_grid(mine.data.shape, mine.affine, true.data.shape, true.affine):
        raise GeometryError(
            "is on another grid than the fixed scan", file=true.path, mend="give that of the fixed scan"
        )


def _write(evaluation: RegistrationEvaluation, references: Path) -> None:
    from ankleseg.report import render_page

    out = evaluation.out
    rows, labels = [asdict(row) for row in evaluation.registrations], [asdict(row) for row in evaluation.labels]
    write_csv(out / "registrations.csv", rows, [field.name for field in fields(RegistrationScore)])
    write_csv(out / "structures.csv", labels, [field.name for field in fields(LabelScore)])
    content = {
        "ankleseg": __version__,
        "date": evaluation.date,
        "references": references.resolve().name,
        "definitions": DEFINITIONS,
        "registrations": rows,
        "labels": labels,
    }
    write_json(out / "registrations.json", content)
    with replace_file(out / "report.html") as part:
        part.write_text(render_page(build_registration_page(evaluation)), encoding="utf-8")
