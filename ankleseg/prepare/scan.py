"""A case of a cohort, prepared with its label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, UInt8

from ankleseg.cohorts import Case, Reference
from ankleseg.errors import CohortError, GeometryError
from ankleseg.prepare.placement import Placement
from ankleseg.prepare.preparation import Preparation
from ankleseg.volumes import Header, Verdict, check_mask, on_grid_of, read_header, read_mask, same_grid, with_header_of
from ankleseg.volumes.geometry import Affine

MOST_OVERLAP = 0.005  # of a structure: more than the rounding of drawn outlines


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
    """

    name: str
    image: Float[np.ndarray, "c x y z"]
    foreground: Bool[np.ndarray, "x y z"]
    label: UInt8[np.ndarray, "x y z"]
    affine: Affine
    placement: Placement

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
            the voxels go to the structure that is named first.
        FileError: a file cannot be read, or the image has no foreground or contrast.
        GeometryError: a mask is not on the grid of the image.
    """
    prepared = preparation(case)
    header = read_header(case.images[0])
    masks = {}
    for structure in structures:
        if structure not in case.references:
            raise CohortError(
                f"case {case.name} has no mask of {structure}",
                mend=f"add it, or choose among {', '.join(case.references) or 'no structures'}",
            )
        masks[structure] = _mask_on(header, case.references[structure], copy_headers, resample_masks)
    _require_disjoint(case.name, masks)
    label = np.zeros(header.shape[:3], dtype=np.uint8, order="F")
    for value, mask in reversed(list(enumerate(masks.values(), start=1))):
        np.copyto(label, np.uint8(value), where=mask)
    return PreparedCase(
        name=case.name,
        image=prepared.image,
        foreground=prepared.foreground,
        label=np.asfortranarray(prepared.placement.label_to_prepared(label)),
        affine=prepared.affine,
        placement=prepared.placement,
    )


def _mask_on(
    image: Header, reference: Reference, copy_headers: bool, resample_masks: bool
) -> Bool[np.ndarray, "x y z"]:
    mask = read_mask(reference.path, value=reference.value)
    if same_grid(image.shape, image.affine, mask.data.shape, mask.affine):
        return mask.data
    values = None if reference.value is None else [reference.value]
    finding = next(f for f in check_mask(reference.path, image, values=values) if f.verdict is not Verdict.OK)
    if finding.verdict is Verdict.HEADER_COPY and copy_headers:
        return with_header_of(mask, image).data
    if finding.verdict is Verdict.RESAMPLE and resample_masks:
        return on_grid_of(mask, image).data
    raise GeometryError(f"{finding.verdict}: {finding.problem}", file=finding.file, mend=finding.mend)


def _require_disjoint(case: str, masks: dict[str, Bool[np.ndarray, "x y z"]]) -> None:
    sizes = {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}
    for first, second in combinations(masks, 2):
        smaller = min(first, second, key=sizes.__getitem__)
        shared = int(np.count_nonzero(masks[first] & masks[second]))
        if shared > MOST_OVERLAP * sizes[smaller]:
            raise CohortError(
                f"case {case}: {first} and {second} share {shared} voxels, "
                f"{100 * shared / sizes[smaller]:.1f} % of the {smaller}",
                mend="correct the masks, each voxel belongs to one structure",
            )
