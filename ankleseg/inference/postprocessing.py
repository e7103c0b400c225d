"""What is done to masks after prediction: the largest component is kept, holes are filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from ankleseg.volumes.geometry import bounding_box

FACES = 1  # voxels that share a face are connected, as in SciPy; MONAI's default also joins those that share a corner

Masks = Bool[np.ndarray, "structures x y z"]


@dataclass(frozen=True, kw_only=True)
class Postprocessing:
    """Keep the largest component of each structure and fill the holes in it; both can be switched off.

    By MONAI's `KeepLargestConnectedComponent` and `FillHoles`, in the bounding box of each structure: on the whole grid
    they take 2.2 s for a bone in 576×576×90 voxels, in the box 0.2 s.
    """

    largest_component: bool = True
    fill_holes: bool = True

    def __call__(self, masks: Masks, *, regions: bool = False) -> Masks:
        """Return the mended masks; an empty one stays empty.

        Args:
            masks: of each structure.
            regions: whether structures may lie inside each other. Where they exclude each other and mended masks
                share voxels, these go to the structure that is named first.
        """
        from monai.transforms import FillHoles, KeepLargestConnectedComponent
        from torch import from_numpy

        mended = np.zeros_like(masks)
        for mask, result in zip(masks, mended, strict=True):
            if not mask.any():
                continue
            room = bounding_box(mask)
            inside: Any = from_numpy(np.ascontiguousarray(mask[room]))[None]
            if self.largest_component:
                inside = KeepLargestConnectedComponent(connectivity=FACES)(inside)
            if self.fill_holes:
                inside = FillHoles(connectivity=FACES)(inside)
            result[room] = np.asarray(inside[0], dtype=bool)
        if not regions:
            taken = np.zeros(masks.shape[1:], dtype=bool)
            for result in mended:
                result &= ~taken
                taken |= result
        return mended
