"""Cohorts of digital spinal cords on disk, in the BIDS layout, with the exact mask, centreline, end and areas."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.errors import ConfigError
from ankleseg.phantoms.cohort import write_cohort
from ankleseg.phantoms.cord_contrast import cord_contrast
from ankleseg.phantoms.cord_labels import CordLabels, Specimen
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.noise import LatticeNoise
from ankleseg.phantoms.protocol import Size, as_stored
from ankleseg.phantoms.scanner import Scanner, draw_coil, listen
from ankleseg.phantoms.spine import Spine, draw_spine
from ankleseg.volumes import Volume, write_volume
from ankleseg.volumes.geometry import anatomical_axis, slice_axis
from ankleseg.volumes.poses import rotation_about

Domain = Literal["neck", "lumbar", "post_mortem"]

CORD_EDITION = 1  # raised whenever the same settings give other images
LETTERS: Mapping[str, str] = {"neck": "N", "lumbar": "L", "post_mortem": "P"}
# axes of a scan in the world
SAGITTAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]])  # posterior, superior, right
AXIAL = np.diag([-1.0, -1.0, 1.0])  # left, posterior, superior


@dataclass(frozen=True)
class CordScan:
    """Everything that is written of one subject.

    Attributes:
        image: int16.
        mask: uint8, 1 where the cord fills at least half of a voxel.
        tissues: numbers of `CordTissue` at the voxel centres.
        centreline: world mm and area of the section perpendicular to the cord in mm², from above, a millimetre apart,
            as far as the middle of the cord lies in the field of view.
        end: where the cord ends, world mm; None where that is outside the field of view.
        row: of ``participants.tsv``.
    """

    image: Volume
    mask: Volume
    tissues: Volume
    centreline: Float[np.ndarray, "n 4"]
    end: Float[np.ndarray, "3"] | None
    row: Mapping[str, Any]

    def write(self, root: Path, name: str) -> None:
        """Write image and mask into a BIDS folder, and the truth beside."""
        truth = root / "derivatives" / "truth" / name / "cord"  # not in anat, where masks are sought
        for path, volume in (
            (root / name / "anat" / f"{name}_T2w.nii.gz", self.image),
            (root / "derivatives" / "manual" / name / "anat" / f"{name}_label-cord_mask.nii.gz", self.mask),
            (truth / f"{name}_tissues.nii.gz", self.tissues),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_volume(path, volume.data, volume.affine)
        lines = ["x,y,z,area", *(",".join(f"{value:.3f}" for value in point) for point in self.centreline)]
        (truth / f"{name}_centreline.csv").write_text("\n".join(lines) + "\n")
        end = None if self.end is None else [round(float(value), 3) for value in self.end]
        (truth / f"{name}_end.json").write_text(json.dumps({"end": end}) + "\n")


def write_cord_cohort(
    out: str | Path,
    *,
    domain: Domain = "neck",
    size: Size = "demo",
    subjects: int = 12,
    seed: int = 0,
    spacing: Sequence[float] | None = None,
    workers: int | None = None,
) -> Path:
    """Write a cohort of digital spinal cords: sub-N01… (necks), sub-L01… (lumbar) or sub-P01… (post mortem).

    Args:
        out: folder of the cohort; one that already holds this phantom is used as it is.
        domain: ``neck``, ``lumbar`` or ``post_mortem``.
        size: ``full`` is the field of view of a clinical scan, ``demo`` a smaller one of the same voxels.
        subjects: how many; a subject is the same whatever their number.
        seed: another seed, other subjects.
        spacing: mm of a voxel along the three axes of a scan; None: those of the domain, of lumbar spines thick slices.
        workers: subjects made at once; None: one for each core.

    Raises:
        ConfigError: an unknown domain or size, no subject, or a spacing that is not three positive numbers.
        AnklesegError: `out` holds something else.
    """
    for what, value, known in (("domain", domain, tuple(LETTERS)), ("size", size, ("full", "demo"))):
        if value not in known:
            raise ConfigError(f"invalid {what} {value!r}: expected {' or '.join(known)}")
    if subjects < 1:
        raise ConfigError(f"invalid number of subjects {subjects}: expected at least 1")
    if spacing is not None and (len(spacing) != 3 or min(spacing) <= 0):
        raise ConfigError(f"invalid spacing {list(spacing)}: expected three positive numbers in mm")
    settings = {
        "cohort": "cord", "recipe": CORD_EDITION, "domain": domain, "size": size, "subjects": subjects, "seed": seed,
    }  # fmt: skip
    if spacing is not None:
        settings["spacing"] = [float(mm) for mm in spacing]
    numbers = {f"sub-{LETTERS[domain]}{number:02d}": number for number in range(1, subjects + 1)}

    def make(name: str) -> CordScan:
        return cord_scan(numbers[name], domain=domain, size=size, seed=seed, spacing=spacing)

    return write_cohort(out, settings, list(numbers), make, workers)


def cord_scan(
    number: int,
    *,
    domain: Domain = "neck",
    size: Size = "demo",
    seed: int = 0,
    spacing: Sequence[float] | None = None,
) -> CordScan:
    """Draw one subject of a cohort, counted from 1, and scan it; the anatomy is the same at both sizes, any spacing."""
    seeds = np.random.SeedSequence([seed, number, list(LETTERS).index(domain)]).spawn(3)
    anatomy, field, rng = map(np.random.default_rng, seeds)
    spine = draw_spine(anatomy, straight=0.35 if domain == "post_mortem" else 1.0)
    fat = float(anatomy.uniform(4, 16))
    specimen = _draw_specimen(spine, anatomy) if domain == "post_mortem" else None
    grid = _draw_grid(spine, domain, size, specimen, field, spacing)
    labels = CordLabels(spine, fat, specimen)
    table, scanner = cord_contrast(domain, rng), _draw_scanner(domain, rng)
    coil = draw_coil(grid, rng)
    if domain != "post_mortem":  # a coil beneath the back
        coil = _surface_coil(coil, grid, float(rng.uniform(0.2, 0.8)) / (60 * scanner.bias))
    heard, _ = listen(labels, table, grid, scanner, rng, coil=coil)
    image, tissues = as_stored(heard.with_noise(rng)), labels(grid)
    centreline, end = _centreline(spine, grid)
    row = {"group": domain, "end_below_foramen_magnum": f"{spine.end:.1f}"}
    mask = Volume(cord_mask(spine, grid).astype(np.uint8), grid.affine)
    return CordScan(Volume(image, grid.affine), mask, Volume(tissues, grid.affine), centreline, end, row)


def cord_mask(spine: Spine, grid: Grid) -> Bool[np.ndarray, "x y z"]:
    """Return the voxels of which the cord fills at least half, sampled 27 times or more where its surface passes."""
    reach = float(np.linalg.norm(grid.spacing)) / 2 + 0.3
    indices = np.indices(grid.shape, np.float32).reshape(3, -1)
    centres = _world(grid, indices)
    row = spine.at_height(centres[2])
    near = np.flatnonzero(np.abs(centres[:2] - spine.frame[row, :2].T).max(0) < 12 + reach)
    outside = spine.outside(centres[:, near])
    inside = np.zeros(indices.shape[1], bool)
    inside[near] = outside < -reach
    passed = near[np.abs(outside) <= reach]
    count = np.zeros(len(passed), int)
    steps = [(np.arange(samples) + 0.5) / samples - 0.5 for samples in 2 * np.ceil(grid.spacing).astype(int) + 1]
    offsets = np.stack(np.meshgrid(*steps), -1).reshape(-1, 3).astype(np.float32)
    for offset in offsets:
        count += spine.outside(_world(grid, indices[:, passed] + offset[:, None])) < 0
    inside[passed] = 2 * count >= len(offsets)
    return inside.reshape(grid.shape)


def _world(grid: Grid, indices: np.ndarray) -> np.ndarray:
    affine = grid.affine.astype(np.float32)
    return affine[:3, :3] @ indices + affine[:3, 3:]


def _centreline(spine: Spine, grid: Grid) -> tuple[np.ndarray, np.ndarray | None]:
    """World mm and areas of the cord as far as it lies in the field of view, and its end if that lies there too."""
    rows = spine.row(np.append(np.arange(0, spine.end, 1.0), spine.end))
    places = spine.frame[rows, :3].astype(float)
    areas = np.pi / 4 * spine.values["wide"][rows] * spine.values["deep"][rows]
    voxels = (places - grid.affine[:3, 3]) @ np.linalg.inv(grid.affine[:3, :3]).T
    seen = np.all((voxels >= -0.5) & (voxels <= np.array(grid.shape) - 0.5), axis=1)
    return np.column_stack([places, areas])[seen], places[-1] if seen[-1] else None


def _draw_grid(
    spine: Spine,
    domain: Domain,
    size: Size,
    specimen: Specimen | None,
    rng: np.random.Generator,
    wanted: Sequence[float] | None,
) -> Grid:
    """A slightly oblique field of view: of the neck or the specimen all of it, of the back with the end of the cord."""
    full, axes = size == "full", SAGITTAL
    if domain == "neck":
        spacing = np.ones(3)
        sides = np.array([384 if full else 128, 216, 52])
        top = rng.uniform(-18, 4)
        middle = top + 108
    elif domain == "lumbar":
        fine, thick = rng.uniform(0.55, 0.9), rng.uniform(2, 4)
        spacing, sides = np.array([fine, fine, thick]), np.array([240 if full else 110, 300 if full else 200, 60])
        if rng.random() < 0.4:
            axes, sides = AXIAL, np.array([150, 150, 220] if full else [80, 80, 160])
        middle = spine.end + rng.uniform(-15, 15) + (30 if full else 0)
    else:
        assert specimen is not None
        axes, across = AXIAL, 2 * specimen.vessel + 4
        spacing = np.array([1, 1, 0]) * rng.uniform(0.45, 0.65) + np.array([0, 0, 1]) * rng.uniform(0.7, 1.2)
        sides, middle = np.array([across, across, 160 if full else 100]), spine.end - 25
    spacing = spacing if wanted is None else np.array(wanted, float)
    shape = np.maximum(np.round(sides / spacing), 1).astype(int)
    tilt = np.eye(3)
    for axis, angle in zip(np.eye(3), np.clip(rng.normal(0, 2, 3), -4, 4), strict=True):
        tilt = tilt @ rotation_about(axis, angle)[:3, :3]
    half = sides[anatomical_axis(np.vstack([np.c_[axes, np.zeros(3)], [0, 0, 0, 1]]), "IS")] / 2
    ends = spine.row(np.array([middle - half, middle + half]))
    centre = spine.frame[spine.row(np.linspace(middle - half, middle + half, 50)), :3].mean(0)
    centre[2] = spine.frame[ends, 2].mean()
    if domain != "post_mortem" and sides[0] > 200:  # more of what lies in front
        centre[1] += sides[0] / 2 - 95
    centre += np.clip(rng.normal(0, 2, 3), -4, 4) * (domain != "post_mortem")
    affine = np.eye(4)
    affine[:3, :3] = tilt @ axes * spacing
    affine[:3, 3] = centre - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def _draw_specimen(spine: Spine, rng: np.random.Generator) -> Specimen:
    """A cord in its dura, or with the spine around it, in a vessel with bubbles in its fluid."""
    radius = float(rng.uniform(26, 34)) if rng.random() < 0.5 else 0.0
    vessel = 1.2 * radius + float(rng.uniform(8, 12) if radius else rng.uniform(14, 22))
    bubbles = []
    for _ in range(rng.integers(0, 14)):
        place = spine.frame[spine.row(np.asarray(spine.end + rng.uniform(-110, 60)))]
        sac = np.array([rng.uniform(-8, 8), rng.uniform(3, 9) if rng.random() < 0.7 else rng.uniform(-12, 18)])
        bubbles.append(np.append(place[:3] + sac @ place[6:12].reshape(2, 3), np.exp(rng.uniform(-0.7, 1.1))))
    return Specimen(radius, vessel, bubbles)


def _draw_scanner(domain: Domain, rng: np.random.Generator) -> Scanner:
    """A scanner's settings, more varied after death."""
    if domain == "neck":
        snr, bias, blur = rng.uniform((12, 0.08, 0.2), (30, 0.2, 0.6)).tolist()
        return Scanner(snr=snr, bias=bias, through_plane=1, grain_mm=1.2, septa_mm=6, blur_mm=blur)
    if domain == "lumbar":
        snr, bias, thickness, blur = rng.uniform((8, 0.08, 0.8, 0.1), (25, 0.2, 1.2, 0.5)).tolist()
        return Scanner(snr=snr, bias=bias, thickness=thickness, grain_mm=1.1, septa_mm=6, blur_mm=blur)
    return Scanner(
        snr=float(np.exp(rng.uniform(np.log(4), np.log(40)))),
        bias=float(rng.uniform(0.05, 0.3)),
        profile="gaussian" if rng.random() < 0.5 else "box",
        through_plane=1,
        blur_mm=float(rng.uniform(0, 0.4)),
        gamma=float(np.exp(rng.uniform(-0.3, 0.3))),
    )


def _surface_coil(coil: LatticeNoise, grid: Grid, fall: float) -> LatticeNoise:
    """Add to the field of a coil that it hears less of what lies in front: less by `fall` for a millimetre."""
    axis = slice_axis(grid.affine)
    forwards = grid.affine[1, :3] / grid.spacing
    steps = [forwards[other] for other in (axis, *(other for other in range(3) if other != axis))]
    places = [np.arange(side) - side / 2 for side in coil.values.shape]
    for step, place, shape in zip(steps, places, ((-1, 1, 1), (-1, 1), (-1,)), strict=True):
        coil.values -= (fall * coil.scale * step * place).astype(np.float32).reshape(shape)
    return coil
