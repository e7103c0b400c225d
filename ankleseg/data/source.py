"""Cutting a patch out of a prepared case, moved and altered as drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from ankleseg.data.augmentation import AugmentationDraw
from ankleseg.data.intensities import altered
from ankleseg.data.sampling import Window
from ankleseg.errors import ConfigError
from ankleseg.transforms import PreparedCase
from ankleseg.volumes.geometry import anatomical_axis, spacing

BRIGHT_PERCENTILE = 99.5
INTENSITY_VOXELS = 1_000_000  # enough to find the intensity range of a scan
UNCHANGED = AugmentationDraw()


class PatchSource:
    """A prepared case from which patches are cut.

    Where a patch leaves the volume it holds the darkest intensity of the scan and no structure. A rotated patch takes
    what lies around it, so that it has no empty corners inside the volume.

    Attributes:
        case: what patches are cut from.
        background: (C,) darkest intensity of each channel.
        intensity_range: (C,) from there to the bright end of the foreground.
    """

    def __init__(self, case: PreparedCase) -> None:
        self.case = case
        self._image = torch.from_numpy(case.image)
        self._label = torch.from_numpy(case.label)
        self._spacing = spacing(case.affine)
        self.background = self._image.amin((1, 2, 3))
        step = max(1, case.foreground.size // INTENSITY_VOXELS)
        inside = case.foreground.ravel(order="F")[::step]
        bright = [np.percentile(channel.ravel(order="F")[::step][inside], BRIGHT_PERCENTILE) for channel in case.image]
        self.intensity_range = torch.tensor(bright, dtype=torch.float32) - self.background

    def cut(
        self, window: Window, draw: AugmentationDraw = UNCHANGED
    ) -> tuple[Float[Tensor, "c *patch"], Int64[Tensor, "1 *patch"]]:
        """Cut a patch; two-dimensional where the window is one voxel thick along the last axis.

        Returns:
            Image and label of the patch; without changes they are the voxels of the volume, bit by bit.

        Raises:
            ConfigError: a flip goes across the slices of a two-dimensional patch.
        """
        image, label = self._image, self._label
        if window.dimensions == 2:
            image, label = image[..., window.corner[2]], label[..., window.corner[2]]
        if draw.moves:
            image, label = self._moved(image, label, window, draw)
        else:
            image, label = self._plain(image, label, window)
        if draw.flips:
            axes = self.flipped_axes(draw, window.dimensions)
            image, label = image.flip([axis + 1 for axis in axes]), label.flip(axes)
        if draw.swap:
            label = _swapped(label, draw.swap)
        image = altered(image, draw, self.background, self.intensity_range, self._spacing[: window.dimensions].tolist())
        return image, label[None].long()

    def _plain(
        self, image: Float[Tensor, "c *volume"], label: UInt8[Tensor, "*volume"], window: Window
    ) -> tuple[Float[Tensor, "c *patch"], UInt8[Tensor, "*patch"]]:
        place = list(zip(window.corner, window.size, label.shape, strict=False))
        source = tuple(slice(max(corner, 0), min(corner + side, n)) for corner, side, n in place)
        if all(s.stop - s.start == side for s, (_, side, _) in zip(source, place, strict=True)):
            return image[(slice(None), *source)].contiguous(), label[source]
        target = tuple(slice(s.start - corner, s.stop - corner) for s, (corner, *_) in zip(source, place, strict=True))
        size = window.size[: label.ndim]
        padded_image = self._empty(label.ndim).repeat(1, *size)
        padded_label = torch.zeros(size, dtype=label.dtype)
        padded_image[(slice(None), *target)] = image[(slice(None), *source)]
        padded_label[target] = label[source]
        return padded_image, padded_label

    def _moved(
        self, image: Float[Tensor, "c *volume"], label: UInt8[Tensor, "*volume"], window: Window, draw: AugmentationDraw
    ) -> tuple[Float[Tensor, "c *patch"], UInt8[Tensor, "*patch"]]:
        size, shape = np.array(window.size[: label.ndim]), np.array(label.shape)
        mm = self._spacing[: label.ndim]
        linear = _rotation(draw.rotation).T / draw.zoom * mm[None, :] / mm[:, None]  # rotation and zoom happen in mm
        centre = np.array(window.corner[: label.ndim]) + (size - 1) / 2 - np.array(draw.shift) / mm
        reach = np.abs(linear) @ ((size - 1) / 2)
        low, high = centre - reach, centre + reach
        start = np.clip(np.floor(low).astype(int), 0, shape - 1)
        stop = np.clip(np.floor(high).astype(int) + 2, start + 1, shape)
        room = tuple(slice(a, b) for a, b in zip(start.tolist(), stop.tolist(), strict=True))
        grid = _sampling_grid(linear, centre - start, size, stop - start)
        moved_image = _sampled(image[(None, slice(None), *room)], grid, "bilinear")[0]
        moved_label = _sampled(label[(None, None, *room)].float(), grid, "nearest")[0, 0].to(label.dtype)
        if (low < -0.5).any() or (high > shape - 0.5).any():
            edges = (np.stack([-start, shape - start]) * 2 / (stop - start) - 1)[:, ::-1]
            lower, upper = torch.from_numpy(edges.astype(np.float32))
            outside = ((grid[0] < lower) | (grid[0] > upper)).any(-1)
            moved_image = torch.where(outside, self._empty(label.ndim), moved_image)
            moved_label = moved_label.masked_fill(outside, 0)
        return moved_image, moved_label

    def _empty(self, dimensions: int) -> Float[Tensor, "c *ones"]:
        return self.background.reshape(-1, *[1] * dimensions)

    def flipped_axes(self, draw: AugmentationDraw, dimensions: int = 3) -> list[int]:
        """Array axes that a draw reverses.

        Raises:
            ConfigError: one goes across the slices of a two-dimensional patch.
        """
        axes = [anatomical_axis(self.case.affine, flip) for flip in draw.flips]
        if axes and max(axes) >= dimensions:
            raise ConfigError(
                f"a flip along {draw.flips[axes.index(max(axes))]} goes across the slices",
                mend="leave it out of patches.augmentation.flips, or draw blocks instead of slices",
            )
        return axes


def _rotation(degrees: Sequence[float]) -> np.ndarray:
    """Rotation matrix of an angle in the plane, or of three angles about the axes, one after the other."""
    if len(degrees) == 1:
        cosine, sine = np.cos(np.deg2rad(degrees[0])), np.sin(np.deg2rad(degrees[0]))
        return np.array([[cosine, -sine], [sine, cosine]])
    matrix = np.eye(3)
    for axis, angle in enumerate(degrees):
        about = np.eye(3)
        plane = [n for n in range(3) if n != axis]
        about[np.ix_(plane, plane)] = _rotation([angle])
        matrix = about @ matrix
    return matrix


def _sampling_grid(
    linear: np.ndarray, centre: np.ndarray, size: np.ndarray, room: np.ndarray
) -> Float[Tensor, "1 *patch_and_d"]:
    """Where each voxel of a patch is taken from, in the coordinates of `torch.nn.functional.grid_sample`.

    These run from -1 to 1 between the outer edges of a grid, with the last axis first.

    Args:
        linear: (D, D), voxels of the source for a voxel of the patch, from the centre of the patch.
        centre: of the patch, in voxels of the source.
        size: sides of the patch.
        room: sides of the source.
    """
    theta = np.column_stack([linear * size[None, :] / room[:, None], (2 * centre + 1) / room - 1])
    theta[:, :-1] = theta[:, -2::-1]
    return functional.affine_grid(
        torch.from_numpy(theta[::-1].astype(np.float32))[None], [1, 1, *size.tolist()], align_corners=False
    )


def _sampled(arrays: Float[Tensor, "1 c *source"], grid: Tensor, mode: str) -> Float[Tensor, "1 c *patch"]:
    return functional.grid_sample(arrays, grid, mode, padding_mode="border", align_corners=False)


def _swapped(label: UInt8[Tensor, "*patch"], pairs: Sequence[tuple[int, int]]) -> UInt8[Tensor, "*patch"]:
    table = torch.arange(256, dtype=torch.uint8)
    for a, b in pairs:
        table[a], table[b] = b, a
    return table[label.long()]
