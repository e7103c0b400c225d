"""Checks before any work: can the files of a case be read, and do its masks lie on its image?"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path

import numpy as np

from ankleseg.errors import AnklesegError, FileError
from ankleseg.volumes.files import read_header, read_volume
from ankleseg.volumes.geometry import (
    axis_codes,
    box_corners,
    corners,
    displacement_mm,
    same_grid,
    size_text,
    voxel_distance,
)
from ankleseg.volumes.masks import ABSENT_MEND, check_values
from ankleseg.volumes.selection import split_frame
from ankleseg.volumes.volume import Header, Volume

log = logging.getLogger(__name__)

TOLERANCE = 0.1  # voxels by which two grids may differ and still count as one
COPY_HEADERS_MEND = "if it was drawn on this very scan, set copy_headers=true"
RESAMPLE_MEND = "set resample_masks=true"


class Verdict(StrEnum):
    """What can be done with a file or a case, from best to worst."""

    OK = "ok"
    SUSPECT = "suspect"
    HEADER_COPY = "fixable by header copy"
    RESAMPLE = "needs resampling"
    MIRRORED = "mirrored"
    DIFFERENT = "different scan"
    MISSING = "missing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Finding:
    """Something to know about a file; a remark where the verdict is ok."""

    file: Path
    verdict: Verdict
    problem: str
    mend: str

    @classmethod
    def of(cls, error: AnklesegError, verdict: Verdict, file: str | Path) -> Finding:
        """Return what an error says of a file."""
        return cls(Path(file), verdict, error.problem, error.mend or "")

    def __str__(self) -> str:
        return f"{self.file}: {self.verdict}: {self.problem}; {self.mend}"


@dataclass(frozen=True)
class CaseCheck:
    """The findings on all files of a case, and the worst of their verdicts."""

    case: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the findings, ok where there are none."""
        order = list(Verdict)
        return max((finding.verdict for finding in self.findings), key=order.index, default=Verdict.OK)


def check_case(name: str, images: Sequence[Path], masks: Mapping[Path, Sequence[int | str] | None]) -> CaseCheck:
    """Check the images of a case, and its masks against the first image.

    Args:
        images: one file a channel.
        masks: each file with the label values that are used of it; None where its non-zero voxels are the structure.
    """
    findings = [finding for image in images for finding in check_image(image)]
    try:
        header = read_header(images[0])
    except FileError:
        header = None
    if header is not None:
        for image in images[1:]:
            findings += check_grid(image, header)
    for mask, values in masks.items():
        findings += check_mask(mask, header, values=values)
    return CaseCheck(name, tuple(findings))


def check_image(path: Path) -> list[Finding]:
    """Read an image whole and say what is wrong with it, or worth knowing about its header."""
    try:
        volume = read_volume(path)
    except FileError as error:
        return [Finding.of(error, Verdict.UNREADABLE, path)]
    findings = header_remarks(volume.header)
    if volume.data.min() == volume.data.max():
        problem = f"all its voxels hold the value {volume.data.flat[0]:g}"
        findings.append(Finding(path, Verdict.UNREADABLE, problem, "export it again"))
    return findings


def check_mask(path: Path, image: Header | None, *, values: Sequence[int | str] | None = None) -> list[Finding]:
    """Read a mask or label map whole and say what is wrong with its values and with its place on the image.

    Args:
        image: grid the mask should have; None (an unreadable image) leaves the place unchecked.
        values: label values, or names of segments, that are used; None: the file is a mask.
    """
    try:
        findings = header_remarks(check_values(path, values))
    except FileError as error:
        return [Finding.of(error, Verdict.UNREADABLE, path)]
    return findings if image is None else findings + check_grid(path, image)


def header_remarks(header: Header | None) -> list[Finding]:
    """Say what a header leaves open or contradicts; all of it is read in the way that is told."""
    if header is None:
        return []
    remarks = [
        Finding(header.path, Verdict.SUSPECT if remark.suspect else Verdict.OK, remark.problem, remark.mend)
        for remark in header.remarks
    ]
    if header.unit == "unknown":
        mend = f"correct its header unless its voxels are {size_text(header.spacing)} mm"
        remarks.append(Finding(header.path, Verdict.OK, "names no unit of length, mm are assumed", mend))
    return remarks


