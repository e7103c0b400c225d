"""What was predicted: the folder that ``ankleseg.predict`` writes, or any folder with masks of the same names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ankleseg.errors import FileError

MANIFEST = "predictions.json"
PROTOCOLS = ("tiles", "slices", "patches")
MASK_NAME = re.compile(r"(?P<case>.+)_label-(?P<structure>[^_]+)_mask\.nii(\.gz)?")

Box = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class MaskFile:
    """Where a predicted mask is: a mask, or a label map and the value in it."""

    path: Path
    value: int | None = None


@dataclass(frozen=True)
class PredictedCase:
    """One predicted case.

    ``image`` is the scan it was predicted from, ``images`` holds the files of predicted images by name. ``status`` and
    ``message`` are those of the prediction, ``ok`` or not; ``patches`` holds the boxes, in voxels and half open
    (x0, y0, z0, x1, y1, z1), that the patch protocol scores.
    """

    name: str
    masks: Mapping[str, MaskFile]
    group: str | None = None
    side: str | None = None
    image: Path | None = None
    status: str = "ok"
    message: str = ""
    patches: tuple[Box, ...] = ()
    subject: str | None = None
    images: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Predictions:
    """A folder of predictions: masks of ``structures``, and ``images`` by name.

    A ``complete`` one lists all cases that were asked for, also those that failed.
    """

    folder: Path
    structures: tuple[str, ...]
    cases: tuple[PredictedCase, ...]
    mode: str = "volumes"
    window: tuple[int, ...] = ()
    checkpoints: tuple[str, ...] = ()
    complete: bool = False
    images: tuple[str, ...] = ()


def find_protocols(predictions: str | Path | Mapping[str, str | Path]) -> dict[str, Path]:
    """Name the prediction folders to compare; the first is the main one.

    Args:
        predictions: folders by name; or one folder, alone or with sub-folders ``tiles``, ``slices`` and ``patches``
            that each hold a ``predictions.json``.
    """
    if isinstance(predictions, Mapping):
        return {str(name): Path(folder) for name, folder in predictions.items()}
    folder = Path(predictions)
    if not (folder / MANIFEST).exists():
        found = {name: folder / name for name in PROTOCOLS if (folder / name / MANIFEST).exists()}
        if found:
            return found
    return {folder.resolve().name: folder}


def read_predictions(folder: str | Path) -> Predictions:
    """Read what a folder holds: its ``predictions.json``, or without one the masks that the files' names tell.

    Raises:
        FileError: the folder does not exist, holds no predictions, or its ``predictions.json`` is broken.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError("is not a folder of predictions", file=folder, mend="give the out= of ankleseg.predict")
    path = folder / MANIFEST
    if not path.exists():
        return _from_names(folder)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        structures = tuple(content["structures"])
        cases = tuple(_case(folder, row, structures) for row in content["cases"])
        checkpoint = content.get("checkpoint") or ()
        return Predictions(
            folder,
            structures,
            cases,
            mode=content["mode"],
            window=tuple(content.get("window") or ()),
            checkpoints=(checkpoint,) if isinstance(checkpoint, str) else tuple(checkpoint),
            complete=True,
            images=tuple(content.get("images") or ()),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be understood ({error})"
        raise FileError(problem, file=path, mend="run ankleseg.predict again") from error


def _case(folder: Path, row: Mapping[str, Any], structures: Sequence[str]) -> PredictedCase:
    masks = {name: MaskFile(folder / file) for name, file in row["masks"].items()}
    if row.get("labels"):
        for value, name in enumerate(structures, start=1):
            masks.setdefault(name, MaskFile(folder / row["labels"], value))
    return PredictedCase(
        name=row["case"],
        masks=masks,
        group=row.get("group"),
        side=row.get("side"),
        image=Path(row["image"]) if row.get("image") else None,
        status=row["status"],
        message=row.get("message", ""),
        patches=tuple(_box(row["case"], box) for box in row.get("patches") or ()),
        subject=row.get("subject"),
        images={name: folder / file for name, file in (row.get("images") or {}).items()},
    )


def _box(case: str, box: Sequence[int]) -> Box:
    if len(box) != 6:
        raise ValueError(f"a patch of {case} has {len(box)} numbers instead of 6")
    x0, y0, z0, x1, y1, z1 = map(int, box)
    return x0, y0, z0, x1, y1, z1


def _from_names(folder: Path) -> Predictions:
    found: dict[str, dict[str, MaskFile]] = {}
    for path in sorted(folder.rglob("*_label-*_mask.nii*")):
        name = MASK_NAME.fullmatch(path.name)
        if name:
            found.setdefault(name["case"], {})[name["structure"]] = MaskFile(path)
    if not found:
        raise FileError(
            f"holds neither {MANIFEST} nor files named CASE_label-STRUCTURE_mask.nii.gz",
            file=folder,
            mend="give the out= of ankleseg.predict",
        )
    structures = tuple(sorted({structure for masks in found.values() for structure in masks}))
    return Predictions(folder, structures, tuple(PredictedCase(name, masks) for name, masks in sorted(found.items())))
