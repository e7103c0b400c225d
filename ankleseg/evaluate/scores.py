"""Scores of predicted masks against references, one a case and structure; what cannot be scored says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ankleseg.cohorts import Case, read_reference
from ankleseg.errors import GeometryError, told
from ankleseg.evaluate.predictions import Box, PredictedCase
from ankleseg.measures import Overlap, SurfaceDistance, overlap, surface_distance, volume_ml
from ankleseg.volumes import (
    Volume,
    covered_by,
    holds_grid,
    missing_file,
    not_downloaded,
    on_grid_of,
    read_mask,
    same_grid,
    tell_of_mask,
    voxel_distance,
)

SCORED = "ok"
RESAMPLED = "the prediction lies on another grid; each voxel of the reference took its nearest value"
PART = "the prediction holds the grid of the reference; only the voxels of the reference were compared"
ELSEWHERE = "different field of view"
LEAST_COVERED = 0.95  # of what is compared; else the fields of view are too different
FINDINGS = {"ok": "found", "both empty": "both empty", "missed": "missed", "invented": "invented"}


@dataclass(frozen=True)
class Score:
    """A row of ``metrics.csv``, its columns in order; None where a measure is not applicable or not known.

    ``status``: ``ok`` where prediction and reference were compared, else why not (``failed``, ``no prediction``,
    ``no reference``, ``different grid``, ``unreadable``). ``finding``: ``found``, ``missed`` (only the reference has
    voxels), ``invented`` (only the prediction has) or ``both empty``. ``confidence``: what the prediction said of
    itself (``ok``, ``suspect``, ``failed``, empty where it said nothing), with its ``estimated_dice`` and the reason.
    """

    case: str
    structure: str
    status: str
    dice: float | None = None
    iou: float | None = None
    precision: float | None = None
    recall: float | None = None
    hd95_mm: float | None = None
    assd_mm: float | None = None
    volume_ml: float | None = None
    reference_ml: float | None = None
    volume_error_ml: float | None = None
    volume_error_percent: float | None = None
    finding: str = ""
    confidence: str = ""
    estimated_dice: float | None = None
    confidence_reason: str = ""
    group: str | None = None
    side: str | None = None
    message: str = ""


@dataclass(frozen=True)
class MaskPair:
    """A predicted mask and its reference on one grid, or a ``status`` and ``message`` that tell why not."""

    status: str
    message: str = ""
    prediction: Volume | None = None
    reference: Volume | None = None


def read_pair(predicted: PredictedCase, case: Case | None, structure: str, *, resampled: bool = False) -> MaskPair:
    """Read the predicted mask of a structure and its reference; problems become a status, never an exception.

    Of a predicted mask that reaches beyond the reference only what lies on its voxels is compared, and the message says
    so; not where single patches are scored, whose boxes are those of the prediction. Masks on different
    grids are not, unless ``resampled``: the predicted one then takes the grid of the reference, each voxel the nearest
    value, and the message says so.
    """
    try:
        return _read_pair(predicted, case, structure, resampled)
    except Exception as error:  # of one case; the others go on
        return MaskPair("unreadable", told(error))


def _read_pair(predicted: PredictedCase, case: Case | None, structure: str, resampled: bool) -> MaskPair:
    if predicted.status != SCORED:
        return MaskPair(predicted.status, predicted.message)
    file = predicted.masks.get(structure)
    if file is None:
        return MaskPair("no prediction", f"{structure} was not predicted")
    if error := not_downloaded(file.path):
        return MaskPair("no prediction", str(error))
    if not file.path.exists():
        return MaskPair("no prediction", f"{file.path}: does not exist; predict it again")
    prediction = read_mask(file.path, value=file.value)
    source = None if case is None or structure in case.unknown else case.references.get(structure)
    if case is None or source is None or missing_file(source.path):
        return MaskPair("no reference", _no_reference(predicted, case, structure), prediction)
    reference = read_reference(case, structure)
    pair = _on_one_grid(prediction, reference, predicted, structure, resampled)
    remarks = {"prediction": tell_of_mask(prediction), "reference": tell_of_mask(reference)}
    lines = [pair.message, *(f"{what}: {line}" for what, line in remarks.items() if line)]
    return replace(pair, message="; ".join(line for line in lines if line))


def _on_one_grid(
    prediction: Volume, reference: Volume, predicted: PredictedCase, structure: str, resampled: bool
) -> MaskPair:
    shapes = prediction.data.shape, reference.data.shape
    if not same_grid(shapes[0], prediction.affine, shapes[1], reference.affine):
        held = holds_grid(shapes[0], prediction.affine, shapes[1], reference.affine)
        if held and not predicted.patches and reference.header is not None:  # patches are in voxels of the prediction
            return MaskPair(SCORED, PART, on_grid_of(prediction, reference.header), reference)
        if resampled and reference.header is not None:
            shown = covered_by(prediction, reference)[reference.data]
            if shown.size and (share := float(shown.mean())) < LEAST_COVERED:
                return MaskPair(ELSEWHERE, f"the prediction shows {100 * share:.0f} % of {structure} in the reference")
            return MaskPair(SCORED, RESAMPLED, on_grid_of(prediction, reference.header), reference)
        return MaskPair("different grid", _grids_differ(prediction, reference))
    return MaskPair(SCORED, "", prediction, reference)


def score(pair: MaskPair, predicted: PredictedCase, case: Case | None, structure: str, *, surfaces: bool) -> Score:
    """Score a pair of masks; without ``surfaces`` the distances, which take most of the time, stay None."""
    said = predicted.confidence.get(structure, {})
    row = Score(
        case=predicted.name,
        structure=structure,
        status=pair.status,
        group=case.group if case else predicted.group,
        side=case.side if case else predicted.side,
        message="; ".join(text for text in dict.fromkeys((pair.message, predicted.message)) if text),
        confidence=str(said.get("status", "")),
        estimated_dice=said.get("score"),
        confidence_reason=str(said.get("reason", "")),
    )
    try:
        return _scored(row, pair, surfaces)
    except Exception as error:  # of one case; the others go on
        return replace(row, status="unreadable", message=told(error, predicted.name))


def _scored(row: Score, pair: MaskPair, surfaces: bool) -> Score:
    if pair.prediction is None:
        return row
    found_ml = volume_ml(pair.prediction.data, pair.prediction.spacing)
    if pair.reference is None:
        return replace(row, volume_ml=found_ml)
    shared = overlap(pair.prediction.data, pair.reference.data)
    true_ml = volume_ml(pair.reference.data, pair.reference.spacing)
    distance = SurfaceDistance(None, None)
    if surfaces:
        distance = surface_distance(pair.prediction.data, pair.reference.data, pair.reference.spacing)
    return replace(
        row,
        dice=shared.dice,
        iou=shared.iou,
        precision=shared.precision,
        recall=shared.recall,
        hd95_mm=distance.hd95_mm,
        assd_mm=distance.assd_mm,
        volume_ml=found_ml,
        reference_ml=true_ml,
        volume_error_ml=found_ml - true_ml,
        volume_error_percent=100 * (found_ml - true_ml) / true_ml if true_ml else None,
        finding=FINDINGS[shared.status],
    )


def patch_overlaps(pair: MaskPair, patches: Sequence[Box]) -> list[Overlap]:
    """Overlap inside every patch of a scored pair.

    Raises:
        GeometryError: a box does not lie inside the volume.

    Source: the patch test of the published ankle pipeline (Coupeau 2020; rousseau/dynMRI).
    """
    assert pair.prediction is not None and pair.reference is not None
    shape = pair.reference.data.shape
    overlaps = []
    for box in patches:
        if not all(0 <= box[k] < box[k + 3] <= shape[k] for k in range(3)):
            raise GeometryError(
                f"the patch {list(box)} does not lie inside a volume of {shape} voxels",
                file=pair.prediction.path,
                mend="predict it again",
            )
        room = tuple(slice(box[k], box[k + 3]) for k in range(3))
        overlaps.append(overlap(pair.prediction.data[room], pair.reference.data[room]))
    return overlaps


def _no_reference(predicted: PredictedCase, case: Case | None, structure: str) -> str:
    if case is None:
        return f"the references hold no case {predicted.name}"
    if case.problem is not None and structure not in case.references:
        return str(case.problem)
    if structure in case.unknown:
        return f"the registration of {structure} on {case.name} is not to be believed"
    source = case.references.get(structure)
    if source is None:
        return f"the references hold no {structure} of {case.name}"
    return str(missing_file(source.path))


def _grids_differ(prediction: Volume, reference: Volume) -> str:
    shapes = prediction.data.shape, reference.data.shape
    how = f"{shapes[0]} and {shapes[1]} voxels"
    if shapes[0] == shapes[1]:
        moved = voxel_distance(reference.affine, prediction.affine, shapes[1])
        how = f"the affines differ by up to {moved:.1f} voxels"
    return (
        f"{prediction.path}: lies on another grid than {reference.path} ({how}); "
        "predict the scan it was drawn on, or score a sharper prediction by recipe=quality"
    )
