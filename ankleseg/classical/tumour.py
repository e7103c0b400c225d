"""A brain tumour by what is bright: the prior that every classical method is given, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Shaped

from ankleseg.classical.brightness import Image, Mask, Spacing, scaled
from ankleseg.errors import FileError
from ankleseg.volumes.geometry import bounding_box

WHOLE, CORE, ENHANCING = REGIONS = ("whole_tumour", "tumour_core", "enhancing_tumour")
FLAIR, ENHANCED = "flair", "t1ce"
MOST_BRAIN = 0.9  # of an image whose background was removed
SPECKS = 1  # voxels that an opening takes off and gives back

Method = Callable[[Image, Mask, Spacing], Mask]


def tumour_masks(
    method: Method,
    channels: Mapping[str, Shaped[np.ndarray, "x y z"]],
    spacing: Spacing,
    clean: Callable[[Mask], Mask] = lambda mask: mask,
) -> Bool[np.ndarray, "regions x y z"]:
    """Segment a tumour in a skull-stripped brain, by a method that finds what is bright.

    The whole tumour is what is bright in FLAIR, without specks and after ``clean``. With a T1 after contrast there are
    two more regions: the enhancing tumour is what is bright in it inside the whole tumour, the core the enhancing
    tumour and the holes that it encloses in three dimensions.

    Args:
        method: see `ankleseg.classical`; the slices are along the last axis.
        channels: raw intensities of ``flair`` and, if there is one, ``t1ce``, 0 outside the brain.
        spacing: size of a voxel in mm along each axis.
        clean: what is done to the mask of the whole tumour.

    Returns:
        Masks of ``whole_tumour``, or of all three `REGIONS`.

    Raises:
        FileError: the background of the FLAIR was not removed, or a channel is constant in the brain.
    """
    from scipy import ndimage

    flair = channels[FLAIR]
    brain = flair != 0
    share = float(brain.mean())
    if not 0 < share <= MOST_BRAIN:
        raise FileError(
            f"is 0 in {100 * (1 - share):.0f} % of its voxels: expected a brain without skull, 0 outside",
            mend="strip the skull first",
        )
    room = bounding_box(brain)
    inside = brain[room]
    masks = np.zeros((len(REGIONS) if ENHANCED in channels else 1, *flair.shape), dtype=bool)
    bright = method(scaled(flair[room], inside, spacing), inside, spacing)
    whole = np.zeros_like(brain)
    whole[room] = ndimage.binary_opening(bright, iterations=SPECKS)
    masks[0] = clean(whole)
    if ENHANCED in channels:
        enhanced = scaled(channels[ENHANCED][room], inside, spacing)
        enhancing = ndimage.binary_opening(method(enhanced, inside, spacing) & masks[0][room], iterations=SPECKS)
        masks[2][room] = enhancing
        masks[1][room] = ndimage.binary_fill_holes(enhancing) & masks[0][room]
    return masks
