"""Registration of a static scan, bone by bone, on every frame of a dynamic sequence."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from ankleseg.errors import GeometryError
from ankleseg.rigid.descent import Descent, descend
from ankleseg.rigid.fit import Fit, Voxels, covariance
from ankleseg.rigid.frames import Frames, as_frames, choose_voxels
from ankleseg.rigid.profile import SliceProfile
from ankleseg.rigid.template import StaticScan, Template
from ankleseg.volumes.poses import displacement_of, invert_pose, rotation_about, skew, transform, translation

GLOBAL = "global"
PARTS = 4  # of the slice profile, each narrow enough to be filtered along an axis of the static scan
TURNS = (-24.0, -12.0, 0.0, 12.0, 24.0)  # degrees about the slice normal, from which a bone is looked for
GLOBAL_TURNS = (-20.0, 0.0, 20.0)
GLOBAL_SHIFTS = (-16.0, 0.0, 16.0)  # mm, in the slice plane
GLOBAL_DEPTHS = (-10.0, 0.0, 10.0)  # mm, across the slices
BEST_STARTS = 3
NEAR = 2.0  # mm, a frame found so near to where the motion was going is not looked for again
UNLIKELY = 100.0  # mm, so far from where the motion was going weighs as much as explaining nothing
BLOCK = 12.0  # mm, voxels so near to each other are not taken for independent
AROUND = 12.0  # mm, how far the coarse search looks beyond a structure


_Level = tuple[Template, Frames]


@dataclass(frozen=True)
class Level:
    """One resolution of the pyramid.

    Attributes:
        smoothing: mm, in the slice plane.
        voxel: mm in the slice plane, of the static scan, if the frames are not coarser.
        parts: of the slice profile that are sampled.
        count: most voxels of an item.
        steps: most Levenberg–Marquardt steps.
        order: of the gain over a bone, at most; a stiff one reaches further.
    """

    smoothing: float
    voxel: float
    parts: int
    count: int
    steps: int
    order: int


COARSE = Level(smoothing=5.0, voxel=2.0, parts=2, count=1000, steps=10, order=1)
MIDDLE = Level(smoothing=1.2, voxel=1.0, parts=4, count=4000, steps=6, order=2)
FINE = Level(smoothing=0.0, voxel=0.0, parts=4, count=16000, steps=4, order=2)


@dataclass(frozen=True, eq=False)
class Registered:
    """One structure on all frames.

    Attributes:
        frame_from_static: (T, 4, 4) poses, world to world in mm.
        correlation: (T,) weighted Pearson correlation of the frame with the posed static scan seen through the slice
            profile, without a fit of contrast or gain.
        explained: (T,) share of the frame's weighted variance that the posed scan explains, contrast and gain fitted.
        overlap: (T,) share of the structure's weight inside the frame's field of view.
        error_mm: (T,) standard error of the pose, root mean square over the structure.
        error_degrees: (T,) standard error of the rotation.
    """

    frame_from_static: Float[np.ndarray, "t 4 4"]
    correlation: Float[np.ndarray, "t"]
    explained: Float[np.ndarray, "t"]
    overlap: Float[np.ndarray, "t"]
    error_mm: Float[np.ndarray, "t"]
    error_degrees: Float[np.ndarray, "t"]


def register_sequence(
    static: Real[np.ndarray, "x y z"],
    static_affine: Float[np.ndarray, "4 4"],
    masks: Mapping[str, Bool[np.ndarray, "x y z"]],
    weights: Mapping[str, Float[np.ndarray, "x y z"]],
    foot: Float[np.ndarray, "x y z"],
    frames: Real[np.ndarray, "u v w t"],
    frames_affine: Float[np.ndarray, "4 4"],
    profile: SliceProfile,
    *,
    order: int = 2,
    device: str = "cpu",
) -> dict[str, Registered]:
    """Find the pose of the whole foot and of each bone on every frame.

    The whole foot is found first, from many starts; each bone starts from it, turned about the slice normal by several
    angles. Then the motion is followed from the best frame on, which finds frames that were lost.

    Args:
        static: intensities.
        static_affine: voxel to world.
        masks: of each bone on the static grid.
        weights: of each bone on the static grid, 0 to 1.
        foot: weight of the whole foot.
        frames: dynamic sequence, thick slices along the axis of the largest spacing.
        frames_affine: voxel to world.
        profile: of these slices.
        order: of the polynomial over a bone by which the coils may change the intensity: 0, 1 or 2.
        device: where to compute.

    Returns:
        ``global`` and each bone.

    Raises:
        GeometryError: a weight is empty.
    """
    for name, weight in {GLOBAL: foot, **weights}.items():
        if not np.any(weight > 0):
            raise GeometryError(f"the weight of {name} is empty", mend="check its mask")
    sequence = as_frames(frames, frames_affine, profile, torch.device(device))
    whole = _Structure(static, static_affine, foot, None, sequence, order)
    result = {GLOBAL: whole.register(_global_starts(sequence, whole.centre), MIDDLE)}
    bones = {name: _Structure(static, static_affine, weights[name], masks[name], sequence, order) for name in weights}
    joint = np.mean([bone.centre for bone in bones.values()], axis=0)
    starts = _bone_starts(invert_pose(result[GLOBAL].frame_from_static), sequence, joint)
    return result | {name: bone.register(starts, FINE) for name, bone in bones.items()}


def _global_starts(frames: Frames, centre: np.ndarray) -> Tensor:
    """The world as it is, shifted along the axes of the frames and turned about the slice normal, (S, T, 4, 4)."""
    axes = frames.affine[:3, :3] / np.linalg.norm(frames.affine[:3, :3], axis=0)
    starts = [
        translation(axes @ shift) @ rotation_about(frames.normal, turn, centre)
        for turn in GLOBAL_TURNS
        for shift in itertools.product(GLOBAL_SHIFTS, GLOBAL_SHIFTS, GLOBAL_DEPTHS)
    ]
    stacked = torch.from_numpy(np.stack(starts)).to(frames.values.device)
    return stacked[:, None].expand(-1, len(frames.values), -1, -1)


def _bone_starts(whole: np.ndarray, frames: Frames, joint: np.ndarray) -> Tensor:
    """The poses of the whole foot, turned about the slice normal through the middle of the bones, (S, T, 4, 4)."""
    turned = [[rotation_about(pose[:3, :3] @ frames.normal, angle, joint) @ pose for pose in whole] for angle in TURNS]
    return torch.from_numpy(np.array(turned)).to(frames.values.device)


class _Structure:
    """One structure on all frames of a sequence."""

    def __init__(
        self,
        static: np.ndarray,
        affine: np.ndarray,
        weight: np.ndarray,
        inside: np.ndarray | None,
        frames: Frames,
        order: int,
    ) -> None:
        self.frames, self.order = frames, order
        self.static = StaticScan(
            static,
            affine,
            weight,
            inside,
            normal=frames.normal,
            width=frames.profile.extent / PARTS,
            voxel=frames.voxel if inside is not None else 2 * frames.voxel,
            device=frames.values.device,
        )
        self.points = _support(weight, affine)
        self.centre = self.points.mean(0)

    def register(self, starts: Tensor, last: Level) -> Registered:
        """Search every frame from several starts (S, T, 4, 4), follow the motion, and go down to the last level."""
        coarse, middle = self._level(COARSE), self._level(MIDDLE)
        found = self._descend_all(middle, self._search(coarse, starts).static_from_frame, MIDDLE)
        found = self._followed(coarse, middle, found)
        if last is MIDDLE:
            return self._describe(found, middle, MIDDLE)
        level = self._level(last)
        return self._describe(self._descend_all(level, found.static_from_frame, last), level, last)

    def _level(self, level: Level) -> _Level:
        template = self.static.template(max(self.frames.voxel, level.voxel), level.smoothing)
        return template, self.frames.smoothed(level.smoothing)

    def _search(self, level: _Level, starts: Tensor) -> Descent:
        """Look at all starts (S, T, 4, 4) of each frame, and go down from the best."""
        count = starts.shape[1]
        frame = torch.arange(count, device=starts.device)
        looks = self._descend(level, starts.flatten(0, 1), COARSE, frame.repeat(len(starts)), count=600, steps=0)
        best = _scores(_parts(looks, count)).topk(min(BEST_STARTS, len(starts)), dim=0, largest=False).indices
        return _best_of(_parts(self._coarse(level, starts[best, frame].flatten(0, 1), frame.repeat(len(best))), count))

    def _followed(self, coarse: _Level, middle: _Level, found: Descent) -> Descent:
        """Go from the best frame to the next on both sides, and on. A frame that lies where the motion was going stays;
        else it is looked for there and where the frame before is. The best end is taken, the former among them, but one
        far from both is held to be unlikely."""
        count = len(found.fit.cost)
        anchor = int(found.fit.cost.argmin())
        for far in range(1, count):
            for frame, side in ((anchor - far, 1), (anchor + far, -1)):
                if not 0 <= frame < count:
                    continue
                starts = _starts_beside(found.static_from_frame, frame, side, far)
                old = _rows(found, slice(frame, frame + 1))
                if self._away(old.static_from_frame, starts) < NEAR:
                    continue
                rows = torch.full((len(starts),), frame, device=starts.device)
                tried = self._descend(middle, self._coarse(coarse, starts, rows).static_from_frame, MIDDLE, rows)
                ends = _joined([old, tried])
                away = torch.tensor([self._away(pose, starts) for pose in ends.static_from_frame], device=starts.device)
                best = int((_scores(_parts(ends, 1))[:, 0] + away / UNLIKELY).argmin())
                ends = _rows(ends, slice(best, best + 1))
                found = _joined([_rows(found, slice(0, frame)), ends, _rows(found, slice(frame + 1, None))])
        return found

    def _away(self, pose: Tensor, others: Tensor) -> float:
        """Mean distance over the structure, in mm, from where a pose puts it to where the nearest of others does."""
        first, second = (invert_pose(part.cpu().numpy()) for part in (pose.expand(len(others), 4, 4), others))
        return float(displacement_of(first, second, self.points).mean(-1).min())

    def _coarse(self, level: _Level, start: Tensor, frame: Tensor) -> Descent:
        return self._descend(level, start, COARSE, frame, around=AROUND)

    def _descend_all(self, level: _Level, start: Tensor, settings: Level) -> Descent:
        return self._descend(level, start, settings, _every(start))

    def _descend(
        self,
        level: _Level,
        start: Tensor,
        settings: Level,
        frame: Tensor,
        *,
        steps: int | None = None,
        count: int | None = None,
        around: float = 0.0,
    ) -> Descent:
        template, voxels, centre = self._items(level, start, settings, frame, count, around)
        steps = settings.steps if steps is None else steps
        order = min(self.order, settings.order) if steps else 0
        return descend(template, voxels, start, centre, steps=steps, order=order)

    def _items(
        self,
        level: _Level,
        pose: Tensor,
        settings: Level,
        frame: Tensor,
        count: int | None = None,
        around: float = 0.0,
    ) -> tuple[Template, Voxels, Tensor]:
        """What `fit` compares for poses, each of a frame."""
        template, frames = level
        count = count or settings.count
        voxels = choose_voxels(frames, template, frame, pose, parts=settings.parts, count=count, around=around)
        return template, voxels, torch.from_numpy(self.centre).to(pose).expand(len(pose), -1)

    def _describe(self, found: Descent, level: _Level, settings: Level) -> Registered:
        """Poses, found at a level, and their quality as arrays."""
        poses = invert_pose(found.static_from_frame.cpu().numpy())
        error_mm, error_degrees = self._errors(found.static_from_frame, level, settings)
        return Registered(
            frame_from_static=poses,
            correlation=found.fit.correlation.double().cpu().numpy(),
            explained=1 - found.fit.cost.double().cpu().numpy(),
            overlap=self._overlap(poses),
            error_mm=error_mm,
            error_degrees=error_degrees,
        )

    def _overlap(self, poses: np.ndarray) -> np.ndarray:
        """Share of the structure's points within the outer edges of the frames."""
        index_from_static = np.linalg.inv(self.frames.affine) @ poses
        places = transform(index_from_static, np.broadcast_to(self.points, (len(poses), *self.points.shape)))
        shape = np.array(self.frames.values.shape[1:])
        return ((places >= -0.5) & (places <= shape - 0.5)).all(-1).mean(-1)

    def _errors(self, pose: Tensor, level: _Level, settings: Level) -> tuple[np.ndarray, np.ndarray]:
        """Standard errors of poses (mm) and of their rotation (degrees): the larger of those of blocks and of voxels,
        for few blocks tell little."""
        template, voxels, centre = self._items(level, pose, settings, _every(pose))
        order = min(self.order, settings.order)
        found = covariance(template, voxels, pose, centre, order=order, block=BLOCK).cpu().numpy()  # (2, T, 6, 6)
        arms = self.points - self.centre
        jacobian = np.concatenate([-skew(arms), np.broadcast_to(np.eye(3), (len(arms), 3, 3))], -1)
        moment = np.einsum("nij,nik->jk", jacobian, jacobian) / len(arms)
        turn = np.trace(found[..., :3, :3], axis1=-2, axis2=-1).max(0)
        return np.sqrt(np.einsum("...ij,ij", found, moment).max(0)), np.degrees(np.sqrt(turn))


