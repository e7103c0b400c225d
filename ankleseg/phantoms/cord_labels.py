"""From a spine to labels on a grid: every point is brought to a section perpendicular to the cord and told there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float, UInt8

from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.spine import Spine

ROOT = 0.7  # mm, radius of a root below the cord
NEAR = 50.0  # mm from the cord, within which there is more than muscle, fat and skin


class CordTissue(IntEnum):
    """Tissues around a spinal cord by the number that marks them in a label map."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    BONE = 4
    MARROW = 5
    DISC = 6
    NUCLEUS = 7  # of a disc
    LIGAMENT = 8
    DURA = 9
    CSF = 10
    ROOT = 11
    WHITE_MATTER = 12
    GREY_MATTER = 13
    BRAINSTEM = 14
    VISCERA = 15
    VESSEL = 16
    BATH = 17  # what a specimen lies in


CORD = frozenset({CordTissue.WHITE_MATTER, CordTissue.GREY_MATTER})


@dataclass(frozen=True)
class Specimen:
    """What is left of a body after death.

    Attributes:
        radius: mm of the spine around the canal that were taken out; 0: the cord in its dura alone.
        vessel: radius of the round vessel that it lies in, mm.
        bubbles: (x, y, z, radius) of bubbles of air in the fluid, mm of the world.
    """

    radius: float
    vessel: float
    bubbles: Sequence[Float[np.ndarray, "4"]] = ()


