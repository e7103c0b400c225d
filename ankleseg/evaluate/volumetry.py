"""Volumes of predicted structures, their share of the head, and how much they vary over subjects and acquisitions."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from tqdm import tqdm

from ankleseg import __version__
from ankleseg.cohorts import Case, Cohort, read_reference
from ankleseg.errors import ConfigError, told
from ankleseg.evaluate.predictions import PredictedCase, Predictions, find_protocols, read_predictions
from ankleseg.evaluate.quality import reference_case
from ankleseg.evaluate.references import load_references
from ankleseg.evaluate.scores import SCORED
from ankleseg.evaluate.tables import write_csv, write_json
from ankleseg.evaluate.volume_tables import VARIATION_COLUMNS, VolumeRow, Volumetry
from ankleseg.files import replace_file
from ankleseg.measures import volume_ml
from ankleseg.measures.volumetry import volume_ratios
from ankleseg.volumes import read_mask, tell_of_mask

log = logging.getLogger(__name__)

RESULTS = ("volumetry.csv", "variation.csv", "volumetry.json", "report.html")
DEFINITIONS = {
    "ratio": "volume divided by the intracranial volume of the same case",
    "std_by_mean": "standard deviation of the sample (divided by n - 1) divided by the mean",
    "iqr_by_median": "75th minus 25th percentile, which interpolate linearly, divided by the median",
    "over subjects": "spread of one acquisition over the subjects that every acquisition measured",
    "over acquisitions": "spread of one subject over its acquisitions; 'median subject' has the median of the subjects",
}


def evaluate_volumetry(
    predictions: str | Path | Mapping[str, str | Path],
    out: str | Path,
    *,
    references: str | Path | Cohort | None = None,
    intracranial: str = "intracranial",
    structures: Sequence[str] | None = None,
    suffix: str | Sequence[str] | None = None,
    acquisition: str | int | None = None,
    select: Mapping[str, object] | None = None,
    date: str | None = None,
) -> Volumetry:
    """Measure predicted structures, and write tables and a report of how much they vary.

    These are ``volumetry.csv``, ``variation.csv``, ``volumetry.json`` and ``report.html``. A case that cannot be
    measured gets a row that says why, and the others go on.

    Args:
        predictions: folder written by ``ankleseg.predict``, or several by the name of their acquisition.
        out: folder that receives the results.
        references: cohort (or where it is) with manual segmentations, for the errors of the volumes and, where it was
            not predicted, for the intracranial volume.
        intracranial: name of the structure whose volume the others are divided by.
        structures: those to measure; None takes all that were predicted.
        suffix: of the reference images in a BIDS folder with several, such as ``T2w``.
        acquisition, select: further choices among them, see `load_cohort`.
        date: printed on the report; None takes the present minute.

    Raises:
        ConfigError: a structure was not predicted.
        AnklesegError: predictions or references cannot be read.
    """
    acquisitions = {name: read_predictions(folder) for name, folder in find_protocols(predictions).items()}
    cohort = None if references is None else load_references(references, suffix, acquisition, select)
    chosen = _chosen(structures, acquisitions)
    out = Path(out)
    for name in RESULTS:
        (out / name).unlink(missing_ok=True)
    rows: list[VolumeRow] = []
    for name, folder in acquisitions.items():
        for predicted in tqdm(folder.cases, desc=f"measuring {name}", unit="case"):
            case = reference_case(predicted, cohort) if cohort else None
            rows += _measured(name, predicted, case, chosen, intracranial)
    result = Volumetry(
        out, acquisitions, cohort, chosen, intracranial, tuple(rows), date or time.strftime("%Y-%m-%d %H:%M")
    )
    _write(result)
    return result


def _chosen(structures: Sequence[str] | None, acquisitions: Mapping[str, Predictions]) -> tuple[str, ...]:
    predicted = tuple(dict.fromkeys(name for folder in acquisitions.values() for name in folder.structures))
    unknown = [name for name in structures or () if name not in predicted]
    if unknown:
        raise ConfigError(f"{', '.join(unknown)} was not predicted", mend=f"choose among {', '.join(predicted)}")
    return tuple(dict.fromkeys(structures or predicted))


def _measured(
    acquisition: str, predicted: PredictedCase, case: Case | None, structures: Sequence[str], intracranial: str
) -> list[VolumeRow]:
    """The rows of a case, one a structure."""
    like = VolumeRow(
        acquisition=acquisition,
        case=predicted.name,
        subject=predicted.subject or (case.subject if case else predicted.name),
        structure="",
        status=predicted.status,
        group=case.group if case else predicted.group,
        message=predicted.message,
    )
    if predicted.status != SCORED:
        return [replace(like, structure=name) for name in structures]
    sizes = {name: _predicted_ml(predicted, name) for name in dict.fromkeys((*structures, intracranial))}
    references = {name: _reference_ml(case, name) for name in sizes}
    true = {name: size for name, (size, _) in references.items()}
    remark = next((said for _, said in references.values() if said), "")
    head, source = sizes[intracranial][0], "predicted"
    if head is None:
        head, source = true[intracranial], "reference"
    known = {name: size for name, (size, _, _) in sizes.items() if size is not None}
    known.pop(intracranial, None)  # its ratio to itself says nothing
    ratios = volume_ratios(known, head) if head is not None else {}
    rows = []
    for name in structures:
        size, status, message = sizes[name]
        error = None
        if size is not None and true[name]:
            error = 100 * (size - true[name]) / true[name]  # type: ignore[operator]
        rows.append(
            replace(
                like,
                structure=name,
                status=status,
                volume_ml=size,
                intracranial_ml=head,
                intracranial_from=source if head is not None else "",
                ratio=ratios.get(name),
                reference_ml=true[name],
                volume_error_percent=error,
                message="; ".join(said for said in (message or like.message, remark) if said),
            )
        )
    return rows


def _predicted_ml(predicted: PredictedCase, structure: str) -> tuple[float | None, str, str]:
    """Volume of a predicted mask, or None; with its status and message."""
    file = predicted.masks.get(structure)
    if file is None:
        return None, "no prediction", f"{structure} was not predicted"
    try:
        mask = read_mask(file.path, value=file.value)
    except Exception as error:  # of one case; the others go on
        return None, "unreadable", told(error)
    return volume_ml(mask.data, mask.spacing), SCORED, tell_of_mask(mask)


def _reference_ml(case: Case | None, structure: str) -> tuple[float | None, str]:
    """Volume of a structure in the references, or None, and why it could not be read."""
    source = None if case is None or structure in case.unknown else case.references.get(structure)
    if case is None or source is None:
        return None, "" if case is None or case.problem is None else f"reference: {case.problem}"
    try:
        mask = read_reference(case, structure)
    except Exception as error:  # of one case; the others go on
        log.warning(told(error))
        return None, f"reference: {told(error)}"
    remark = tell_of_mask(mask)
    return volume_ml(mask.data, mask.spacing), f"reference: {remark}" if remark else ""


def _write(result: Volumetry) -> None:
    from ankleseg.evaluate.volumetry_page import build_volumetry_page
    from ankleseg.report import render_page

    rows, spread = [asdict(row) for row in result.volumes], result.variation
    write_csv(result.out / "volumetry.csv", rows, [field.name for field in fields(VolumeRow)])
    write_csv(result.out / "variation.csv", spread, VARIATION_COLUMNS)
    content = {
        "ankleseg": __version__,
        "date": result.date,
        "acquisitions": {name: folder.folder.resolve().name for name, folder in result.acquisitions.items()},
        "references": result.references.root.resolve().name if result.references else None,
        "structures": result.structures,
        "intracranial": result.intracranial,
        "definitions": DEFINITIONS,
        "rows": rows,
        "variation": spread,
    }
    write_json(result.out / "volumetry.json", content)
    with replace_file(result.out / "report.html") as part:
        part.write_text(render_page(build_volumetry_page(result)), encoding="utf-8")
