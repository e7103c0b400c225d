"""Planes of slices: their names, and in which ones a scan can be seen."""

from __future__ import annotations

from collections.abc import Sequence

from ankleseg.errors import ConfigError
from ankleseg.volumes.geometry import Affine, anatomical_axis, slice_axis, spacing

PLANES = {"sagittal": "LR", "coronal": "PA", "axial": "IS"}  # and the anatomical axis across their slices
AXCODES = {"LR": "PSR", "PA": "RSA", "IS": "RAS"}  # of the slices of each, by that axis; the last is across them
THICKEST = 6.0  # mm between slices of a scan of which slices in other planes are made
NARROWEST = 60.0  # mm from its first slice to its last; those of other planes would show a strip of less


def plane_of(affine: Affine) -> str:
    """The plane of the slices of a scan, across which its spacing is the largest."""
    across = slice_axis(affine)
    return next(plane for plane, axis in PLANES.items() if anatomical_axis(affine, axis) == across)


def shows_other_planes(shape: Sequence[int], affine: Affine, across: int) -> bool:
    """Whether others are made of the slices of a scan: they are at most 6 mm apart, and 60 mm or more together."""
    mm = float(spacing(affine)[across])
    return mm <= THICKEST and mm * shape[across] >= NARROWEST


def check_planes(planes: Sequence[str]) -> None:
    """Refuse what is no plane.

    Raises:
        ConfigError: one is unknown.
    """
    if unknown := [plane for plane in planes if plane not in PLANES]:
        raise ConfigError(f"invalid plane {unknown[0]!r}: expected {', '.join(PLANES)}", mend="choose one")