@dataclass(frozen=True)
class CordLabels:
    """Labels of a spine at the voxel centres of any grid (a `LabelSource` of the scanner).

    Attributes:
        spine: what is drawn.
        fat: thickness of the fat below the skin of the back, mm.
        specimen: what is left of the body; None: all of it.
    """

    spine: Spine
    fat: float = 8.0
    specimen: Specimen | None = None

    def __call__(self, grid: Grid) -> UInt8[np.ndarray, "x y z"]:
        # between nodes 2 mm apart the section of a point and its place there are interpolated, to a hundredth of a mm
        steps = [max(int(2 / spacing), 1) for spacing in grid.spacing[:2]]
        sides = zip(grid.shape[:2], steps, strict=True)
        nodes = [np.arange(0, side + step, step, dtype=np.float32) for side, step in sides]
        affine = grid.affine.astype(np.float32)
        across = affine[:3, 0, None, None] * nodes[0][:, None] + affine[:3, 1, None, None] * nodes[1]
        result = np.empty((grid.shape[2], *grid.shape[:2]), np.uint8)
        for index, labels in enumerate(result):
            points = across + (affine[:3, 2] * index + affine[:3, 3])[:, None, None]
            row, right, front = self.spine.locate(points.reshape(3, -1))
            smooth = np.concatenate([points, np.stack([self.spine.along[row], right, front]).reshape(points.shape)])
            for axis, (side, step) in enumerate(zip(labels.shape, steps, strict=True), start=1):
                smooth = _between(smooth, side, step, axis)
            labels[...] = self._plane(smooth[:3], *smooth[3:])
        return np.moveaxis(result, 0, 2)

    def _plane(self, points: np.ndarray, along: np.ndarray, right: np.ndarray, front: np.ndarray) -> np.ndarray:
        """Labels of a plane, from its points in the world and their places in the sections of the spine."""
        row = self.spine.at_height(points[2])
        beside = points[:2] - np.moveaxis(self.spine.frame[row, :2], -1, 0)
        labels = self._body(beside[0], beside[1], row)
        reach = NEAR if self.specimen is None else 1.2 * self.specimen.radius + 16
        near = (np.abs(right) < reach) & (np.abs(front) < reach) & (labels != CordTissue.AIR)
        if near.any():
            labels[near] = self._section(points[:, near], along[near], right[near], front[near], labels[near])
        return labels

    def _body(self, right: np.ndarray, front: np.ndarray, row: np.ndarray) -> np.ndarray:
        """What lies around the spine, by mm to the right and to the front of the axis in a horizontal plane."""
        tissue = CordTissue
        if self.specimen is not None:
            return np.where(np.hypot(right, front) < self.specimen.vessel, tissue.BATH, tissue.AIR).astype(np.uint8)
        along, curved = self.spine.along[row], right**2
        skin = front + self.spine.values["depth"][row] - curved / 220  # from the back
        ahead = self.spine.values["ahead"][row] - curved / 260 - front
        labels = np.where(front < 22, tissue.MUSCLE, tissue.VISCERA).astype(np.uint8)
        neck, trunk = (along > 30) & (along < 190), along > 270
        labels[neck & ((right / 8.5) ** 2 + ((front - 44) / 7) ** 2 < 1)] = tissue.AIR  # the windpipe
        labels[neck & ((np.abs(right) - 21) ** 2 + (front - 27) ** 2 < 10)] = tissue.VESSEL
        labels[trunk & ((np.abs(right) - 12) ** 2 + (front - 54) ** 2 < 75)] = tissue.VESSEL
        for side, fat in ((skin, self.fat), (ahead, 0.7 * self.fat)):
            labels[side < 2 + fat] = tissue.FAT
            labels[side < 2] = tissue.SKIN
            labels[side < 0] = tissue.AIR
        return labels

    def _section(
        self, points: np.ndarray, along: np.ndarray, right: np.ndarray, front: np.ndarray, labels: np.ndarray
    ) -> UInt8[np.ndarray, " m"]:
        """What lies in the sections of the spine: painted from the outside inwards."""
        row = self.spine.row(along)
        at = {name: column[row] for name, column in self.spine.values.items()}
        aside, forth = right + at["aside"], front + at["forth"]  # from the middle of the sac
        around = labels.copy()
        uneven = aside + np.sin(0.23 * forth + 0.11 * along), forth + np.sin(0.19 * aside - 0.13 * along)
        behind = forth + at["sac_deep"] / 2 < -8
        layer = (uneven[1] + 0.3 * np.abs(aside) + 4 * np.sin(along / 21)) % 12
        sheets = behind & (np.abs(layer - 6) < 1) & (np.abs(aside) > 3)
        labels[sheets & (labels == CordTissue.MUSCLE)] = CordTissue.FAT
        self._vertebra(labels, row, *uneven, at)
        kept = self.specimen is None or np.hypot(aside, (forth - 6) / 1.2) < self.specimen.radius
        labels = np.where(kept, labels, around)
        self._canal(labels, row, aside, forth, at)
        self._cord(labels, right, front, at)
        if self.specimen is not None:
            fluid = np.isin(labels, [CordTissue.CSF, CordTissue.BATH])
            for x, y, z, radius in self.specimen.bubbles:
                squared = (points[0] - x) ** 2 + (points[1] - y) ** 2 + (points[2] - z) ** 2
                labels[fluid & (squared < radius**2)] = CordTissue.AIR
        return labels

    def _vertebra(
        self, labels: np.ndarray, row: np.ndarray, aside: np.ndarray, forth: np.ndarray, at: Mapping[str, np.ndarray]
    ) -> None:
        """Body and disc in front of the canal, pedicles and joints beside it, arch and spinous process behind."""
        tissue, height, below = CordTissue, at["height"], at["below"]
        part, off = below / height, np.abs(aside)
        wide, deep = at["sac_wide"] / 2, at["sac_deep"] / 2
        # spinous process: it slopes down, so that what lies deeper belongs to a higher place along the axis
        depth = -forth - deep - 4.5
        higher = self.spine.row(self.spine.along[row] - 0.45 * np.maximum(depth, 0))
        mine = self.spine.values["below"][higher] / self.spine.values["height"][higher]
        length = self.spine.values["spinous"][higher]
        inner = np.minimum(np.minimum(2.6 + 0.05 * depth - off, (0.3 - np.abs(mine - 0.45)) * height), length - depth)
        labels[(depth > -1) & (depth < length) & (off < 1.3)] = tissue.LIGAMENT
        _bone(labels, np.minimum(inner, depth + 2), 0.8)
        # beside the canal: fat with the nerve, pedicle, joint, transverse process
        beside = (off > wide + 1) & (off < wide + 9) & (forth > -deep) & (forth < deep + 6)
        labels[beside] = tissue.FAT
        nerve = (off - wide - 5) ** 2 + (forth - 1) ** 2 + (0.35 * (part - 0.7) * height) ** 2
        labels[beside & (nerve < 6)] = tissue.ROOT
        pedicle = np.minimum(0.21 - np.abs(part - 0.3), 1) * height
        pedicle = np.minimum(np.minimum(off - wide - 1, wide + 9.5 - off), pedicle)
        _bone(labels, np.minimum(pedicle, np.minimum(forth + deep + 2, deep + 7 - forth)), 0.9)
        joint = np.minimum(np.minimum(off - wide - 1.2, wide + 13 - off), np.minimum(forth + 13, 0.5 - forth))
        joint = np.minimum(joint, (np.abs(part - 0.97) - 0.05) * height)
        _bone(labels, joint, 1.0)
        transverse = np.minimum(3.5 - np.abs(forth + 5), 0.12 * height - np.abs(part - 0.42) * height)
        _bone(labels, np.minimum(transverse, np.minimum(off - wide - 8, wide + 26 - off)), 0.8)
        # arch: bone, and between the arches yellow ligament
        out = np.hypot(aside / (wide + 1.8), forth / (deep + np.where(forth < 0, 3.0, 1.6)))
        gap = (out - 1) * (wide + deep + 4) / 2
        arch = np.minimum(np.minimum(gap, 5.5 - gap), np.minimum((0.34 - np.abs(part - 0.46)) * height, -forth))
        labels[(gap > 0) & (gap < 2.6) & (forth < -0.3 * deep)] = tissue.LIGAMENT
        _bone(labels, arch, 0.9)
        # body and disc
        ahead, bone = forth - deep - 1.8, height - at["disc"]
        waist = 0.93 + 0.07 * np.minimum((2 * below / bone - 1) ** 2, 1.2)
        length = waist * at["body_deep"]
        radius = np.hypot((ahead - 0.42 * length) / (0.58 * length), aside / (waist * at["body_wide"] / 2))
        inside = np.minimum((1 - radius) * 0.5 * length, ahead)
        _bone(labels, np.minimum(inside, np.minimum(below, bone - below)), 0.9)
        disc = (inside > -0.6) & (below > bone)
        labels[disc] = tissue.DISC
        labels[
            disc & (np.minimum(below - bone, height - below) > 0.12 * at["disc"] + 0.7) & (inside > 0.14 * length)
        ] = tissue.NUCLEUS
        labels[(inside < 0) & (inside > -1.0) & (ahead < 0) & (ahead > -1) & (off < 6)] = tissue.LIGAMENT

    def _canal(
        self, labels: np.ndarray, row: np.ndarray, aside: np.ndarray, forth: np.ndarray, at: Mapping[str, np.ndarray]
    ) -> None:
        """Fat, dura, fluid and roots."""
        wide, deep = at["sac_wide"] / 2, at["sac_deep"] / 2
        if self.specimen is None or self.specimen.radius:
            bony = (aside / (wide + 1.8)) ** 2 + (forth / (deep + np.where(forth < 0, 3.0, 1.6))) ** 2 < 1
            labels[bony] = CordTissue.FAT
        labels[(aside / (wide + 0.6)) ** 2 + (forth / (deep + 0.6)) ** 2 < 1] = CordTissue.DURA
        sac = np.flatnonzero((aside / np.maximum(wide, 0.1)) ** 2 + (forth / np.maximum(deep, 0.1)) ** 2 < 1)
        labels[sac] = CordTissue.CSF
        sac = sac[self.spine.along[row[sac]] > self.spine.end - 60]
        row, aside, forth = row[sac], aside[sac], forth[sac]
        for strand in self.spine.roots if len(sac) else ():
            place = strand[row]
            labels[sac[(aside - place[:, 0]) ** 2 + (forth - place[:, 1]) ** 2 < ROOT**2]] = CordTissue.ROOT

    def _cord(self, labels: np.ndarray, right: np.ndarray, front: np.ndarray, at: Mapping[str, np.ndarray]) -> None:
        """White matter with the butterfly of grey matter; above the cord, the brainstem."""
        across, through = right / np.maximum(at["wide"] / 2, 1e-3), front / np.maximum(at["deep"] / 2, 1e-3)
        cord = across**2 + through**2 < 1
        horn = np.abs(np.abs(across) - 0.28 - 0.06 * through) < 0.1 + 0.07 * (through > 0)
        grey = cord & (
            (horn & (through > -0.66) & (through < 0.52)) | ((np.abs(through) < 0.1) & (np.abs(across) < 0.3))
        )
        labels[cord] = CordTissue.WHITE_MATTER
        labels[grey] = CordTissue.GREY_MATTER
        labels[cord & at["above"]] = CordTissue.BRAINSTEM


def _bone(labels: UInt8[np.ndarray, " m"], inside: Float[np.ndarray, " m"], cortex: float) -> None:
    """Paint bone where `inside`, the distance from its surface in mm, is above 0: marrow within a cortex."""
    labels[inside > 0] = CordTissue.BONE
    labels[inside > cortex] = CordTissue.MARROW


def _between(values: np.ndarray, side: int, step: int, axis: int) -> np.ndarray:
    """Interpolate linearly along an axis on which values are known at every `step`-th of `side` places."""
    places = np.arange(side)
    share = (
        (places % step / step).astype(np.float32).reshape([-1 if other == axis else 1 for other in range(values.ndim)])
    )
    lower = values.take(places // step, axis)
    return lower + share * (values.take(np.minimum(places // step + 1, values.shape[axis] - 1), axis) - lower)
