"""What the static scan of a phantom tells of its bones, for the evaluation of motion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ankleseg.cohorts import Case
from ankleseg.cohorts.registrations import Registration
from ankleseg.errors import AnklesegError, FileError
from ankleseg.measures.anatomical_frames import anatomical_frames
from ankleseg.volumes import read_mask
from ankleseg.volumes.poses import transform

POINTS = 2000  # of a bone, about, over which the target error is averaged

Registrations = Mapping[tuple[int, str], Registration]  # by frame and bone


@dataclass(frozen=True)
class StaticTruth:
    """What the static scan tells of a subject: its bones' voxels in mm, and their axes where they can be found."""

    case: Case
    points: Mapping[str, Float[np.ndarray, "n 3"]]
    axes: Mapping[str, Float[np.ndarray, "4 4"]]
    problem: str


def static_truth(case: Case | None, name: str) -> StaticTruth:
    """Read the static masks of a case and find their axes.

    Raises:
        FileError: there is no such case, or a mask cannot be read.
    """
    if case is None:
        raise FileError(f"has true poses of {name}, but no scan", mend="make the phantom again")
    used = case.masks
    volumes = {
        bone: read_mask(reference.path, value=reference.value, used=used[reference.path])
        for bone, reference in case.references.items()
    }
    points = {}
    for bone, volume in volumes.items():
        voxels = np.argwhere(volume.data).astype(float)
        if len(voxels):
            points[bone] = transform(volume.affine, voxels[:: max(1, len(voxels) // POINTS)])
    try:
        if case.side is None:
            raise AnklesegError("its side is unknown")
        masks = {bone: volume.data for bone, volume in volumes.items()}
        axes = anatomical_frames(masks, next(iter(volumes.values())).affine, case.side)
        return StaticTruth(case, points, axes, "")
    except AnklesegError as error:
        return StaticTruth(case, points, {}, f"no anatomical axes: {error}")
