"""Predict one case: prepare it, run the networks, bring what they give back to its grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from monai.utils import ensure_tuple
from scipy import ndimage

from ankleseg import keys
from ankleseg.cohorts import Case
from ankleseg.cohorts.case import in_order
from ankleseg.data.reading import item_of, reading, with_foreground
from ankleseg.errors import AnklesegError, CheckpointError, own_errors
from ankleseg.inference.centrelines import GetCentreline
from ankleseg.inference.confidence import ConfidenceRule, StructureConfidence, of_sequence
from ankleseg.inference.flips import averaged_over_flips, checked_flips, reversed_along
from ankleseg.inference.model import Model
from ankleseg.inference.planes import SeveralPlanesInferer, planes_of
from ankleseg.inference.postprocessing import Postprocessing
from ankleseg.inference.tiles import tile_corners
from ankleseg.inference.views import VIEWS, Agreement
from ankleseg.inference.volume import VolumeInferer
from ankleseg.inference.whole_cord import Cut, parts_of_slices, require_cuts
from ankleseg.measures import Centreline
from ankleseg.transforms import Preparation, RememberScand, RestoreIntensitiesd
from ankleseg.transforms.metadata import affine_of, with_meta_of, without_meta
from ankleseg.volumes import read_header

Spacing = Sequence[float | None]
Sample = dict[Any, Any]
Announce = Callable[[str], object] | None


@dataclass(frozen=True)
class CasePrediction:
    """What was predicted of a case, on one grid: that of its input, or one of another spacing in the same place.

    Attributes:
        masks: (K, X, Y, Z) bool; of a 4-D sequence (K, X, Y, Z, T), as all arrays have a last axis of frames then.
        probabilities: (K, X, Y, Z) float32.
        images: (N, X, Y, Z) float32, in the intensities of the input.
        affine: voxel to world.
        patches: boxes in voxels of the masks, half open, of the single patches with enough foreground (tiling
            ``patches`` only, and not of a sequence).
        centreline: along which the cord was segmented, if it was (not of a sequence).
        confidence: of each structure, where it was asked for and there is a rule for it.
    """

    masks: np.ndarray
    probabilities: np.ndarray
    images: np.ndarray
    affine: np.ndarray
    patches: list[list[int]]
    centreline: Centreline | None = None
    confidence: Mapping[str, StructureConfidence] = field(default_factory=dict)


def predict_case(
    case: Case,
    models: Sequence[Model],
    inferer: VolumeInferer,
    postprocessing: Postprocessing | None = None,
    *,
    spacing: Spacing | None = None,
    patch_foreground: float = 0.75,
    flips: Sequence[str] = (),
    planes: str = "all",
    centreline: GetCentreline | None = None,
    cuts: Sequence[Cut] = (),
    confidence: ConfidenceRule | None = None,
    progress: Callable[[float], object] | None = None,
    announce: Announce = None,
) -> CasePrediction:
    """Predict one case; what several models give is averaged, or joined along a cord.

    Masks alone are brought back to the grid of the input. With images among the outputs, or with a ``spacing``, the
    result stays at the spacing that the network works at, turned as the input was stored. A 4-D sequence is predicted
    frame by frame.

    Args:
        case: a scan or a sequence.
        models: one, or several that give the same.
        inferer: how patches make a volume.
        postprocessing: what is done to masks.
        spacing: mm along the prepared axes, instead of that of training.
        patch_foreground: of tiles that are patches, the least fraction of foreground in one that is scored on its own.
        flips: axes of the patient, ``LR``, ``PA``, ``IS``; what is predicted of mirror images is averaged in.
        planes: ``all``: a network that learnt slices of several planes sees those of each, and what it gives is
            averaged; of scans of few or thick slices, and with ``scanned``, only their own.
        centreline: gives that of the cord, for models that segment along it.
        cuts: where along the cord, from above, the next model takes over; empty averages them.
        confidence: how structures are judged that exclude each other; None: they are not. Masks are the same.
        progress: called with the fraction done since the last call.
        announce: called with a line that says how long it will take.

    Raises:
        AnklesegError: the case cannot be read, prepared or predicted.
        CheckpointError: the models do not fit the case or each other.
        ConfigError: a flip is unknown, or is not allowed; or a cut is none of this cord.
    """
    require_alike(models)
    require_cuts(cuts, models, along=centreline is not None)
    more: dict[str, Any] = {"flips": checked_flips(flips, models[0].labels), "planes": planes, "cuts": cuts}
    more |= {"spacing": spacing, "patch_foreground": patch_foreground, "centreline": centreline}
    more |= {"models": models, "inferer": inferer, "postprocessing": postprocessing, "confidence": confidence}
    of_scan: Callable[..., CasePrediction] = partial(_of_scan, **more)
    shape = read_header(case.images[0]).shape
    if case.frame is None and len(shape) == 4:
        return _by_frames(case, shape[3], of_scan, progress)
    return of_scan(case, progress=progress, announce=announce)


def _of_scan(
    case: Case,
    *,
    models: Sequence[Model],
    inferer: VolumeInferer,
    postprocessing: Postprocessing | None,
    patch_foreground: float,
    centreline: GetCentreline | None,
    confidence: ConfidenceRule | None,
    announce: Announce = None,
    **more: Any,
) -> CasePrediction:
    """Predict one scan, or one frame; see `predict_case`."""
    labels = models[0].labels
    axis = None if centreline is None else centreline(case)
    finer = len(labels.images) > 0 or more["spacing"] is not None
    rule = confidence if axis is None and ConfidenceRule.applies_to(labels) else None
    agreement = None if rule is None or not rule.views else Agreement(VIEWS[: rule.views], labels, postprocessing)
    more |= {"finer": finer, "announce": announce, "agreement": agreement}
    joined, sample, preparation = _joined(case, models, inferer, axis, **more)
    images, probabilities = np.split(np.asarray(joined), [len(labels.images)])
    found, affine = labels.decode(probabilities), affine_of(joined)
    masks = found if postprocessing is None else postprocessing(found, regions=labels.regions, affine=affine)
    judged: Mapping[str, StructureConfidence] = {}
    if rule is not None:
        told: dict[str, Any] = {"one_piece": postprocessing is not None and postprocessing.largest_component}
        if agreement is not None:
            told |= {"agreement": agreement.dice, "by_planes": agreement.by_planes}
        judged = rule.judge(probabilities, found, masks, affine, labels, ranges=models[0].shapes, **told)
    boxes: list[list[int]] = []
    if inferer.tiling == "patches":
        boxes = patch_boxes(sample, preparation, ensure_tuple(inferer.roi_size), patch_foreground, finer)
    return CasePrediction(masks, probabilities, images, affine, boxes, axis, judged)


def _by_frames(
    case: Case, frames: int, predict: Callable[..., CasePrediction], progress: Callable[[float], object] | None
) -> CasePrediction:
    """A sequence, predicted frame by frame."""
    part = None if progress is None else lambda done: progress(done / frames)
    return _as_sequence([predict(replace(case, frame=frame), progress=part) for frame in range(frames)])


def _joined(
    case: Case,
    models: Sequence[Model],
    inferer: VolumeInferer,
    centreline: Centreline | None,
    *,
    cuts: Sequence[Cut],
    spacing: Spacing | None,
    flips: Sequence[str],
    planes: str,
    finer: bool,
    progress: Callable[[float], object] | None,
    announce: Announce,
    agreement: Agreement | None,
) -> tuple[MetaTensor, Sample, Preparation]:
    """The mean of what the models give, or each along its part of the cord, where the result lies; the scan as the last
    of them saw it, and how it was prepared."""
    joined: Any = None
    passes = len(models) * (1 if agreement is None else 1 + len(agreement.views))
    part_done = None if progress is None else lambda done: progress(done / passes)
    for number, model in enumerate(models):
        if number == 0 or not _prepares_alike(model, models[number - 1]):
            preparation = model.preparation if spacing is None else model.preparation.with_spacing(spacing)
            sample = _prepared(case, model, preparation, centreline)
        part = _part_of_slices(number, cuts, centreline, sample[keys.IMAGE])
        values = _values(
            model,
            sample if part is None else sample | {keys.FOREGROUND: sample[keys.FOREGROUND] & (part > 0)},
            inferer,
            flips,
            planes,
            progress=part_done,
            announce=announce if number == 0 else None,
            agreement=agreement,
        )
        if agreement is not None and not _others(sample, model, planes):
            again = partial(
                _values, model, inferer=inferer, flips=(), planes="scanned", progress=part_done, announce=None
            )
            agreement.compare(values, sample, len(model.window), again)
        if part is not None:
            values *= part
        restored = _restored(values, model, preparation, sample[keys.IMAGE], resample=not finer)
        if joined is None:
            joined = restored
        elif restored.shape != joined.shape:
            raise CheckpointError("the checkpoints work at different spacings", mend="add predict.spacing=[…]")
        else:
            joined += restored
    if len(models) > 1 and not cuts:
        joined /= len(models)
    return joined, sample, preparation


def _part_of_slices(
    number: int, cuts: Sequence[Cut], centreline: Centreline | None, image: MetaTensor
) -> torch.Tensor | None:
    """How much a model counts in each slice of a prepared image, (1, …, slices, …); None without cuts."""
    if not cuts:
        return None
    assert centreline is not None
    axis, parts = parts_of_slices(cuts, centreline, image.shape[1:], affine_of(image))
    shape = [1, 1, 1, 1]
    shape[1 + axis] = -1
    return torch.from_numpy(parts[number].astype(np.float32)).reshape(shape)


def require_alike(models: Sequence[Model]) -> None:
    """Refuse models that cannot be averaged.

    Raises:
        CheckpointError: they predict different structures or images, or some see slices and others blocks.
    """
    mend = "average runs of one experiment"
    if any(model.labels != models[0].labels for model in models):
        raise CheckpointError("the checkpoints predict different structures", mend=mend)
    sides = sorted({len(model.window) for model in models})
    if len(sides) > 1:
        raise CheckpointError("of the checkpoints some take patches of two sides, others of three", mend=mend)


def _prepares_alike(model: Model, other: Model) -> bool:
    return model.preparation.nodes == other.preparation.nodes and model.channels == other.channels


def _prepared(case: Case, model: Model, preparation: Preparation, centreline: Centreline | None) -> Sample:
    """The case as the network sees it, with what `RememberScand` tells of the scan."""
    try:
        item = item_of(in_order(case, model.channels))
    except AnklesegError as error:
        raise CheckpointError(error.problem, file=error.file or model.path, mend=error.mend) from error
    del item[keys.LABEL]
    if preparation.nodes:  # it lies on the grid of the file; only what was prepared already stays there
        item.pop(keys.FOREGROUND, None)
    if centreline is not None:
        item[keys.CENTRELINE] = centreline.points
    with own_errors():
        return with_foreground(preparation(Compose([*reading(), RememberScand(keys.IMAGE)])(item)))


VALUES = "values"  # key of what networks give
TINY = 1e-6  # of a voxel inside what was predicted: there is nothing to be told


def _values(
    model: Model,
    sample: Sample,
    inferer: VolumeInferer,
    flips: Sequence[str],
    planes: str,
    *,
    progress: Callable[[float], object] | None,
    announce: Announce,
    agreement: Agreement | None = None,
) -> torch.Tensor:
    """Images in the intensities of the input, then probabilities, in the prepared space."""
    images, whole = len(model.labels.images), model.blending is not None
    image: MetaTensor = sample[keys.IMAGE]
    affine = affine_of(image)
    others = _others(sample, model, planes)
    passes = (1 + len(others)) * 2 ** len(flips)
    part = None if progress is None else lambda done: progress(done / passes)

    some: Any = inferer if not others else SeveralPlanesInferer(inferer, model.planes, planes)

    def predicted(axes: tuple[int, ...]) -> torch.Tensor:
        more: dict[str, Any] = {"announce": None if axes else announce}
        if others and agreement is not None and not axes:
            more["each"] = agreement.compare_planes
        shown = reversed_along(image.as_tensor(), axes)[None]
        values = some(
            MetaTensor(shown, affine=torch.as_tensor(affine)) if others else shown,
            model.network,
            foreground=None if whole else np.asarray(reversed_along(sample[keys.FOREGROUND], axes)[0]),
            activate=None if whole else model.labels.activate,
            fill=images,
            slice_thickness=sample[keys.SLICE_THICKNESS] if getattr(model.network, "conditional", False) else None,
            progress=part,
            **more,
        )
        return without_meta(model.labels.activate(values) if whole else values)[0]

    values = averaged_over_flips(predicted, flips, affine, model.labels)
    return RestoreIntensitiesd(VALUES, images=images)(sample | {VALUES: values})[VALUES] if images else values


def _others(sample: Sample, model: Model, planes: str) -> tuple[str, ...]:
    """The planes, besides its own, that a prepared scan is seen in."""
    image: MetaTensor = sample[keys.IMAGE]
    return planes_of(image.shape[1:], affine_of(image), model.planes, planes)[1:]


def _restored(
    values: torch.Tensor, model: Model, preparation: Preparation, like: MetaTensor, *, resample: bool
) -> MetaTensor:
    """What a network gives, where its input lies; nothing fades at the border of what the preparation cropped."""
    restored = preparation.restore(values, like, resample=resample)
    if model.blending is None or not model.blending.background:
        return restored
    inside = preparation.restore(torch.ones_like(values[:1]), like, resample=resample)
    return with_meta_of(restored, restored.as_tensor() / inside.as_tensor().clamp_min(TINY))


def _as_sequence(frames: Sequence[CasePrediction]) -> CasePrediction:
    masks, probabilities, images = (
        np.stack([getattr(frame, name) for frame in frames], axis=-1) for name in ("masks", "probabilities", "images")
    )
    judged = of_sequence([frame.confidence for frame in frames])
    return CasePrediction(masks, probabilities, images, frames[0].affine, [], confidence=judged)


def patch_boxes(
    sample: Sample, preparation: Preparation, window: Sequence[int], foreground: float, finer: bool = False
) -> list[list[int]]:
    """Boxes of the single patches of which at least this fraction is foreground, in voxels of the result: those of the
    input, or where it is ``finer`` of the prepared spacing."""
    sides = [*window, 1] if len(window) == 2 else list(window)
    inside = np.asarray(sample[keys.FOREGROUND][0])
    number = np.zeros(inside.shape, dtype=np.float32)
    count = 0
    for corner in tile_corners(inside.shape, sides, 0.0):
        room = tuple(slice(max(c, 0), c + w) for c, w in zip(corner, sides, strict=True))
        whole = all(c < 0 or c % w == 0 for c, w in zip(corner, sides, strict=True))
        if whole and inside[room].mean() >= foreground:
            count += 1
            number[room] = count
    like = sample[keys.IMAGE]
    placed = preparation.restore(torch.from_numpy(number)[None], like, resample=not finer, nearest=True)
    restored = np.rint(np.asarray(placed[0])).astype(np.int32)
    found = ndimage.find_objects(restored, max_label=count)
    return [[*(s.start for s in box), *(s.stop for s in box)] for box in found if box is not None]