def _starts_beside(poses: Tensor, frame: int, side: int, far: int) -> Tensor:
    """The pose of the frame beside and, if it is not the first, that of going on from it, (S, 4, 4)."""
    last = poses[frame + side]
    if far == 1:
        return last[None]
    return torch.stack([last, last @ torch.linalg.inv(poses[frame + 2 * side]) @ last])


def _every(poses: Tensor) -> Tensor:
    """The numbers of the frames of one pose a frame."""
    return torch.arange(len(poses), device=poses.device)


def _best_of(ends: Sequence[Descent]) -> Descent:
    """The best end of each frame."""
    best = _scores(ends).argmin(0)
    every = torch.arange(len(best), device=best.device)
    return _rows(_joined(ends), best * len(best) + every)


def _joined(parts: Sequence[Descent]) -> Descent:
    fit = Fit(*(torch.cat([getattr(part.fit, name) for part in parts]) for name in Fit.__dataclass_fields__))
    return Descent(torch.cat([part.static_from_frame for part in parts]), fit)


def _parts(whole: Descent, count: int) -> list[Descent]:
    """Cut into parts of so many items."""
    return [_rows(whole, slice(first, first + count)) for first in range(0, len(whole.fit.cost), count)]


def _rows(found: Descent, rows: slice | Tensor) -> Descent:
    fit = Fit(*(getattr(found.fit, name)[rows] for name in Fit.__dataclass_fields__))
    return Descent(found.static_from_frame[rows], fit)


def _scores(ends: Sequence[Descent]) -> Tensor:
    """Cost of several ends of each frame (E, T), and what they leave out: a little is always easily explained."""
    coverage = torch.stack([end.fit.coverage for end in ends])
    missing = 1 - coverage / coverage.max(0).values.clamp(min=1e-6)
    return torch.stack([end.fit.cost for end in ends]) + missing


def _support(weight: np.ndarray, affine: np.ndarray, most: int = 2000) -> np.ndarray:
    """World points (n, 3) spread evenly over where a structure has weight."""
    found = np.flatnonzero(weight > 0.5 * weight.max())
    found = np.stack(np.unravel_index(found[:: max(1, len(found) // most)], weight.shape), -1)
    return found @ affine[:3, :3].T + affine[:3, 3]
