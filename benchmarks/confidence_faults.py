"""Faults of scans and of masks, made in phantoms, with the exact masks of what a faulty scan shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from scipy import ndimage

Scan = tuple[np.ndarray, np.ndarray, np.ndarray]  # image, masks (K, X, Y, Z), affine


def _bright(image: np.ndarray) -> float:
    return float(np.percentile(image, 99))


def noisy(share: float) -> Callable[..., Scan]:
    """Rician noise of a standard deviation that is a share of the bright end."""

    def alter(image, masks, affine, rng):
        noise = rng.normal(0, share * _bright(image), (2, *image.shape))
        return np.hypot(image + noise[0], noise[1]), masks, affine

    return alter


def blurred(mm: float) -> Callable[..., Scan]:
    """A Gaussian blur of a standard deviation in mm."""

    def alter(image, masks, affine, rng):
        return ndimage.gaussian_filter(image, mm / np.linalg.norm(affine[:3, :3], axis=0)), masks, affine

    return alter


def thick(number: int) -> Callable[..., Scan]:
    """Slices that are as thick as several."""

    def alter(image, masks, affine, rng):
        from ankleseg.volumes import slice_axis

        axis = slice_axis(affine)
        count = image.shape[axis] // number
        taken = np.moveaxis(image, axis, -1)[..., : count * number].reshape(
            *np.delete(image.shape, axis), count, number
        )
        parts = np.moveaxis(masks, axis + 1, -1)[..., : count * number]
        parts = parts.reshape(*parts.shape[:-1], count, number).mean(-1) > 0.5
        place = affine.copy()
        place[:3, 3] += affine[:3, axis] * (number - 1) / 2
        place[:3, axis] *= number
        return np.moveaxis(taken.mean(-1), -1, axis), np.moveaxis(parts, -1, axis + 1), place

    return alter


def cut(axis: str, first: float, last: float) -> Callable[..., Scan]:
    """A field of view that holds only a part along an axis of the patient."""

    def alter(image, masks, affine, rng):
        from ankleseg.volumes import anatomical_axis

        k = anatomical_axis(affine, axis)
        begin, end = (round(part * image.shape[k]) for part in (first, last))
        room = tuple(slice(begin, end) if a == k else slice(None) for a in range(3))
        place = affine.copy()
        place[:3, 3] += affine[:3, k] * begin
        return image[room], masks[(slice(None), *room)], place

    return alter


def gamma(exponent: float) -> Callable[..., Scan]:
    """Another contrast."""

    def alter(image, masks, affine, rng):
        return _bright(image) * (image.clip(0) / _bright(image)) ** exponent, masks, affine

    return alter


def inverted(image, masks, affine, rng) -> Scan:
    """Bright becomes dark inside the foot."""
    foot = ndimage.binary_fill_holes(ndimage.gaussian_filter(image, 2) > 0.1 * _bright(image))
    return np.where(foot, (1.1 * _bright(image) - image).clip(0), image), masks, affine


def coil(image, masks, affine, rng) -> Scan:
    """Intensities that fall to a tenth across the field of view."""
    along = np.linspace(0, 1, image.shape[0])[:, None, None]
    return image * np.exp(-2.3 * along), masks, affine


def ghosted(image, masks, affine, rng) -> Scan:
    """A shifted copy on top, as of motion."""
    return image + 0.6 * np.roll(image, image.shape[1] // 6, axis=1), masks, affine


def void(image, masks, affine, rng) -> Scan:
    """No signal within 15 mm of the middle of the second structure, as around metal."""
    middle = np.argwhere(masks[1]).mean(0)
    steps = (np.stack(np.indices(image.shape), -1) - middle) * np.linalg.norm(affine[:3, :3], axis=0)
    return np.where((steps**2).sum(-1) < 15**2, 0, image), masks, affine


def turned(image, masks, affine, rng) -> Scan:
    """A header that says that the patient lies the other way: two axes are exchanged."""
    place = affine.copy()
    place[[1, 2]] = place[[2, 1]]
    return image, masks, place


def mirrored(image, masks, affine, rng) -> Scan:
    """A header in which left is right."""
    return image, masks, np.diag([-1.0, 1, 1, 1]) @ affine


def unaltered(image, masks, affine, rng) -> Scan:
    """The scan as it is."""
    return image, masks, affine


SCAN_FAULTS: dict[str, Callable[..., Scan]] = {
    "none": unaltered,
    "noise 10 %": noisy(0.1),
    "noise 25 %": noisy(0.25),
    "noise 50 %": noisy(0.5),
    "blur 2 mm": blurred(2.0),
    "slices twice as thick": thick(2),
    "slices four times as thick": thick(4),
    "lower part": cut("IS", 0.0, 0.5),
    "front part": cut("PA", 0.5, 1.0),
    "gamma 0.4": gamma(0.4),
    "gamma 2.5": gamma(2.5),
    "inverted": inverted,
    "coil": coil,
    "ghost": ghosted,
    "void": void,
    "turned header": turned,
    "mirrored header": mirrored,
    "wrong side": unaltered,
}


def lost_piece(k, masks, affine, rng):
    """A third of one bone, cut off by a plane, is background."""
    points = np.argwhere(masks[k])
    if not len(points):
        return masks
    reach = (points - points.mean(0)) @ rng.normal(size=3)
    masks[k][tuple(points[reach > np.quantile(reach, 0.67)].T)] = False
    return masks


def swapped(first: int, second: int) -> Callable[..., np.ndarray]:
    """Two bones have each other's name."""

    def corrupt(masks, affine, rng):
        masks[[first, second]] = masks[[second, first]]
        return masks

    return corrupt


