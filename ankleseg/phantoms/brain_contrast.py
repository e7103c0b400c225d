"""What the tissues of a head look like: T1 and T2 weighting of newborns and children, or anything at all.

T2-weighted signals follow from proton density and T2, so that acquisitions at several echo times show one anatomy as
one scanner would: signal = density · exp(−echo time / T2). T1-weighted signals are a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ankleseg.phantoms.brain import Age
from ankleseg.phantoms.brain_tissues import BrainTissue, brain_tissue_of
from ankleseg.phantoms.contrast import SignalTable

USUAL_ECHO_TIME: Mapping[Age, float] = {"neonate": 150.0, "child": 100.0}  # ms, of a T2-weighted fast spin echo
BRIGHTEST = 2000.0

# proton density, T2 in ms; the effective T2 of fat and fluid in a train of refocused echoes
RELAXATION: Mapping[Age, Mapping[BrainTissue, tuple[float, float]]] = {
    "neonate": {
        BrainTissue.AIR: (0.0, 100.0),
        BrainTissue.SKIN: (0.75, 75.0),
        BrainTissue.FAT: (0.95, 160.0),
        BrainTissue.MUSCLE: (0.85, 60.0),
        BrainTissue.BONE: (0.16, 90.0),
        BrainTissue.MARROW: (0.60, 95.0),
        BrainTissue.EYE: (0.98, 700.0),
        BrainTissue.LENS: (0.70, 60.0),
        BrainTissue.CSF: (1.0, 900.0),
        BrainTissue.DURA: (0.5, 70.0),
        BrainTissue.VESSEL: (0.35, 80.0),
        BrainTissue.CORTEX: (0.90, 155.0),
        BrainTissue.WHITE_MATTER: (0.94, 250.0),
        BrainTissue.MYELINATED: (0.84, 130.0),
        BrainTissue.VENTRICLE: (1.0, 1000.0),
        BrainTissue.THALAMUS: (0.87, 135.0),
        BrainTissue.CAUDATE: (0.89, 150.0),
        BrainTissue.LENTIFORM: (0.88, 145.0),
        BrainTissue.HIPPOCAMPUS: (0.90, 160.0),
        BrainTissue.CEREBELLAR_CORTEX: (0.89, 150.0),
        BrainTissue.CEREBELLAR_WHITE_MATTER: (0.88, 165.0),
        BrainTissue.BRAINSTEM: (0.86, 140.0),
    },
    "child": {
        BrainTissue.AIR: (0.0, 100.0),
        BrainTissue.SKIN: (0.75, 60.0),
        BrainTissue.FAT: (0.95, 110.0),
        BrainTissue.MUSCLE: (0.85, 45.0),
        BrainTissue.BONE: (0.10, 60.0),
        BrainTissue.MARROW: (0.70, 90.0),
        BrainTissue.EYE: (0.98, 600.0),
        BrainTissue.LENS: (0.60, 45.0),
        BrainTissue.CSF: (1.0, 900.0),
        BrainTissue.DURA: (0.5, 55.0),
        BrainTissue.VESSEL: (0.30, 60.0),
        BrainTissue.CORTEX: (0.86, 98.0),
        BrainTissue.WHITE_MATTER: (0.74, 78.0),
        BrainTissue.MYELINATED: (0.72, 74.0),
        BrainTissue.VENTRICLE: (1.0, 1000.0),
        BrainTissue.THALAMUS: (0.80, 84.0),
        BrainTissue.CAUDATE: (0.84, 92.0),
        BrainTissue.LENTIFORM: (0.80, 80.0),
        BrainTissue.HIPPOCAMPUS: (0.86, 100.0),
        BrainTissue.CEREBELLAR_CORTEX: (0.86, 97.0),
        BrainTissue.CEREBELLAR_WHITE_MATTER: (0.75, 80.0),
        BrainTissue.BRAINSTEM: (0.75, 80.0),
    },
}

T1: Mapping[Age, Mapping[BrainTissue, float]] = {
    "neonate": {
        BrainTissue.AIR: 0,
        BrainTissue.SKIN: 620,
        BrainTissue.FAT: 1500,
        BrainTissue.MUSCLE: 620,
        BrainTissue.BONE: 170,
        BrainTissue.MARROW: 520,
        BrainTissue.EYE: 230,
        BrainTissue.LENS: 500,
        BrainTissue.CSF: 260,
        BrainTissue.DURA: 560,
        BrainTissue.VESSEL: 650,
        BrainTissue.CORTEX: 690,
        BrainTissue.WHITE_MATTER: 560,
        BrainTissue.MYELINATED: 850,
        BrainTissue.VENTRICLE: 240,
        BrainTissue.THALAMUS: 740,
        BrainTissue.CAUDATE: 690,
        BrainTissue.LENTIFORM: 720,
        BrainTissue.HIPPOCAMPUS: 680,
        BrainTissue.CEREBELLAR_CORTEX: 680,
        BrainTissue.CEREBELLAR_WHITE_MATTER: 780,
        BrainTissue.BRAINSTEM: 800,
    },
    "child": {
        BrainTissue.AIR: 0,
        BrainTissue.SKIN: 700,
        BrainTissue.FAT: 1500,
        BrainTissue.MUSCLE: 580,
        BrainTissue.BONE: 110,
        BrainTissue.MARROW: 900,
        BrainTissue.EYE: 230,
        BrainTissue.LENS: 500,
        BrainTissue.CSF: 230,
        BrainTissue.DURA: 480,
        BrainTissue.VESSEL: 700,
        BrainTissue.CORTEX: 660,
        BrainTissue.WHITE_MATTER: 980,
        BrainTissue.MYELINATED: 1010,
        BrainTissue.VENTRICLE: 210,
        BrainTissue.THALAMUS: 800,
        BrainTissue.CAUDATE: 710,
        BrainTissue.LENTIFORM: 820,
        BrainTissue.HIPPOCAMPUS: 670,
        BrainTissue.CEREBELLAR_CORTEX: 660,
        BrainTissue.CEREBELLAR_WHITE_MATTER: 940,
        BrainTissue.BRAINSTEM: 920,
    },
}
ROUGH = frozenset({BrainTissue.SKIN, BrainTissue.FAT, BrainTissue.MUSCLE, BrainTissue.BONE, BrainTissue.MARROW})


@dataclass(frozen=True)
class Relaxation:
    """One subject's tissues, as any T2-weighted acquisition of them starts from.

    Attributes:
        usual_echo_time: ms.
        density: proton density of each label, 1 for water.
        t2: ms.
        textures: (256, 3) grain, patches and septa as shares of the signal.
    """

    usual_echo_time: float
    density: Float[np.ndarray, "256"]
    t2: Float[np.ndarray, "256"]
    textures: Float[np.ndarray, "256 3"]

    def table(self, echo_time: float | None = None) -> SignalTable:
        """Signals at an echo time in ms, None for the usual one, at which CSF has about the brightest value."""
        time = self.usual_echo_time if echo_time is None else echo_time
        water = RELAXATION["child"][BrainTissue.CSF][1]
        signal = BRIGHTEST * np.exp(self.usual_echo_time / water) * self.density * np.exp(-time / self.t2)
        return SignalTable(signal, *(signal[:, None] * self.textures).T)


def draw_relaxation(age: Age, rng: np.random.Generator) -> Relaxation:
    """Draw one subject's tissues about the usual ones of an age."""
    tissues = brain_tissue_of(np.arange(256))
    density, t2 = np.zeros(256), np.full(256, 100.0)
    for tissue, (usual_density, usual_t2) in RELAXATION[age].items():
        chosen = tissues == tissue
        density[chosen] = usual_density * _about_one(rng, 0.02)
        t2[chosen] = usual_t2 * _about_one(rng, 0.04)
    return Relaxation(USUAL_ECHO_TIME[age], density, t2, _draw_textures(rng))


