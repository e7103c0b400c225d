"""Predict the cases of a study and write masks, labels, probabilities and images."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ankleseg.cohorts import Case, spare_inputs
from ankleseg.config import require_folder
from ankleseg.errors import AnklesegError, told
from ankleseg.files import replace_file
from ankleseg.inference.case import CasePrediction, predict_case, require_alike
from ankleseg.inference.centrelines import (
    ENDING,
    GetCentreline,
    found_centreline,
    require_centreline,
    shared_structure,
    write_centreline,
)
from ankleseg.inference.confidence import ConfidenceRule, summary
from ankleseg.inference.model import Model, refuse_registration
from ankleseg.inference.postprocessing import Postprocessing
from ankleseg.inference.volume import BLENDS, VolumeInferer
from ankleseg.inference.whole_cord import Cut, require_cuts
from ankleseg.labels import Labels
from ankleseg.measures import Centreline
from ankleseg.volumes import Header, read_header, slice_axis, write_volume
from ankleseg.volumes import spacing as voxel_sides

MANIFEST = "predictions.json"
FAR = 1.25  # times the distance of slices in training: what lies beyond is told


def predict_cases(
    cases: Sequence[Case],
    models: Sequence[Model],
    out: str | Path,
    *,
    inferer: VolumeInferer,
    postprocessing: Postprocessing | None = None,
    save_probabilities: bool = False,
    spacing: Sequence[float | None] | None = None,
    patch_foreground: float = 0.75,
    flips: Sequence[str] = (),
    planes: str = "all",
    centreline: GetCentreline | None = None,
    finders: Sequence[Model] = (),
    cuts: Sequence[Cut] = (),
    confidence: ConfidenceRule | None = None,
) -> list[dict[str, Any]]:
    """Predict cases one after the other; a case that fails is recorded and the others go on.

    Args:
        cases: what to predict.
        models: one, or several to be averaged, or with ``cuts`` those of the parts of the cord, from above.
        out: folder that receives ``predictions.json`` and a folder for each case.
        inferer: how patches make a volume.
        postprocessing: what is done to the masks; None leaves them.
        save_probabilities: also write a probability map for each structure.
        spacing: mm along the prepared axes at which results are written, see `predict_case`.
        patch_foreground, flips, planes: see `predict_case`.
        centreline: gives that of the cord in a case, for models that segment along it.
        finders: models that find it instead, averaged.
        cuts: where along the cord the next model takes over: z of the world in mm, or a share of its length.
        confidence: how structures are judged, see `predict_case`; a line is printed where one is not ok.

    Returns:
        The rows of ``predictions.json``, one for each case, with its ``status``.

    Raises:
        CheckpointError: the models do not fit each other, register pairs of scans, or have no centreline.
        ConfigError: a result would replace an input, ``out`` cannot be written, or the models do not fit the cuts.
    """
    for model in [*models, *finders]:
        refuse_registration(model, "predict a single scan")
    require_alike(models)
    require_centreline(models, finders, centreline)
    require_cuts(cuts, models, along=bool(finders) or centreline is not None)
    if finders:
        centreline = finding_centrelines(finders, models[0].labels, inferer.memory_gb)
    settings = _settings(models, inferer) | {"spacing": spacing and list(spacing), "flips": list(flips)}
    settings |= {"planes": planes, "centreline": [str(model.path) for model in finders], "cuts": list(cuts)}
    settings["confidence"] = confidence and asdict(confidence)
    more: dict[str, Any] = {"spacing": spacing, "flips": flips, "planes": planes, "cuts": cuts}
    more |= {"patch_foreground": patch_foreground, "centreline": centreline, "confidence": confidence}
    return write_predictions(
        cases,
        out,
        partial(_with_less_memory, models=models, inferer=inferer, postprocessing=postprocessing, **more),
        models[0].labels,
        settings=settings,
        remark=lambda header: _warned(header, models),
        save_probabilities=save_probabilities,
    )


def finding_centrelines(finders: Sequence[Model], labels: Labels, memory_gb: float | None = None) -> GetCentreline:
    """The centreline of each case in the mean probability that models give of it.

    Args:
        finders: that segment the cord, in whole slices where they are two-dimensional.
        labels: of the models that need the centreline: the first structure that both have is the cord.
        memory_gb: see `VolumeInferer`.

    Raises:
        CheckpointError: the models do not fit each other.
    """
    require_alike(finders)
    inferer = VolumeInferer(finders[0].window, tiling="auto", memory_gb=memory_gb)
    structure = shared_structure(finders[0].labels, labels)

    def centreline(case: Case) -> Centreline:
        found = predict_case(case, finders, inferer)
        place = finders[0].labels.structures.index(str(structure))
        return found_centreline(found.probabilities[place], found.affine, case)

    return centreline


def write_predictions(
    cases: Sequence[Case],
    out: str | Path,
    predict: Callable[..., CasePrediction],
    labels: Labels,
    *,
    settings: Mapping[str, Any],
    remark: Callable[[Header], str] = lambda header: "",
    save_probabilities: bool = False,
) -> list[dict[str, Any]]:
    """Predict cases one after the other, by whatever means, and write what comes out; see `predict_cases`.

    Args:
        cases: what to predict.
        out: folder that receives ``predictions.json`` and a folder for each case.
        predict: called with a case and, by name, ``progress`` and ``announce`` of `predict_case`.
        labels: what it gives.
        settings: what ``predictions.json`` says of all cases.
        remark: what is to be said of a case by the header of its image.
        save_probabilities: also write a probability map for each structure.
    """
    require_folder(out)
    out = Path(out)
    images = {*labels.images, *_images_before(out)}
    earlier = {case.name: _earlier(out / case.name, case.name, sorted(images)) for case in cases}
    spare_inputs(cases, [path for paths in earlier.values() for path in paths])
    out.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {**settings, "cases": []}
    (out / MANIFEST).unlink(missing_ok=True)
    with tqdm(total=len(cases), unit="case", bar_format="{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}") as bar:
        for number, case in enumerate(cases):
            bar.set_description(f"predicting {case.name} ({number + 1} of {len(cases)})")
            with_case: dict[str, Any] = {"progress": partial(_advance, bar, number + 1)}
            with_case["announce"] = partial(_announce, case.name)
            write = partial(_write, out, case, labels, remark, save_probabilities)
            row = _predicted(case, earlier[case.name], partial(predict, case, **with_case), write)
            bar.n = number + 1
            bar.refresh()
            content["cases"].append(row)
            with replace_file(out / MANIFEST) as part:  # what is predicted counts, even if the next case is a crash
                part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return content["cases"]


def _predicted(
    case: Case,
    earlier: Sequence[Path],
    predict: Callable[[], CasePrediction],
    write: Callable[[CasePrediction], dict[str, Any]],
) -> dict[str, Any]:
    """Predict and write a case in the place of what was there earlier; its row says why where it failed."""
    row, began = _row(case), time.perf_counter()
    try:
        for path in earlier:
            path.unlink(missing_ok=True)
        if case.problem is not None:
            raise case.problem
        row.update(write(predict()))
    except Exception as error:  # of one case; the others go on
        row.update(status="failed", message=told(error, case.images[0] if case.images else case.name))
        tqdm.write(f"ankleseg: {row['message']}")
    row["seconds"] = round(time.perf_counter() - began, 2)
    return row


def _settings(models: Sequence[Model], inferer: VolumeInferer) -> dict[str, Any]:
    """What ``predictions.json`` says of all cases."""
    return {
        "mode": inferer.tiling,
        "window": inferer.roi_size,
        "overlap": inferer.overlap,
        "blend": next(name for name, mode in BLENDS.items() if mode == inferer.mode),
        "structures": list(models[0].labels.structures),
        "regions": models[0].labels.regions,
        "label_values": models[0].labels.label_values,
        "images": list(models[0].labels.images),
        "checkpoint": [str(model.path) for model in models],
    }


def _advance(bar: tqdm, end: float, part: float) -> None:
    """Parts of a case add up to one but for rounding, of which tqdm would warn."""
    bar.update(max(min(part, end - bar.n), 0.0))


def _announce(case: str, line: str) -> None:
    tqdm.write(f"{case}: {line}")


def _with_less_memory(
    case: Case,
    models: Sequence[Model],
    inferer: VolumeInferer,
    postprocessing: Postprocessing | None,
    **more: Any,
) -> CasePrediction:
    """Predict; when memory runs out, try once more tile by tile, one at a time."""
    try:
        return predict_case(case, models, inferer, postprocessing, **more)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
    # only here, since the error holds all that the first attempt had in memory
    try:
        less = {name: more[name] for name in ("spacing", "flips", "planes", "centreline", "cuts", "confidence")}
        return predict_case(case, models, inferer.smaller(models[0].window), postprocessing, **less)
    except (MemoryError, RuntimeError) as again:
        raise AnklesegError(
            "does not fit into memory", file=case.images[0], mend="choose a smaller predict.window or a coarser spacing"
        ) from again


def _warned(header: Header, models: Sequence[Model]) -> str:
    """Say in what a scan is unlike those that a network was trained on; of several networks, of the first it is so."""
    message = next(filter(None, (_unlike_training(header, model) for model in models)), "")
    if message:
        tqdm.write(f"ankleseg: {header.path}: {message}")
    return message


def _unlike_training(header: Header, model: Model) -> str:
    """Whether slices of a scan lie in another plane, or at another distance, than those the network was trained on."""
    if model.slice_axis is None:
        return ""
    turned = model.preparation.oriented(header.affine)
    mm = voxel_sides(turned)
    across = float(mm[model.slice_axis])
    finest, coarsest = model.slice_spacing or (across, across)
    if slice_axis(turned) != model.slice_axis and mm.max() >= 1.5 * mm.min():
        return "its slices lie in another plane than those of the training scans: do not trust the result"
    if not finest / FAR <= across <= coarsest * FAR:
        trained = f"{finest:.2g}" if finest == coarsest else f"{finest:.2g} to {coarsest:.2g}"
        return f"its slices lie {across:.2g} mm apart, those of the training {trained} mm: do not trust the result"
    return ""


def _row(case: Case) -> dict[str, Any]:
    return {
        "case": case.name,
        "subject": case.subject,
        "group": case.group,
        "side": case.side,
        "image": str(Path(case.images[0]).resolve()) if case.images else None,
        "status": "ok",
        "message": "",
        "labels": None,
        "images": {},
        "masks": {},
        "probabilities": {},
        "patches": [],
        "centreline": None,
        "confidence": {},
    }


def _images_before(out: Path) -> list[str]:
    """Names of the images that an earlier prediction into this folder gave, maybe of another network."""
    try:
        return [str(name) for name in json.loads((out / MANIFEST).read_text(encoding="utf-8"))["images"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _earlier(folder: Path, name: str, images: Sequence[str]) -> list[Path]:
    """What an earlier run wrote for this case and is to go: a failure must not leave results that look new."""
    kinds = ["label-*_mask", "label-*_probability", "labels", *map(escape, images)]
    found = [path for kind in kinds for path in folder.glob(f"{escape(name)}_{kind}.nii.gz")]
    return [*found, *folder.glob(f"{escape(name)}{ENDING}.csv")]


def _write(
    out: Path,
    case: Case,
    labels: Labels,
    remark: Callable[[Header], str],
    save_probabilities: bool,
    prediction: CasePrediction,
) -> dict[str, Any]:
    """Write what was predicted, and return what is to be noted of it."""
    header = read_header(case.images[0])
    folder = out / case.name
    folder.mkdir(exist_ok=True)

    def save(name: str, data: np.ndarray) -> str:
        write_volume(folder / name, data, prediction.affine, like=header)
        return f"{case.name}/{name}"

    row: dict[str, Any] = {"message": remark(header), "patches": prediction.patches}
    row |= {"images": {}, "masks": {}, "probabilities": {}}
    row["confidence"] = {name: one.to_plain() for name, one in prediction.confidence.items()}
    if said := summary(prediction.confidence):
        _announce(case.name, said)
    for name, image in zip(labels.images, prediction.images, strict=True):
        row["images"][name] = save(f"{case.name}_{name}.nii.gz", image.astype(np.float32))
    for k, structure in enumerate(labels.structures):
        mask = prediction.masks[k].astype(np.uint8)
        row["masks"][structure] = save(f"{case.name}_label-{structure}_mask.nii.gz", mask)
        if save_probabilities:
            name = f"{case.name}_label-{structure}_probability.nii.gz"
            row["probabilities"][structure] = save(name, prediction.probabilities[k].astype(np.float32))
    if len(labels):
        row["labels"] = save(f"{case.name}_labels.nii.gz", labels.written(labels.label_map(prediction.masks)))
    if prediction.centreline is not None:
        row["centreline"] = f"{case.name}/{case.name}{ENDING}.csv"
        write_centreline(out / row["centreline"], prediction.centreline)
    return row
