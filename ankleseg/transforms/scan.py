"""A case of a cohort, prepared with its label."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from ankleseg.cohorts import Case, read_reference
from ankleseg.errors import CohortError, GeometryError
from ankleseg.transforms.placement import Placement
from ankleseg.transforms.preparation import Preparation
from ankleseg.transforms.scaling import Scale
from ankleseg.volumes import Header, Verdict, check_grid, on_grid_of, same_grid, tell, with_header_of
from ankleseg.volumes.frames import read_grid
from ankleseg.volumes.geometry import Affine

log = logging.getLogger(__name__)

MOST_OVERLAP = 0.005  # of a structure: more than the rounding of drawn outlines
MOST_COLLISION = 0.05  # of a bone on a frame: more than thick voxels shared by neighbours


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case as training and validation see it.

    Attributes:
        name: of the case.
        image: (C, X, Y, Z) float32, scaled.
        foreground: (X, Y, Z), where patches may lie.
        label: (X, Y, Z), 0 background, k the k-th structure.
        affine: voxel to world of the prepared grid.
        placement: the way back to the input grid.
        known: whether the reference of each structure is to be believed; None: all are. A label of one that is not
            known appears nowhere in ``label``: 0 is then background or that structure.
        sequence: the file that it is a frame of, None for a scan.
        scales: of each channel, the way back to the input's intensities; empty where they are those of the input.
    """

    name: str
    image: Float[np.ndarray, "c x y z"]
    foreground: Bool[np.ndarray, "x y z"]
    label: UInt8[np.ndarray, "x y z"]
    affine: Affine
    placement: Placement
    known: tuple[bool, ...] | None = None
    sequence: Path | None = None
    scales: tuple[Scale, ...] = ()

    @property
    def size_in_bytes(self) -> int:
        """Memory taken by the arrays."""
        return self.image.nbytes + self.foreground.nbytes + self.label.nbytes


def prepare_case(
    case: Case,
    preparation: Preparation,
    structures: Sequence[str],
    *,
    copy_headers: bool = False,
    resample_masks: bool = False,
) -> PreparedCase:
    """Read a case and prepare its image and its masks.

    Args:
        case: files of the case.
        preparation: what is done to them.
        structures: names of the masks, in the order of the labels 1, 2, …
        copy_headers: take a mask with the image's number of voxels as drawn on it, whatever its header says.
        resample_masks: bring a mask on another grid with the image's field of view to the image, nearest neighbour.

    Raises:
        CohortError: a structure has no mask, or two masks share more than 0.5 % of a structure. Where they share less,
            the voxels go to the structure that is named first. On a frame, two registered bones that share more than
            5 % of one of them cannot both be right: both count as unknown.
        FileError: a file cannot be read, or the image has no foreground or contrast.
        GeometryError: a mask is not on the grid of the image.
    """
    prepared = preparation(case)
    header = read_grid(case.images[0])
    masks = {}
    for structure in structures:
        if structure in case.unknown:
            continue
        if structure not in case.references:
            raise CohortError(
                f"case {case.name} has no mask of {structure}",
                mend=f"add it, or choose among {', '.join(case.references) or 'no structures'}",
            )
        masks[structure] = _mask_on(header, case, structure, copy_headers, resample_masks)
    if case.frame is None:
        _require_disjoint(case.name, masks)
    else:
        masks = _without_collisions(case.name, masks)
    label = np.zeros(header.shape, dtype=np.uint8, order="F")
    for value, structure in reversed(list(enumerate(structures, start=1))):
        if structure in masks:
            np.copyto(label, np.uint8(value), where=masks[structure])
    return PreparedCase(
        name=case.name,
        image=prepared.image,
        foreground=prepared.foreground,
        label=np.asfortranarray(prepared.placement.label_to_prepared(label)),
        affine=prepared.affine,
        placement=prepared.placement,
        known=None if len(masks) == len(structures) else tuple(structure in masks for structure in structures),
        sequence=None if case.frame is None else case.images[0],
        scales=prepared.scales,
    )


def _mask_on(
    image: Header, case: Case, structure: str, copy_headers: bool, resample_masks: bool
) -> Bool[np.ndarray, "x y z"]:
    mask = read_reference(case, structure)
    tell(mask.header, all_remarks=True)
    if same_grid(image.shape, image.affine, mask.data.shape, mask.affine):
        return mask.data
    finding = check_grid(case.references[structure].path, image)[0]
    if finding.verdict is Verdict.HEADER_COPY and copy_headers:
        return with_header_of(mask, image).data
    if finding.verdict is Verdict.RESAMPLE and resample_masks:
        return on_grid_of(mask, image).data
    raise GeometryError(f"{finding.verdict}: {finding.problem}", file=finding.file, mend=finding.mend)


Masks = Mapping[str, Bool[np.ndarray, "x y z"]]


def _require_disjoint(case: str, masks: Masks) -> None:
    for _, said in _overlaps(masks, MOST_OVERLAP):
        raise CohortError(f"case {case}: {said}", mend="correct the masks, each voxel belongs to one structure")


def _without_collisions(case: str, masks: Masks) -> dict[str, Bool[np.ndarray, "x y z"]]:
    wrong: set[str] = set()
    for pair, said in _overlaps(masks, MOST_COLLISION):
        log.warning("%s: %s; neither is taught", case, said)
        wrong |= set(pair)
    return {name: mask for name, mask in masks.items() if name not in wrong}


def _overlaps(masks: Masks, most: float) -> Iterator[tuple[tuple[str, str], str]]:
    """Pairs of structures that share more than a fraction of the smaller one, each with what to say of it."""
    sizes = {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}
    for first, second in combinations(masks, 2):
        smaller = min(first, second, key=sizes.__getitem__)
        shared = int(np.count_nonzero(masks[first] & masks[second]))
        if shared > most * sizes[smaller]:
            share = 100 * shared / sizes[smaller]
            yield (first, second), f"{first} and {second} share {shared} voxels, {share:.1f} % of the {smaller}"
