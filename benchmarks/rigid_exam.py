"""The exams of ``benchmarks/rigid.py``: phantoms with their truth, what the peers get, and how a pose is scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

BONES = ("calcaneus", "talus", "tibia")
RUNS = {"active": "box", "passive": "gaussian"}
MARGIN = 10.0  # mm round a bone's weight that the static scan is cut to
AROUND = 20.0  # mm round the bone in its starting pose that a frame is cut to


@dataclass(frozen=True, eq=False)
class Exam:
    """One sequence and the static scan it belongs to, with the truth."""

    name: str
    static: np.ndarray
    affine: np.ndarray
    masks: dict[str, np.ndarray]
    frames: np.ndarray
    frames_affine: np.ndarray
    thickness: float
    shape: str
    poses: dict[str, np.ndarray]
    frame_masks: dict[str, np.ndarray]

    def save(self, path: Path) -> None:
        """Write it, to be read by `read`; a killed run leaves no half file."""
        parts = {"mask": self.masks, "pose": self.poses, "frame_mask": self.frame_masks}
        arrays = {f"{kind}-{bone}": part for kind, held in parts.items() for bone, part in held.items()}
        arrays |= {"static": self.static, "affine": self.affine, "frames": self.frames}
        arrays |= {"frames_affine": self.frames_affine, "thickness": self.thickness, "shape": self.shape}
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez(unfinished, **arrays)
        unfinished.rename(path)

    def weights(self) -> dict[str, np.ndarray]:
        """Weight of each bone, as the pipeline makes it."""
        from ankleseg.motion.weights import BoneWeights

        return {bone: BoneWeights()(bone, mask, self.affine) for bone, mask in self.masks.items()}

    def profile(self):
        """Of the slices."""
        from ankleseg.rigid.profile import SliceProfile

        return SliceProfile(self.thickness, self.shape)


def phantoms(folder: Path, seed: int, size: str, frames: int) -> list[Path]:
    """Files of a seed's two sequences, made where the folder does not hold them."""
    from ankleseg.phantoms import DynamicSettings, moving_ankle

    rng = np.random.default_rng(seed)
    paths, subject = [], None
    for task, shape in RUNS.items():
        thickness, snr = float(rng.choice([6, 8, 10])), float(np.exp(rng.uniform(np.log(10), np.log(40))))
        bias = float(rng.uniform(0.05, 0.2))
        name = f"{size}-seed{seed}-{shape}{thickness:g}mm-snr{snr:.0f}-bias{bias:.2f}-{frames}frames"
        paths.append(folder / f"{name}.npz")
        if paths[-1].exists():
            continue
        subject = subject or moving_ankle("sub-E01" if seed % 2 else "sub-C01", size=size, seed=seed)
        settings = DynamicSettings(frames=frames, profile=shape, thickness=thickness, snr=snr, bias=bias)
        taken = subject.sequence(task, settings)
        exam = Exam(
            name,
            subject.scan.image,
            subject.scan.affine,
            {bone: mask > 0 for bone, mask in subject.scan.masks.items()},
            taken.frames,
            taken.affine,
            thickness,
            shape,
            dict(taken.poses),
            {bone: mask > 0 for bone, mask in taken.masks.items()},
        )
        exam.save(paths[-1])
    return paths


def read(path: Path) -> Exam:
    """An exam as `phantoms` wrote it."""
    with np.load(path) as held:
        return Exam(
            path.stem,
            held["static"].astype(np.float32),
            held["affine"],
            {bone: held[f"mask-{bone}"] for bone in BONES},
            held["frames"].astype(np.float32),
            held["frames_affine"],
            float(held["thickness"]),
            str(held["shape"]),
            {bone: held[f"pose-{bone}"] for bone in BONES},
            {bone: held[f"frame_mask-{bone}"] for bone in BONES},
        )


def write_job(folder: Path, exam: Exam, bone: str, weight: np.ndarray, frame: int, start: np.ndarray) -> None:
    """Write what the peers get of one bone on one frame."""
    from ankleseg.motion.masks import fractions_on_frames

    profile = exam.profile()
    normal = start[:3, :3].T @ (exam.frames_affine[:3, 2] / np.linalg.norm(exam.frames_affine[:3, 2]))
    # What surrounds the crop is needed to blur it.
    wide, wide_affine = cut(exam.static, exam.affine, weight, MARGIN + profile.extent)
    weight_wide, _ = cut(weight, exam.affine, weight, MARGIN + profile.extent)
    static, affine = cut(wide, wide_affine, weight_wide, MARGIN)
    blurred, _ = cut(slice_blurred(wide, wide_affine, normal, profile), wide_affine, weight_wide, MARGIN)
    weight_cut, _ = cut(weight_wide, wide_affine, weight_wide, MARGIN)
    image = exam.frames[..., frame]
    on_frame = fractions_on_frames(weight, exam.affine, start[None], image.shape, exam.frames_affine)[..., 0]
    image, frame_affine = cut(image, exam.frames_affine, on_frame, AROUND)
    on_frame, _ = cut(on_frame, exam.frames_affine, on_frame, AROUND)
    np.savez(
        folder / f"{bone}-{frame}.npz", static=static, blurred=blurred, static_affine=affine, static_weight=weight_cut,
        frame=image, frame_affine=frame_affine, frame_weight=on_frame, static_from_frame=np.linalg.inv(start),
    )  # fmt: skip


