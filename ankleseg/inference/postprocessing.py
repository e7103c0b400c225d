"""What is done to masks after prediction: the largest component is kept, holes are filled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8


@dataclass(frozen=True, kw_only=True)
class Postprocessing:
    """Keep the largest component of each structure and fill the holes in it; both can be switched off."""

    largest_component: bool = True
    fill_holes: bool = True

    def __call__(self, mask: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
        """Return the mended mask; an empty one stays empty."""
        from scipy import ndimage

        if not mask.any():
            return mask
        room = ndimage.find_objects(mask.astype(np.uint8))[0]
        inside = mask[room]
        if self.largest_component:
            components, count = ndimage.label(inside)
            if count > 1:
                sizes = np.bincount(components.ravel())
                sizes[0] = 0
                inside = components == sizes.argmax()
        if self.fill_holes:
            inside = ndimage.binary_fill_holes(inside)
        mended = np.zeros_like(mask)
        mended[room] = inside
        return mended


def label_map(
    probabilities: Float[np.ndarray, "k x y z"], postprocessing: Postprocessing | None = None
) -> UInt8[np.ndarray, "x y z"]:
    """Turn probabilities of structures into labels: 0 background, k the k-th structure.

    A voxel gets the most probable structure where that is more probable than background, 1 − Σp; for one structure,
    where its probability exceeds one half. Without structures all is background.
    """
    if not len(probabilities):
        return np.zeros(probabilities.shape[1:], dtype=np.uint8)
    labels = np.empty(probabilities.shape[1:], dtype=np.uint8)
    for x in range(len(labels)):  # plane by plane: whole numbers of eight bytes would take twice the probabilities
        best = probabilities[:, x].argmax(axis=0)
        top = np.take_along_axis(probabilities[:, x], best[None], axis=0)[0]
        labels[x] = np.where(top > 1 - probabilities[:, x].sum(axis=0), best + 1, 0)
    if postprocessing is None:
        return labels
    mended = np.zeros_like(labels)
    for k in range(1, probabilities.shape[0] + 1):
        mended[postprocessing(labels == k) & (mended == 0)] = k
    return mended
