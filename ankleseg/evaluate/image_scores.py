"""Scores of a predicted image, and of plain interpolations of its input, against a reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.cohorts import Case, read_reference
from ankleseg.errors import AnklesegError, told
from ankleseg.evaluate.predictions import PredictedCase
from ankleseg.evaluate.scores import ELSEWHERE, LEAST_COVERED, SCORED
from ankleseg.measures.foreground import foreground_mask
from ankleseg.measures.image_quality import (
    correlation,
    deviation_inside,
    gradient_similarity_map,
    mean_inside,
    psnr,
    ssim_map,
)
from ankleseg.volumes import Volume, covered_by, on_grid_of, read_volume, resample, same_grid, tell, tell_of_mask

PREDICTION, INTERPOLATION, INPUT = "prediction", "interpolation", "input"
INTERPOLATIONS = {"nearest": 0, "linear": 1, "cubic spline": 3}
BASELINE = "cubic spline"  # or the input, where it has the grid of the reference
WHOLE, STRUCTURES, FOREGROUND = "whole", "structures", "foreground"
EXTENSION = 8  # voxels by which the border goes on: a cubic spline looks no further

Region = Bool[np.ndarray, "x y z"]


@dataclass(frozen=True)
class ImageScore:
    """A row of ``quality.csv``, its columns in order; None where a measure is not applicable or not known.

    ``image`` is the name of a predicted image or of an interpolation of its input, and ``kind`` tells which:
    ``prediction``, ``interpolation``, or ``input`` where that has the grid of the reference already. ``region`` is
    ``whole``, ``structures`` (where the reference has any) or ``foreground`` (where none is known). ``gain_db`` is the
    PSNR above that of the cubic spline, or of the input. ``status``: ``ok``, else why not (``failed``,
    ``no prediction``, ``no reference``, ``no input``, ``different field of view``, ``unreadable``).
    """

    case: str
    image: str
    kind: str
    region: str
    status: str
    psnr_db: float | None = None
    gain_db: float | None = None
    ssim: float | None = None
    correlation: float | None = None
    gms: float | None = None
    gmsd: float | None = None
    peak: float | None = None
    voxels: int | None = None
    group: str | None = None
    message: str = ""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """What is compared of a case: predicted images and input as they are, the reference, and where they are compared.

    ``status`` and ``message`` tell why there is nothing to compare, ``input_problem`` why there is no input.
    """

    status: str
    message: str = ""
    predictions: Mapping[str, Volume] | None = None
    reference: Volume | None = None
    source: Volume | None = None
    input_problem: str = ""
    regions: Mapping[str, Region] | None = None


def read_images(predicted: PredictedCase, case: Case | None) -> ImageSet:
    """Read the images of a case and find where to compare them; problems become a status, never an exception."""
    if predicted.status != SCORED:
        return ImageSet(predicted.status, predicted.message)
    if not predicted.images:
        return ImageSet("no prediction", "no image was predicted")
    if case is None or not case.images:
        missing = f"the references hold no case {predicted.name}"
        return ImageSet("no reference", missing if case is None else str(case.problem or f"{missing} with an image"))
    try:
        predictions = {name: _read(path) for name, path in predicted.images.items()}
        reference = _read(case.images[0])
        mask, region, remark = _mask(case, reference)
    except Exception as error:  # of one case; the others go on
        return ImageSet("unreadable", told(error))
    source, problem = _input(predicted.image)
    covered = np.ones(reference.data.shape, dtype=bool)
    for volume in (*predictions.values(), *([source] if source else [])):
        covered &= covered_by(volume, reference)
    share = float(covered[mask].mean())
    percent = f"{100 * share:.{0 if share < 0.99 else 1}f} % of the {region} of the reference"
    if share < LEAST_COVERED:
        return ImageSet(ELSEWHERE, f"prediction and input show {percent}; predict the scan of this case")
    remarks = [said for said in (predicted.message, remark) if said]
    if not covered.all():
        remarks.append(f"compared where prediction and input show anything: {percent}")
    regions = {WHOLE: covered} | ({region: mask & covered} if region != WHOLE else {})
    return ImageSet(SCORED, "; ".join(remarks), predictions, reference, source, problem, regions)


def on_reference_grid(images: ImageSet) -> Iterator[tuple[str, str, str, Float[np.ndarray, "x y z"]]]:
    """Yield name, kind, message and voxels of every image to compare, one after the other to spare memory."""
    reference, predictions, source = images.reference, images.predictions, images.source
    assert reference is not None and predictions is not None
    if source is not None and _alike(source, reference):
        yield INPUT, INPUT, "", source.data
    elif source is not None:
        for name, order in INTERPOLATIONS.items():
            yield name, INTERPOLATION, "", interpolated(source, reference, order)
    for name, volume in predictions.items():
        if _alike(volume, reference):
            yield name, PREDICTION, "", volume.data
        else:
            said = "the prediction lies on another grid and was interpolated by a cubic spline"
            yield name, PREDICTION, said, interpolated(volume, reference, 3)


def score_image(
    name: str, kind: str, message: str, image: Float[np.ndarray, "x y z"], images: ImageSet, like: ImageScore
) -> list[ImageScore]:
    """Score an image on the grid of the reference, a row a region; ``like`` has the case and its group."""
    assert images.reference is not None and images.regions is not None
    reference, size = images.reference.data, images.reference.spacing
    similarity = ssim_map(image, reference)
    gradients = gradient_similarity_map(image, reference, spacing=size)
    rows = []
    for region, mask in images.regions.items():
        found = psnr(image, reference, mask=mask)
        identical = found == np.inf
        remarks = (images.message, message, "identical to the reference, so without a PSNR" if identical else "")
        rows.append(
            replace(
                like,
                image=name,
                kind=kind,
                region=region,
                status=SCORED,
                psnr_db=None if identical else found,
                ssim=mean_inside(similarity, mask),
                correlation=correlation(image, reference, mask=mask),
                gms=mean_inside(gradients, mask),
                gmsd=deviation_inside(gradients, mask),
                peak=float(reference.max()),
                voxels=int(mask.sum()),
                message="; ".join(remark for remark in remarks if remark),
            )
        )
    return rows


def with_gains(rows: list[ImageScore]) -> list[ImageScore]:
    """Fill in the PSNR of the rows of a case above that of the cubic spline, or of the input."""
    base = {row.region: row.psnr_db for row in rows if row.image == BASELINE or row.kind == INPUT}
    result = []
    for row in rows:
        level = base.get(row.region)
        known = row.psnr_db is not None and level is not None
        result.append(replace(row, gain_db=row.psnr_db - level if known else None))  # type: ignore[operator]
    return result


def with_doubts(rows: list[ImageScore]) -> list[ImageScore]:
    """Say in the rows of a case that its input is dark where the reference is bright: hardly one contrast."""
    base = [row for row in rows if row.image == BASELINE or row.kind == INPUT]
    found = min((row.correlation for row in base if row.correlation is not None), default=0.0)
    if found >= 0:
        return rows
    doubt = f"input and reference correlate by {found:.2f}: choose a reference of the same contrast by suffix="
    return [replace(row, message="; ".join(said for said in (row.message, doubt) if said)) for row in rows]


def interpolated(volume: Volume, reference: Volume, order: int) -> Float[np.ndarray, "x y z"]:
    """Sample a volume on the grid of a reference by a spline of that order; its border goes on beyond itself."""
    affine = volume.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, EXTENSION)
    extended = np.pad(volume.data, EXTENSION, mode="edge")
    return resample(extended, affine, reference.data.shape, reference.affine, order=order)


def _mask(case: Case, reference: Volume) -> tuple[Region, str, str]:
    """Where to compare: mask, name of the region, and a remark."""
    assert reference.header is not None
    mask = np.zeros(reference.data.shape, dtype=bool)
    for name in case.references:
        if name not in case.unknown:
            structure = read_reference(case, name)
            tell_of_mask(structure)
            mask |= (structure if _alike(structure, reference) else on_grid_of(structure, reference.header)).data
    if mask.any():
        return mask, STRUCTURES, ""
    try:
        return foreground_mask(reference.data), FOREGROUND, ""
    except AnklesegError as error:
        return np.ones_like(mask), WHOLE, f"no foreground found: the reference {error.problem}"


def _input(path: Path | None) -> tuple[Volume | None, str]:
    if path is None:
        return None, "predictions.json does not say what the input was"
    try:
        return _read(path), ""
    except Exception as error:  # of one case; the others go on
        return None, told(error)


def _read(path: Path) -> Volume:
    volume = read_volume(path)
    tell(volume.header)
    return replace(volume, data=np.ascontiguousarray(volume.data))  # all arrays in one order: much faster to compare


def _alike(one: Volume, other: Volume) -> bool:
    return same_grid(one.data.shape, one.affine, other.data.shape, other.affine)
