"""The page of one registration."""

from __future__ import annotations

from collections.abc import Mapping as Table_
from typing import Any

import numpy as np

from ankleseg.deformable.mapping import Mapping
from ankleseg.measures.deformation import jacobian_determinant
from ankleseg.report import Column, Page, Picture, Section, Table
from ankleseg.report.registration import RegistrationPictures
from ankleseg.volumes import Volume, axis_codes, resample

PLANES = {"L": "sagittal", "R": "sagittal", "A": "coronal", "P": "coronal", "I": "axial", "S": "axial"}
READING = (
    "Checkerboards show the fixed and the moving scan in alternate squares: edges go on across the squares where the "
    "scans fit. The grid is that of the moving scan as the field bends it, its affine part left out; lines that cross "
    "or run together are places that the field folds or squeezes. The Jacobian is the volume a voxel of the fixed scan "
    "has in the moving one: red places are larger there, blue ones smaller.",
    "Local correlation is the mean squared correlation in windows of 9 voxels of the working grid, over what the fixed "
    "scan shows: 1 is a perfect match up to contrast. It says how alike the images are, not whether the anatomy is "
    "right.",
)


def build_page(content: Table_[str, Any], fixed: Volume, moving: Volume, moved: np.ndarray, mapping: Mapping) -> Page:
    """Put together the page from what ``registration.json`` holds, the scans and the mapping."""
    before = resample(moving.data, moving.affine, fixed.data.shape, fixed.affine)
    displacement = jacobian = None
    if mapping.displacement is not None:
        bent = Mapping(np.eye(4), mapping.displacement, mapping.affine)
        displacement = bent.on_grid(fixed.data.shape, fixed.affine)
        jacobian = jacobian_determinant(np.moveaxis(displacement, -1, 0), fixed.affine)
    drawn = RegistrationPictures(fixed.data, before, moved, fixed.affine, displacement, jacobian)
    names = {axis: PLANES[code] for axis, code in enumerate(axis_codes(fixed.affine))}
    pictures = [
        Picture(drawn.comparison(axis), f"{name} slice: checkerboards, grid, Jacobian", f"{name} slice")
        for axis, name in names.items()
    ]
    blinks = [
        Picture(drawn.blink(axis), f"{name} slice of the fixed and the moved scan in turn", f"{name}, fixed and moved")
        for axis, name in names.items()
    ]
    said = content["status"] + (f": {content['reason']}" if content["reason"] else "")
    facts = [
        ("Date", content["date"]),
        ("Fixed", content["fixed"]),
        ("Moving", content["moving"]),
        ("Method", content["settings"]["method"]),
        ("Status", said),
        ("Version", f"ankleseg {content['ankleseg']}"),
    ]
    sections = [
        Section("Numbers", (), [_numbers(content)]),
        Section("Before and after", READING[:1], pictures),
        Section("Blink", (), blinks),
        Section("How to read the numbers", READING[1:]),
    ]
    return Page("Registration report", f"{content['moving']} brought to {content['fixed']}", facts, sections)


def _numbers(content: Table_[str, Any]) -> Table:
    similarity = content["local_correlation"]
    columns = [
        Column("as the headers say", 3, "", "local correlation"),
        Column("aligned", 3, "by the affine map alone", "local correlation"),
        Column("registered", 3, "", "local correlation"),
        Column("folded %", 3, "share of voxels where the field folds"),
        Column("SD of log Jacobian", 3, "how unevenly the field changes volumes"),
        Column("covered %", 1, "share of the fixed scan that the moving one covers"),
        Column("seconds", 1),
    ]
    row = [
        similarity["before"],
        similarity["aligned"],
        similarity["after"],
        100 * content["folded"],
        content["log_jacobian_sd"],
        100 * content["alignment"]["overlap"],
        content["seconds"],
    ]
    return Table(columns, [row])
