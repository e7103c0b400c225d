"""Whether a dynamic sequence shows the foot where the static scan does, as its header says.

Two scans are compared on a coarse grid of the world by their correlation over all small shifts, because the leg moves
between acquisitions. Where the header of the sequence fits badly and that of the static scan fits well, it is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import fft

from ankleseg.motion.cleaning.agreement import averaged
from ankleseg.volumes import Finding, Verdict, Volume, anatomical_axis, resample, slice_axis
from ankleseg.volumes.geometry import Affine, box_corners, spacing

COARSE_MM = 4.0
USUAL_SHIFT_MM = 30.0  # of a leg between two acquisitions
MOST_SHIFT_MM = 60.0  # between the middles of two fields of view
LEAST_SHARED = 0.3  # of the smaller field of view; correlations over less say nothing

# Of phantoms with the right header 0.75 to 0.95 was found, with axes exchanged or reversed 0 to 0.85 and at least 0.05
# less than with the right one, with left and right exchanged 0.02 to 0.17 less.
GOOD, FAIR, BAD = 0.80, 0.60, 0.50
BETTER = 0.05  # by which another header has to fit to be believed
MIRRORED_BETTER = 0.04  # no phantom of 28 that is not mirrored gains more than 0.024
ALIKE = 0.85  # cosine of 32°: a frame that is more oblique than that is compared with its foot lying as the scan does


@dataclass(frozen=True, eq=False)
class CoarseFoot:
    """A foot on a coarse grid of the world.

    Attributes:
        values: cube roots of the intensities, mean 1 in the foot, 0 outside it.
        seen: 1 in the field of view, 0 outside.
        extent: voxels that the whole field of view would fill.
    """

    values: Float[np.ndarray, "x y z"]
    seen: Float[np.ndarray, "x y z"]
    extent: float


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The place of a static scan and 60 mm around it, in cubes of 4 mm along the axes of the world, with its foot."""

    shape: tuple[int, ...]
    affine: Affine
    foot: CoarseFoot


def surroundings(static: Volume, foot: Bool[np.ndarray, "x y z"]) -> Surroundings:
    """Lay a coarse grid around a static scan and bring its foot to it."""
    ends = box_corners(static.data.shape, static.affine)
    affine = np.diag([COARSE_MM, COARSE_MM, COARSE_MM, 1.0])
    affine[:3, 3] = ends.min(0) - MOST_SHIFT_MM
    sides = np.ceil((np.ptp(ends, axis=0) + 2 * MOST_SHIFT_MM) / COARSE_MM).astype(int)
    shape = tuple(fft.next_fast_len(int(side), real=True) for side in sides)
    return Surroundings(shape, affine, coarse_foot(static.data, static.affine, foot, shape, affine))


def coarse_foot(
    image: Shaped[np.ndarray, "x y z"],
    affine: Affine,
    foot: Bool[np.ndarray, "x y z"],
    shape: tuple[int, ...],
    grid: Affine,
) -> CoarseFoot:
    """Bring a foot to a coarse grid.

    The cube root draws contrasts together, so that scans of different weighting resemble each other.
    """
    from scipy.ndimage import gaussian_filter

    root = np.where(foot, np.cbrt(np.maximum(image, 0).astype(np.float32)), 0)
    root /= np.float32(root[foot].mean(dtype=np.float64) or 1.0)
    blocks = np.maximum(np.floor(0.5 * COARSE_MM / spacing(affine)), 1).astype(int)
    middle_of_block = np.diag([*blocks.astype(float), 1.0])
    middle_of_block[:3, 3] = (blocks - 1) / 2
    thinned, thin = averaged(root, blocks), affine @ middle_of_block
    smooth = gaussian_filter(thinned, 0.4 * COARSE_MM / spacing(thin), mode="constant")
    seen = resample(np.ones(thinned.shape, np.float32), thin, shape, grid, order=0)
    extent = float(np.prod(np.array(image.shape) * spacing(affine))) / COARSE_MM**3
    return CoarseFoot(resample(smooth, thin, shape, grid), seen, extent)


def similarity(
    static: CoarseFoot, moving: CoarseFoot, most_shift: float = USUAL_SHIFT_MM
) -> tuple[float, Float[np.ndarray, "3"]]:
    """Return the best correlation of two feet over shifts of at most so many mm, and the shift of the second in mm.

    The correlation is taken over voxels that both see (Padfield 2012), by Fourier transforms; −1 where they share too
    little. What leaves the grid at one end comes in at the other, beyond what the static scan sees.
    """
    shape = static.values.shape

    def spectrum(array: np.ndarray) -> np.ndarray:
        return fft.rfftn(array.astype(np.float64))

    def back(product: np.ndarray) -> np.ndarray:
        return fft.irfftn(product, shape)

    mine, yours = static.values * static.seen, moving.values * moving.seen
    seen, mine_sum, mine_squares = (spectrum(a) for a in (static.seen, mine, mine * static.values))
    theirs, your_sum, your_squares = (np.conj(spectrum(a)) for a in (moving.seen, yours, yours * moving.values))
    count = np.maximum(np.rint(back(seen * theirs)), 1)
    first, second = back(mine_sum * theirs), back(seen * your_sum)
    covariance = back(mine_sum * your_sum) - first * second / count
    variances = (back(mine_squares * theirs) - first**2 / count) * (back(seen * your_squares) - second**2 / count)
    spread = np.sqrt(np.maximum(variances, 0))

    shifts = [COARSE_MM * np.rint(fft.fftfreq(side) * side) for side in shape]
    distance = np.sqrt(shifts[0][:, None, None] ** 2 + shifts[1][:, None] ** 2 + shifts[2] ** 2)
    useful = (count > LEAST_SHARED * min(static.extent, moving.extent)) & (distance <= most_shift) & (spread > 0.01)
    correlation = np.where(useful, covariance / np.maximum(spread, 0.01), -1)
    best = np.unravel_index(int(correlation.argmax()), shape)
    return float(correlation[best]), np.array([shift[index] for shift, index in zip(shifts, best, strict=True)])


