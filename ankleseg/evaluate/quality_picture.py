"""The picture of a case whose images were compared."""

from __future__ import annotations

import numpy as np

from ankleseg.evaluate.image_scores import BASELINE, INPUT, PREDICTION, ImageSet
from ankleseg.report.image_comparison import edge_on_axis, image_comparison, slice_across
from ankleseg.volumes import same_grid, slice_axis


class QualityPicture:
    """One slice of the baseline, the predictions and the reference, kept from one image after the other.

    It shows the slices of the input edge-on; where the input has the grid of the reference, it is such a slice.

    Args:
        images: of the case, with at least a reference.
    """

    def __init__(self, images: ImageSet) -> None:
        from scipy.ndimage import center_of_mass

        assert images.reference is not None and images.regions is not None
        self.reference = reference = images.reference
        thick = images.source or reference
        self.axis = slice_axis(reference.affine)
        if not same_grid(thick.data.shape, thick.affine, reference.data.shape, reference.affine):
            self.axis = edge_on_axis(reference.affine, thick.affine, slice_axis(thick.affine))
        *_, region = images.regions.values()
        middle = tuple(round(place) for place in center_of_mass(region))
        self.index = middle[self.axis]
        marked = np.zeros(reference.data.shape, dtype=bool)
        marked[middle] = True
        row, column = np.argwhere(self._cut(marked))[0]
        self.centre = float(row), float(column)
        self.images: dict[str, np.ndarray] = {}

    def add(self, name: str, kind: str, image: np.ndarray) -> None:
        """Keep the slice of a prediction, of the cubic spline or of the input."""
        if kind in (PREDICTION, INPUT) or name == BASELINE:
            self.images[name] = self._cut(image).copy()

    def draw(self) -> bytes:
        """Draw what was kept beside the reference, and the differences; PNG."""
        reference, size, codes = slice_across(self.reference.data, self.reference.affine, self.axis, self.index)
        return image_comparison(self.images, reference, spacing=size, codes=codes, centre=self.centre)

    def _cut(self, data: np.ndarray) -> np.ndarray:
        return slice_across(data, self.reference.affine, self.axis, self.index)[0]
