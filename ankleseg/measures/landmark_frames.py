"""Anatomical axes from landmarks set by hand, where a bone's mask is too incomplete to show them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ankleseg.errors import GeometryError
from ankleseg.measures.anatomical_frames import SIDES, Frame, frame_of, unit

LANDMARKS = {
    "calcaneus": (
        "posterior_inferior",  # of the tuberosity
        "anterior_inferior",  # below the joint with the cuboid
        "posterior_lateral",  # where the lateral side bulges most, behind
        "long_plantar_ligament",  # its insertion; the origin
    ),
    "talus": (
        "sinus",  # the sinus tarsi, below the neck
        "anterior_superior",  # upper edge of the head
        "anterior_inferior",  # lower edge of the head
        "dome_lowest",  # bottom of the groove of the dome; the origin
        "dome_medial",  # top of the medial shoulder of the dome
        "dome_lateral",  # top of the lateral shoulder of the dome
    ),
    "tibia": (
        "anterior_edge_inferior",
        "anterior_edge_superior",
        "lateral",  # outermost point of the lower end, on the side of the fibula; the origin is half-way
        "medial",  # outermost point of the lower end, on the other side; to it
    ),
}


def frames_from_landmarks(
    landmarks: Mapping[str, Mapping[str, Float[np.ndarray, "3"]]], side: str, *, file: str | Path | None = None
) -> dict[str, Frame]:
    """Build ``world_from_bone`` of each bone with landmarks, with the axes of `anatomical_frames`.

    - calcaneus: y from posterior_inferior to anterior_inferior; lateral from long_plantar_ligament to
      posterior_lateral, made square to y.
    - talus: y along the bisector of the lines from sinus to the two anterior points; z along the bisector of the lines
      from dome_lowest to the two shoulders, made square to y.
    - tibia: z along the anterior edge; lateral from medial to lateral, made square to z.

    Args:
        landmarks: {bone: {name: (3,)}}, RAS+ mm of the static scan, names as in `LANDMARKS`.
        side: ``left`` or ``right``.
        file: where they were read, for messages.

    Raises:
        GeometryError: a landmark is missing or unknown, or they are those of the other side.

    Source: the landmarks of Sheehan et al. 1999 as used by Makki et al. 2019, with our directions of the axes.
    """
    if side not in SIDES:
        raise GeometryError(f"invalid side {side!r}: expected {' or '.join(SIDES)}", file=file)
    _check_names(landmarks, file)
    right = 1.0 if side == "right" else -1.0
    builders = {"calcaneus": _calcaneus, "talus": _talus, "tibia": _tibia}
    frames = {bone: builders[bone](points, right) for bone, points in landmarks.items()}
    if "tibia" in frames:
        # In front of the line from side to side lies the anterior edge, whatever the side.
        ahead = landmarks["tibia"]["anterior_edge_inferior"] - frames["tibia"][:3, 3]
        if ahead @ frames["tibia"][:3, 1] < 0:
            raise GeometryError(
                f"the tibia's anterior edge lies behind it for a {side} foot", file=file, mend="check the side"
            )
    return frames


def _calcaneus(points: Mapping[str, np.ndarray], right: float) -> Frame:
    forwards = unit(points["anterior_inferior"] - points["posterior_inferior"])
    x = right * (points["posterior_lateral"] - points["long_plantar_ligament"])
    up = np.cross(x, forwards)
    return frame_of(np.cross(forwards, up), up, points["long_plantar_ligament"], keep="z")


def _talus(points: Mapping[str, np.ndarray], right: float) -> Frame:
    forwards = sum(unit(points[f"anterior_{end}"] - points["sinus"]) for end in ("superior", "inferior"))
    up = sum(unit(points[f"dome_{edge}"] - points["dome_lowest"]) for edge in ("medial", "lateral"))
    x = np.cross(forwards, up)
    return frame_of(x, np.cross(x, forwards), points["dome_lowest"], keep="x")


def _tibia(points: Mapping[str, np.ndarray], right: float) -> Frame:
    superior = points["anterior_edge_superior"] - points["anterior_edge_inferior"]
    x = right * (points["lateral"] - points["medial"])
    return frame_of(x, superior, (points["lateral"] + points["medial"]) / 2, keep="z")


def _check_names(landmarks: Mapping[str, Mapping[str, object]], file: str | Path | None) -> None:
    for bone, points in landmarks.items():
        if bone not in LANDMARKS:
            raise GeometryError(f"invalid bone {bone!r}: expected {', '.join(LANDMARKS)}", file=file)
        wrong = sorted(set(points) ^ set(LANDMARKS[bone]))
        if wrong:
            verb = "lacks" if wrong[0] in LANDMARKS[bone] else "has the unknown landmark"
            raise GeometryError(f"{bone} {verb} {wrong[0]}", file=file, mend=f"give {', '.join(LANDMARKS[bone])}")
