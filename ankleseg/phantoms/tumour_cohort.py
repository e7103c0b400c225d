"""Cohorts of digital brains with tumours on disk, as a BraTS folder, with the true mass effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.errors import ConfigError
from ankleseg.phantoms.brain_labels import BrainLabels
from ankleseg.phantoms.brain_tissues import INTRACRANIAL, BrainTissue, brain_tissue_of
from ankleseg.phantoms.cohort import write_cohort
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.noise import bumps
from ankleseg.phantoms.protocol import Size, as_stored
from ankleseg.phantoms.scanner import LabelArray, Scanner, draw_coil, draw_textures, listen
from ankleseg.phantoms.tumour import CORE, Lesion, TumourTissue, draw_adult, draw_lesions
from ankleseg.phantoms.tumour_contrast import tumour_contrasts
from ankleseg.phantoms.tumour_growth import grow, mass_effect, onto
from ankleseg.volumes import Volume, write_volume
from ankleseg.volumes.displacement_fields import write_displacement_field
from ankleseg.volumes.poses import translation

TUMOUR_EDITION = 1  # raised whenever the same settings give other images
DRAWN = ((192, 252, 192), 0.75)  # voxels of the drawn brain, and their side in mm
TUMOUR_GRIDS = {"full": ((240, 240, 155), 1.0), "demo": ((96, 128, 96), 1.5)}
NECK = -60.0  # mm below the middle of the brain where it is cut off
# each region holds the next; the values are those of BraTS 2023
REGIONS = {2: frozenset(TumourTissue), 1: CORE, 3: frozenset({TumourTissue.ENHANCING})}
BRAIN = (INTRACRANIAL - {BrainTissue.CSF, BrainTissue.DURA, BrainTissue.VESSEL}) | REGIONS[2]


@dataclass(frozen=True)
class TumourScans:
    """Everything that is written of one patient.

    Attributes:
        images: by the ending of the file, such as ``t1c``; with ``seg``, the regions.
        truth: ``tissues`` of the brain with its tumour, and ``healthy`` those before it: numbers of `BrainTissue` and
            `TumourTissue`, with 32 added in the left half of the cerebrum and 64 in the right.
        displacement: (X, Y, Z, 3) mm, RAS+: what lies at ``p`` lay at ``p + displacement(p)`` before the tumour.
        lesions: what was drawn.
    """

    images: Mapping[str, Volume]
    truth: Mapping[str, Volume]
    displacement: np.ndarray
    lesions: Sequence[Lesion]

    @property
    def row(self) -> Mapping[str, Any]:
        """Of ``cases.tsv``."""
        first = self.lesions[0]
        return {"lesions": len(self.lesions), "radius": f"{first.radius:.1f}", "rim": f"{first.rim:.1f}"}

    def write(self, root: Path, name: str) -> None:
        """Write the patient into a BraTS folder, and the truth beside."""
        truth = root / "derivatives" / "truth" / name
        for folder, volumes in ((root / name, self.images), (truth, self.truth)):
            for kind, volume in volumes.items():
                write_volume(folder / f"{name}-{kind}.nii.gz", volume.data, volume.affine)
        affine = self.images["seg"].affine
        write_displacement_field(truth / f"{name}-displacement.nii.gz", self.displacement, affine)


def write_tumour_cohort(
    out: str | Path, *, size: Size = "demo", subjects: int = 12, seed: int = 0, workers: int | None = None
) -> Path:
    """Write a cohort of digital adults with gliomas, PHANTOM-00001-000 and so on, named as in BraTS 2023.

    Args:
        out: folder of the cohort; one that already holds this phantom is used as it is.
        size: ``full`` is 240×240×155 voxels of 1 mm, ``demo`` 96×128×96 of 1.5 mm.
        subjects: how many; a patient is the same whatever their number. The third of every four has two lesions, the
            fourth of every six takes up no contrast agent.
        seed: another seed, other patients.
        workers: patients made at once; None: one for each core.

    Raises:
        ConfigError: an unknown size, or no subject.
        AnklesegError: `out` holds something else.
    """
    if size not in TUMOUR_GRIDS:
        raise ConfigError(f"invalid size {size!r}: expected {' or '.join(TUMOUR_GRIDS)}")
    if subjects < 1:
        raise ConfigError(f"invalid number of subjects {subjects}: expected at least 1")
    settings = {"cohort": "tumour", "recipe": TUMOUR_EDITION, "size": size, "subjects": subjects, "seed": seed}
    numbers = {f"PHANTOM-{number:05d}-000": number for number in range(1, subjects + 1)}

    def make(name: str) -> TumourScans:
        return tumour_scans(numbers[name], size=size, seed=seed)

    return write_cohort(out, settings, list(numbers), make, workers, describe=_describe)


def tumour_scans(number: int, *, size: Size = "demo", seed: int = 0) -> TumourScans:
    """Draw one patient of a cohort, counted from 1, and take the four scans; the anatomy is the same at both sizes."""
    seeds = np.random.SeedSequence([seed, number]).spawn(3)
    anatomy, tissue, scans = map(np.random.default_rng, seeds)
    drawn, grid = _grid(*DRAWN), _grid(*TUMOUR_GRIDS[size])
    nodes = drawn.resized(np.full(3, 1 / 3))
    labels = BrainLabels(draw_adult(anatomy), drawn)(drawn)
    height = drawn.affine[2, 3] + drawn.affine[2, 2] * np.arange(drawn.shape[2])
    labels[~(np.isin(brain_tissue_of(labels), list(INTRACRANIAL)) & (height > NECK))] = BrainTissue.AIR
    count, enhancing = 2 if number % 4 == 3 else 1, number % 6 != 4
    lesions = draw_lesions(anatomy, labels[1::3, 1::3, 1::3], nodes, lesions=count, enhancing=enhancing)
    field = mass_effect(labels[1::3, 1::3, 1::3], nodes, lesions)
    grown = grow(labels, drawn, nodes, field, lesions, (bumps(anatomy, 1.0, (14, 45)), bumps(anatomy, 1.0, (14, 45))))
    # half a hundredth of a voxel aside, so that no place is as near to one label as to another
    affine = drawn.affine @ translation([0.005, 0.005, 0.005])
    truth = {"tissues": LabelArray(grown, affine)(grid), "healthy": LabelArray(labels, affine)(grid)}
    moved = np.rint(onto(field, nodes, grid) * 512) / 512  # which halves the size of the file
    images = _take(LabelArray(grown, affine), grid, tissue, scans)
    return TumourScans(images, {name: Volume(found, grid.affine) for name, found in truth.items()}, moved, lesions)


def _take(source: LabelArray, grid: Grid, tissue: np.random.Generator, rng: np.random.Generator) -> dict[str, Volume]:
    """The four scans of one session, cut to the brain, and the regions."""
    from scipy.ndimage import gaussian_filter

    members = [np.isin(brain_tissue_of(np.arange(256)), list(region)) for region in (BRAIN, *REGIONS.values())]
    tables = tumour_contrasts(tissue)
    textures, coil = draw_textures(grid, Scanner(grain_mm=1.0, patches_mm=7.0), tissue), draw_coil(grid, rng)
    images: dict[str, np.ndarray] = {}
    masks: list[np.ndarray] = []
    for kind, table in tables.items():
        # taken in slices of its own, and then brought to one grid, which blurs
        snr, bias, thickness, blur = rng.uniform((16, 0.05, 0.8, 0.2), (36, 0.18, 1.7, 0.7)).tolist()
        scanner = Scanner(snr=snr, bias=bias, thickness=thickness, blur_mm=blur)
        heard, found = listen(source, table, grid, scanner, rng, () if masks else members, textures, coil)
        images[kind], masks = heard.with_noise(rng), masks or found
    hull = (gaussian_filter(masks[0].astype(np.float32), 2.5 / grid.spacing) > 0.4) | masks[1]
    regions = np.zeros(grid.shape, np.uint8)
    for value, mask in zip(REGIONS, masks[1:], strict=True):
        regions[mask] = value
    stored = {kind: as_stored(image * hull) for kind, image in images.items()} | {"seg": regions}
    return {kind: Volume(data, grid.affine) for kind, data in stored.items()}


def _grid(shape: tuple[int, int, int], side: float) -> Grid:
    """Voxels about the middle of the brain along the axes left, back and up, as BraTS stores them."""
    affine = np.diag([-side, -side, side, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Grid(shape, affine)


def _describe(folder: Path, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    lines = [["case", *rows[0]], *([name, *map(str, row.values())] for name, row in zip(names, rows, strict=True))]
    (folder / "derivatives" / "truth" / "cases.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
