"""Scores of one spinal cord: its mask, where it ends, its centreline, and its shape slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ankleseg.cohorts import Case
from ankleseg.errors import told
from ankleseg.evaluate.predictions import PredictedCase
from ankleseg.evaluate.scores import SCORED, MaskPair, Score, read_pair, score
from ankleseg.measures import CordShape, centreline_error, centreline_of_mask, cord_shape
from ankleseg.measures.centreline import Points
from ankleseg.measures.cord_shape import SHAPE_NAMES, points_in_slices
from ankleseg.volumes import Volume

NEAR, FAR = 1.5, 5.0  # mm
CLOSE = 5.0  # % of the area
OF_A_SLICE = ("predictions", "case", "structure", "slice", "along_mm")
SLICE_COLUMNS = (
    *OF_A_SLICE,
    *SHAPE_NAMES,
    *(f"reference_{name}" for name in SHAPE_NAMES),
    "area_error_percent",
    "centreline_mm",
)

SliceRow = dict[str, Any]


@dataclass(frozen=True)
class CordScore:
    """A row of ``cord.csv``, its columns in order; None where a measure is not applicable or not known.

    ``status`` and ``finding`` are those of `Score`. Errors of area are over the slices in which the reference has cord:
    a slice that the prediction leaves out counts with −100 %, what lies beyond the reference is only counted
    (``slices_beyond``). Ends are positive where the predicted cord goes beyond the reference. ``centreline_from`` is
    ``file`` where the predictions hold the centreline that was segmented along, else ``mask``; a slice without a point
    is in ``missed`` of the shares, and in no distance. ``centreline_to`` is ``truth`` where the reference is one of a
    phantom, whose exact centreline is known, else ``mask``, whose centreline it then is.
    """

    predictions: str
    case: str
    structure: str
    status: str
    dice: float | None = None
    hd95_mm: float | None = None
    volume_ml: float | None = None
    reference_ml: float | None = None
    volume_error_percent: float | None = None
    lower_end_mm: float | None = None
    upper_end_mm: float | None = None
    centreline_from: str = ""
    centreline_to: str = ""
    centreline_median_mm: float | None = None
    centreline_largest_mm: float | None = None
    centreline_within_1_5_mm: float | None = None
    centreline_within_5_mm: float | None = None
    area_mm2: float | None = None
    reference_area_mm2: float | None = None
    area_error_percent: float | None = None
    area_error_size_percent: float | None = None
    area_error_p95_percent: float | None = None
    area_within_5_percent: float | None = None
    slices: int | None = None
    slices_missed: int | None = None
    slices_beyond: int | None = None
    finding: str = ""
    group: str | None = None
    message: str = ""


@dataclass(frozen=True)
class CaseScores:
    """All rows of a case."""

    scores: tuple[Score, ...]
    cord: tuple[CordScore, ...]
    slices: tuple[SliceRow, ...]


def score_cord(
    name: str, predicted: PredictedCase, case: Case | None, *, structures: Sequence[str], resampled: bool
) -> CaseScores:
    """Score a case; what cannot be scored says why.

    Args:
        name: of the predictions.
        predicted, case: the case and its references.
        structures: masks of the cord.
        resampled: see `read_pair`.
    """
    scores, rows, slices = [], [], []
    for structure in structures:
        pair = read_pair(predicted, case, structure, resampled=resampled)
        scores.append(score(pair, predicted, case, structure, surfaces=True))
        row = _plain(name, scores[-1])
        try:
            shapes = [_shape_of(mask) for mask in (pair.prediction, pair.reference)]
            own = _slice_rows(row, *shapes)
            truth = None if case is None else true_centreline(case, structure)
            rows.append(_compared(row, pair, own, predicted, truth) if row.status == SCORED else row)
            slices += own
        except Exception as error:  # of one case; the others go on
            rows.append(replace(_plain(name, scores[-1]), status="unreadable", message=told(error, predicted.name)))
    return CaseScores(tuple(scores), tuple(rows), tuple(slices))


def _plain(name: str, row: Score) -> CordScore:
    same = ("case", "structure", "status", "dice", "hd95_mm", "volume_ml", "reference_ml", "volume_error_percent")
    return CordScore(name, **{key: getattr(row, key) for key in (*same, "finding", "group", "message")})


def _shape_of(mask: Volume | None) -> CordShape | None:
    return None if mask is None or not mask.data.any() else cord_shape(mask.data, mask.affine)


def _slice_rows(row: CordScore, shape: CordShape | None, reference: CordShape | None) -> list[SliceRow]:
    """A row a slice that either has, from below; the distance is along the reference, or along the prediction where
    there is no reference."""
    found, true = _by_slice(shape), _by_slice(reference)
    along = true if reference is not None else found
    order = sorted(found.keys() | true.keys())
    given = reference or shape
    if given is not None and given.slices[0] > given.slices[-1]:
        order.reverse()
    rows = []
    for number in order:
        here, there = found.get(number, {}), true.get(number, {})
        area, expected = here.get("area_mm2") or 0.0, there.get("area_mm2")
        rows.append(
            {
                **dict.fromkeys(SLICE_COLUMNS),
                "predictions": row.predictions,
                "case": row.case,
                "structure": row.structure,
                "slice": number,
                "along_mm": along.get(number, {}).get("along_mm"),
                **{name: here.get(name) for name in SHAPE_NAMES},
                **{f"reference_{name}": there.get(name) for name in SHAPE_NAMES},
                "area_error_percent": 100 * (area - expected) / expected if expected and row.status == SCORED else None,
            }
        )
    return rows


def _by_slice(shape: CordShape | None) -> dict[int, dict[str, float | None]]:
    if shape is None:
        return {}
    columns = {name: getattr(shape, name).tolist() for name in ("along_mm", *SHAPE_NAMES)}
    return {
        int(number): {name: None if np.isnan(values[place]) else values[place] for name, values in columns.items()}
        for place, number in enumerate(shape.slices)
    }


def _compared(
    row: CordScore, pair: MaskPair, slices: list[SliceRow], predicted: PredictedCase, truth: Points | None
) -> CordScore:
    """Fill in what compares prediction and reference; the distances of the centrelines go to the slices too."""
    true = [one for one in slices if one["reference_area_mm2"]]
    areas = [one["area_mm2"] for one in slices if one["area_mm2"]]
    beyond = sum(bool(one["area_mm2"]) and not one["reference_area_mm2"] for one in slices)
    row = replace(
        row,
        area_mm2=float(np.mean(areas)) if areas else None,
        slices=len(true),
        slices_missed=sum(not one["area_mm2"] for one in true),
        slices_beyond=beyond,
    )
    if not true:
        return row
    errors = np.array([one["area_error_percent"] for one in true])
    sizes = np.abs(errors)
    row = replace(
        row,
        reference_area_mm2=float(np.mean([one["reference_area_mm2"] for one in true])),
        area_error_percent=float(errors.mean()),
        area_error_size_percent=float(sizes.mean()),
        area_error_p95_percent=float(np.percentile(sizes, 95)),
        area_within_5_percent=float((sizes <= CLOSE).mean()),
    )
    return _with_centreline(row, pair, slices, predicted, truth)


def _with_centreline(
    row: CordScore, pair: MaskPair, slices: list[SliceRow], predicted: PredictedCase, truth: Points | None
) -> CordScore:
    assert pair.prediction is not None and pair.reference is not None
    affine = pair.reference.affine
    reference = centreline_of_mask(pair.reference.data, affine).points
    own = centreline_of_mask(pair.prediction.data, affine).points if pair.prediction.data.any() else None
    if own is not None:
        ends = centreline_error(own, reference, affine)
        row = replace(row, lower_end_mm=ends.lower_mm, upper_end_mm=ends.upper_mm)
    row = replace(row, centreline_to="mask" if truth is None else "truth")
    reference = reference if truth is None else truth
    points, source = _given(predicted), "file"
    if points is None:
        points, source = own, "mask"
    if points is None:
        return replace(row, centreline_within_1_5_mm=0.0, centreline_within_5_mm=0.0)
    compare = partial(centreline_error, points, reference, affine)
    near, far = compare(tolerance=NEAR), compare(tolerance=FAR)
    distances = _distances(points, reference, affine, slices)
    return replace(
        row,
        centreline_from=source,
        centreline_median_mm=float(np.median(distances)) if len(distances) else None,
        centreline_largest_mm=near.largest_mm,
        centreline_within_1_5_mm=near.within,
        centreline_within_5_mm=far.within,
    )


def true_centreline(case: Case, structure: str) -> Points | None:
    """The exact centreline that a phantom has of a case (`ankleseg.phantoms.write_cord_cohort`), None for others."""
    from ankleseg.inference.centrelines import read_centreline  # PyTorch is slow to load

    reference = case.references.get(structure)
    folders = [] if reference is None else [f for f in reference.path.parents if f.name == "derivatives"]
    files = (folder / "truth" / case.subject / "cord" / f"{case.subject}_centreline.csv" for folder in folders)
    file = next((path for path in files if path.is_file()), None)
    return None if file is None else read_centreline(file).points


def _given(predicted: PredictedCase) -> Points | None:
    """The centreline that was segmented along, None where the predictions hold none."""
    if predicted.centreline is None:
        return None
    from ankleseg.inference.centrelines import read_centreline  # PyTorch is slow to load

    return read_centreline(predicted.centreline).points


def _distances(points: Points, reference: Points, affine: np.ndarray, slices: list[SliceRow]) -> np.ndarray:
    """Between two centrelines in each slice that both cross; they are noted there."""
    rows = np.array([one["slice"] for one in slices])
    between = points_in_slices(points, affine, rows) - points_in_slices(reference, affine, rows)
    distances = np.linalg.norm(between, axis=1)
    for one, distance in zip(slices, distances, strict=True):
        one["centreline_mm"] = None if np.isnan(distance) else float(distance)
    return distances[~np.isnan(distances)]
