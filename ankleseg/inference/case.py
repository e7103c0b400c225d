"""Predict one case: prepare it, run the networks, bring what they give back to its grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from monai.utils import ensure_tuple
from scipy import ndimage

from ankleseg.cohorts import Case
from ankleseg.errors import CheckpointError
from ankleseg.inference.checkpoint import Model
from ankleseg.inference.postprocessing import Postprocessing
from ankleseg.inference.tiles import tile_corners
from ankleseg.inference.volume import VolumeInferer
from ankleseg.labels import Labels
from ankleseg.transforms import Preparation, Prepared
from ankleseg.volumes import read_header


@dataclass(frozen=True)
class CasePrediction:
    """What was predicted of a case, on one grid: that of its input, or one of another spacing in the same place.

    Attributes:
        labels: (X, Y, Z) uint8; of a 4-D sequence (X, Y, Z, T), as all arrays have a last axis of frames then.
        probabilities: (K, X, Y, Z) float32.
        images: (N, X, Y, Z) float32, in the intensities of the input.
        affine: voxel to world.
        patches: boxes in voxels of the masks, half open, of the single patches with enough foreground (mode
            ``patches`` only, and not of a sequence).
    """

    labels: np.ndarray
    probabilities: np.ndarray
    images: np.ndarray
    affine: np.ndarray
    patches: list[list[int]]


def predict_case(
    case: Case,
    models: Sequence[Model],
    whole_volume: VolumeInferer,
    postprocessing: Postprocessing | None = None,
    *,
    spacing: Sequence[float | None] | None = None,
    patch_foreground: float = 0.75,
    progress: Any = None,
    announce: Any = None,
) -> CasePrediction:
    """Predict one case; what several models give is averaged.

    Masks alone are brought back to the grid of the input. With images among the outputs, or with a ``spacing``, the
    result stays at the spacing that the network works at, turned as the input was stored. A 4-D sequence is predicted
    frame by frame.

    Args:
        case: a scan or a sequence.
        models: one, or several that give the same.
        whole_volume: how patches make a volume.
        postprocessing: what is done to masks.
        spacing: mm along the prepared axes, instead of that of training.
        patch_foreground: of tiles that are patches, the least fraction of foreground in one that is scored on its own.
        progress: called with the fraction done since the last call.
        announce: called with a line that says how long it will take.

    Raises:
        AnklesegError: the case cannot be read, prepared or predicted.
        CheckpointError: the models do not fit the case or each other.
    """
    if len({(model.structures, model.images) for model in models}) != 1:
        raise CheckpointError("the checkpoints predict different structures", mend="average runs of one experiment")
    header = read_header(case.images[0])
    if case.frame is None and len(header.shape) == 4:
        part = None if progress is None else lambda done: progress(done / header.shape[3])
        frames = (replace(case, frame=frame) for frame in range(header.shape[3]))
        return _as_sequence(
            [predict_case(f, models, whole_volume, postprocessing, spacing=spacing, progress=part) for f in frames]
        )
    values, prepared, affine = _averaged(
        case,
        models,
        whole_volume,
        spacing,
        slice_thickness=float(header.spacing.max()),
        progress=progress,
        announce=announce,
    )
    images, probabilities = np.split(values, [len(models[0].images)])
    labels = Labels(structures=models[0].structures)
    masks = labels.decode(probabilities)
    if postprocessing is not None:
        masks = postprocessing(masks, regions=labels.regions)
    boxes: list[list[int]] = []
    if whole_volume.tiling == "patches":
        finer = _finer(models[0], spacing)
        boxes = patch_boxes(prepared, ensure_tuple(whole_volume.roi_size), patch_foreground, finer)
    return CasePrediction(labels.label_map(masks), probabilities, images, affine, boxes)


def _finer(model: Model, spacing: Sequence[float | None] | None) -> bool:
    """Whether results stay at the spacing that the network works at."""
    return len(model.images) > 0 or spacing is not None


def _averaged(
    case: Case,
    models: Sequence[Model],
    whole_volume: VolumeInferer,
    spacing: Sequence[float | None] | None,
    *,
    slice_thickness: float,
    progress: Any,
    announce: Any,
) -> tuple[np.ndarray, Prepared, np.ndarray]:
    """What the models give on average, in its place; the case as prepared for the last of them; the affine."""
    for number, model in enumerate(models):
        _check_channels(case, model)
        if number == 0 or model.preparation != models[number - 1].preparation:
            prepared = _at_spacing(model, spacing)(case)
        values = _values(
            model,
            prepared,
            whole_volume,
            slice_thickness=slice_thickness,
            progress=None if progress is None else lambda part: progress(part / len(models)),
            announce=announce if number == 0 else None,
        )
        placed, affine = _placed(values, prepared, _finer(model, spacing))
        if number == 0:
            mean = placed
        elif placed.shape != mean.shape:
            raise CheckpointError("the checkpoints work at different spacings", mend="add predict.spacing=[…]")
        else:
            mean += placed
    if len(models) > 1:
        mean /= len(models)
    return mean, prepared, affine


def _values(
    model: Model, prepared: Prepared, whole_volume: VolumeInferer, *, slice_thickness: float, **told: Any
) -> np.ndarray:
    """Images in the intensities of the input, then probabilities, in the prepared space."""
    labels = Labels(structures=model.structures, images=model.images)
    values = whole_volume(
        torch.from_numpy(prepared.image)[None],
        model.network,
        foreground=prepared.foreground,
        activate=labels.activate,
        fill=len(labels.images),
        slice_thickness=slice_thickness if getattr(model.network, "conditional", False) else None,
        **told,
    )[0].numpy()
    for image in values[: len(labels.images)]:
        image[...] = np.maximum(prepared.scales[0].undone(image), prepared.lowest)
    return values


def _check_channels(case: Case, model: Model) -> None:
    if len(case.images) != model.channels:
        raise CheckpointError(
            f"{case.name} has {len(case.images)} channels, the network wants {model.channels}",
            file=model.path,
            mend="give the same channels as in training",
        )


def _at_spacing(model: Model, asked: Sequence[float | None] | None) -> Preparation:
    return model.preparation if asked is None else replace(model.preparation, spacing=tuple(asked))


def _placed(values: np.ndarray, prepared: Prepared, finer: bool, order: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Bring values to the grid of the input, or only turn them as the input was stored; with the affine."""
    placement = prepared.placement
    if not finer:
        return placement.restore(values, order=order), placement.input_affine
    turned, affine = placement.oriented_as_input(np.moveaxis(values, 0, -1))  # a view: the values may lie on disk
    return np.moveaxis(turned, -1, 0), affine


