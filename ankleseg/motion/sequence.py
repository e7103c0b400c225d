"""One dynamic sequence: bones registered, judged, and followed through motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.errors import AnklesegError
from ankleseg.measures.anatomical_frames import anatomical_frames, common_axes
from ankleseg.measures.kinematics import JointMotion, joint_motion
from ankleseg.measures.landmark_frames import frames_from_landmarks
from ankleseg.measures.pose_smoothing import smooth_poses
from ankleseg.motion.cleaning import Cleaned, CleanedSequence
from ankleseg.motion.masks import fractions_on_frames
from ankleseg.motion.overrule import Overrules
from ankleseg.motion.settings import MotionSettings
from ankleseg.rigid.quality import Verdict, apart, judge
from ankleseg.rigid.register import GLOBAL, Registered
from ankleseg.volumes.landmarks import read_landmarks
from ankleseg.volumes.poses import invert_pose, transform

JUDGED_POINTS = 2000
OVERRULED = "overruled"


@dataclass(frozen=True, eq=False, kw_only=True)
class MovedSequence:
    """A sequence with its bones.

    Attributes:
        name: of the sequence.
        source: the cleaned sequence.
        registered: ``global`` and each bone.
        verdicts: of each bone on every frame, overruled ones included.
        shared: of each bone on every frame, the share of it that the pose of the whole foot puts at the same place.
        fractions: of each bone, (X, Y, Z, T) how much of a voxel it fills; 0 where its registration failed.
        motion: of the joints, as of a right foot; empty where no axes could be found.
        smooth_motion: the same of smoothed poses, None where not asked for.
        axes: why there are no joint angles, else empty.
    """

    name: str
    source: CleanedSequence
    registered: Mapping[str, Registered]
    verdicts: Mapping[str, tuple[Verdict, ...]]
    shared: Mapping[str, Float[np.ndarray, "t"]]
    fractions: Mapping[str, Float[np.ndarray, "x y z t"]]
    motion: Mapping[str, JointMotion]
    smooth_motion: Mapping[str, JointMotion] | None
    axes: str

    @property
    def bones(self) -> tuple[str, ...]:
        """Names of the bones."""
        return tuple(self.verdicts)

    def poses(self, bone: str) -> Float[np.ndarray, "t 4 4"]:
        """``frame_from_static`` of a bone, NaN where it failed."""
        return _trusted(self.registered[bone], self.verdicts[bone])


def move_sequence(
    cleaned: Cleaned,
    sequence: CleanedSequence,
    registered: Mapping[str, Registered],
    settings: MotionSettings,
    overrules: Overrules,
) -> MovedSequence:
    """Judge the registration of every bone on every frame, and derive masks and the motion of the joints from it.

    Args:
        cleaned: the case; it has a static scan and at least one bone.
        sequence: of this case.
        registered: the foot and every bone of the case on this sequence.
        settings: of the application.
        overrules: what a person said of single registrations; it goes before the program's own verdict.
    """
    static, volume = cleaned.static, sequence.volume
    assert static is not None
    verdicts, shared, fractions = {}, {}, {}
    points = {bone: _points(mask, static.affine) for bone, mask in cleaned.masks.items()}
    gaps = apart({bone: registered[bone].frame_from_static for bone in points}, points)
    for bone, mask in cleaned.masks.items():
        own = judge(
            registered[bone],
            registered[GLOBAL],
            points[bone],
            settings.criteria,
            apart_mm=gaps.get(bone),
            unusable=tuple(sequence.unusable),
        )
        doubted = [_doubted(verdict, cleaned.doubts.get(bone)) for verdict in own]
        verdicts[bone] = tuple(
            _overruled(verdict, overrules.get((sequence.name, frame, bone))) for frame, verdict in enumerate(doubted)
        )
        shared[bone] = _shared(mask, static.affine, points[bone], registered[bone], registered[GLOBAL])
        poses = _trusted(registered[bone], verdicts[bone])
        fractions[bone] = fractions_on_frames(mask, static.affine, poses, volume.data.shape, volume.affine)
    moved = MovedSequence(
        name=sequence.name, source=sequence, registered=dict(registered), verdicts=verdicts, shared=shared,
        fractions=fractions, motion={}, smooth_motion=None, axes="",
    )  # fmt: skip
    return _with_motion(moved, cleaned, settings)


def binary(fractions: Float[np.ndarray, "*grid"]) -> Bool[np.ndarray, "*grid"]:
    """Voxels of which a bone fills at least half."""
    return fractions >= 0.5


def _with_motion(moved: MovedSequence, cleaned: Cleaned, settings: MotionSettings) -> MovedSequence:
    assert cleaned.static is not None
    motion: dict[str, JointMotion] = {}
    smooth, problem = None, ""
    try:
        if cleaned.side is None:
            raise AnklesegError("the side of the foot is unknown")
        if settings.landmarks:
            axes = frames_from_landmarks(read_landmarks(settings.landmarks), cleaned.side, file=settings.landmarks)
        else:
            axes = common_axes(anatomical_frames(cleaned.masks, cleaned.static.affine, cleaned.side))
        states = {bone: [verdict.status for verdict in verdicts] for bone, verdicts in moved.verdicts.items()}
        poses = {bone: moved.poses(bone) for bone in moved.bones}
        motion = joint_motion(poses, axes, cleaned.side, states)
        if settings.smoothing_frames:
            smoothed = {bone: smooth_poses(stack, period=settings.smoothing_frames) for bone, stack in poses.items()}
            smooth = joint_motion(smoothed, axes, cleaned.side)
    except AnklesegError as error:
        problem = str(error)
    content = {name: getattr(moved, name) for name in MovedSequence.__dataclass_fields__}
    return MovedSequence(**{**content, "motion": motion, "smooth_motion": smooth, "axes": problem})


def _trusted(found: Registered, verdicts: Sequence[Verdict]) -> Float[np.ndarray, "t 4 4"]:
    failed = np.array([verdict.status == "failed" for verdict in verdicts])
    return np.where(failed[:, None, None], np.nan, found.frame_from_static)


def _doubted(verdict: Verdict, doubt: str | None) -> Verdict:
    """A verdict on a bone whose mask is suspect: at best suspect, for that reason."""
    if doubt is None:
        return verdict
    reason = "; ".join(filter(None, [verdict.reason, f"its mask is suspect: {doubt}"]))
    return replace(verdict, status="failed" if verdict.status == "failed" else "suspect", reason=reason)


def _overruled(verdict: Verdict, said: tuple[str, str] | None) -> Verdict:
    if said is None:
        return verdict
    status, note = said
    reason = f"{OVERRULED} from {verdict.status}" + (f": {note}" if note else "")
    return Verdict(status, reason, verdict.step_mm, verdict.step_degrees)  # type: ignore[arg-type]


def _points(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    voxels = np.flatnonzero(mask)
    indices = np.stack(np.unravel_index(voxels[:: max(len(voxels) // JUDGED_POINTS, 1)], mask.shape), 1)
    return indices @ affine[:3, :3].T + affine[:3, 3]


def _shared(
    mask: np.ndarray, affine: np.ndarray, points: np.ndarray, bone: Registered, whole: Registered
) -> Float[np.ndarray, "t"]:
    """Share of a bone's points that are in the bone again when they are moved by its pose and back by the foot's."""
    shares = []
    for own, common in zip(bone.frame_from_static, whole.frame_from_static, strict=True):
        places = transform(np.linalg.inv(affine) @ invert_pose(common) @ own, points)
        voxels = np.rint(places).astype(int)
        inside = ((voxels >= 0) & (voxels < mask.shape)).all(1)
        shares.append(np.count_nonzero(mask[tuple(voxels[inside].T)]) / len(points))
    return np.array(shares)
