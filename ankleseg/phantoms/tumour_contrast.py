"""What a brain with a tumour looks like in four contrasts: signal equations on usual relaxation times at 3 T.

Times of healthy tissue are about those of Wansapura et al. 1999 and Stanisz et al. 2005; those of tumours lie where
textbooks put them: oedema and solid tumour between grey matter and water, necrosis nearer to water.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ankleseg.phantoms.brain_tissues import BrainTissue, brain_tissue_of
from ankleseg.phantoms.contrast import SignalTable
from ankleseg.phantoms.tumour import TumourTissue

MIXED = {TumourTissue.FAINT_OEDEMA: 0.4, TumourTissue.OEDEMA: 0.7}  # share of dense oedema, the rest white matter
RELAXIVITY = 4.5  # of a gadolinium chelate, 1/s for a mmol/l

# proton density, T1 and T2 in ms, contrast agent in mmol/l after the injection
WATER = (1.0, 4000, 900, 0.0)
GREY = (0.82, 1380, 98, 0.02)
NUCLEI = (0.78, 1140, 82, 0.02)
WHITE = (0.70, 860, 74, 0.01)
RELAXATION: Mapping[int, tuple[float, float, float, float]] = {
    BrainTissue.CSF: WATER,
    BrainTissue.VENTRICLE: WATER,
    BrainTissue.DURA: (0.6, 900, 60, 0.45),
    BrainTissue.VESSEL: (0.8, 1600, 60, 0.9),
    **dict.fromkeys((BrainTissue.CORTEX, BrainTissue.CEREBELLAR_CORTEX, BrainTissue.HIPPOCAMPUS), GREY),
    **dict.fromkeys((BrainTissue.CAUDATE, BrainTissue.LENTIFORM, BrainTissue.THALAMUS), NUCLEI),
    **dict.fromkeys((BrainTissue.WHITE_MATTER, BrainTissue.CEREBELLAR_WHITE_MATTER), WHITE),
    **dict.fromkeys((BrainTissue.MYELINATED, BrainTissue.BRAINSTEM), (0.71, 900, 73, 0.01)),
    TumourTissue.DENSE_OEDEMA: (0.87, 1550, 165, 0.01),
    TumourTissue.ENHANCING: (0.85, 1450, 120, 0.22),
    TumourTissue.NECROSIS: (0.94, 2500, 300, 0.03),
    TumourTissue.SOLID: (0.88, 1650, 155, 0.02),
}


def tumour_contrasts(rng: np.random.Generator) -> dict[str, SignalTable]:
    """Draw one patient's tissues and session: signals of every label by the name that BraTS 2023 gives the contrast."""
    tissues, drawn, textures = brain_tissue_of(np.arange(256)), np.ones((256, 4)), np.zeros((256, 3))
    drawn[:, 0] = 0  # of air
    for tissue, usual in RELAXATION.items():
        ill = isinstance(tissue, TumourTissue)
        spread = np.array([0.01, 0.10, 0.10, 0.45] if ill else [0.01, 0.03, 0.03, 0.2])
        drawn[tissues == tissue] = np.array(usual) * np.exp(spread * np.clip(rng.normal(size=4), -1.7, 1.7))
        textures[tissues == tissue, :2] = np.array([0.05, 0.15] if ill else [0.02, 0.035]) * rng.uniform(0.7, 1.3, 2)
    for grade, share in MIXED.items():
        for values in (drawn, textures):
            values[grade] = share * values[TumourTissue.DENSE_OEDEMA] + (1 - share) * values[BrainTissue.WHITE_MATTER]
    density, t1, t2, agent = drawn.T
    enhanced = 1 / (1 / t1 + RELAXIVITY * agent / 1000)
    short, long, inversion, echo, late = np.array([600, 5000, 2450, 95, 115]) * rng.uniform(0.9, 1.1, 5)  # ms
    signals = {
        "t1n": (1 - np.exp(-short / t1)) * np.exp(-12 / t2),
        "t1c": (1 - np.exp(-short / enhanced)) * np.exp(-12 / t2),
        "t2w": (1 - np.exp(-long / t1)) * np.exp(-echo / t2),
        "t2f": np.abs(1 - 2 * np.exp(-inversion / t1) + np.exp(-9000 / t1)) * np.exp(-late / t2),
    }
    tables = {}
    for name, weighting in signals.items():
        signal = density * weighting
        signal *= float(rng.uniform(250, 900)) / signal[BrainTissue.WHITE_MATTER]  # scanners have units of their own
        tables[name] = SignalTable(signal, *(signal[:, None] * textures).T)
    return tables
