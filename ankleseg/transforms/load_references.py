"""The manual segmentation of a case as a label, on the grid of its scan."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ankleseg import keys as names
from ankleseg.cohorts import Case, read_reference
from ankleseg.errors import CohortError, GeometryError
from ankleseg.labels import Labels
from ankleseg.volumes import Header, Verdict, check_grid, on_grid_of, same_grid, tell, with_header_of
from ankleseg.volumes.files import read_grid

MOST_OVERLAP = 0.005  # of a structure: more than the rounding of drawn outlines
MOST_COLLISION = 0.05  # of a bone on a frame: more than thick voxels shared by neighbours

Masks = Mapping[str, Bool[np.ndarray, "x y z"]]

log = logging.getLogger(__name__)


class LoadReferencesd(MapTransform):
    """Read the references of a case and put them together as a label on the grid of its scan.

    MONAI has none: ``LoadImaged`` reads files as they are. Here a mask may be a file of its own, a value of a label map
    or a segment; it is checked against the grid of the scan; and structures may be unknown.

    Args:
        keys: of the `ankleseg.cohorts.Case`, whose place the label (channels, X, Y, Z) uint8 takes: see
            `ankleseg.labels.Labels`.
        labels: which structures.
        copy_headers: take a mask with the scan's number of voxels as drawn on it, whatever its header says.
        resample_masks: bring a mask on another grid with the scan's field of view to it, nearest neighbour.
        known_key: key of a bool (K,) that is added where the reference of a structure is not to be believed; the label
            then shows nothing of it.
        allow_missing_keys: pass over samples without a case.

    Raises (when called):
        CohortError: a structure has no mask, or two masks of exclusive structures share more than 0.5 % of one. Where
            they share less, the voxels go to the structure that is named first. On a frame, two registered bones that
            share more than 5 % of one of them cannot both be right: both count as unknown.
        FileError: a file cannot be read.
        GeometryError: a mask is not on the grid of the scan.
    """

    def __init__(
        self,
        keys: KeysCollection,
        labels: Labels,
        copy_headers: bool = False,
        resample_masks: bool = False,
        known_key: str = names.KNOWN,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.labels = labels
        self.copy_headers = copy_headers
        self.resample_masks = resample_masks
        self.known_key = known_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            case: Case = d[key]
            header = read_grid(case.images[0])
            masks = self._masks(case, header)
            label = self.labels.label(masks) if masks else np.zeros((self.labels.channels, *header.shape), np.uint8)
            d[key] = MetaTensor(torch.from_numpy(label), affine=torch.as_tensor(header.affine))
            if len(masks) < len(self.labels):
                d[self.known_key] = torch.tensor([name in masks for name in self.labels.structures])
        return d

    def _masks(self, case: Case, header: Header) -> Masks:
        masks = {}
        for structure in self.labels.structures:
            if structure in case.unknown:
                continue
            if structure not in case.references:
                raise CohortError(
                    f"case {case.name} has no mask of {structure}",
                    mend=f"add it, or choose among {', '.join(case.references) or 'no structures'}",
                )
            masks[structure] = self._on_grid(header, case, structure)
        if self.labels.regions:
            return masks
        if case.frame is None:
            for _, problem in _overlaps(masks, MOST_OVERLAP):
                raise CohortError(
                    f"case {case.name}: {problem}", mend="correct the masks, each voxel belongs to one structure"
                )
            return masks
        return _without_collisions(case.name, masks)

    def _on_grid(self, scan: Header, case: Case, structure: str) -> Bool[np.ndarray, "x y z"]:
        mask = read_reference(case, structure)
        tell(mask.header, all_remarks=True)
        if same_grid(scan.shape, scan.affine, mask.data.shape, mask.affine):
            return mask.data
        finding = check_grid(case.references[structure].path, scan)[0]
        if finding.verdict is Verdict.HEADER_COPY and self.copy_headers:
            return with_header_of(mask, scan).data
        if finding.verdict is Verdict.RESAMPLE and self.resample_masks:
            return on_grid_of(mask, scan).data
        raise GeometryError(f"{finding.verdict}: {finding.problem}", file=finding.file, mend=finding.mend)


def _without_collisions(case: str, masks: Masks) -> Masks:
    wrong: set[str] = set()
    for pair, problem in _overlaps(masks, MOST_COLLISION):
        log.warning("%s: %s; neither is taught", case, problem)
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
