"""One head in the scanner: all that is drawn before the first scan is taken, and the scans."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.phantoms.brain import Age
from ankleseg.phantoms.brain_contrast import (
    Relaxation,
    draw_relaxation,
    random_brain_contrast,
    t1_contrast_of,
)
from ankleseg.phantoms.brain_protocol import BrainContrast, ThickSlices, isotropic_scanner
from ankleseg.phantoms.brain_tissues import brain_structures
from ankleseg.phantoms.contrast import SignalTable
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.noise import LatticeNoise
from ankleseg.phantoms.protocol import as_stored
from ankleseg.phantoms.scanner import LabelSource, Scanner, draw_coil, draw_textures, listen, scan
from ankleseg.volumes import Volume, write_volume

GENERATORS = ("anatomy", "field", "tissue", "contrast", "T2w", "T1w", "thick")
KINDS: Mapping[BrainContrast, tuple[str, ...]] = {
    "both": ("T2w", "T1w"),
    "t2": ("T2w",),
    "t1": ("T1w",),
    "random": ("T2w",),
}
GRAIN, PATCHES = 0.8, 5.0  # sizes of the textures, mm of a newborn's head


@dataclass(frozen=True)
class BrainScans:
    """Everything that is imaged of one head.

    Attributes:
        images: by what follows the subject in the file's name, such as ``T2w`` or ``acq-thick_T2w``; int16.
        masks: uint8 0/1 by structure, on the grid of the isotropic images.
        row: of ``participants.tsv``.
        sidecars: what a BIDS file beside an image says, of the thick ones.
    """

    images: Mapping[str, Volume]
    masks: Mapping[str, Volume]
    row: Mapping[str, Any]
    sidecars: Mapping[str, Mapping[str, float]]

    def write(self, root: Path, name: str) -> None:
        """Write images, their sidecars and masks into a BIDS folder."""
        anat = root / name / "anat"
        for kind, volume in self.images.items():
            _write(anat, f"{name}_{kind}", volume)
        for kind, content in self.sidecars.items():
            (anat / f"{name}_{kind}.json").write_text(json.dumps(dict(content), indent=2) + "\n")
        for structure, mask in self.masks.items():
            _write(root / "derivatives" / "manual" / name / "anat", f"{name}_label-{structure}_mask", mask)


@dataclass(frozen=True)
class BrainExam:
    """A head's tissues, and the field of view and the generators of its scans.

    Attributes:
        age: whose tissues they are.
        scale: size of the head in newborns' heads.
        grid: of the isotropic scans.
        textures: of the tissues, the same in every scan.
        relaxation: of the tissues, the same in every scan.
        generators: see `brain_generators`.
    """

    age: Age
    scale: float
    grid: Grid
    textures: Sequence[LatticeNoise]
    relaxation: Relaxation
    generators: Mapping[str, np.random.Generator]

    def take(
        self,
        labels: LabelSource,
        contrast: BrainContrast,
        thick: ThickSlices | None,
        row: Mapping[str, Any],
    ) -> BrainScans:
        """Take the isotropic scans, the thick ones if asked for, and cut the masks.

        Args:
            labels: what lies where.
            contrast: of the isotropic scans.
            thick: how the thick scans are taken.
            row: of ``participants.tsv``.
        """
        tables = self.tables(contrast)
        members = brain_structures()
        images: dict[str, Volume] = {}
        cut: list[Volume] = []
        for kind, table in tables.items():
            rng = self.generators[kind]
            scanner = isotropic_scanner(contrast, rng)
            structures = () if images else tuple(members.values())
            image, masks = scan(labels, table, self.grid, scanner, rng, structures, self.textures)
            images[kind] = Volume(as_stored(image), self.grid.affine)
            cut = cut or [Volume(mask.astype(np.uint8), self.grid.affine) for mask in masks]
        sidecars: dict[str, Mapping[str, float]] = {}
        if thick is not None:
            further = self.take_thick(labels, tables, thick)
            sidecars = {kind: thick.sidecar(number) for number, kind in enumerate(further)}
            images |= further
        return BrainScans(images, dict(zip(members, cut, strict=True)), row, sidecars)

    def tables(self, contrast: BrainContrast) -> dict[str, SignalTable]:
        """Signals of the tissues in each kind of isotropic scan."""
        rng = self.generators["contrast"]
        if contrast == "random":
            return {kind: random_brain_contrast(rng) for kind in KINDS[contrast]}
        found = {"T2w": self.relaxation.table(), "T1w": t1_contrast_of(self.age, rng)}
        return {kind: found[kind] for kind in KINDS[contrast]}

    def take_thick(
        self, labels: LabelSource, tables: Mapping[str, SignalTable], thick: ThickSlices
    ) -> dict[str, Volume]:
        """Take the head in thick slices: with the first of some contrasts, or at several echo times.

        All echoes have the coil and the noise of the first, while their signal fades.
        """
        rng = self.generators["thick"]
        scanner, grid = thick.scanner(self.scale, rng), thick.grid(self.grid)
        if thick.echoes == 1:
            kind, table = next(iter(tables.items()))
            wanted = {f"acq-thick_{kind}": table}
        else:
            wanted = {f"acq-{name}_T2w": self.relaxation.table(time) for name, time in thick.echo_times().items()}
        images: dict[str, Volume] = {}
        coil, deviation = draw_coil(grid, rng), None
        for name, table in wanted.items():
            heard, _ = listen(labels, table, grid, scanner, rng, textures=self.textures, coil=coil)
            deviation = heard.deviation if deviation is None else deviation
            images[name] = Volume(as_stored(replace(heard, deviation=deviation).with_noise(rng)), grid.affine)
        return images


def brain_generators(name: str, seed: int) -> dict[str, np.random.Generator]:
    """Generators of one subject, by what they draw: each depends on the seed and the name, on nothing else."""
    label = name.removeprefix("sub-")
    told = [ord(label[0]), int(label[1:])] if label[1:].isdecimal() else list(name.encode())
    seeds = np.random.SeedSequence([seed, *told])
    return dict(zip(GENERATORS, map(np.random.default_rng, seeds.spawn(len(GENERATORS))), strict=True))


def brain_exam(grid: Grid, age: Age, scale: float, generators: Mapping[str, np.random.Generator]) -> BrainExam:
    """Draw the tissues of a head that lies in a field of view."""
    sizes = Scanner(grain_mm=GRAIN * scale, patches_mm=PATCHES * scale)
    textures = draw_textures(grid, sizes, generators["tissue"])
    return BrainExam(age, scale, grid, textures, draw_relaxation(age, generators["tissue"]), generators)


def _write(folder: Path, name: str, volume: Volume) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(folder / f"{name}.nii.gz", volume.data, volume.affine)
