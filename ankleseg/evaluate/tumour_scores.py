"""Scores of one tumour: of each region voxel by voxel and lesion by lesion, and of all labels together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ankleseg.cohorts import Case
from ankleseg.errors import told
from ankleseg.evaluate.predictions import PredictedCase
from ankleseg.evaluate.scores import SCORED, MaskPair, Score, read_pair, score
from ankleseg.labels import Labels
from ankleseg.measures import LesionScores, label_agreement, lesion_scores

ALL_LABELS = "all labels"


@dataclass(frozen=True)
class TumourScore:
    """A row of ``tumour.csv``, its columns in order; None where a measure is not applicable or not known.

    ``region`` is a structure, or ``all labels``: the label map in which each voxel has the innermost region that holds
    it. ``status`` and ``finding`` are those of `Score`. ``lesions`` counts those of the reference that are large
    enough; ``found``, ``missed`` and ``invented`` add up to what the lesion-wise means are of.
    """

    predictions: str
    case: str
    region: str
    status: str
    dice: float | None = None
    iou: float | None = None
    hd95_mm: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    accuracy: float | None = None
    empty_accuracy: float | None = None
    lesion_dice: float | None = None
    lesion_hd95_mm: float | None = None
    lesions: int | None = None
    found: int | None = None
    missed: int | None = None
    invented: int | None = None
    left_out: int | None = None
    finding: str = ""
    group: str | None = None
    message: str = ""


@dataclass(frozen=True)
class LesionRow:
    """A row of ``lesions.csv``: one lesion of the reference, or one that was invented."""

    predictions: str
    case: str
    region: str
    lesion: int
    finding: str
    volume_ml: float
    dice: float
    hd95_mm: float


@dataclass(frozen=True)
class CaseScores:
    """All rows of a case."""

    scores: tuple[Score, ...]
    tumour: tuple[TumourScore, ...]
    lesions: tuple[LesionRow, ...]


def score_tumour(
    name: str,
    predicted: PredictedCase,
    case: Case | None,
    regions: Sequence[str],
    *,
    resampled: bool,
    dilation: int,
    least_mm3: float,
) -> CaseScores:
    """Score the regions of a case; what cannot be scored says why.

    Args:
        name: of the predictions.
        predicted, case: the case and its references.
        regions: larger ones first.
        resampled: see `read_pair`.
        dilation, least_mm3: see `lesion_scores`.
    """
    pairs = {region: read_pair(predicted, case, region, resampled=resampled) for region in regions}
    plain = [score(pair, predicted, case, region, surfaces=True) for region, pair in pairs.items()]
    rows, lesions = [], []
    for row, pair in zip(plain, pairs.values(), strict=True):
        try:
            found = _lesions(pair, dilation, least_mm3) if row.status == SCORED else None
            rows.append(_region_row(name, row, pair, found))
        except Exception as error:  # of one case; the others go on
            found, message = None, told(error, predicted.name)
            rows.append(TumourScore(name, row.case, row.structure, "unreadable", group=row.group, message=message))
        lesions += _lesion_rows(name, row, found)
    rows.append(_row_of_all(name, plain, pairs))
    return CaseScores(tuple(plain), tuple(rows), tuple(lesions))


def _lesions(pair: MaskPair, dilation: int, least_mm3: float) -> LesionScores:
    assert pair.prediction is not None and pair.reference is not None
    spacing = pair.reference.spacing
    return lesion_scores(pair.prediction.data, pair.reference.data, spacing, dilation=dilation, least_mm3=least_mm3)


def _region_row(name: str, row: Score, pair: MaskPair, lesions: LesionScores | None) -> TumourScore:
    plain = TumourScore(name, row.case, row.structure, row.status, group=row.group, message=row.message)
    if lesions is None or pair.prediction is None or pair.reference is None:
        return plain
    return replace(
        _agreeing(plain, pair.prediction.data, pair.reference.data),
        hd95_mm=row.hd95_mm,
        lesion_dice=lesions.dice,
        lesion_hd95_mm=lesions.hd95_mm,
        lesions=lesions.count("found") + lesions.count("missed"),
        found=lesions.count("found"),
        missed=lesions.count("missed"),
        invented=lesions.count("invented"),
        left_out=lesions.count("left out"),
        finding=row.finding,
    )


def _row_of_all(name: str, rows: Sequence[Score], pairs: Mapping[str, MaskPair]) -> TumourScore:
    """The row of all labels, where every region could be scored."""
    plain = TumourScore(name, rows[0].case, ALL_LABELS, SCORED, group=rows[0].group)
    problem = next((row for row in rows if row.status != SCORED), None)
    if problem is not None:
        return replace(plain, status=problem.status, message=problem.message)
    labels = Labels(structures=tuple(pairs), regions=True)
    try:
        maps = [labels.label_map(np.stack(masks)) for masks in zip(*map(_masks, pairs.values()), strict=True)]
        return replace(_agreeing(plain, *maps), finding="")
    except Exception as error:  # of one case; the others go on
        return replace(plain, status="unreadable", message=told(error, plain.case))


def _masks(pair: MaskPair) -> tuple[np.ndarray, np.ndarray]:
    assert pair.prediction is not None and pair.reference is not None
    return pair.prediction.data, pair.reference.data


def _agreeing(row: TumourScore, prediction: np.ndarray, reference: np.ndarray) -> TumourScore:
    agreement = label_agreement(prediction, reference)
    names = ("dice", "iou", "sensitivity", "specificity", "accuracy", "empty_accuracy")
    return replace(row, **{name: getattr(agreement, name) for name in names})


def _lesion_rows(name: str, row: Score, found: LesionScores | None) -> list[LesionRow]:
    lesions = found.lesions if found is not None else ()
    return [
        LesionRow(name, row.case, row.structure, n, one.finding, one.volume_mm3 / 1000, one.dice, one.hd95_mm)
        for n, one in enumerate(lesions, start=1)
    ]
