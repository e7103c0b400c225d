"""One subject in the scanner: who lies there, and all that was drawn before the first scan is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ankleseg.phantoms.ankle import Ankle, Group, Side, draw_ankle
from ankleseg.phantoms.ankle_labels import AnkleLabels
from ankleseg.phantoms.contrast import SignalTable
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.protocol import CONTRASTS, PROTOCOLS, Contrast, Scan, Size, draw_grid, draw_scanner, scan_bones
from ankleseg.phantoms.scanner import Scanner

HEEL = (4.0, -65.0, -36.0, 1.0)  # the skin behind the heel, in the frame of the bones


@dataclass(frozen=True)
class Exam:
    """A subject and the settings of the static scan.

    Attributes:
        ankle: the subject.
        table, grid, scanner: of the static scan.
        scanning: generator that draws the rest of it; it is used up by `take`.
        field_spacing: of the grid on which the shapes are evaluated, mm.
    """

    ankle: Ankle
    table: SignalTable
    grid: Grid
    scanner: Scanner
    scanning: np.random.Generator
    field_spacing: float | None = None

    def labels(self, grid: Grid) -> AnkleLabels:
        """What lies where in the field of view of `grid`."""
        return (
            AnkleLabels(self.ankle, grid)
            if self.field_spacing is None
            else AnkleLabels(self.ankle, grid, self.field_spacing)
        )

    def take(self, repeats: int = 1, snr: float | None = None) -> Scan:
        """Take the static scan.

        Args:
            repeats: how often, with independent noise; the first time is the same whatever their number.
            snr: signal-to-noise ratio; None keeps the drawn one.
        """
        scanner = self.scanner if snr is None else replace(self.scanner, snr=snr)
        return scan_bones(self.labels(self.grid), self.table, self.grid, scanner, self.scanning, repeats)


def ankle_exam(name: str, *, size: Size, seed: int, side: Side | None, contrast: Contrast) -> Exam:
    """Draw one subject of a cohort of ankles; `name` is as in `ankle_names`."""
    group: Group = "equinus" if name.startswith("sub-E") else "control"
    anatomy, scanning = subject_generators(name, seed)
    ankle = draw_ankle(anatomy, group=group, side=side)
    heel = (ankle.pose.world_from_foot() @ HEEL)[:3]
    grid = draw_grid(PROTOCOLS[size], ankle.pose.world_from_shin[:3, 3], heel, scanning)
    scanner = draw_scanner(PROTOCOLS[size], contrast, scanning)
    return Exam(ankle, CONTRASTS[contrast](scanning), grid, scanner, scanning)


def subject_generators(name: str, seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Generators of one subject's anatomy and scan: each depends on the seed and the name, on nothing else."""
    anatomy, scanning = (np.random.default_rng(child) for child in _seeds(name, seed).spawn(2))
    return anatomy, scanning


def motion_generators(name: str, seed: int) -> tuple[np.random.Generator, np.random.Generator, np.random.Generator]:
    """Generators of what a subject's dynamic sequences share, of the active and of the passive one."""
    shared, active, passive = (np.random.default_rng(child) for child in _seeds(name, seed).spawn(5)[2:])
    return shared, active, passive


def _seeds(name: str, seed: int) -> np.random.SeedSequence:
    label = name.removeprefix("sub-")
    return np.random.SeedSequence([seed, ord(label[0]), int(label[1:])])