def dilated(k, masks, affine, rng):
    """One bone reaches 4 mm too far in each direction, but not into the others."""
    outside = ndimage.distance_transform_edt(~masks[k], sampling=np.linalg.norm(affine[:3, :3], axis=0))
    others = np.delete(masks, k, axis=0).any(0)
    masks[k] = (outside <= 4) & ~others
    return masks


def leaking(k, masks, affine, rng):
    """A ball of 20 mm, centred on the surface of one bone, belongs to it."""
    surface = np.argwhere(masks[k] & ~ndimage.binary_erosion(masks[k]))
    if not len(surface):
        return masks
    middle = surface[rng.integers(len(surface))]
    steps = (np.stack(np.indices(masks[k].shape), -1) - middle) * np.linalg.norm(affine[:3, :3], axis=0)
    masks[k] |= ((steps**2).sum(-1) < 20**2) & ~np.delete(masks, k, axis=0).any(0)
    return masks


def missing(k, masks, affine, rng):
    """One bone was not found."""
    masks[k] = False
    return masks


def joined(k, masks, affine, rng):
    """A third of one bone belongs to another."""
    before = masks[k].copy()
    lost_piece(k, masks, affine, rng)
    masks[(k + 1) % len(masks)] |= before & ~masks[k]
    return masks


SWAPS = {
    "calcaneus and talus swapped": swapped(0, 1),
    "talus and tibia swapped": swapped(1, 2),
    "calcaneus and tibia swapped": swapped(0, 2),
}
MASK_FAULTS: dict[str, Callable[..., np.ndarray]] = {
    "a third lost": lost_piece,
    "dilated 4 mm": dilated,
    "leaking": leaking,
    "missing": missing,
    "a third of another": joined,
}


def corruptions(structures: int) -> Iterator[tuple[str, Callable[..., np.ndarray], int]]:
    """Faults of masks by name; those of a single bone once for each, which is their last argument."""
    for name, corrupt in SWAPS.items():
        yield name, corrupt, 0
    for name, corrupt in MASK_FAULTS.items():
        for k in range(structures):
            yield name, partial(corrupt, k), k
