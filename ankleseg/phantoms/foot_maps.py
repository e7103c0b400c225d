"""Label maps of real feet in many poses: meshes of bones, dressed with made-up soft tissue."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.errors import ConfigError, FileError
from ankleseg.phantoms.ankle import Ankle, Pose
from ankleseg.phantoms.ankle_labels import AnkleLabels
from ankleseg.phantoms.bone_fitting import carry_along
from ankleseg.phantoms.bone_masks import BoneMask, dress_bones, lay_ankle
from ankleseg.phantoms.bone_meshes import BoneMesh, mask_of_mesh, read_bone_mesh
from ankleseg.phantoms.bone_shafts import with_shafts
from ankleseg.phantoms.bones import Bone
from ankleseg.phantoms.cohort import write_cohort
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.pose import scaling
from ankleseg.phantoms.protocol import STRUCTURES
from ankleseg.phantoms.shapes import displaced
from ankleseg.phantoms.tissues import bone_of, tissue_of
from ankleseg.volumes import write_volume

EDITION = 2  # raised whenever the same settings give other maps
SPACING = 1.0  # mm, of the maps
GAP = 0.5  # mm between bones, at least
LOW, HIGH = (-48.0, -72.0, -74.0), (48.0, 100.0, 105.0)  # of the maps about the talar dome, mm at the average size
ADULT = 0.5  # share of the maps that are left as they are; the others are made children's
UNOSSIFIED = (0.0, 2.2)  # mm of a child's bone at the average size that are cartilage still, range
EPIPHYSIS = (30.0, 60.0)  # mm above the talar dome, of the shin: between them the cartilage ends
WITH = {"fibula": Bone.FIBULA, **STRUCTURES}
MIRROR = scaling((-1, 1, 1))


@dataclass(frozen=True)
class FootMap:
    """A label map of one foot in one pose.

    Attributes:
        tissues: (x, y, z) uint8, see `ankleseg.phantoms.tissues.Tissue`.
        bones: (x, y, z) uint8, see `ankleseg.phantoms.bones.Bone`.
        affine: voxel to RAS+ mm.
        row: of the table.
    """

    tissues: np.ndarray
    bones: np.ndarray
    affine: np.ndarray
    row: Mapping[str, Any]

    def write(self, root: Path, name: str) -> None:
        """Write both maps."""
        write_volume(root / f"{name}_tissues.nii.gz", self.tissues, self.affine)
        write_volume(root / f"{name}_bones.nii.gz", self.bones, self.affine)


def write_foot_maps(
    out: str | Path,
    *,
    root: str | Path,
    ankles: Sequence[str],
    donors: Sequence[str],
    poses: int = 3,
    flexion: float = 30.0,
    inversion: float = 15.0,
    seed: int = 0,
    workers: int | None = None,
) -> Path:
    """Write label maps of feet of real bones, each in several poses, with a table ``feet.csv`` to train on.

    Tibia, fibula and talus of a person come from ``ankles``; the calcaneus is their own where there is one, else that
    of a donor, carried along while the donor's talus is fitted on theirs (`carry_along`). All feet are right ones. What
    is not bone, and the bones in front, are those of the phantom, moved to fit.

    Args:
        out: folder of the maps.
        root: folder with ``ankles/<person>_<bone>.npz`` and ``pairs/<donor>_Calcaneus_<Side>.npz``,
            ``pairs/<donor>_Talus.npz``, see `read_bone_mesh`; a person's name begins with L or R.
        ankles: persons.
        donors: whose calcanei are used, in turn.
        poses: maps of each person, each with another donor and other soft tissue.
        flexion, inversion: largest turn about the talocrural and the subtalar axis from where the foot stands, degrees.
        seed: of poses and soft tissue.
        workers: maps made at once.

    Raises:
        ConfigError: no person or pose.
        FileError: a mesh is missing or unreadable.
    """
    if poses < 1 or not ankles:
        raise ConfigError(f"invalid poses {poses} of {len(ankles)} persons: expected at least 1 of each")
    root = Path(root)
    settings = {
        "cohort": "feet", "recipe": EDITION, "root": str(root.resolve()), "ankles": list(ankles),
        "donors": list(donors), "poses": poses, "flexion": flexion, "inversion": inversion, "seed": seed,
    }  # fmt: skip
    names = {f"{person}_{pose + 1}": (person, pose) for person in ankles for pose in range(poses)}
    person_bones = cache(lambda person: right_bones(root, person))

    def make(name: str) -> FootMap:
        person, pose = names[name]
        bones = dict(person_bones(person))
        donor = None
        if "calcaneus" not in bones:
            if not donors:
                raise ConfigError(f"{person} has no calcaneus, and there is no donor", mend="name one in donors")
            donor = donors[(list(ankles).index(person) + pose) % len(donors)]
            bones["calcaneus"] = carried_calcaneus(root, donor, bones["talus"])
        masks = {WITH[bone]: mask_of_mesh(mesh) for bone, mesh in bones.items()}
        rng = np.random.default_rng([seed, *map(ord, person), pose])
        turns = (0.0, 0.0) if pose == 0 else (rng.uniform(-flexion, flexion), rng.uniform(-inversion, inversion))
        return foot_map(masks, turns, rng, {"subject": person, "donor": donor or person})

    return write_cohort(out, settings, list(names), make, workers, _write_table)


def _write_table(folder: Path, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """The maps as a cohort: tissues as images, bones as labels."""
    with (folder / "feet.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["subject", "case", "image", "labels", *(f"value_{name}" for name in STRUCTURES)])
        for name, row in zip(names, rows, strict=True):
            values = [int(bone) for bone in STRUCTURES.values()]
            table.writerow([row["subject"], name, f"{name}_tissues.nii.gz", f"{name}_bones.nii.gz", *values])


def right_bones(root: Path, person: str) -> dict[str, BoneMesh]:
    """Bones of a person's ankle, mirrored where it is a left one; those without a file are left out.

    Raises:
        FileError: tibia, fibula or talus is missing.
    """
    found = {}
    for bone in WITH:
        path = root / "ankles" / f"{person}_{bone}.npz"
        if path.is_file():
            found[bone] = _righted(read_bone_mesh(path), person.startswith("L"))
        elif bone != "calcaneus":
            raise FileError("does not exist", file=path, mend="give the folder of the meshes as root")
    return found


def carried_calcaneus(root: Path, donor: str, talus: BoneMesh) -> BoneMesh:
    """The calcaneus of a donor, carried along while the donor's talus is fitted on a right one.

    Raises:
        FileError: the donor has no calcaneus or no talus.
    """
    found = sorted((root / "pairs").glob(f"{donor}_Calcaneus_*.npz"))
    if not found:
        raise FileError("has no calcaneus", file=root / "pairs" / donor, mend="name a donor that has one, e.g. Norm_01")
    left = found[0].stem.endswith("Left")
    calcaneus = _righted(read_bone_mesh(found[0]), left)
    own = _righted(read_bone_mesh(root / "pairs" / f"{donor}_Talus.npz"), left)
    return carry_along(calcaneus, own, talus)


def foot_map(
    masks: Mapping[Bone, BoneMask],
    turns: tuple[float, float],
    rng: np.random.Generator,
    row: Mapping[str, Any],
) -> FootMap:
    """Dress the bones of a right foot and turn its joints.

    Args:
        masks: tibia, fibula, talus and calcaneus, as they stand.
        turns: further plantar flexion and inversion, degrees.
        rng: draws soft tissue, small bones and growth plates.
        row: of the table.
    """
    pose = lay_ankle(masks, "right")
    ankle = with_shafts(dress_bones(masks, pose, "right", rng))
    ankle = _adult(ankle) if rng.random() < ADULT else _child(ankle, rng)
    turned = replace(
        pose,
        plantar_flexion=pose.plantar_flexion + turns[0],
        inversion=pose.inversion + turns[1],
        midfoot_flexion=float(rng.uniform(-5, 12)),
    )
    return _mapped(replace(ankle, pose=turned, real_gap=GAP), row)


def _adult(ankle: Ankle) -> Ankle:
    """Without growth plates."""
    return replace(ankle, skeleton={b: replace(model, growth_plate=None) for b, model in ankle.skeleton.items()})


def _child(ankle: Ankle, rng: np.random.Generator) -> Ankle:
    """With growth plates, and bones that have not yet filled their cartilage: smaller, rounder, farther apart."""
    depth = rng.uniform(*UNOSSIFIED)

    def outwards(points: np.ndarray) -> np.ndarray:
        return np.float32(-depth) * np.interp(points[2], EPIPHYSIS, (1.0, 0.0)).astype(np.float32)

    skeleton = {b: replace(model, outer=displaced(model.outer, outwards, 0.0)) for b, model in ankle.skeleton.items()}
    return replace(ankle, skeleton=skeleton, joint_space=ankle.joint_space + 2 * depth)


def _mapped(ankle: Ankle, row: Mapping[str, Any]) -> FootMap:
    grid = _grid_of(ankle.pose)
    labels = AnkleLabels(ankle, grid)(grid)
    tissues = tissue_of(labels).astype(np.uint8)
    return FootMap(tissues, bone_of(labels).astype(np.uint8), grid.affine, dict(row))


def _grid_of(pose: Pose) -> Grid:
    """A grid along the world's axes around shin and hindfoot."""
    corners = np.array(np.meshgrid(*zip(LOW, HIGH, strict=True))).reshape(3, -1)
    places = pose.world_from_shin[:3, :3] @ corners + pose.world_from_shin[:3, 3:]
    low, high = places.min(1), places.max(1)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = low
    shape = tuple(int(side) for side in np.ceil((high - low) / SPACING))
    return Grid(shape, affine)  # type: ignore[arg-type]


def _righted(mesh: BoneMesh, left: bool) -> BoneMesh:
    return mesh.moved(MIRROR) if left else mesh