def t1_contrast_of(age: Age, rng: np.random.Generator) -> SignalTable:
    """T1 weighting: in a newborn the cortex is brighter than the white matter, in a child darker; CSF is dark."""
    tissues = brain_tissue_of(np.arange(256))
    signal = np.zeros(256)
    for tissue, usual in T1[age].items():
        signal[tissues == tissue] = usual * _about_one(rng, 0.03)
    return SignalTable(signal, *(signal[:, None] * _draw_textures(rng)).T)


def random_brain_contrast(rng: np.random.Generator, brightest: float = BRIGHTEST) -> SignalTable:
    """Any signal for any tissue, as in domain randomisation (Billot et al. 2023, SynthSeg); air stays dark."""
    tissues = brain_tissue_of(np.arange(256))
    columns = np.zeros((256, 4))
    for tissue in BrainTissue:
        chosen = tissues == tissue
        columns[chosen, 0] = brightest * rng.uniform(0.03, 1.0)
        columns[chosen, 1:3] = brightest * rng.uniform(0.0, 0.06, 2)
    columns[0] = 0
    return SignalTable(*columns.T)


def _draw_textures(rng: np.random.Generator) -> Float[np.ndarray, "256 3"]:
    tissues = brain_tissue_of(np.arange(256))
    textures = np.zeros((256, 3))
    for tissue in BrainTissue:
        grain, patches = (0.10, 0.12) if tissue in ROUGH else (0.02, 0.03)
        textures[tissues == tissue, :2] = np.array([grain, patches]) * rng.uniform(0.7, 1.3, 2)
    textures[tissues == BrainTissue.FAT, 2] = -0.2
    return textures


def _about_one(rng: np.random.Generator, deviation: float) -> float:
    return float(1 + deviation * np.clip(rng.normal(), -2, 2))