def tell(header: Header | None, *, all_remarks: bool = False) -> str:
    """Return what may make results of a file wrong, in one line, and log it; nothing where there is nothing.

    Args:
        header: of the file.
        all_remarks: tell the remarks too that change nothing.
    """
    if header is None:
        return ""
    told = [remark for remark in header.remarks if all_remarks or remark.suspect]
    line = "; ".join(f"{remark.problem}; {remark.mend}" for remark in told)
    if line and not log.disabled:
        _warn_once(f"{split_frame(header.path)[0]}: {line}")  # once a sequence
    return line


def tell_of_mask(mask: Volume) -> str:
    """Return in one line how a mask was read, and log it; that it is empty is told by its score."""
    if mask.header is None:
        return ""
    remarks = tuple(remark for remark in mask.header.remarks if remark.mend != ABSENT_MEND)
    return tell(replace(mask.header, remarks=remarks), all_remarks=True)


@contextmanager
def told_in_a_table() -> Iterator[None]:
    """Let `tell` log nothing meanwhile, where all findings are shown anyhow."""
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = False


@cache
def _warn_once(line: str) -> None:
    log.warning("%s", line)


def check_grid(path: Path, image: Header) -> list[Finding]:
    """Compare the grid of a file with that of the image it belongs to; at most one finding."""
    try:
        header = read_header(path)
    except FileError:
        return []  # told when its voxels were read
    shape, wanted = header.shape[:3], image.shape[:3]
    if same_grid(wanted, image.affine, shape, header.affine, TOLERANCE):
        return []
    name = image.path.name
    index_map = np.linalg.inv(image.affine) @ header.affine  # voxels of the file to voxels of the image
    turned = axis_codes(index_map) != "RAS"
    same_box = _same_box(header, image)
    if shape == wanted and not (turned and same_box):
        distance = displacement_mm(image.affine, header.affine, shape)
        voxels = voxel_distance(image.affine, header.affine, shape)
        problem = (
            f"has the voxels of {name}, but its header puts them up to {distance:.1f} mm ({voxels:.1f} voxels) away"
        )
        return [Finding(path, Verdict.HEADER_COPY, problem, COPY_HEADERS_MEND)]
    if same_box:
        problem = f"covers the field of view of {name} with {_grid(header)} instead of {_grid(image)}"
        return [Finding(path, Verdict.RESAMPLE, problem, RESAMPLE_MEND)]
    if _is_cut_out(index_map, shape, wanted):
        problem = f"is cut out of the grid of {name}: {_grid(header)} of {_grid(image)}"
        return [Finding(path, Verdict.RESAMPLE, problem, RESAMPLE_MEND)]
    problem = f"covers another field of view than {name}: {_grid(header)} and not {_grid(image)}"
    return [Finding(path, Verdict.DIFFERENT, problem, "find the file that was drawn on this scan")]


def _same_box(header: Header, image: Header) -> bool:
    """Tell whether two grids cover the same field of view, whatever their axes: corners within the larger voxel."""
    ours, theirs = box_corners(header.shape, header.affine), box_corners(image.shape, image.affine)
    apart = np.linalg.norm(ours[:, None] - theirs[None], axis=2)
    largest = max(header.spacing.max(), image.spacing.max())
    return bool(max(apart.min(axis=0).max(), apart.min(axis=1).max()) <= largest)


def _is_cut_out(index_map: np.ndarray, shape: Sequence[int], whole: Sequence[int]) -> bool:
    """Tell whether a grid is a box cut out of another one: its corner voxels are voxels of the other."""
    corner_indices = corners(shape, index_map)
    nearest = np.rint(corner_indices)
    exact = np.abs(corner_indices - nearest).max() <= TOLERANCE
    unit_steps = np.allclose(np.abs(index_map[:3, :3]).sum(axis=0), 1, atol=TOLERANCE)
    return bool(exact and unit_steps and (nearest >= 0).all() and (nearest < np.array(whole)).all())


def _grid(header: Header) -> str:
    voxels = "×".join(map(str, header.shape[:3]))
    return f"{voxels} voxels of {size_text(header.spacing)} mm ({axis_codes(header.affine)})"
