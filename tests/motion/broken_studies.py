"""A small study with dynamic sequences, and everything that may be broken in one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ankleseg.cohorts import load_cohort
from ankleseg.volumes import (
    Volume,
    anatomical_axis,
    read_header,
    read_mask,
    read_volume,
    resample,
    resampled_grid,
    write_volume,
)
from ankleseg.volumes.poses import rotation_about, translation

RIGHT, LEFT = "sub-C01", "sub-E01"  # two children in order; the broken ones are copies of the first
FRAMES = 15
BONES = ("calcaneus", "talus", "tibia")


def static(root: Path, subject: str) -> Path:
    return root / subject / "anat" / f"{subject}_T1w.nii.gz"


def mask(root: Path, subject: str, bone: str) -> Path:
    return root / "derivatives" / "manual" / subject / "anat" / f"{subject}_label-{bone}_mask.nii.gz"


def sequence(root: Path, subject: str) -> Path:
    return root / subject / "dyn" / f"{subject}_task-active_dynamic.nii.gz"


def sidecar(root: Path, subject: str) -> Path:
    return root / subject / "dyn" / f"{subject}_task-active_dynamic.json"


def of_subject(root: Path, subject: str) -> list[Path]:
    """All files of a subject, in a fixed order."""
    masks = [mask(root, subject, bone) for bone in BONES]
    return [static(root, subject), *masks, sequence(root, subject), sidecar(root, subject)]


def copy_subject(root: Path, source: str, name: str) -> None:
    """Give a subject's scans to another name."""
    for old, new in zip(of_subject(root, source), of_subject(root, name), strict=True):
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(old, new)
    with (root / "participants.tsv").open("a") as table:
        table.write(f"{name}\tcontrol\t{'right' if source == RIGHT else 'left'}\n")


def rewrite(path: Path, change: Callable[[Volume], tuple[np.ndarray, np.ndarray]], dimensions: int = 3) -> None:
    """Write a changed volume over a file: `change` gives its voxels and its affine."""
    volume = read_volume(path, dtype=None, dimensions=dimensions)
    write_volume(path, *change(volume))


