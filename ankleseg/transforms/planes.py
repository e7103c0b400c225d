"""Planes of slices: their names, and in which ones a scan can be seen."""

from __future__ import annotations

from collections.abc import Sequence

from ankleseg.errors import ConfigError
from ankleseg.volumes.geometry import Affine, anatomical_axis, slice_axis, spacing

PLANES = {"sagittal": "LR", "coronal": "PA", "axial": "IS"}  # and the anatomical axis across their slices
AXCODES = {"LR": "PSR", "PA": "RSA", "IS": "RAS"}  # of the slices of each, by that axis; the last is across them
THICKEST = 4.0  # mm between slices of a scan of which slices in other planes are made


def plane_of(affine: Affine) -> str:
    """The plane of the slices of a scan, across which its spacing is the largest."""
    across = slice_axis(affine)
    return next(plane for plane, axis in PLANES.items() if anatomical_axis(affine, axis) == across)


def is_thin(affine: Affine) -> bool:
    """Whether the slices of a scan are at most 4 mm apart, so that others are made of it in other planes."""
    return bool(spacing(affine).max() <= THICKEST)


def check_planes(planes: Sequence[str]) -> None:
    """Refuse what is no plane.

    Raises:
        ConfigError: one is unknown.
    """
    if unknown := [plane for plane in planes if plane not in PLANES]:
        raise ConfigError(f"invalid plane {unknown[0]!r}: expected {', '.join(PLANES)}", mend="choose one")
