"""Predicted images against references: noise, structure and gradients, beside plain interpolations of the input."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from tqdm import tqdm

from ankleseg import __version__
from ankleseg.cohorts import Case, Cohort
from ankleseg.errors import FileError, told
from ankleseg.evaluate.image_scores import (
    BASELINE,
    INTERPOLATION,
    PREDICTION,
    ImageScore,
    ImageSet,
    on_reference_grid,
    read_images,
    score_image,
    with_doubts,
    with_gains,
)
from ankleseg.evaluate.predictions import PredictedCase, case_named, input_suffix, read_predictions
from ankleseg.evaluate.quality_picture import QualityPicture
from ankleseg.evaluate.quality_summary import QualityEvaluation, summarise_images
from ankleseg.evaluate.references import load_references
from ankleseg.evaluate.run import DEFINITIONS as MASK_DEFINITIONS
from ankleseg.evaluate.scores import SCORED, Score, read_pair, score
from ankleseg.evaluate.tables import score_columns, summarise, write_csv, write_json
from ankleseg.files import replace_file

RESULTS = ("quality.csv", "quality.json", "metrics.csv", "report.html")
DEFINITIONS = {
    "psnr_db": "10 log10(peak^2 / mean squared difference); peak: the maximum of the whole reference",
    "gain_db": "PSNR above that of the cubic spline interpolation of the input, or of the input itself where it has "
    "the grid of the reference",
    "ssim": "mean structural similarity (Wang et al. 2004) in three dimensions, Gaussian windows of 1.5 voxels; range: "
    "that of the whole reference",
    "correlation": "Pearson's correlation of the intensities (normalised cross-correlation)",
    "gms": "mean similarity of the gradient magnitudes (Xue et al. 2014)",
    "gmsd": "standard deviation of the same",
    "whole": "all voxels of the reference that prediction and input show",
    "structures": "those of them inside any structure of the reference",
    "foreground": "those of them brighter than Otsu's threshold, holes filled; where the reference has no structures",
    **MASK_DEFINITIONS,
}


def evaluate_quality(
    predictions: str | Path,
    references: str | Path | Cohort,
    out: str | Path,
    *,
    suffix: str | Sequence[str] | None = None,
    acquisition: str | int | None = None,
    select: Mapping[str, object] | None = None,
    date: str | None = None,
) -> QualityEvaluation:
    """Score predicted images against scans of higher quality, and write tables and a report.

    These are ``quality.csv``, ``quality.json``, ``report.html`` and, where structures were predicted that the
    references have too, ``metrics.csv``. The input is interpolated onto the grid of the reference by the nearest
    voxel, linearly and by a cubic spline, and scored beside the prediction, on the same voxels. A case that cannot be
    scored gets a row that says why, and the others go on.

    Args:
        predictions: folder written by ``ankleseg.predict`` with a network that gives images.
        references: cohort (or where it is) of the scans that the predictions should be like; cases are matched by
            name, or by subject where the subject has one scan.
        out: folder that receives the results.
        suffix: of the reference images in a BIDS folder with several, such as ``T2w``; None takes that of the inputs.
        acquisition, select: further choices among them, see `load_cohort`.
        date: printed on the report; None takes the present minute.

    Raises:
        FileError: the folder holds no predictions, or none of images.
        CohortError: the references are no cohort.
    """
    folder = read_predictions(predictions)
    if not folder.images and not any(case.images for case in folder.cases):
        raise FileError(
            "holds no predicted images", file=folder.folder, mend="predict with a network that gives images"
        )
    cohort = load_references(references, suffix or input_suffix(folder), acquisition, select)
    out = Path(out)
    for name in RESULTS:
        (out / name).unlink(missing_ok=True)
    shared = [name for name in folder.structures if name in cohort.structures]
    images: list[ImageScore] = []
    structures: list[Score] = []
    pictures: dict[str, bytes] = {}
    with tqdm(folder.cases, unit="case") as bar:
        for predicted in bar:
            bar.set_description(f"comparing {predicted.name}")
            case = reference_case(predicted, cohort)
            rows, picture = _score(predicted, case, folder.images)
            images += rows
            if picture is not None:
                pictures[predicted.name] = picture
            for structure in shared:
                pair = read_pair(predicted, case, structure, resampled=True)
                structures.append(score(pair, predicted, case, structure, surfaces=True))
    evaluation = QualityEvaluation(
        out, folder, cohort, tuple(images), tuple(structures), pictures, date or time.strftime("%Y-%m-%d %H:%M")
    )
    _write(evaluation)
    return evaluation


def reference_case(predicted: PredictedCase, cohort: Cohort) -> Case | None:
    """Return the reference case of a predicted one: of its name, else the only one of its subject."""
    if case := case_named(predicted.name, cohort):
        return case
    of_subject = [case for case in cohort.cases if case.subject == predicted.subject]
    return of_subject[0] if len(of_subject) == 1 else None


def _score(predicted: PredictedCase, case: Case | None, names: Sequence[str]) -> tuple[list[ImageScore], bytes | None]:
    """The rows of a case, and its picture."""
    like = ImageScore(predicted.name, "", PREDICTION, "", SCORED, group=case.group if case else predicted.group)
    try:
        images = read_images(predicted, case)
        if images.status == SCORED:
            return _compared(images, like)
        problem = replace(like, status=images.status, message=images.message)
    except Exception as error:  # of one case; the others go on
        problem = replace(like, status="unreadable", message=told(error, predicted.name))
    return [replace(problem, image=name) for name in names or predicted.images or ("",)], None


def _compared(images: ImageSet, like: ImageScore) -> tuple[list[ImageScore], bytes]:
    rows = []
    if images.input_problem:
        rows.append(replace(like, image=BASELINE, kind=INTERPOLATION, status="no input", message=images.input_problem))
    drawn = QualityPicture(images)
    for name, kind, message, image in on_reference_grid(images):
        rows += score_image(name, kind, message, image, images, like)
        drawn.add(name, kind, image)
    return with_doubts(with_gains(rows)), drawn.draw()


def _write(evaluation: QualityEvaluation) -> None:
    from ankleseg.evaluate.quality_page import build_quality_page
    from ankleseg.report import render_page

    out, masks = evaluation.out, [asdict(row) for row in evaluation.structures]
    rows = [asdict(row) for row in evaluation.images]
    write_csv(out / "quality.csv", rows, [field.name for field in fields(ImageScore)])
    if masks:
        write_csv(out / "metrics.csv", masks, score_columns())
    content = {
        "ankleseg": __version__,
        "date": evaluation.date,
        "predictions": evaluation.predictions.folder.resolve().name,
        "references": evaluation.references.root.resolve().name,
        "definitions": DEFINITIONS,
        "rows": rows,
        "summary": summarise_images(evaluation.images),
        "structures": masks,
        "structures_summary": summarise(evaluation.structures),
    }
    write_json(out / "quality.json", content)
    with replace_file(out / "report.html") as part:
        part.write_text(render_page(build_quality_page(evaluation)), encoding="utf-8")
