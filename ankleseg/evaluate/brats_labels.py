"""Predictions as BraTS has them: a label map a case, of necrosis, oedema and enhancing tumour."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ankleseg.cohorts import brats
from ankleseg.cohorts.files import folders_in, images_in, is_given, stem
from ankleseg.cohorts.words import is_segmentation
from ankleseg.errors import FileError, told
from ankleseg.evaluate.predictions import DATASET_FILE, MANIFEST, MaskFile, PredictedCase, Predictions, read_predictions
from ankleseg.volumes import read_label_map

NECROSIS, OEDEMA, ENHANCING, ENHANCING_BEFORE_2023 = 1, 2, 3, 4
SEGMENTATION = re.compile(r"[_-]seg$", re.IGNORECASE)
NEWER = re.compile(r".+-seg|.+-\d{5}-\d{3}([_-]seg)?", re.IGNORECASE)  # as files are called since 2023
REGIONS = tuple(brats.REGIONS)


def read_tumour_predictions(folder: str | Path) -> Predictions:
    """Read what `read_predictions` does, or a folder of BraTS label maps, one a case.

    These are called ``<case>.nii.gz``, ``<case>-seg.nii.gz`` or ``<case>_seg.nii.gz``, in the folder or in one a case.
    Enhancing tumour is 3, or 4 as until 2021; a case whose file holds both, or any other label, is not scored. Where
    files are named as since 2023, 4 is in no region: since 2024 it is a resection cavity.

    Raises:
        FileError: the folder does not exist or holds no predictions.
    """
    folder = Path(folder)
    if not folder.is_dir() or is_given(folder / MANIFEST) or is_given(folder / DATASET_FILE):
        return read_predictions(folder)
    files = _label_maps(folder)
    if not files:
        return read_predictions(folder)
    cases = tuple(_case(name, path) for name, path in sorted(files.items()))
    return Predictions(folder, REGIONS, cases)


def _label_maps(folder: Path) -> dict[str, Path]:
    """Label maps by case; where any file is a segmentation by its name, others are scans that lie beside."""
    there = [*images_in(folder), *(image for below in folders_in(folder) for image in images_in(below))]
    named = [path for path in there if SEGMENTATION.search(stem(path))]
    plain = [path for path in images_in(folder) if not is_segmentation(path)]
    return {SEGMENTATION.sub("", stem(path)): path for path in named or plain}


def _case(name: str, path: Path) -> PredictedCase:
    try:
        enhancing = _enhancing_in(path)
    except Exception as error:  # of one case; the others go on
        return PredictedCase(name, {}, status="unreadable", message=told(error, path))
    values = (NECROSIS, OEDEMA, enhancing), (NECROSIS, enhancing), (enhancing,)
    return PredictedCase(
        name, {region: MaskFile(path, several) for region, several in zip(REGIONS, values, strict=True)}
    )


def _enhancing_in(path: Path) -> int:
    labels = {int(label) for label in np.unique(read_label_map(path).data)}
    unknown = labels - {0, NECROSIS, OEDEMA, ENHANCING, ENHANCING_BEFORE_2023}
    if NEWER.fullmatch(stem(path)) and not unknown:
        return ENHANCING
    if unknown or {ENHANCING, ENHANCING_BEFORE_2023} <= labels:
        raise FileError(
            f"holds the labels {', '.join(map(str, sorted(labels - {0})))}: "
            "expected 1 necrosis, 2 oedema and 3 enhancing (or 4, as until 2021)",
            file=path,
            mend="give the values by a dataset.json beside it, as nnU-Net does",
        )
    return ENHANCING_BEFORE_2023 if ENHANCING_BEFORE_2023 in labels else ENHANCING
