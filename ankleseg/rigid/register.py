"""Registration of a static scan, bone by bone, on every frame of a dynamic sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from ankleseg.errors import GeometryError
from ankleseg.rigid.descent import Descent, descend
from ankleseg.rigid.fit import Fit
from ankleseg.rigid.frames import Frames, as_frames, choose_voxels
from ankleseg.rigid.profile import SliceProfile
from ankleseg.rigid.template import StaticScan, Template
from ankleseg.volumes.poses import invert_pose, rotation_about, skew, transform, translation

GLOBAL = "global"
PARTS = 4  # of the slice profile, each narrow enough to be filtered along an axis of the static scan
TURNS = (-24.0, -12.0, 0.0, 12.0, 24.0)  # degrees about the slice normal, from which a bone is looked for
GLOBAL_TURNS = (-20.0, 0.0, 20.0)
GLOBAL_SHIFTS = (-16.0, 0.0, 16.0)  # mm
BEST_STARTS = 3
AROUND = 12.0  # mm, how far the coarse search looks beyond a structure


_Level = tuple[Template, Frames]


@dataclass(frozen=True)
class Level:
    """One resolution of the pyramid.

    Attributes:
        smoothing: mm, in the slice plane.
        parts: of the slice profile that are sampled.
        count: most voxels of an item.
        steps: most Levenberg–Marquardt steps.
        order: of the gain over a bone, at most; a stiff one reaches further.
    """

    smoothing: float
    parts: int
    count: int
    steps: int
    order: int


COARSE = Level(smoothing=5.0, parts=2, count=1000, steps=10, order=1)
MIDDLE = Level(smoothing=1.2, parts=4, count=4000, steps=8, order=2)
FINE = Level(smoothing=0.0, parts=4, count=10000, steps=6, order=2)


@dataclass(frozen=True, eq=False)
class Registered:
    """One structure on all frames.

    Attributes:
        frame_from_static: (T, 4, 4) poses, world to world in mm.
        correlation: (T,) weighted Pearson correlation of the frame with the posed static scan seen through the slice
            profile, without a fit of contrast or gain.
        explained: (T,) share of the frame's weighted variance that the posed scan explains, contrast and gain fitted.
        overlap: (T,) share of the structure's weight inside the frame's field of view.
        error_mm: (T,) standard error of the pose from curvature and residual, root mean square over the structure.
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
    found = {GLOBAL: whole.from_starts(_global_starts(sequence, whole.centre))}
    bones = {name: _Structure(static, static_affine, weights[name], masks[name], sequence, order) for name in weights}
    joint = np.mean([bone.centre for bone in bones.values()], axis=0)
    starts = _bone_starts(found[GLOBAL].static_from_frame, sequence, joint)
    result = {GLOBAL: whole.describe(found[GLOBAL])}
    for name, bone in bones.items():
        result[name] = bone.describe(bone.fine(bone.from_starts(starts)))
    return result


def _global_starts(frames: Frames, centre: np.ndarray) -> Tensor:
    """The world as it is, shifted in the slice plane and turned about the slice normal, (S, T, 4, 4)."""
    axes = frames.affine[:3, :2] / np.linalg.norm(frames.affine[:3, :2], axis=0)
    starts = [
        translation(axes @ (first, second)) @ rotation_about(frames.normal, turn, centre)
        for turn in GLOBAL_TURNS
        for first in GLOBAL_SHIFTS
        for second in GLOBAL_SHIFTS
    ]
    stacked = torch.from_numpy(np.stack(starts)).to(frames.values.device)
    return stacked[:, None].expand(-1, len(frames.values), -1, -1)


