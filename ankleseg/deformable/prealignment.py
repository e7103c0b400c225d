"""Affine alignment before any field: in millimetres from the headers, from several starts, the same every time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from jaxtyping import Float

from ankleseg.deformable.itk_registration import Kind, Matrix, descend_affine
from ankleseg.deformable.polishing import likeness, polish
from ankleseg.deformable.scans import Scan, reduced
from ankleseg.volumes.poses import rotation_degrees, transform, translation

COARSE, FINE = 40, 90  # voxels along the diagonal of what the fixed scan shows, of the images that are compared
FINEST = 135  # of those by which the map is polished
BINS = 24
FOLLOWED = 4  # starts that are followed, besides the one that the headers give
LEAST_OVERLAP = 0.2  # of a start that is followed
NOTHING = 1e-4  # of the local correlation: what is gained by less is not believed
TRUSTED = 0.95  # of the best information: where the headers' start leads that far, it is taken


@dataclass(frozen=True, eq=False)
class Alignment:
    """An affine map and how far it can be believed.

    Attributes:
        moving_from_fixed: takes a point of the fixed scan, RAS+ mm, to where it lies in the moving one.
        information: mutual information of the aligned scans at 3 mm, in nats.
        overlap: share of the fixed scan's foreground that the moving scan's field of view covers.
        degrees: rotation of the map.
        from_headers: the headers' own start led there.
    """

    moving_from_fixed: Matrix
    information: float
    overlap: float
    degrees: float
    from_headers: bool


def align(fixed: Scan, moving: Scan, kind: Kind = "affine") -> Alignment:
    """Align two scans of about the same anatomy by ITK.

    Starts are the headers' own and, with the centres of mass put on each other, all 24 right-angled turns. Their mutual
    information is looked at, the best few are followed by a rigid registration, and the best end goes on. The headers'
    own map is kept where nothing makes the scans more alike: a copy that is only stored otherwise does not move at all.

    Args:
        fixed, moving: on any grids.
        kind: ``rigid``, six degrees of freedom, or ``affine``, twelve.
    """
    diagonal = float(np.linalg.norm(np.ptp(fixed.points(), axis=0)))
    fine = reduced(fixed.cropped(), diagonal / FINE), reduced(moving.cropped(), diagonal / FINE)
    coarse = reduced(fine[0], diagonal / COARSE), reduced(fine[1], diagonal / COARSE)
    turned = sorted(_right_angles(*coarse), key=lambda start: -information(*coarse, start))
    starts = [np.eye(4), *turned[:FOLLOWED]]
    ends = [_followed(coarse, start, "rigid", 0.6 * diagonal / COARSE) for start in starts]
    values = [information(*coarse, end) for end in ends]
    best = 0 if values[0] >= TRUSTED * max(values) else int(np.argmax(values))
    found = _followed(fine, ends[best], "rigid", 0.3 * diagonal / FINE)
    if kind == "affine":
        found = _followed(fine, found, "affine", 0.3 * diagonal / FINE)
    finest = reduced(fixed.cropped(), diagonal / FINEST), reduced(moving.cropped(), diagonal / FINEST)
    found = polish(*finest, found, kind)
    if likeness(*finest, np.eye(4)) > likeness(*finest, found) - NOTHING:
        return stay(*fine)
    return _described(found, fine, from_headers=best == 0)


def _followed(scans: tuple[Scan, Scan], start: Matrix, kind: Kind, step: float) -> Matrix:
    """Where a start leads; the start itself where the scans lose each other, or become less alike."""
    if overlap(*scans, start) < LEAST_OVERLAP:
        return start
    try:
        end = descend_affine(*scans, start, kind, step=step)
    except RuntimeError:  # ITK's, where all samples lie outside
        return start
    return end if information(*scans, end) >= TRUSTED * information(*scans, start) else start


def stay(fixed: Scan, moving: Scan) -> Alignment:
    """Describe the alignment that the headers give."""
    return _described(np.eye(4), (fixed, moving), from_headers=True)


def _described(found: Matrix, scans: tuple[Scan, Scan], from_headers: bool) -> Alignment:
    degrees = float(rotation_degrees(_nearest_rigid(found)))
    return Alignment(found, information(*scans, found), overlap(*scans, found), degrees, from_headers)


def information(fixed: Scan, moving: Scan, moving_from_fixed: Matrix) -> float:
    """Return the mutual information, in nats, of the fixed scan and the moving one as a map shows it, black outside."""
    from scipy.ndimage import affine_transform

    step = np.linalg.inv(moving.affine) @ moving_from_fixed @ fixed.affine
    shown = affine_transform(moving.data, step[:3, :3], step[:3, 3], fixed.data.shape, order=1)
    joint, _, _ = np.histogram2d(fixed.data.ravel(), shown.ravel(), BINS, range=[[0, 1], [0, 1]])
    shares = joint / joint.sum()
    alone = shares.sum(1)[:, None] * shares.sum(0)[None]
    there = shares > 0
    return float((shares[there] * np.log(shares[there] / alone[there])).sum())


def overlap(fixed: Scan, moving: Scan, moving_from_fixed: Matrix) -> float:
    """Return the share of the fixed scan's foreground that a map puts into the moving scan's field of view."""
    places = transform(np.linalg.inv(moving.affine) @ moving_from_fixed, fixed.points())
    return float(((places > -0.5) & (places < np.array(moving.data.shape) - 0.5)).all(1).mean())


def _right_angles(fixed: Scan, moving: Scan) -> list[Matrix]:
    """The 24 turns by right angles about the centres of mass, one put on the other."""
    first, second = _centre(fixed), _centre(moving)
    turns = []
    for order, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
        turn = np.eye(4)
        turn[:3, :3] = np.diag(signs)[:, list(order)]
        if np.linalg.det(turn) > 0:
            turns.append(translation(second) @ turn @ translation(-first))
    return turns


def _centre(scan: Scan) -> Float[np.ndarray, "3"]:
    weights = scan.data[scan.foreground()].astype(float)
    return weights @ scan.points() / weights.sum()


def _nearest_rigid(matrix: Matrix) -> Matrix:
    left, _, right = np.linalg.svd(matrix[:3, :3])
    rigid = np.eye(4)
    rigid[:3, :3] = left @ right
    return rigid