def halved(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Voxels twice as large in the plane of the slices; a mask keeps those that it fills by half."""
    x, y, z = volume.data.shape
    mean = volume.data.reshape(x // 2, 2, y // 2, 2, z).mean((1, 3))
    mean = mean >= 0.5 if volume.data.max() == 1 else mean
    return mean.astype(np.int16), resampled_grid((x, y, z), volume.affine, volume.spacing * [2, 2, 1])[1]


def thick_slices(scan: Volume, oblique_degrees: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Frames of a leg that lies a little differently, 8 mm thick, in noise."""
    from scipy.ndimage import gaussian_filter1d

    middle = scan.affine @ [*((np.array(scan.data.shape) - 1) / 2), 1]
    moved = translation((4, -5, 3)) @ rotation_about((1, 2, 3), 5, middle[:3])
    turned = rotation_about((3, 1, 2), oblique_degrees, middle[:3]) @ scan.affine
    shape, affine = resampled_grid(scan.data.shape, turned, (2.0, 2.0, 8.0))
    blurred = gaussian_filter1d(scan.data.astype(np.float32), 1.4, axis=2)
    frame = resample(blurred, moved @ scan.affine, shape, affine)
    noise = np.random.default_rng(1).normal(0, 15, (*shape, FRAMES))
    return np.abs(frame[..., None] + noise).astype(np.int16), affine


def write_study(phantom_cohort: Path, root: Path) -> Path:
    """Write a right and a left foot of a phantom cohort, each with a dynamic sequence."""
    root.mkdir(parents=True)
    (root / "participants.tsv").write_text("participant_id\tgroup\tside\n")
    for subject, side in ((RIGHT, "right"), (LEFT, "left")):
        name = next(case.name for case in load_cohort(phantom_cohort).cases if case.side == side)
        for copy, original in zip(of_subject(root, subject)[:4], of_subject(phantom_cohort, name)[:4], strict=True):
            write_volume(copy, *halved(read_volume(original)))
        write_volume(sequence(root, subject), *thick_slices(read_volume(static(root, subject), dtype=None)))
        sidecar(root, subject).write_text('{"SliceThickness": 8.0}')
        with (root / "participants.tsv").open("a") as table:
            table.write(f"{subject}\t{'control' if subject == RIGHT else 'equinus'}\t{side}\n")
    return root


def missing_mask(root: Path, name: str) -> None:
    mask(root, name, "talus").unlink()


def masks_of_another_subject(root: Path, name: str) -> None:
    for bone in BONES:
        shutil.copy(mask(root, LEFT, bone), mask(root, name, bone))


def one_mask_of_another_subject(root: Path, name: str) -> None:
    affine = read_header(static(root, name)).affine
    write_volume(mask(root, name, "calcaneus"), read_mask(mask(root, LEFT, "calcaneus")).data, affine)


def flipped_foot(root: Path, name: str) -> None:
    across = anatomical_axis(read_header(static(root, name)).affine, "LR")
    for path in (static(root, name), *(mask(root, name, bone) for bone in BONES)):
        rewrite(path, lambda volume: (np.flip(volume.data, across), volume.affine))


def fourteen_frames(root: Path, name: str) -> None:
    rewrite(sequence(root, name), lambda volume: (volume.data[..., :14], volume.affine), 4)


def truncated_sequence(root: Path, name: str) -> None:
    sequence(root, name).write_bytes(sequence(root, name).read_bytes()[:-5000])


def truncated_scan(root: Path, name: str) -> None:
    static(root, name).write_bytes(static(root, name).read_bytes()[:-5000])


def nan_in_a_frame(root: Path, name: str) -> None:
    def change(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
        data = volume.data.astype(np.float32)
        data[3, 4, 5, 6] = np.nan
        return data, volume.affine

    rewrite(sequence(root, name), change, 4)


def nan_in_the_scan(root: Path, name: str) -> None:
    def change(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
        data = volume.data.astype(np.float32)
        data[3, 4, 5] = np.inf
        return data, volume.affine

    rewrite(static(root, name), change)


def oblique_frames(root: Path, name: str) -> None:
    write_volume(sequence(root, name), *thick_slices(read_volume(static(root, name), dtype=None), oblique_degrees=25))


def swapped_affine(root: Path, name: str) -> None:
    def change(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
        return volume.data, volume.affine[:, [1, 2, 0, 3]]

    rewrite(sequence(root, name), change, 4)


def sequence_elsewhere(root: Path, name: str) -> None:
    rewrite(sequence(root, name), lambda volume: (volume.data, translation((0, 300, 0)) @ volume.affine), 4)


def scan_of_the_other_side(root: Path, name: str) -> None:
    for path, other in (
        (static(root, name), static(root, LEFT)),
        *((mask(root, name, b), mask(root, LEFT, b)) for b in BONES),
    ):
        shutil.copy(other, path)
        rewrite(path, lambda volume: (volume.data, translation((180, 0, 0)) @ volume.affine))


def image_of_the_other_side(root: Path, name: str) -> None:
    affine = read_header(static(root, name)).affine
    write_volume(static(root, name), read_volume(static(root, LEFT), dtype=None).data, affine)


def empty_mask(root: Path, name: str) -> None:
    rewrite(mask(root, name, "tibia"), lambda volume: (np.zeros_like(volume.data), volume.affine))


def mask_with_a_foreign_header(root: Path, name: str) -> None:
    rewrite(mask(root, name, "talus"), lambda volume: (volume.data, translation((30, 0, 0)) @ volume.affine))


def swapped_names(root: Path, name: str) -> None:
    mask(root, name, "talus").rename(root / "kept")
    mask(root, name, "calcaneus").rename(mask(root, name, "talus"))
    (root / "kept").rename(mask(root, name, "calcaneus"))


def no_scan(root: Path, name: str) -> None:
    static(root, name).unlink()


def two_scans(root: Path, name: str) -> None:
    shutil.copy(static(root, name), static(root, name).with_name(f"{name}_run-2_T1w.nii.gz"))


def no_folder(root: Path, name: str) -> None:
    shutil.rmtree(root / name)


def volume_instead_of_a_sequence(root: Path, name: str) -> None:
    rewrite(sequence(root, name), lambda volume: (volume.data[..., 0], volume.affine), 4)


def cine_of_one_slice(root: Path, name: str) -> None:
    rewrite(sequence(root, name), lambda volume: (volume.data[:, :, 4:5], volume.affine), 4)


def wrong_sidecar(root: Path, name: str) -> None:
    sidecar(root, name).write_text('{"SliceThickness": "thick"}')


def header_that_turns_the_foot(root: Path, name: str) -> None:
    around = np.eye(4)[[1, 2, 0, 3]]  # a rotation: handedness stays
    for path in (static(root, name), *(mask(root, name, bone) for bone in BONES)):
        rewrite(path, lambda volume: (volume.data, around @ volume.affine))


def only_nan(root: Path, name: str) -> None:
    rewrite(sequence(root, name), lambda volume: (np.full(volume.data.shape, np.nan, np.float32), volume.affine), 4)


def no_masks_at_all(root: Path, name: str) -> None:
    shutil.rmtree(mask(root, name, "talus").parent)


def one_mask_twice(root: Path, name: str) -> None:
    shutil.copy(mask(root, name, "calcaneus"), mask(root, name, "talus"))