def _bone_starts(whole: Tensor, frames: Frames, joint: np.ndarray) -> Tensor:
    """The pose of the whole foot, turned about the slice normal through the middle of the bones, (S, T, 4, 4)."""
    turned = [
        [rotation_about(pose[:3, :3] @ frames.normal, angle, joint) @ pose for pose in whole.cpu().numpy()]
        for angle in TURNS
    ]
    return torch.from_numpy(np.array(turned)).to(whole)


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
        )
        self.points = _support(weight, affine)
        self.centre = self.points.mean(0)

    def from_starts(self, starts: Tensor) -> Descent:
        """Search every frame from several starts, follow the motion from the best one, and keep what is better."""
        coarse, middle = self._level(COARSE), self._level(MIDDLE)
        found = self._search(coarse, starts)
        found = self._refine(middle, MIDDLE, found.static_from_frame)
        return _best_of([found, self._followed(coarse, middle, found)])

    def fine(self, found: Descent) -> Descent:
        """Refine at the resolution of the frames."""
        return self._refine(self._level(FINE), FINE, found.static_from_frame)

    def _level(self, level: Level) -> _Level:
        voxel = max(self.frames.voxel, 0.4 * level.smoothing)
        template = self.static.template(voxel, level.smoothing, self.frames.values.device)
        return template, self.frames.smoothed(level.smoothing)

    def _search(self, level: _Level, starts: Tensor) -> Descent:
        """Look at all starts (S, T, 4, 4) of each frame, and go down from the best."""
        looks = [self._descend(*level, start, COARSE, count=600, around=0.01, steps=0) for start in starts]
        best = _scores(looks).topk(min(BEST_STARTS, len(starts)), dim=0, largest=False).indices
        every = torch.arange(len(best[0]), device=best.device)
        return _best_of([self._coarse(level, starts[choice, every]) for choice in best])

    def _followed(self, coarse: _Level, middle: _Level, found: Descent) -> Descent:
        """Go from the best frame to the next on both sides, and on; a frame is looked for where the one before is, and
        where the motion was going."""
        anchor = int(found.fit.cost.argmin())
        ends = {anchor: _some(found, slice(anchor, anchor + 1))}
        for path in (range(anchor + 1, len(found.fit.cost)), range(anchor - 1, -1, -1)):
            for frame in path:
                last = ends[frame - path.step].static_from_frame[0]
                before = ends.get(frame - 2 * path.step, ends[frame - path.step]).static_from_frame[0]
                starts = torch.stack([last, last @ torch.linalg.inv(before) @ last])
                both = torch.tensor([frame, frame], device=starts.device)
                reached = self._coarse(coarse, starts, both).static_from_frame
                tried = self._descend(*middle, reached, MIDDLE, MIDDLE.count, 0.0, MIDDLE.steps // 2, both)
                ends[frame] = _best_of([_some(tried, slice(row, row + 1)) for row in (0, 1)])
        parts = [ends[frame] for frame in sorted(ends)]
        fit = Fit(*(torch.cat([getattr(part.fit, name) for part in parts]) for name in Fit.__dataclass_fields__))
        return Descent(torch.cat([part.static_from_frame for part in parts]), fit)

    def _coarse(self, level: _Level, start: Tensor, frame: Tensor | None = None) -> Descent:
        return self._descend(*level, start, COARSE, COARSE.count, AROUND, COARSE.steps, frame)

    def _refine(self, level: _Level, settings: Level, start: Tensor) -> Descent:
        """Go down twice, the voxels chosen anew halfway."""
        half = self._descend(*level, start, settings, settings.count, 0.0, settings.steps // 2)
        return self._descend(*level, half.static_from_frame, settings, settings.count, 0.0, settings.steps // 2)

    def _descend(
        self,
        template: Template,
        frames: Frames,
        start: Tensor,
        settings: Level,
        count: int,
        around: float,
        steps: int,
        frame: Tensor | None = None,
    ) -> Descent:
        frame = torch.arange(len(start), device=start.device) if frame is None else frame
        voxels = choose_voxels(frames, template, frame, start, parts=settings.parts, count=count, around=around)
        centre = torch.from_numpy(self.centre).to(start).expand(len(start), -1)
        return descend(
            template, voxels, start, centre, steps=steps, order=min(self.order, settings.order) if steps else 0
        )

    def describe(self, found: Descent) -> Registered:
        """Poses and their quality as arrays."""
        poses = invert_pose(found.static_from_frame.cpu().numpy())
        error_mm, error_degrees = self._errors(found.fit)
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

    def _errors(self, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
        """Standard errors of pose (mm) and rotation (degrees) from curvature and residual, voxels independent."""
        hessian = fit.hessian.cpu().numpy()
        ridge = (1e-9 * np.trace(hessian, axis1=1, axis2=2) + 1e-15)[:, None, None] * np.eye(6)
        variance = (fit.noise / fit.weight.clamp(min=1)).double().cpu().numpy()
        covariance = np.linalg.inv(hessian + ridge) * variance[:, None, None]
        arms = self.points - self.centre
        jacobian = np.concatenate([-skew(arms), np.broadcast_to(np.eye(3), (len(arms), 3, 3))], -1)
        moment = np.einsum("nij,nik->jk", jacobian, jacobian) / len(arms)
        turn = np.trace(covariance[:, :3, :3], axis1=1, axis2=2)
        return np.sqrt(np.einsum("bij,ij->b", covariance, moment)), np.degrees(np.sqrt(turn))


def _best_of(ends: Sequence[Descent]) -> Descent:
    best = _scores(ends).argmin(0)
    rows = torch.arange(len(best), device=best.device)

    def pick(parts: list[Tensor]) -> Tensor:
        return torch.stack(parts)[best, rows]

    fit = Fit(*(pick([getattr(end.fit, name) for end in ends]) for name in Fit.__dataclass_fields__))
    return Descent(pick([end.static_from_frame for end in ends]), fit)


def _some(found: Descent, rows: slice) -> Descent:
    fit = Fit(*(getattr(found.fit, name)[rows] for name in Fit.__dataclass_fields__))
    return Descent(found.static_from_frame[rows], fit)


def _scores(ends: Sequence[Descent]) -> Tensor:
    """Cost of several ends of each frame (E, T), and what they leave out: a little is always easily explained."""
    coverage = torch.stack([end.fit.coverage for end in ends])
    missing = 1 - coverage / coverage.max(0).values.clamp(min=1e-6)
    return torch.stack([end.fit.cost for end in ends]) + missing


def _support(weight: np.ndarray, affine: np.ndarray, most: int = 2000) -> np.ndarray:
    """World points (n, 3) spread evenly over where a structure has weight."""
    found = np.argwhere(weight > 0.5 * weight.max())
    found = found[:: max(1, len(found) // most)]
    return found @ affine[:3, :3].T + affine[:3, 3]