def _as_sequence(frames: Sequence[CasePrediction]) -> CasePrediction:
    labels, probabilities, images = (
        np.stack([getattr(frame, name) for frame in frames], axis=-1) for name in ("labels", "probabilities", "images")
    )
    return CasePrediction(labels, probabilities, images, frames[0].affine, [])


def patch_boxes(prepared: Prepared, window: Sequence[int], foreground: float, finer: bool = False) -> list[list[int]]:
    """Boxes of the single patches of which at least this fraction is foreground, in voxels of the result: those of the
    input, or where it is ``finer`` of the prepared spacing."""
    sides = [*window, 1] if len(window) == 2 else list(window)
    number = np.zeros(prepared.foreground.shape, dtype=np.float32)
    count = 0
    for corner in tile_corners(prepared.foreground.shape, sides, 0.0):
        room = tuple(slice(max(c, 0), c + w) for c, w in zip(corner, sides, strict=True))
        whole = all(c < 0 or c % w == 0 for c, w in zip(corner, sides, strict=True))
        if whole and prepared.foreground[room].mean() >= foreground:
            count += 1
            number[room] = count
    placed, _ = _placed(number[None], prepared, finer, order=0)
    restored = np.rint(placed[0]).astype(np.int32)
    found = ndimage.find_objects(restored, max_label=count)
    return [[*(s.start for s in box), *(s.stop for s in box)] for box in found if box is not None]
