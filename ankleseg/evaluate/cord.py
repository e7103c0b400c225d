"""Spinal cords: masks, ends, centrelines and areas along the cord, several predictions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path

from ankleseg.cohorts import Cohort
from ankleseg.evaluate.cord_evaluation import CordEvaluation, summarise_cord
from ankleseg.evaluate.cord_page import build_cord_page
from ankleseg.evaluate.cord_scores import SLICE_COLUMNS, CordScore, score_cord
from ankleseg.evaluate.predictions import find_protocols, read_predictions
from ankleseg.evaluate.run import about, emptied, opened, scored_cases
from ankleseg.evaluate.tables import score_columns, write_csv, write_json
from ankleseg.files import replace_file

RESULTS = ("metrics.csv", "cord.csv", "cord_slices.csv", "cord.json", "report.html")
DEFINITIONS = {
    "dice": "2|P∩R| / (|P|+|R|); 0 when exactly one of the masks is empty; not applicable when both are",
    "lower_end_mm, upper_end_mm": "along the axis nearest to superior–inferior; positive: beyond the reference",
    "centreline": "distance in the slice to the centreline of the reference mask, or to the exact one where the "
    "reference is a phantom; slices of the reference without a point are in no distance, and outside every share",
    "area_mm2": "of the section perpendicular to the centreline of the mask",
    "area_error_percent": "predicted minus reference, in per cent of the reference, in each slice where the reference "
    "has cord; −100 where the prediction has none",
    "area_error_size_percent": "the mean over the slices of its size; p95: the 95th percentile",
}


def evaluate_cord(
    predictions: str | Path | Mapping[str, str | Path],
    references: str | Path | Cohort,
    out: str | Path,
    *,
    structures: Sequence[str] | None = None,
    suffix: str | Sequence[str] | None = None,
    acquisition: str | int | None = None,
    select: Mapping[str, object] | None = None,
    date: str | None = None,
) -> CordEvaluation:
    """Score masks of the spinal cord against references, and write tables and a report.

    These are ``metrics.csv`` (as `evaluate` writes it), ``cord.csv`` (a row a case), ``cord_slices.csv`` (a row a
    slice), ``cord.json`` and ``report.html``. A case that cannot be scored gets a row that says why.

    Args:
        predictions: a folder, or several by name to be compared, see `evaluate`. The first is the main one, which
            ``metrics.csv`` and the axial pictures are of.
        references: a cohort with masks of the cord, or where it is.
        out: folder that receives the results.
        structures: masks of the cord; None takes all that the main predictions hold.
        suffix, acquisition, select: which images are meant in a BIDS folder with several, see `load_cohort`.
        date: printed on the report; None takes the present minute.

    Raises:
        AnklesegError: predictions or references cannot be read, or a structure is unknown.
    """
    folders = {name: read_predictions(folder) for name, folder in find_protocols(predictions).items()}
    evaluation = opened(
        folders,
        references,
        out,
        structures=structures,
        suffix=suffix,
        acquisition=acquisition,
        select=select,
        date=date,
    )
    score = partial(score_cord, structures=evaluation.structures, resampled=evaluation.resampled)
    main, everywhere = scored_cases(emptied(evaluation, RESULTS), score)
    result = CordEvaluation(
        evaluation=replace(evaluation, scores=tuple(row for scores in main for row in scores.scores)),
        cord=tuple(row for scores in everywhere for row in scores.cord),
        slices=tuple(row for scores in everywhere for row in scores.slices),
    )
    _write(result)
    return result


def _write(result: CordEvaluation) -> None:
    from ankleseg.report import render_page

    rows, out = [asdict(row) for row in result.cord], result.out
    write_csv(out / "metrics.csv", result.evaluation.rows, score_columns())
    write_csv(out / "cord.csv", rows, [field.name for field in fields(CordScore)])
    write_csv(out / "cord_slices.csv", result.slices, SLICE_COLUMNS)
    content = {
        **about(result.evaluation),
        "structures": result.evaluation.structures,
        "definitions": DEFINITIONS,
        "rows": rows,
        "summary": summarise_cord(result.cord),
        "not_predicted": result.evaluation.not_predicted,
    }
    write_json(out / "cord.json", content)
    with replace_file(out / "report.html") as part:
        part.write_text(render_page(build_cord_page(result)), encoding="utf-8")
