"""Predict the cases of a study and write masks, labels and probabilities on the grid of their input."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from tqdm import tqdm

from ankleseg.cohorts import Case
from ankleseg.errors import AnklesegError, CheckpointError
from ankleseg.predict.checkpoint import Model
from ankleseg.predict.postprocessing import Postprocessing, label_map
from ankleseg.predict.tiles import tile_corners
from ankleseg.predict.volume import WholeVolume
from ankleseg.prepare import Prepared
from ankleseg.volumes import Header, read_header, replace_file, slice_axis, spacing, write_volume

MANIFEST = "predictions.json"


@dataclass(frozen=True)
class CasePrediction:
    """Labels and probabilities of a case on the grid of its input.

    ``labels``: (X, Y, Z) uint8; ``probabilities``: (K, X, Y, Z) float32; ``patches``: boxes in input voxels, half
    open, of the single patches with enough foreground (mode ``patches`` only). Of a 4-D sequence, (X, Y, Z, T) and
    (K, X, Y, Z, T), without patches.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    patches: list[list[int]]


def predict_case(
    case: Case,
    models: Sequence[Model],
    whole_volume: WholeVolume,
    postprocessing: Postprocessing | None = None,
    progress: Any = None,
) -> CasePrediction:
    """Predict one case; the probabilities of several models are averaged on the grid of the input.

    A 4-D sequence is predicted frame by frame.

    Raises:
        AnklesegError: the case cannot be read, prepared or predicted.
        CheckpointError: the models do not fit the case or each other.
    """
    if len({model.structures for model in models}) != 1:
        raise CheckpointError("the checkpoints predict different structures", mend="average runs of one experiment")
    shape = read_header(case.images[0]).shape
    if case.frame is None and len(shape) == 4:
        return _predict_sequence(case, shape[3], models, whole_volume, postprocessing, progress)
    mean: np.ndarray | None = None
    patches: list[list[int]] = []
    prepared: Prepared | None = None
    for number, model in enumerate(models):
        if len(case.images) != model.channels:
            raise CheckpointError(
                f"{case.name} has {len(case.images)} channels, the network wants {model.channels}",
                file=model.path,
                mend="give the same channels as in training",
            )
        if prepared is None or model.preparation != models[number - 1].preparation:
            prepared = model.preparation(case)
        probabilities = whole_volume(
            model.network,
            torch.from_numpy(prepared.image),
            prepared.foreground,
            progress=None if progress is None else lambda part: progress(part / len(models)),
        )
        restored = prepared.placement.restore(probabilities.numpy(), order=1)
        mean = restored / len(models) if mean is None else mean + restored / len(models)
        if whole_volume.mode == "patches":
            patches = patch_boxes(prepared, whole_volume.window, whole_volume.patch_foreground)
    assert mean is not None
    return CasePrediction(label_map(mean, postprocessing), mean, patches)


def _predict_sequence(
    case: Case,
    frames: int,
    models: Sequence[Model],
    whole_volume: WholeVolume,
    postprocessing: Postprocessing | None,
    progress: Any,
) -> CasePrediction:
    """Predict every frame of a 4-D sequence."""
    part = None if progress is None else lambda done: progress(done / frames)
    found = [
        predict_case(replace(case, frame=frame), models, whole_volume, postprocessing, part) for frame in range(frames)
    ]
    labels = np.stack([prediction.labels for prediction in found], axis=-1)
    return CasePrediction(labels, np.stack([prediction.probabilities for prediction in found], axis=-1), [])


