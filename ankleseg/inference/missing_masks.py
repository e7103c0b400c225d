"""Masks of the structures that nobody drew, by a network; those of a person go first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ankleseg import __version__
from ankleseg.cohorts import Case, Cohort, Reference
from ankleseg.cohorts.files import digest_of
from ankleseg.files import read_json, replace_file
from ankleseg.inference.confidence import ConfidenceRule
from ankleseg.inference.model import Model, refuse_registration
from ankleseg.inference.run import MANIFEST, predict_cases
from ankleseg.inference.volume import VolumeInferer
from ankleseg.volumes import read_mask

INPUTS = "inputs.json"  # what each prediction depends on
NOT_FOUND = "not found"


def missing_masks(case: Case, structures: Sequence[str]) -> list[str]:
    """The structures that a case has no reference of; none of a case that cannot be used."""
    return [name for name in structures if case.problem is None and name not in case.references]


def with_predicted_masks(
    cohort: Cohort, model: Model, out: str | Path, structures: Sequence[str], name: str
) -> tuple[Cohort, int]:
    """Give the cases of a cohort masks of the structures that they lack, as the network predicts them.

    The first channel of a case is predicted. Predictions that are there from an earlier run, of the same scan and
    network, are taken as they are.

    Args:
        cohort: stays as it is.
        model: segments some of the structures.
        out: folder that receives the predictions, as `predict_cases` writes them.
        structures: that every case should have.
        name: of the network, by which its masks are told from those of a person.

    Returns:
        The cohort with these references. What the network says of a mask, ``suspect`` or ``failed`` and why, is theirs;
        an empty mask has failed. The number of cases that got some.

    Raises:
        CheckpointError: the network registers pairs of scans.
        ConfigError: ``out`` cannot be written.
    """
    refuse_registration(model, "segment single scans")
    known = [structure for structure in structures if structure in model.labels.structures]
    lacking = {case.name: found for case in cohort.cases if (found := missing_masks(case, known))}
    scans = [
        replace(case, channels=dict([next(iter(case.channels.items()))]), references={}, sequences={})
        for case in cohort.cases
        if case.name in lacking
    ]
    rows = _predicted(scans, model, Path(out)) if scans else {}
    made = {case: _references(rows[case], found, Path(out), name) for case, found in lacking.items()}
    cases = tuple(replace(case, references={**case.references, **made.get(case.name, {})}) for case in cohort.cases)
    added = [structure for structure in known if structure not in cohort.structures and lacking]
    return replace(cohort, cases=cases, structures=(*cohort.structures, *added)), len(lacking)


def _predicted(scans: Sequence[Case], model: Model, out: Path) -> dict[str, dict[str, Any]]:
    """Rows of ``predictions.json`` by case; only what is not there is predicted."""
    weights = digest_of(model.path)
    keys = {case.name: _key(case, weights) for case in scans}
    kept, rows = read_json(out / INPUTS), {row["case"]: row for row in read_json(out / MANIFEST).get("cases", ())}
    rows = {case: row for case, row in rows.items() if kept.get(case) and _is_whole(row, out)}
    new = [case for case in scans if case.name not in rows or kept[case.name] != keys[case.name]]
    if not new:
        return rows
    (out / INPUTS).unlink(missing_ok=True)
    found = predict_cases(
        new,
        [model],
        out,
        inferer=VolumeInferer(model.window),
        postprocessing=model.postprocessing,
        confidence=ConfidenceRule(),
    )
    rows |= {row["case"]: row for row in found}
    _write(out / MANIFEST, {**read_json(out / MANIFEST), "cases": list(rows.values())})
    _write(out / INPUTS, {case: key for case, key in {**kept, **keys}.items() if case in rows})
    return rows


def _references(row: Mapping[str, Any], structures: Sequence[str], out: Path, network: str) -> dict[str, Reference]:
    references = {}
    for structure in structures:
        told = (row.get("confidence") or {}).get(structure, {})
        path = out / row["masks"][structure] if structure in row["masks"] else Path(row["image"])
        status, reason = told.get("status", "ok"), told.get("reason", "")
        if row["status"] != "ok":
            status, reason = "failed", row["message"]
        elif status == "ok" and not read_mask(path).data.any():
            status, reason = "failed", NOT_FOUND
        references[structure] = Reference(path, None, network, status, reason)
    return references


def _key(case: Case, weights: str | None) -> str:
    """Hash of what the prediction of a case depends on."""
    told = [__version__, weights, case.side, *(digest_of(path) for path in case.images)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _is_whole(row: Mapping[str, Any], out: Path) -> bool:
    return row["status"] == "ok" and all((out / file).is_file() for file in row["masks"].values())


def _write(file: Path, content: Mapping[str, Any]) -> None:
    with replace_file(file) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