def check_place(
    sequence: Volume,
    mean: Float[np.ndarray, "x y z"],
    foot: Bool[np.ndarray, "x y z"],
    static: Volume,
    there: Surroundings,
    *,
    copy_headers: bool,
    mend_flipped: bool,
) -> tuple[Volume | None, list[Finding]]:
    """Judge the header of a sequence by where it puts the foot.

    Args:
        sequence: the frames.
        mean: of the usable frames.
        foot: where the foot is in them.
        static: the scan, mirrored back if it was mirrored.
        there: its foot, and the grid to compare on.
        copy_headers: take the directions and the place of the static scan where they fit much better.
        mend_flipped: mirror a sequence that fits better mirrored.

    Returns:
        The sequence as it may be used, None where it may not, and at most two findings.
    """
    assert sequence.path is not None and static.path is not None
    path, name = sequence.path, static.path.name
    findings = []
    fit, _ = similarity(there.foot, coarse_foot(mean, sequence.affine, foot, there.shape, there.affine))
    believed = fit >= GOOD and _lie_alike(static.affine, sequence.affine)
    copied = (-1.0, sequence.affine) if believed else _at_place_of(static, sequence, mean, foot, there)
    if copied[0] >= max(fit + BETTER, FAIR):
        problem = f"does not show the foot where {name} does ({_percent(fit)} alike), but does so with its header"
        if not copy_headers:
            return None, [Finding(path, Verdict.HEADER_COPY, problem, "set copy_headers=true")]
        mend = f"the header of {name} was taken ({_percent(copied[0])} alike); copy_headers=false refuses the sequence"
        findings.append(Finding(path, Verdict.HEADER_COPY, problem, mend))
        fit, sequence = copied[0], replace(sequence, affine=copied[1])
    elif fit < BAD:
        problem = f"does not show the foot where {name} does ({_percent(fit)} alike)"
        return None, [Finding(path, Verdict.DIFFERENT, problem, "check that it is of this subject, and its header")]
    elif fit < FAIR:
        problem = f"hardly shows the foot where {name} does ({_percent(fit)} alike)"
        findings.append(Finding(path, Verdict.SUSPECT, problem, "look at its registration"))

    axis = anatomical_axis(sequence.affine, "LR")
    image = coarse_foot(np.flip(mean, axis), sequence.affine, np.flip(foot, axis), there.shape, there.affine)
    mirrored, _ = similarity(there.foot, image)
    if mirrored >= fit + MIRRORED_BETTER:
        problem = f"looks more like {name} when mirrored ({_percent(mirrored)} against {_percent(fit)} alike)"
        if mend_flipped:
            mend = "it was mirrored; mend_flipped=false leaves it"
            findings.append(Finding(path, Verdict.MIRRORED, problem, mend))
            sequence = replace(sequence, data=np.flip(sequence.data, axis))
        else:
            mend = "look at its registration; mend_flipped=true mirrors it"
            findings.append(Finding(path, Verdict.SUSPECT, problem, mend))
    return sequence, findings


def _lie_alike(affine: Affine, other: Affine) -> bool:
    """Tell whether the array axes of two grids point to nearly the same directions."""
    directions, others = (a[:3, :3] / spacing(a) for a in (affine, other))
    return bool(((directions * others).sum(0) > ALIKE).all())


def _at_place_of(
    static: Volume, sequence: Volume, mean: np.ndarray, foot: np.ndarray, there: Surroundings
) -> tuple[float, Affine]:
    """Lie the sequence as the static scan lies, shifted to fit best: how well it fits, and the affine."""
    size = sequence.spacing
    across = [slice_axis(static.affine), slice_axis(sequence.affine)]
    size[across] = size[across[::-1]]  # where a header exchanges the axes, it exchanges their spacings too
    affine = np.eye(4)
    affine[:3, :3] = static.affine[:3, :3] / static.spacing * size
    middle = box_corners(static.data.shape, static.affine).mean(0)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(mean.shape) - 1) / 2)
    fit, shift = similarity(there.foot, coarse_foot(mean, affine, foot, there.shape, there.affine), MOST_SHIFT_MM)
    affine[:3, 3] += shift
    return fit, affine


def _percent(correlation: float) -> str:
    return f"{max(correlation, 0):.0%}"