def patch_boxes(prepared: Prepared, window: Sequence[int], foreground: float) -> list[list[int]]:
    """Boxes, in input voxels, of the single patches of which at least this fraction is foreground."""
    sides = [*window, 1] if len(window) == 2 else list(window)
    number = np.zeros(prepared.foreground.shape, dtype=np.float32)
    count = 0
    for corner in tile_corners(prepared.foreground.shape, sides, 0.0):
        room = tuple(slice(c, c + w) for c, w in zip(corner, sides, strict=True))
        whole = all(c % w == 0 for c, w in zip(corner, sides, strict=True))
        if whole and prepared.foreground[room].mean() >= foreground:
            count += 1
            number[room] = count
    restored = np.rint(prepared.placement.restore(number[None], order=0)[0]).astype(np.int32)
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
) -> list[dict[str, Any]]:
    """Predict cases one after the other; a case that fails is recorded and the others go on.

    Args:
        cases: what to predict.
        models: one, or several to be averaged.
        out: folder that receives ``predictions.json`` and a folder for each case.
        whole_volume: how patches make a volume.
        postprocessing: what is done to the masks; None leaves them.
        save_probabilities: also write a probability map for each structure.

    Returns:
        The rows of ``predictions.json``, one for each case, with its ``status``.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    structures = models[0].structures
    content: dict[str, Any] = {
        "mode": whole_volume.mode,
        "window": list(whole_volume.window),
        "structures": list(structures),
        "checkpoint": [str(model.path) for model in models],
        "cases": [],
    }
    (out / MANIFEST).unlink(missing_ok=True)
    with tqdm(
        total=len(cases), unit="case", bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    ) as bar:
        for number, case in enumerate(cases):
            bar.set_description(f"predicting {case.name} ({number + 1} of {len(cases)})")
            _forget(out / case.name, case.name)
            row = _row(case)
            began = time.perf_counter()
            try:
                prediction = _with_less_memory(case, models, whole_volume, postprocessing, bar.update)
                header = read_header(case.images[0])
                row["message"] = _other_plane(header, models[0])
                row.update(_write(out, case, prediction, header, structures, save_probabilities))
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


def _with_less_memory(
    case: Case,
    models: Sequence[Model],
    whole_volume: WholeVolume,
    postprocessing: Postprocessing | None,
    progress: Any,
) -> CasePrediction:
    """Predict; when memory runs out, try once more tile by tile, one at a time."""
    try:
        return predict_case(case, models, whole_volume, postprocessing, progress)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        smaller = replace(whole_volume, mode="tiles", batch=1, window=models[0].window)
        try:
            return predict_case(case, models, smaller, postprocessing)
        except (MemoryError, RuntimeError) as again:
            raise AnklesegError(
                "does not fit into memory", file=case.images[0], mend="choose a smaller predict.window"
            ) from again


def _other_plane(header: Header, model: Model) -> str:
    """Say when thick slices of a scan lie in another plane than those the network was trained on."""
    placement = replace(model.preparation, spacing=None).place(header.shape[:3], header.affine)
    mm = spacing(placement.affine)
    if slice_axis(placement.affine) == 2 or mm.max() < 1.5 * mm.min():
        return ""
    message = "its slices lie in another plane than those of the training scans: do not trust the masks"
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
        "masks": {},
        "probabilities": {},
        "patches": [],
    }


def _forget(folder: Path, name: str) -> None:
    """Remove what an earlier run wrote for this case: a failure must not leave masks that look new."""
    for old in folder.glob(f"{name}_label*.nii.gz"):
        old.unlink()


def _write(
    out: Path,
    case: Case,
    prediction: CasePrediction,
    header: Header,
    structures: Sequence[str],
    save_probabilities: bool,
) -> dict[str, Any]:
    folder = out / case.name
    folder.mkdir(exist_ok=True)

    def save(name: str, data: np.ndarray) -> str:
        write_volume(folder / name, data, header.affine, like=header)
        return f"{case.name}/{name}"

    row: dict[str, Any] = {"masks": {}, "probabilities": {}}
    for k, structure in enumerate(structures):
        mask = (prediction.labels == k + 1).astype(np.uint8)
        row["masks"][structure] = save(f"{case.name}_label-{structure}_mask.nii.gz", mask)
        if save_probabilities:
            name = f"{case.name}_label-{structure}_probability.nii.gz"
            row["probabilities"][structure] = save(name, prediction.probabilities[k].astype(np.float32))
    row["labels"] = save(f"{case.name}_labels.nii.gz", prediction.labels)
    return row
