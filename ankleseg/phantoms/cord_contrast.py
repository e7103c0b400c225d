"""What a spine looks like: T2-weighted scans of the living, and fixed specimens, of which no two look alike."""

from __future__ import annotations

import numpy as np

from ankleseg.phantoms.contrast import SignalTable
from ankleseg.phantoms.cord_labels import CordTissue

# signal in units of the cord's, least and most; T2-weighted scans of necks and of lumbar spines
NECK: dict[CordTissue, tuple[float, float]] = {
    CordTissue.SKIN: (0.6, 1.0),
    CordTissue.FAT: (1.3, 2.3),
    CordTissue.MUSCLE: (0.25, 0.5),
    CordTissue.BONE: (0.05, 0.16),
    CordTissue.MARROW: (0.3, 0.6),
    CordTissue.DISC: (0.15, 0.35),
    CordTissue.NUCLEUS: (0.3, 0.9),
    CordTissue.LIGAMENT: (0.1, 0.25),
    CordTissue.DURA: (0.1, 0.4),
    CordTissue.CSF: (2.7, 4.8),
    CordTissue.ROOT: (0.8, 1.2),
    CordTissue.WHITE_MATTER: (0.9, 0.96),
    CordTissue.GREY_MATTER: (1.05, 1.22),
    CordTissue.BRAINSTEM: (0.9, 1.05),
    CordTissue.VISCERA: (0.2, 0.5),
    CordTissue.VESSEL: (0.05, 0.3),
}
LUMBAR: dict[CordTissue, tuple[float, float]] = NECK | {
    CordTissue.FAT: (1.5, 2.4),
    CordTissue.MARROW: (0.6, 1.1),
    CordTissue.NUCLEUS: (0.6, 2.2),
    CordTissue.CSF: (1.7, 3.0),
    CordTissue.GREY_MATTER: (1.0, 1.1),
}
# fixed tissue has short relaxation times of little difference; its fluid may be bright or without any signal
FIXED: dict[CordTissue, tuple[float, float]] = {tissue: (0.3, 1.3) for tissue in NECK} | {
    CordTissue.BONE: (0.05, 0.3),
    CordTissue.LIGAMENT: (0.15, 0.5),
    CordTissue.DURA: (0.2, 0.8),
    CordTissue.ROOT: (0.8, 1.1),
    CordTissue.WHITE_MATTER: (0.85, 0.95),
    CordTissue.GREY_MATTER: (1.0, 1.35),
}
FLUIDS = ((0.0, 0.15), (0.3, 0.7), (1.3, 2.6))  # without hydrogen; proton density; T2


def cord_contrast(domain: str, rng: np.random.Generator) -> SignalTable:
    """Draw the signals of one subject's tissues: ``neck``, ``lumbar`` or ``post_mortem``."""
    usual = dict({"neck": NECK, "lumbar": LUMBAR, "post_mortem": FIXED}[domain])
    if domain == "post_mortem":
        usual[CordTissue.BATH] = usual[CordTissue.CSF] = FLUIDS[rng.integers(len(FLUIDS))]
    columns = np.zeros((256, 4))
    brightness = rng.uniform(200, 500)
    for tissue, (least, most) in usual.items():
        mean = brightness * rng.uniform(least, most)
        columns[tissue] = mean * np.array([1, *rng.uniform((0.03, 0.02, 0), (0.09, 0.08, 0))])
    if domain != "post_mortem":
        columns[CordTissue.CSF, 2] *= rng.uniform(1, 3)  # it flows
        columns[CordTissue.MUSCLE, 3] = rng.uniform(0.15, 0.6) * columns[CordTissue.FAT, 0]
        columns[CordTissue.VISCERA, 2:] = columns[CordTissue.VISCERA, :1] * np.array([0.45, 0.8])
    columns[CordTissue.FAT, 3] = -0.4 * columns[CordTissue.FAT, 0]
    return SignalTable(*columns.T)
