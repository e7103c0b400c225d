"""Segment tumours or cords by a classical method, and write what `predict_cases` would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import Compose

from ankleseg import keys
from ankleseg.classical import REGIONS, Method, Snakes, tumour_masks
from ankleseg.classical.tumour import ENHANCED, FLAIR
from ankleseg.cohorts import Case
from ankleseg.cohorts.brats import FILE, LABEL_VALUES
from ankleseg.cohorts.files import stem
from ankleseg.config import build
from ankleseg.data.reading import item_of, reading
from ankleseg.errors import CohortError, ConfigError, own_errors
from ankleseg.inference.case import CasePrediction
from ankleseg.inference.centrelines import GetCentreline
from ankleseg.inference.postprocessing import Postprocessing
from ankleseg.inference.run import write_predictions
from ankleseg.labels import Labels
from ankleseg.measures import Centreline
from ankleseg.transforms.metadata import affine_of, naming_file
from ankleseg.volumes import slice_axis
from ankleseg.volumes import spacing as voxel_sides


def segment_cases(
    cases: Sequence[Case],
    node: Mapping[str, Any],
    out: str | Path,
    *,
    postprocessing: Postprocessing | None = None,
    centreline: GetCentreline | None = None,
) -> list[dict[str, Any]]:
    """Segment cases one after the other; a case that fails is recorded and the others go on.

    `Snakes` write ``cord``. The others write three regions where all cases have a channel ``t1ce``, else
    ``whole_tumour`` alone (see `tumour_masks`).

    Args:
        cases: brains without skull, of a channel ``flair`` or of a single one; or scans of the cord, of one channel.
        node: of the method, with its ``_target_``.
        out: folder that receives ``predictions.json`` and a folder for each case.
        postprocessing: what is done to the whole tumour, or to the cord.
        centreline: gives that of the cord in a case.

    Returns:
        The rows of ``predictions.json``, one for each case, with its ``status``.

    Raises:
        ConfigError: the method cannot be built, a result would replace an input, or ``out`` cannot be written; or
            there is no centreline for a method that needs one, or one for another.
    """
    method = build(node)
    name = str(node["_target_"]).rpartition(".")[2]
    if isinstance(method, Snakes):
        if centreline is None:
            raise ConfigError(
                f"{name} segments along the centreline of the cord",
                mend="add centreline=FILE, or checkpoint=CENTRELINE",
            )
        labels = Labels(structures=("cord",))
        predict = partial(_cord, method=method, centreline=centreline, postprocessing=postprocessing)
    else:
        if centreline is not None:
            raise ConfigError(f"a centreline is given, and {name} needs none", mend="leave it out")
        known = [_channels(case) for case in cases if case.problem is None]
        structures = REGIONS if all(ENHANCED in names for names in known) else REGIONS[:1]
        labels = Labels(structures=structures, regions=True, label_values=LABEL_VALUES[: len(structures)])
        predict = partial(_tumour, method=method, labels=labels, postprocessing=postprocessing)
    given = {key: value for key, value in node.items() if key != "_target_"}
    settings: dict[str, Any] = {"mode": name, "window": [], "method": given, "structures": list(labels.structures)}
    if labels.regions:
        settings["regions"] = True
    return write_predictions(cases, out, predict, labels, settings={**settings, "images": [], "checkpoint": []})


def _channels(case: Case) -> dict[str, Path]:
    """The files that are looked at, by the names that the prior knows them by."""
    by_name = {name.casefold(): path for name, path in case.channels.items()}
    if FLAIR not in by_name and len(by_name) == 1:
        return {FLAIR: case.images[0]}
    return {name: by_name[name] for name in (FLAIR, ENHANCED) if name in by_name}


def _flair_beside(image: Path) -> str:
    """How the FLAIR would be called of a case whose files are named as in BraTS, to be followed by another way."""
    named = FILE.fullmatch(stem(image))
    if named is None:
        return ""
    word = "t2f" if named[3].lower() in ("t1n", "t1c", "t2w") else FLAIR
    return f"add {named[1]}{named[2]}{word}.nii.gz to its folder, or "


def _cord(
    case: Case, *, method: Snakes, centreline: GetCentreline, postprocessing: Postprocessing | None, **told: Any
) -> CasePrediction:
    if len(case.channels) > 1:
        raise CohortError(
            f"case {case.name} has the channels {', '.join(case.channels)}: expected one",
            file=case.images[0],
            mend="name one scan of the cord in a table with the column image",
        )
    axis = centreline(case)
    image = _read(case)
    with naming_file(image):
        masks = method(np.asarray(image[0]), affine_of(image), axis.points)[None]
    if postprocessing is not None:
        masks = postprocessing(masks, affine=affine_of(image))
    return _prediction(masks, affine_of(image), axis)


def _tumour(
    case: Case, *, method: Method, labels: Labels, postprocessing: Postprocessing | None, **told: Any
) -> CasePrediction:
    channels = _channels(case)
    if FLAIR not in channels:
        raise CohortError(
            f"case {case.name} has the channels {', '.join(case.channels)}: expected {FLAIR}, maybe {ENHANCED}",
            file=case.images[0],
            mend=f"{_flair_beside(case.images[0])}name the file in a table with the column image_{FLAIR}",
        )
    if len(labels) == 1:
        channels = {FLAIR: channels[FLAIR]}
    image = _read(replace(case, channels=channels))
    affine = affine_of(image)
    across = slice_axis(affine)
    volumes = [np.moveaxis(np.asarray(volume), across, -1) for volume in image]
    sides = [*np.delete(voxel_sides(affine), across), voxel_sides(affine)[across]]

    def clean(mask: np.ndarray) -> np.ndarray:
        return mask if postprocessing is None else postprocessing(mask[None], regions=True)[0]

    with naming_file(image):
        found = tumour_masks(method, dict(zip(channels, volumes, strict=True)), sides, clean)
    masks = np.ascontiguousarray(np.moveaxis(found, -1, across + 1))
    return _prediction(masks, affine)


def _read(case: Case) -> Any:
    item = item_of(case)
    del item[keys.LABEL]
    with own_errors():
        return Compose(reading())(item)[keys.IMAGE]


def _prediction(masks: np.ndarray, affine: np.ndarray, centreline: Centreline | None = None) -> CasePrediction:
    nothing = np.zeros((0, *masks.shape[1:]), dtype=np.float32)
    return CasePrediction(masks, masks.astype(np.float32), nothing, affine, [], centreline)
