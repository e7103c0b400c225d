"""Predicting a scan once more, altered as if from another scanner, to see whether the answer stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from monai.data import MetaTensor
from monai.transforms import AdjustContrast
from monai.utils import convert_to_tensor
from torch import Tensor
from torch.nn import functional

from ankleseg import keys
from ankleseg.inference.flips import reversed_along
from ankleseg.inference.postprocessing import Postprocessing
from ankleseg.labels import Labels
from ankleseg.measures.overlap import overlap
from ankleseg.transforms.metadata import affine_of
from ankleseg.volumes.geometry import Affine, anatomical_axis, spacing

Volume = Float[Tensor, "c x y z"]
Altered = Float[Tensor, "c u v w"]

THICK = 1.5  # times the finest spacing: an axis across slices, of which no finer or coarser ones are made


@dataclass(frozen=True)
class View:
    """A prepared scan at another resolution, with another contrast and, where structures may be mirrored, mirrored.

    Attributes:
        zoom: factor on the number of voxels along the axes within slices (of blocks of equal sides: along all).
        gamma: exponent of the intensities, by MONAI's ``AdjustContrast``; mean and standard deviation stay.
        mirrored: whether left and right change places, of a network that was trained on both.
    """

    zoom: float
    gamma: float
    mirrored: bool

    def image(self, image: Volume, affine: Affine, labels: Labels, sides: int) -> Altered:
        """What the network is shown.

        Args:
            image: prepared.
            affine: of it.
            labels: of the network.
            sides: of its tiles; by two the last axis is that of the slices.
        """
        contrast = AdjustContrast(self.gamma, retain_stats=True)
        altered = torch.cat([convert_to_tensor(contrast(channel[None])) for channel in image])
        shape = self._shape(image.shape[1:], affine, sides)
        altered = functional.interpolate(altered[None].float(), shape, mode="trilinear", align_corners=False)[0]
        return reversed_along(altered, self._axes(affine, labels))

    def foreground(self, mask: Tensor, affine: Affine, labels: Labels, sides: int) -> Tensor:
        """The foreground (1, X, Y, Z) of what the network is shown."""
        shape = self._shape(mask.shape[1:], affine, sides)
        altered = functional.interpolate(mask[None].float(), shape, mode="nearest-exact")[0] > 0.5
        return reversed_along(altered, self._axes(affine, labels))

    def back(self, values: Altered, shape: Sequence[int], affine: Affine, labels: Labels) -> Volume:
        """Probabilities where the scan lies that they were asked for."""
        if axes := self._axes(affine, labels):
            values = reversed_along(values, axes)[labels.mirrored_order()]
        return functional.interpolate(values[None], tuple(shape), mode="trilinear", align_corners=False)[0]

    def _axes(self, affine: Affine, labels: Labels) -> tuple[int, ...]:
        return (anatomical_axis(affine, "LR"),) if self.mirrored and labels.pairs is not None else ()

    def _shape(self, shape: Sequence[int], affine: Affine, sides: int) -> list[int]:
        mm = spacing(affine)
        within = [mm[axis] < THICK * mm.min() and axis < sides for axis in range(3)]
        return [max(1, round(side * self.zoom)) if zoomed else side for side, zoomed in zip(shape, within, strict=True)]


# the first alone takes less time than the prediction: it has fewer voxels
VIEWS = (View(0.85, 1.3, True), View(1.15, 0.8, False), View(0.85, 0.8, False), View(1.15, 1.3, True))


class Agreement:
    """How far predictions of altered scans agree with those of the scan, in the prepared space.

    MONAI's ``TestTimeAugmentation`` prepares the scan anew for many random draws and holds all answers; here the
    prepared scan is altered, a few times and always alike, and of the answers the Dice alone is kept.

    Args:
        views: how the scan is altered.
        labels: of the networks, structures that exclude each other.
        postprocessing: of masks; the largest pieces are compared where only those are kept.
    """

    def __init__(self, views: Sequence[View], labels: Labels, postprocessing: Postprocessing | None) -> None:
        self.views = views
        self._labels = labels
        largest = postprocessing is not None and postprocessing.largest_component
        self._mend = Postprocessing(largest_component=largest, fill_holes=False)
        self.by_planes = False  # whether it is that of several planes
        self._dice: list[list[float | None]] = []

    def compare_planes(self, found: Sequence[Volume]) -> None:
        """Compare what a network gives of a scan in each of several planes with their mean; it needs no other views.

        Args:
            found: probabilities, on one grid.
        """
        self.by_planes = True
        mean = self._mend(self._labels.decode(torch.stack(list(found)).mean(0).numpy()))
        for values in found:
            self._add(mean, self._mend(self._labels.decode(values.numpy())))

    def compare(
        self, values: Volume, sample: dict[Any, Any], sides: int, predict: Callable[[dict[Any, Any]], Altered]
    ) -> None:
        """Compare what a network gives of a scan with what it gives of each view of it.

        Args:
            values: probabilities of the scan.
            sample: the prepared scan.
            sides: of the tiles of the network.
            predict: gives the probabilities of a sample like it.
        """
        image, labels, affine = sample[keys.IMAGE], self._labels, affine_of(sample[keys.IMAGE])
        masks = self._mend(labels.decode(values.numpy()))
        for view in self.views:
            shown = MetaTensor(view.image(image.as_tensor(), affine, labels, sides), affine=torch.as_tensor(affine))
            seen = view.foreground(torch.as_tensor(sample[keys.FOREGROUND]), affine, labels, sides)
            again = predict(sample | {keys.IMAGE: shown, keys.FOREGROUND: seen})
            back = self._mend(labels.decode(view.back(again, image.shape[1:], affine, labels).numpy()))
            self._add(masks, back)

    def _add(self, masks: np.ndarray, others: np.ndarray) -> None:
        self._dice.append([overlap(one, two).dice for one, two in zip(masks, others, strict=True)])

    @property
    def dice(self) -> list[float | None]:
        """Of each structure, the mean of all views and networks; None where it was found in none."""
        known = [[value for value in of if value is not None] for of in zip(*self._dice, strict=True)]
        return [sum(values) / len(values) if values else None for values in known]
