"""What each tissue looks like: T1 weighting as a child's ankle shows it, or anything at all (domain randomisation)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ankleseg.phantoms.tissues import TISSUES_A_BONE, Tissue, tissue_of


@dataclass(frozen=True)
class SignalTable:
    """Signal of every label (0 to 255), in image units.

    Attributes:
        mean: the label's signal.
        grain: standard deviation of fine texture (trabeculae, muscle fibres).
        patches: standard deviation of coarse texture (red and yellow marrow).
        septa: signal added along thin sheets (connective tissue in fat: negative; fat in muscle: positive).
    """

    mean: Float[np.ndarray, "256"]
    grain: Float[np.ndarray, "256"]
    patches: Float[np.ndarray, "256"]
    septa: Float[np.ndarray, "256"]

    @property
    def columns(self) -> np.ndarray:
        """The four in one array (256, 4) float32."""
        return np.stack([self.mean, self.grain, self.patches, self.septa], axis=1).astype(np.float32)


# mean, spread of the mean between subjects, grain, patches, septa
T1 = {
    Tissue.AIR: (0, 0, 0, 0, 0),
    Tissue.SKIN: (900, 120, 60, 60, 0),
    Tissue.FAT: (1950, 130, 50, 110, -260),
    Tissue.MUSCLE: (720, 60, 55, 60, 170),
    Tissue.TENDON: (170, 40, 30, 20, 60),
    Tissue.VESSEL: (1150, 400, 60, 60, 0),
    Tissue.CARTILAGE: (980, 90, 50, 40, 0),
    Tissue.CORTEX: (190, 45, 50, 30, 0),
    Tissue.MARROW: (1620, 140, 130, 150, 0),
    Tissue.GROWTH_PLATE: (760, 110, 60, 60, 0),
    Tissue.HEEL_PAD: (1850, 130, 60, 80, -800),
    Tissue.JOINT_FLUID: (520, 120, 40, 40, 0),
}

# T1-weighted fast field echo of dynamic scans (spoiled gradient echo): fat leads, trabeculae take signal from the
# marrow by susceptibility, cartilage and flowing blood come out brighter than in the static scan. No straight line
# leads here from the T1 table.
FFE = {
    Tissue.AIR: (0, 0, 0, 0, 0),
    Tissue.SKIN: (560, 80, 40, 40, 0),
    Tissue.FAT: (1240, 90, 40, 70, -190),
    Tissue.MUSCLE: (560, 50, 45, 45, 120),
    Tissue.TENDON: (130, 35, 25, 20, 50),
    Tissue.VESSEL: (1250, 350, 60, 60, 0),
    Tissue.CARTILAGE: (830, 80, 50, 40, 0),
    Tissue.CORTEX: (120, 35, 30, 20, 0),
    Tissue.MARROW: (960, 90, 80, 110, 0),
    Tissue.GROWTH_PLATE: (700, 100, 60, 60, 0),
    Tissue.HEEL_PAD: (1150, 90, 45, 60, -460),
    Tissue.JOINT_FLUID: (600, 120, 40, 40, 0),
}


def t1_contrast(rng: np.random.Generator) -> SignalTable:
    """T1-weighted gradient echo: fat and marrow bright, muscle and cartilage between, cortex and tendon dark."""
    return _drawn(T1, rng)


def ffe_contrast(rng: np.random.Generator) -> SignalTable:
    """T1-weighted fast field echo of dynamic scans: fat brightest, then marrow, cartilage, muscle; cortex dark."""
    return _drawn(FFE, rng)


def _drawn(typical: Mapping[Tissue, tuple[int, ...]], rng: np.random.Generator) -> SignalTable:
    columns = np.zeros((256, 4), np.float32)
    tissues = tissue_of(np.arange(256))
    gain = float(rng.uniform(0.9, 1.12))
    for tissue, (mean, spread, *textures) in typical.items():
        chosen = tissues == tissue
        level = mean + spread * np.clip(rng.normal(), -1.8, 1.8)
        columns[chosen, 0] = gain * level
        columns[chosen, 1:] = gain * np.array(textures) * rng.uniform(0.7, 1.3, 3)
    _vary_marrow(columns, rng, 0.03)
    return SignalTable(*columns.T)


def random_contrast(rng: np.random.Generator, brightest: float = 2000.0) -> SignalTable:
    """Any signal for any tissue, as in domain randomisation (Billot et al. 2023, SynthSeg); air stays dark or grey."""
    columns = np.zeros((256, 4), np.float32)
    tissues = tissue_of(np.arange(256))
    for tissue in Tissue:
        chosen = tissues == tissue
        columns[chosen, 0] = brightest * rng.uniform(0.03, 1.0)
        columns[chosen, 1:3] = brightest * rng.uniform(0.0, 0.09, 2)
        columns[chosen, 3] = brightest * rng.uniform(-0.3, 0.3) * (rng.random() < 0.4)
    columns[0] = 0
    if rng.random() < 0.3:
        columns[0, 0] = brightest * rng.uniform(0.0, 0.15)
    _vary_marrow(columns, rng, 0.06)
    return SignalTable(*columns.T)


def _vary_marrow(columns: np.ndarray, rng: np.random.Generator, spread: float) -> None:
    """No two bones hold quite the same marrow."""
    for bone in range(1, 256 // TISSUES_A_BONE):
        columns[bone * TISSUES_A_BONE + Tissue.MARROW, 0] *= 1 + spread * np.clip(rng.normal(), -2, 2)
