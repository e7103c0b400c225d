"""Scans of feet that `ankle_bones` never saw: real bones of five persons and a child, imaged by the phantom's scanner.

    python benchmarks/real_ankles.py MESHES CHILD OUT

MESHES is the folder of meshes that ``cohort=feet`` takes, CHILD that of the masks ``child_ankle_<bone>.nii.gz``. Every
foot is scanned in nine ways: slices of 0.9, 3 and 8 mm, as T1, as fast field echo and with a contrast made up, in a
pose drawn at random. Writes a table to predict and to evaluate for each distance of slices, and one of the child:
``OUT/{static,thick,frames,child}.csv``.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PERSONS = {"L_05": None, "L_10": "Norm_03", "R_04": "NonTTA_10", "R_09": "Norm_03", "R_13": "NonTTA_10"}
PROTOCOLS = {  # matrix, voxel in mm, planes of samples in a slice
    "static": ((256, 256, 104), (0.6, 0.6, 0.9), 1),
    "thick": ((200, 200, 32), (0.8, 0.8, 3.0), 3),
    "frames": ((160, 160, 10), (1.0, 1.0, 8.0), 8),
}
CONTRASTS = ("t1", "ffe", "random")
DOME = np.array([0.0, 4.0, -12.0])  # mm from the talar dome to the middle of the field of view


def main() -> None:
    """Write the scans and their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshes", type=Path)
    parser.add_argument("child", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[list[str]]] = {name: [] for name in (*PROTOCOLS, "child")}
    for name, (masks, side) in feet(arguments.meshes, arguments.child).items():
        for number, contrast in enumerate(CONTRASTS):
            ankle = dressed(masks, side, np.random.default_rng([7, *map(ord, name), number]), turned=name != "child")
            for protocol in PROTOCOLS:
                case = f"{name}_{protocol}_{contrast}"
                write(arguments.out, case, ankle, protocol, contrast)
                rows["child" if name == "child" else protocol].append([name, case, side])
                print(case, flush=True)
    for name, found in rows.items():
        with (arguments.out / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["subject", "case", "side", "image", "labels", *(f"value_{bone}" for bone in BONES)])
            for subject, case, side in found:
                table.writerow([subject, case, side, f"{case}.nii.gz", f"{case}_bones.nii.gz", 4, 3, 1])


BONES = ("calcaneus", "talus", "tibia")


def feet(meshes: Path, child: Path) -> dict:
    """Bones of every foot as signed distances, all of right feet but the child's, and the side."""
    from ankleseg.phantoms.bone_masks import read_bones
    from ankleseg.phantoms.bone_meshes import mask_of_mesh
    from ankleseg.phantoms.foot_maps import WITH, carried_calcaneus, right_bones

    found = {}
    for person, donor in PERSONS.items():
        bones = right_bones(meshes, person)
        if donor is not None:
            bones["calcaneus"] = carried_calcaneus(meshes, donor, bones["talus"])
        found[person] = {WITH[bone]: mask_of_mesh(mesh) for bone, mesh in bones.items()}, "right"
    found["child"] = read_bones({bone: child / f"child_ankle_{bone}.nii.gz" for bone in BONES}), "left"
    return found


def dressed(masks, side: str, rng: np.random.Generator, *, turned: bool):
    """A foot in a pose drawn at random; the child's stays as it was scanned."""
    from ankleseg.phantoms.bone_masks import dress_bones, lay_ankle
    from ankleseg.phantoms.bone_shafts import with_shafts

    pose = lay_ankle(masks, side)
    ankle = dress_bones(masks, pose, side, rng)
    if not turned:
        return ankle
    pose = replace(
        pose,
        plantar_flexion=pose.plantar_flexion + rng.uniform(-20, 25),
        inversion=pose.inversion + rng.uniform(-8, 8),
    )
    return replace(with_shafts(ankle), pose=pose, real_gap=0.5)


def write(out: Path, case: str, ankle, protocol: str, contrast: str) -> None:
    """Scan a foot on a slightly oblique sagittal grid, and write the image and the exact bones."""
    from ankleseg.phantoms import AnkleLabels, Grid, ffe_contrast, random_contrast, t1_contrast
    from ankleseg.phantoms.protocol import Protocol, draw_scanner, scan_bones
    from ankleseg.volumes import write_volume
    from ankleseg.volumes.poses import rotation_about

    rng = np.random.default_rng([11, *map(ord, case)])
    shape, spacing, planes = PROTOCOLS[protocol]
    table = {"t1": t1_contrast, "ffe": ffe_contrast, "random": random_contrast}[contrast](rng)
    tilt = np.eye(4)
    for axis, angle in zip(np.eye(3), rng.normal(0, 4, 3), strict=True):
        tilt = tilt @ rotation_about(axis, angle)
    shin = ankle.pose.world_from_shin
    turn = shin[:3, :3] / np.cbrt(np.linalg.det(shin[:3, :3]))
    directions = tilt[:3, :3] @ turn @ np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    middle = (shin @ [*DOME, 1.0])[:3]
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    grid = Grid(shape, affine)
    kind = "t1" if contrast == "ffe" else contrast
    scanner = draw_scanner(Protocol(shape, spacing, planes), kind, rng)
    scan = scan_bones(AnkleLabels(ankle, grid), table, grid, scanner, rng)
    bones = np.zeros(shape, np.uint8)
    for bone, value in zip(BONES, (4, 3, 1), strict=True):
        bones[scan.masks[bone] > 0] = value
    write_volume(out / f"{case}.nii.gz", scan.image, affine)
    write_volume(out / f"{case}_bones.nii.gz", bones, affine)


if __name__ == "__main__":
    main()