def cut(values: np.ndarray, affine: np.ndarray, weight: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut a volume to ``margin`` mm round where a weight on its grid is more than 1 %."""
    box, corner = [], np.eye(4)
    for axis, size in enumerate(np.linalg.norm(affine[:3, :3], axis=0)):
        found = np.flatnonzero((weight > 0.01).any(tuple(other for other in range(3) if other != axis)))
        beyond = int(np.ceil(margin / size))
        box.append(slice(max(int(found[0]) - beyond, 0), int(found[-1]) + beyond + 1))
        corner[axis, 3] = box[-1].start
    return np.ascontiguousarray(values[tuple(box)], np.float32), affine @ corner


def slice_blurred(static: np.ndarray, affine: np.ndarray, normal: np.ndarray, profile) -> np.ndarray:
    """The static scan averaged over the slice profile along a direction of its world, by Fourier transform."""
    from scipy import fft

    padded = np.pad(static, 8, mode="edge")
    shape = [fft.next_fast_len(size, real=True) for size in padded.shape]
    padded = np.pad(padded, [(0, size - old) for size, old in zip(shape, padded.shape, strict=True)], mode="edge")
    along = np.linalg.inv(affine[:3, :3]) @ normal  # voxels a mm
    turns = [fft.fftfreq(size).astype(np.float32) * step for size, step in zip(shape, along, strict=True)]
    turns[2] = turns[2][: shape[2] // 2 + 1]
    cycles = turns[0][:, None, None] + turns[1][None, :, None] + turns[2][None, None, :]  # a mm, along the normal
    if profile.shape == "box":
        transfer = np.sinc(cycles * profile.thickness)
    else:
        transfer = np.exp(-2 * (np.pi * cycles * profile.thickness / 2.3548) ** 2)
    result = fft.irfftn(fft.rfftn(padded) * transfer, shape)
    return result[tuple(slice(8, 8 + size) for size in static.shape)].astype(np.float32)


def seen(static, affine, frame_from_static, shape, frames_affine, profile) -> np.ndarray:
    """A noiseless frame of a static scan that moved as a whole."""
    from scipy.ndimage import map_coordinates

    grid = np.indices(shape).reshape(3, -1).T @ frames_affine[:3, :3].T + frames_affine[:3, 3]
    voxel_from_frame = np.linalg.inv(frame_from_static @ affine)
    offsets, shares = profile.quadrature(16)
    normal = frames_affine[:3, 2] / np.linalg.norm(frames_affine[:3, 2])
    total = np.zeros(len(grid), np.float32)
    for offset, share in zip(offsets, shares, strict=True):
        voxels = (grid + offset * normal) @ voxel_from_frame[:3, :3].T + voxel_from_frame[:3, 3]
        total += share * map_coordinates(static, voxels.T, order=1, mode="nearest")
    return total.reshape(shape)


def score(exam: Exam, bone: str, frame: int, pose: np.ndarray | None) -> dict[str, float]:
    """Mean displacement error over the bone (mm), rotation error (degrees), Dice on the grid of the frame."""
    from ankleseg.motion.masks import fractions_on_frames
    from ankleseg.volumes.poses import displacement_of, rotation_degrees

    if pose is None:
        return {"mm": np.inf, "degrees": np.inf, "dice": 0.0}
    truth = exam.poses[bone][frame]
    points = np.argwhere(exam.masks[bone])[::20] @ exam.affine[:3, :3].T + exam.affine[:3, 3]
    warped = fractions_on_frames(exam.masks[bone], exam.affine, pose[None], exam.frames.shape, exam.frames_affine)
    warped = warped[..., 0] >= 0.5
    true = exam.frame_masks[bone][..., frame]
    return {
        "mm": float(displacement_of(pose, truth, points).mean()),
        "degrees": float(rotation_degrees(np.linalg.inv(truth) @ pose)),
        "dice": 2 * float((warped & true).sum()) / max(float(warped.sum() + true.sum()), 1.0),
    }
