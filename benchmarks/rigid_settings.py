"""Rigid bone registration on phantoms whose slices, noise, coil and motion vary: errors, and wrong results called ok.

    python benchmarks/rigid_settings.py [FOLDER_OF_MASKS] [size=demo|full] [frames=9]

The registration is told the thickness of a slice, as a header tells it, and takes every profile for a box.
FOLDER_OF_MASKS holds ``child_ankle_calcaneus.nii.gz`` and so on, of a left foot; without it real bones are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

WRONG_MM = 1.0
CASES = (
    ("bones", 7, {"profile": "gaussian", "thickness": 7, "snr": 15}),
    ("sub-C01", 101, {"profile": "gaussian", "thickness": 6, "snr": 10}),
    ("sub-E01", 102, {"profile": "box", "thickness": 10, "gap": 1, "snr": 15, "bias": 0.2}),
    ("sub-C02", 103, {"profile": "gaussian", "thickness": 8, "snr": 40, "within_frame": 0.5}),
    ("sub-E02", 104, {"profile": "box", "thickness": 6, "snr": 12, "missing_slice": 5}),
    ("sub-C03", 105, {"profile": "box", "thickness": 8, "snr": 20, "crop": 25}),
)


def main() -> None:
    """Print a line a case, and one for all."""
    from ankleseg.phantoms import DynamicSettings, moving_ankle, moving_bones

    options = {"size": "demo", "frames": "9"} | dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    folders = [Path(word) for word in sys.argv[1:] if "=" not in word]
    everything: list[np.ndarray] = []
    for name, seed, settings in CASES:
        if name == "bones" and not folders:
            continue
        if name == "bones":
            masks = {bone: folders[0] / f"child_ankle_{bone}.nii.gz" for bone in ("calcaneus", "talus", "tibia")}
            moving = moving_bones(masks, side="left", size=options["size"], seed=seed)
        else:
            moving = moving_ankle(name, size=options["size"], seed=seed)
        dynamic = moving.sequence("active", DynamicSettings(frames=int(options["frames"]), **settings))
        rows = register(moving.scan, dynamic)
        everything.append(rows)
        print(f"{name} {settings}: {described(rows)}", flush=True)
    print(f"all: {described(np.concatenate(everything))}")


def register(scan, dynamic) -> np.ndarray:
    """A row a bone and frame: target error (mm), rotation error (degrees), status (0 ok, 1 suspect, 2 failed)."""
    from ankleseg.measures.foreground import foreground_mask
    from ankleseg.motion import BoneWeights
    from ankleseg.rigid.profile import SliceProfile
    from ankleseg.rigid.quality import STATUSES, Criteria, apart, judge
    from ankleseg.rigid.register import GLOBAL, register_sequence
    from ankleseg.volumes.poses import displacement_of, invert_pose, rotation_degrees

    image, affine = scan.image.astype(np.float32), scan.affine
    masks = {bone: mask > 0 for bone, mask in scan.masks.items()}
    weights = {bone: BoneWeights()(bone, mask, affine) for bone, mask in masks.items()}
    foot = foreground_mask(image).astype(np.float32)
    profile = SliceProfile(dynamic.thickness_mm, "box")
    frames = dynamic.frames.astype(np.float32)
    found = register_sequence(image, affine, masks, weights, foot, frames, dynamic.affine, profile)
    points = {bone: np.argwhere(mask)[::40] @ affine[:3, :3].T + affine[:3, 3] for bone, mask in masks.items()}
    gaps = apart({bone: found[bone].frame_from_static for bone in masks}, points)
    rows = []
    for bone in masks:
        truth, poses = dynamic.poses[bone], found[bone].frame_from_static
        errors = displacement_of(poses, truth, points[bone]).mean(-1)
        turns = rotation_degrees(invert_pose(truth) @ poses)
        verdicts = judge(found[bone], found[GLOBAL], points[bone], Criteria(), apart_mm=gaps[bone])
        states = [STATUSES.index(verdict.status) for verdict in verdicts]
        rows.append(np.stack([errors, turns, states], axis=1))
    return np.concatenate(rows)


def described(rows: np.ndarray) -> str:
    """Medians, 95th percentiles and counts."""
    errors, turns, states = rows.T
    wrong = int(((errors > WRONG_MM) & (states == 0)).sum())
    return (
        f"{len(rows)} bones, target error {np.median(errors):.3f} mm (95 % {np.percentile(errors, 95):.3f}), rotation "
        f"{np.median(turns):.2f}° (95 % {np.percentile(turns, 95):.2f}), {(states == 0).sum()} ok, "
        f"{(states == 1).sum()} suspect, {(states == 2).sum()} failed, {(errors > WRONG_MM).sum()} wrong, "
        f"{wrong} wrong called ok"
    )


if __name__ == "__main__":
    main()
