"""A glioma: all that is drawn at random of it, once the brain that it grows in is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from jaxtyping import Float, UInt8

from ankleseg.phantoms.brain import Brain, draw_brain
from ankleseg.phantoms.brain_tissues import INTRACRANIAL, BrainTissue, brain_tissue_of, hemisphere_of
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.noise import bumps

ADULT = 1.65  # millimetres of an adult's brain for a millimetre of a newborn's
APART = 45.0  # mm between the middles of two lesions, at least
BENEATH = 6.0  # mm of brain between a core and the skull, at least


class TumourTissue(IntEnum):
    """Tissues of a tumour, by numbers that no `BrainTissue` has."""

    FAINT_OEDEMA = 22
    OEDEMA = 23
    DENSE_OEDEMA = 24
    ENHANCING = 25
    NECROSIS = 26
    SOLID = 27  # tumour that takes up no contrast agent


CORE = frozenset({TumourTissue.ENHANCING, TumourTissue.NECROSIS, TumourTissue.SOLID})


@dataclass(frozen=True)
class Lesion:
    """One focus of a tumour; lengths in mm of the world.

    Attributes:
        centre: of the core, RAS+.
        radius: mean radius of the core; lobes are added to it place by place.
        rim: mean thickness of the enhancing rim, 0 where the core takes up no contrast agent.
        unevenness: place by place, 1 plus this is the factor of the rim, which is open below 0, and the exponential
            of this is how much slower oedema spreads.
        push: how strongly the tissue around is pushed away, the logarithm of a stretch.
        oedema: how far it reaches into white matter.
    """

    centre: Float[np.ndarray, "3"]
    radius: float
    lobes: Callable[[np.ndarray], np.ndarray]
    rim: float
    unevenness: Callable[[np.ndarray], np.ndarray]
    push: float
    oedema: float


def draw_adult(rng: np.random.Generator) -> Brain:
    """Draw the brain of an adult of 30 to 80 years: that of a child, larger, with more fluid the older it is."""
    child, years = draw_brain(rng, age="child"), float(rng.uniform(30, 80))
    older = (years - 30) / 50
    wider = child.ventricles + 0.4 + 1.2 * older * float(rng.uniform(0.6, 1.4))
    return replace(child, age=years, scale=ADULT, ventricles=wider, fluid=child.fluid * (1 + 0.5 * older))


def draw_lesions(
    rng: np.random.Generator, healthy: UInt8[np.ndarray, "x y z"], grid: Grid, *, lesions: int, enhancing: bool
) -> list[Lesion]:
    """Draw the lesions of a tumour, in the white matter of the cerebrum and apart from each other.

    Args:
        rng: where they come from.
        healthy, grid: labels of the brain before the tumour, and where they lie.
        lesions: how many, if they find room; all but the first are smaller.
        enhancing: whether they have an enhancing rim.
    """
    from scipy.ndimage import distance_transform_edt

    tissue = brain_tissue_of(healthy)
    white = (tissue == BrainTissue.WHITE_MATTER) & (hemisphere_of(healthy) > 0)
    room = distance_transform_edt(np.isin(tissue, list(INTRACRANIAL)), sampling=grid.spacing)[white]
    places = np.argwhere(white) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    drawn: list[Lesion] = []
    for number in range(lesions):
        radius = float(rng.uniform(9, 21) if number == 0 else rng.uniform(5, 9))
        free = (room > radius + BENEATH) & (np.abs(places[:, 0]) > 0.7 * radius + 3)
        for other in drawn:
            free &= np.linalg.norm(places - other.centre, axis=1) > APART
        if not free.any():
            break
        drawn.append(
            Lesion(
                centre=places[rng.choice(np.flatnonzero(free))].astype(np.float32),
                radius=radius,
                lobes=bumps(rng, 0.14 * radius, (0.8 * radius, 4.0 * radius)),
                rim=float(np.clip(radius * rng.uniform(0.18, 0.5), 2.5, 8.0)) if enhancing else 0.0,
                unevenness=bumps(rng, 0.5, (0.4 * radius, 1.6 * radius)),
                push=float(rng.uniform(0.2, 0.7)),
                oedema=float(rng.uniform(5, 24) if enhancing else rng.uniform(3, 10)),
            )
        )
    return drawn
