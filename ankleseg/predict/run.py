"""Predict the cases of a study and write masks, labels and probabilities on the grid of their input."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from tqdm import tqdm

from ankleseg.cohorts import Case, spare_inputs
from ankleseg.errors import AnklesegError, CheckpointError
from ankleseg.predict.checkpoint import Model
from ankleseg.predict.postprocessing import Postprocessing, label_map
from ankleseg.predict.tiles import tile_corners
from ankleseg.predict.volume import WholeVolume
from ankleseg.prepare import Preparation, Prepared
from ankleseg.volumes import Header, read_header, replace_file, slice_axis, write_volume
from ankleseg.volumes import spacing as voxel_sides

MANIFEST = "predictions.json"


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
    whole_volume: WholeVolume,
    postprocessing: Postprocessing | None = None,
    *,
    spacing: Sequence[float | None] | None = None,
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
    images = len(models[0].images)
    finer = images > 0 or spacing is not None
    whole_volume = replace(whole_volume, images=images)
    total: np.ndarray | None = None
    prepared: Prepared | None = None
    for number, model in enumerate(models):
        _check_channels(case, model)
        if prepared is None or model.preparation != models[number - 1].preparation:
            prepared = _at_spacing(model, spacing)(case)
        values = whole_volume(
            model.network,
            torch.from_numpy(prepared.image),
            prepared.foreground,
            slice_thickness=float(header.spacing.max()) if getattr(model.network, "conditional", False) else None,
            progress=None if progress is None else lambda part: progress(part / len(models)),
            announce=announce if number == 0 else None,
        ).numpy()
        for image in values[:images]:
            image[...] = np.maximum(prepared.scales[0].undone(image), prepared.lowest)
        placed, affine = _placed(values, prepared, finer)
        if total is not None and placed.shape != total.shape:
            raise CheckpointError("the checkpoints work at different spacings", mend="add predict.spacing=[…]")
        total = placed if total is None else total + placed
    assert total is not None and prepared is not None
    mean = total / len(models)
    in_patches = whole_volume.mode == "patches"
    patches = patch_boxes(prepared, whole_volume.window, whole_volume.patch_foreground, finer) if in_patches else []
    labels = label_map(mean[images:], postprocessing) if models[0].structures else np.zeros(mean.shape[1:], np.uint8)
    return CasePrediction(labels, mean[images:], mean[:images], affine, patches)


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
    turned = [placement.oriented_as_input(value) for value in values]
    return np.stack([value for value, _ in turned]), turned[0][1]


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
        room = tuple(slice(c, c + w) for c, w in zip(corner, sides, strict=True))
        whole = all(c % w == 0 for c, w in zip(corner, sides, strict=True))
        if whole and prepared.foreground[room].mean() >= foreground:
            count += 1
            number[room] = count
    placed, _ = _placed(number[None], prepared, finer, order=0)
    restored = np.rint(placed[0]).astype(np.int32)
    found = ndimage.find_objects(restored, max_label=count)
    return [[*(s.start for s in box), *(s.stop for s in box)] for box in found if box is not None]


def predict_cases(
    cases: Sequence[Case],
    models: Sequence[Model],
    out: str | Path,
    *,
    whole_volume: WholeVolume,
    postprocessing: Postprocessing | None = None,
    save_probabilities: bool = False,
    spacing: Sequence[float | None] | None = None,
) -> list[dict[str, Any]]:
    """Predict cases one after the other; a case that fails is recorded and the others go on.

    Args:
        cases: what to predict.
        models: one, or several to be averaged.
        out: folder that receives ``predictions.json`` and a folder for each case.
        whole_volume: how patches make a volume.
        postprocessing: what is done to the masks; None leaves them.
        save_probabilities: also write a probability map for each structure.
        spacing: mm along the prepared axes at which results are written, see `predict_case`.

    Returns:
        The rows of ``predictions.json``, one for each case, with its ``status``.

    Raises:
        ConfigError: a result would replace an input.
    """
    out = Path(out)
    earlier = {case.name: _earlier(out / case.name, case.name, models[0].images) for case in cases}
    spare_inputs(cases, [path for paths in earlier.values() for path in paths])
    out.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "mode": whole_volume.mode,
        "window": list(whole_volume.window),
        "structures": list(models[0].structures),
        "images": list(models[0].images),
        "checkpoint": [str(model.path) for model in models],
        "cases": [],
    }
    (out / MANIFEST).unlink(missing_ok=True)
    with tqdm(
        total=len(cases), unit="case", bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    ) as bar:
        for number, case in enumerate(cases):
            bar.set_description(f"predicting {case.name} ({number + 1} of {len(cases)})")
            for path in earlier[case.name]:
                path.unlink()
            row = _row(case)
            began = time.perf_counter()
            announce = partial(_announce, case.name)
            try:
                prediction = _with_less_memory(
                    case, models, whole_volume, postprocessing, spacing, progress=bar.update, announce=announce
                )
                header = read_header(case.images[0])
                row["message"] = _other_plane(header, models[0])
                row.update(_write(out, case, prediction, header, models[0], save_probabilities))
                row["patches"] = prediction.patches
            except AnklesegError as error:
                row.update(status="failed", message=str(error))
                tqdm.write(f"ankleseg: {error}")
            row["seconds"] = round(time.perf_counter() - began, 2)
            bar.n = number + 1
            bar.refresh()
            content["cases"].append(row)
    with replace_file(out / MANIFEST) as part:
        part.write_text(json.dumps(content, indent=1))
    return content["cases"]


def _announce(case: str, line: str) -> None:
    tqdm.write(f"{case}: {line}")


def _with_less_memory(
    case: Case,
    models: Sequence[Model],
    whole_volume: WholeVolume,
    postprocessing: Postprocessing | None,
    spacing: Sequence[float | None] | None,
    **told: Any,
) -> CasePrediction:
    """Predict; when memory runs out, try once more tile by tile, one at a time."""
    try:
        return predict_case(case, models, whole_volume, postprocessing, spacing=spacing, **told)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        window = tuple(map(min, whole_volume.window, models[0].window))
        smaller = replace(whole_volume, mode="tiles", batch=1, window=window)
        try:
            return predict_case(case, models, smaller, postprocessing, spacing=spacing)
        except (MemoryError, RuntimeError) as again:
            raise AnklesegError(
                "does not fit into memory", file=case.images[0], mend="choose a smaller predict.window"
            ) from again


def _other_plane(header: Header, model: Model) -> str:
    """Say when thick slices of a scan lie in another plane than those the network was trained on."""
    placement = replace(model.preparation, spacing=None).place(header.shape[:3], header.affine)
    mm = voxel_sides(placement.affine)
    if slice_axis(placement.affine) == model.slice_axis or mm.max() < 1.5 * mm.min():
        return ""
    message = "its slices lie in another plane than those of the training scans: do not trust the result"
    tqdm.write(f"ankleseg: {header.path}: {message}")
    return message


def _row(case: Case) -> dict[str, Any]:
    return {
        "case": case.name,
        "subject": case.subject,
        "group": case.group,
        "side": case.side,
        "image": str(Path(case.images[0]).resolve()),
        "status": "ok",
        "message": "",
        "labels": None,
        "images": {},
        "masks": {},
        "probabilities": {},
        "patches": [],
    }


def _earlier(folder: Path, name: str, images: Sequence[str]) -> list[Path]:
    """What an earlier run wrote for this case and is to go: a failure must not leave results that look new."""
    kinds = ["label-*_mask", "label-*_probability", "labels", *map(escape, images)]
    return [path for kind in kinds for path in folder.glob(f"{escape(name)}_{kind}.nii.gz")]


def _write(
    out: Path, case: Case, prediction: CasePrediction, header: Header, model: Model, save_probabilities: bool
) -> dict[str, Any]:
    folder = out / case.name
    folder.mkdir(exist_ok=True)

    def save(name: str, data: np.ndarray) -> str:
        write_volume(folder / name, data, prediction.affine, like=header)
        return f"{case.name}/{name}"

    row: dict[str, Any] = {"images": {}, "masks": {}, "probabilities": {}}
    for name, image in zip(model.images, prediction.images, strict=True):
        row["images"][name] = save(f"{case.name}_{name}.nii.gz", image.astype(np.float32))
    for k, structure in enumerate(model.structures):
        mask = (prediction.labels == k + 1).astype(np.uint8)
        row["masks"][structure] = save(f"{case.name}_label-{structure}_mask.nii.gz", mask)
        if save_probabilities:
            name = f"{case.name}_label-{structure}_probability.nii.gz"
            row["probabilities"][structure] = save(name, prediction.probabilities[k].astype(np.float32))
    if model.structures:
        row["labels"] = save(f"{case.name}_labels.nii.gz", prediction.labels)
    return row
