"""Cohorts of digital brains on disk, in the BIDS layout, with exact masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ankleseg.phantoms.brain import AGE_GROUPS, Age, Brain, draw_brain
from ankleseg.phantoms.brain_contrast import (
    USUAL_ECHO_TIME,
    Relaxation,
    draw_relaxation,
    random_brain_contrast,
    t1_contrast_of,
)
from ankleseg.phantoms.brain_labels import BrainLabels
from ankleseg.phantoms.brain_protocol import (
    BrainContrast,
    ThickSlices,
    as_thick,
    brain_grid,
    check_brain_settings,
    isotropic_scanner,
)
from ankleseg.phantoms.brain_tissues import brain_structures
from ankleseg.phantoms.cohort import write_cohort
from ankleseg.phantoms.contrast import SignalTable
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.noise import LatticeNoise
from ankleseg.phantoms.protocol import Size, as_stored
from ankleseg.phantoms.scanner import LabelSource, Scanner, draw_textures, listen, scan
from ankleseg.volumes import Volume, write_volume

BRAIN_RECIPE = 1  # raised whenever the same settings give other images
IMAGES = ("T2w", "T1w", "thick")  # each has a generator of its own


@dataclass(frozen=True)
class BrainScans:
    """Everything that is imaged of one head.

    Attributes:
        images: by what follows the subject in the file's name, such as ``T2w`` or ``acq-thick_T2w``; int16.
        masks: uint8 0/1 by structure, on the grid of the isotropic images.
        row: of ``participants.tsv``.
    """

    images: Mapping[str, Volume]
    masks: Mapping[str, Volume]
    row: Mapping[str, Any]

    def write(self, root: Path, name: str) -> None:
        """Write images and masks into a BIDS folder."""
        for kind, volume in self.images.items():
            _write(root / name / "anat", f"{name}_{kind}", volume)
        for structure, mask in self.masks.items():
            _write(root / "derivatives" / "manual" / name / "anat", f"{name}_label-{structure}_mask", mask)


def write_brain_cohort(
    out: str | Path,
    *,
    size: Size = "demo",
    subjects: int = 8,
    seed: int = 0,
    age: Age = "neonate",
    contrast: BrainContrast = "both",
    thick: Sequence[float] | None = None,
    profile: Literal["box", "gaussian"] = "gaussian",
    thickness: float | None = None,
    echoes: int = 1,
    workers: int | None = None,
) -> Path:
    """Write a cohort of digital heads (sub-B01…), each imaged isotropically and, if asked for, in thick slices.

    Args:
        out: folder of the cohort; one that already holds this phantom is used as it is.
        size: ``full`` is 208×248×192 voxels of 0.5 mm (a child: 0.8 mm), ``demo`` 104×124×96 of 1.0 mm (1.6 mm).
        subjects: how many; a subject is the same whatever their number.
        seed: another seed, other heads.
        age: ``neonate`` or ``child``.
        contrast: ``t2``, ``t1``, ``both``, or ``random`` for a different, made-up contrast in every scan, written as
            ``T2w``.
        thick: voxel in mm of a further scan of the same head (``acq-thick``) that covers the same field of view.
        profile, thickness: of its slices; see `ThickSlices`.
        echoes: so many thick T2-weighted scans at growing echo times (``acq-te1``…) instead of the one.
        workers: subjects made at once; None: one for each core.

    Returns:
        `out`.

    Raises:
        ConfigError: an unknown size, age or contrast, no subject, or thick slices that cannot be.
        AnklesegError: `out` holds something else.
    """
    check_brain_settings(size, age, contrast, subjects)
    slices = as_thick(thick, profile, thickness, echoes)
    settings = {
        "cohort": "brain", "recipe": BRAIN_RECIPE, "size": size, "subjects": subjects, "seed": seed, "age": age,
        "contrast": contrast,
    }  # fmt: skip
    if slices is not None:
        settings["thick"] = {
            "spacing": list(slices.spacing), "profile": profile, "thickness": thickness, "echoes": slices.echoes,
        }  # fmt: skip

    def make(name: str) -> BrainScans:
        return brain_scans(name, size=size, seed=seed, age=age, contrast=contrast, thick=slices)

    return write_cohort(out, settings, [f"sub-B{number + 1:02d}" for number in range(subjects)], make, workers)


def brain_scans(
    name: str,
    *,
    size: Size = "demo",
    seed: int = 0,
    age: Age = "neonate",
    contrast: BrainContrast = "both",
    thick: ThickSlices | None = None,
) -> BrainScans:
    """Draw one subject of a cohort and image it; `name` is ``sub-B01`` and so on."""
    exam = brain_exam(name, size=size, seed=seed, age=age)
    labels = BrainLabels(exam.brain, exam.grid)
    unit = AGE_GROUPS[age].unit
    row = {"age": f"{exam.brain.age:.1f}", "age_unit": unit}
    return exam.take(labels, size, contrast, thick, row)


@dataclass(frozen=True)
class BrainExam:
    """A subject and all that was drawn before the first scan is taken.

    Attributes:
        brain: the subject; None where the labels come from a file.
        age: whose tissues are imaged.
        grid: of the isotropic scans.
        scale: size of the head in newborns' heads.
        textures: of the tissues, the same in every scan.
        relaxation: of the tissues, the same in every scan.
        generators: one for each kind of image.
    """

    brain: Brain
    age: Age
    grid: Grid
    scale: float
    textures: Sequence[LatticeNoise]
    relaxation: Relaxation
    generators: Mapping[str, np.random.Generator]

    def take(
        self,
        labels: LabelSource,
        size: Size,
        contrast: BrainContrast,
        thick: ThickSlices | None,
        row: Mapping[str, Any],
    ) -> BrainScans:
        """Take every image that is asked for, and the masks."""
        images: dict[str, Volume] = {}
        members = brain_structures()
        wanted = {"both": ("T2w", "T1w"), "t2": ("T2w",), "t1": ("T1w",), "random": ("T2w",)}[contrast]
        masks: list[np.ndarray] = []
        for kind in wanted:
            rng = self.generators[kind]
            scanner = isotropic_scanner(size, contrast, rng)
            structures = list(members.values()) if not masks else []
            image, cut = scan(labels, self.table(kind, contrast), self.grid, scanner, rng, structures, self.textures)
            masks = masks or cut
            images[kind] = Volume(as_stored(image), self.grid.affine)
        if thick is not None:
            images |= self.take_thick(labels, contrast, wanted[0], thick)
        cut_masks = {
            structure: Volume(mask.astype(np.uint8), self.grid.affine)
            for structure, mask in zip(members, masks, strict=True)
        }
        return BrainScans(images, cut_masks, row)

    def table(self, kind: str, contrast: BrainContrast) -> SignalTable:
        """Signals of an isotropic scan."""
        if contrast == "random":
            return random_brain_contrast(self.generators["contrast"])
        if kind == "T1w":
            return t1_contrast_of(self.age, self.generators["contrast"])
        return self.relaxation.table(USUAL_ECHO_TIME)

    def take_thick(
        self, labels: LabelSource, contrast: BrainContrast, kind: str, thick: ThickSlices
    ) -> dict[str, Volume]:
        """Take the same head in thick slices; the noise of later echoes is that of the first, their signal less."""
        rng = self.generators["thick"]
        scanner, grid = thick.scanner(self.scale, rng), thick.grid(self.grid)
        if thick.echoes == 1:
            table = self.table(kind, contrast)
            image, _ = scan(labels, table, grid, scanner, rng, textures=self.textures)
            return {f"acq-thick_{kind}": Volume(as_stored(image), grid.affine)}
        images, noise = {}, None
        for name, time in thick.echo_times().items():
            heard, _ = listen(labels, self.relaxation.table(time), grid, scanner, rng, textures=self.textures)
            noise = heard.deviation if noise is None else noise
            images[f"acq-{name}_T2w"] = Volume(as_stored(replace(heard, deviation=noise).with_noise(rng)), grid.affine)
        return images


def brain_exam(name: str, *, size: Size, seed: int, age: Age) -> BrainExam:
    """Draw one subject of a cohort of brains: each depends on the seed and the name, on nothing else."""
    label = name.removeprefix("sub-")
    seeds = np.random.SeedSequence([seed, ord(label[0]), int(label[1:])])
    anatomy, field, tissue, contrast, *images = (np.random.default_rng(child) for child in seeds.spawn(4 + len(IMAGES)))
    brain = draw_brain(anatomy, age=age)
    grid = brain_grid(size, age, field)
    textures = draw_textures(grid, Scanner(grain_mm=0.8 * brain.scale, patches_mm=5.0 * brain.scale), tissue)
    generators = {"contrast": contrast} | dict(zip(IMAGES, images, strict=True))
    return BrainExam(brain, age, grid, brain.scale, textures, draw_relaxation(age, tissue), generators)


def _write(folder: Path, name: str, volume: Volume) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(folder / f"{name}.nii.gz", volume.data, volume.affine)
