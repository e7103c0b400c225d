"""Tumours: regions scored voxel by voxel and lesion by lesion, several predictions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from ankleseg.cohorts import Cohort
from ankleseg.evaluate.brats_labels import read_tumour_predictions
from ankleseg.evaluate.predictions import find_protocols
from ankleseg.evaluate.run import about, emptied, opened, scored_cases
from ankleseg.evaluate.tables import score_columns, write_csv, write_json
from ankleseg.evaluate.tumour_evaluation import TumourEvaluation, summarise_tumour
from ankleseg.evaluate.tumour_page import build_tumour_page
from ankleseg.evaluate.tumour_scores import LesionRow, TumourScore, score_tumour
from ankleseg.files import replace_file

RESULTS = ("metrics.csv", "tumour.csv", "lesions.csv", "tumour.json", "report.html")
DEFINITIONS = {
    "dice": "2|A| / (|P|+|R|), A the voxels of the same label in both; 0 when exactly one is empty; not applicable "
    "when both are",
    "accuracy": "share of all voxels of the image, air included, with the same label",
    "empty_accuracy": "the accuracy of a prediction without any voxel",
    "lesion_dice": "mean over the lesions of the reference and the invented ones, which like missed ones have Dice 0; "
    "not applicable where there are none",
    "lesion_hd95_mm": "mean over the same; 374 mm for missed and invented ones",
    "all labels": "each voxel has the innermost region that holds it; Dice and IoU are the generalised overlap",
}


def evaluate_tumour(
    predictions: str | Path | Mapping[str, str | Path],
    references: str | Path | Cohort,
    out: str | Path,
    *,
    structures: Sequence[str] | None = None,
    dilation: int = 3,
    least_mm3: float = 50.0,
    suffix: str | Sequence[str] | None = None,
    acquisition: str | int | None = None,
    select: Mapping[str, object] | None = None,
    date: str | None = None,
) -> TumourEvaluation:
    """Score nested regions against references, and write tables and a report.

    These are ``metrics.csv`` (as `evaluate` writes it), ``tumour.csv`` (a row a region), ``lesions.csv`` (a row a
    lesion), ``tumour.json`` and ``report.html``. A case that cannot be scored gets rows that say why.

    Args:
        predictions: a folder, or several by name to be compared: of ``ankleseg.predict``, of other tools, or BraTS
            label maps (see `read_tumour_predictions`). The first is the one that is pictured.
        references: a cohort with the same regions, or where it is.
        out: folder that receives the results.
        structures: regions to score, larger first; None takes all that the main predictions hold.
        dilation, least_mm3: which pieces are one lesion and which lesions are left out, see `lesion_scores`.
        suffix, acquisition, select: which images are meant in a BIDS folder with several, see `load_cohort`.
        date: printed on the report; None takes the present minute.

    Raises:
        AnklesegError: predictions or references cannot be read, or a region is unknown.
    """
    folders = {name: read_tumour_predictions(folder) for name, folder in find_protocols(predictions).items()}
    told: dict[str, Any] = {"suffix": suffix, "acquisition": acquisition, "select": select, "date": date}
    evaluation = opened(folders, references, out, structures=structures, **told)
    rules: dict[str, Any] = {"dilation": dilation, "least_mm3": least_mm3, "resampled": evaluation.resampled}
    score = partial(score_tumour, regions=evaluation.structures, **rules)
    main, everywhere = scored_cases(emptied(evaluation, RESULTS), score)
    result = TumourEvaluation(
        evaluation=replace(evaluation, scores=tuple(row for scores in main for row in scores.scores)),
        tumour=tuple(row for scores in everywhere for row in scores.tumour),
        lesions=tuple(row for scores in everywhere for row in scores.lesions),
        dilation=dilation,
        least_mm3=least_mm3,
    )
    _write(result)
    return result


def _write(result: TumourEvaluation) -> None:
    from ankleseg.report import render_page

    tumour, lesions = ([asdict(row) for row in rows] for rows in (result.tumour, result.lesions))
    evaluation, out = result.evaluation, result.out
    write_csv(out / "metrics.csv", evaluation.rows, score_columns())
    write_csv(out / "tumour.csv", tumour, [field.name for field in fields(TumourScore)])
    write_csv(out / "lesions.csv", lesions, [field.name for field in fields(LesionRow)])
    content = {
        **about(evaluation),
        "regions": evaluation.structures,
        "dilation": result.dilation,
        "least_mm3": result.least_mm3,
        "definitions": DEFINITIONS,
        "rows": tumour,
        "summary": summarise_tumour(result.tumour),
        "not_predicted": evaluation.not_predicted,
    }
    write_json(out / "tumour.json", content)
    with replace_file(out / "report.html") as part:
        part.write_text(render_page(build_tumour_page(result)), encoding="utf-8")
