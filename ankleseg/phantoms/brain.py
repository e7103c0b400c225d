"""A subject's head: all that is drawn at random before anything is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from ankleseg.errors import ConfigError
from ankleseg.phantoms.noise import bumps

Age = Literal["neonate", "child"]

NOISE_SPACING = 2.5  # mm, of the noise that folds grow from
NOISE_HALF = np.array((60.0, 70.0, 60.0))  # mm from the middle of the head to the end of that noise
FOLIA = 64


@dataclass(frozen=True)
class AgeGroup:
    """What tells the heads of one age from those of another; lengths in mm of a newborn's head.

    Attributes:
        scale: how much larger than a newborn's the head is.
        ages: youngest and oldest, in `unit`.
        unit: weeks after conception or years.
        thickness: mean thickness of the cortex.
        wavelength: mean distance of neighbouring sulci.
        sulcal_depth: mean depth of the sulci.
        fluid: mean thickness of the CSF over the gyri.
        skull, scalp: mean thicknesses.
    """

    scale: float
    ages: tuple[float, float]
    unit: str
    thickness: float
    wavelength: float
    sulcal_depth: float
    fluid: float
    skull: float
    scalp: float


AGE_GROUPS: Mapping[str, AgeGroup] = {
    "neonate": AgeGroup(1.0, (37.5, 42.5), "weeks", 1.7, 7.6, 10.0, 1.9, 1.6, 3.0),
    "child": AgeGroup(1.6, (6.0, 12.0), "years", 1.6, 6.8, 14.0, 1.3, 2.6, 3.0),
}


@dataclass(frozen=True)
class Brain:
    """One subject's head; lengths in mm of a newborn's head, which `scale` turns into the subject's.

    Attributes:
        age_group: ``neonate`` or ``child``.
        age: in the unit of the group.
        scale: millimetres of the world for a millimetre of the newborn's head.
        sizes: (3,) stretch of the template along its axes.
        displacement: three smooth functions of points that bend the template.
        thickness: of the cortex on average; thickness_variation is added to it place by place.
        wavelength, sulcal_depth, depth_variation, sulcal_width: of the folds; width is half that of the CSF in a
            sulcus.
        lean: three functions of points, how far sulci have moved sideways at their bottom.
        fluid: thickness of the CSF over the gyri; fluid_variation is added to it.
        skull, scalp: thicknesses.
        ventricles: added to the radius of the ventricles.
        even, odd: noise that folds grow from: the same on both sides, and not.
        folia_depths, folia_wobble: of the fissures of the cerebellum.
    """

    age_group: Age
    age: float
    scale: float
    sizes: Float[np.ndarray, "3"]
    displacement: tuple[Callable[[np.ndarray], np.ndarray], ...]
    thickness: float
    thickness_variation: Callable[[np.ndarray], np.ndarray]
    wavelength: float
    sulcal_depth: float
    depth_variation: Callable[[np.ndarray], np.ndarray]
    lean: tuple[Callable[[np.ndarray], np.ndarray], ...]
    sulcal_width: float
    fluid: float
    fluid_variation: Callable[[np.ndarray], np.ndarray]
    skull: float
    scalp: float
    ventricles: float
    even: Float[np.ndarray, "i j k"]
    odd: Float[np.ndarray, "i j k"]
    folia_depths: Float[np.ndarray, "folia"]
    folia_wobble: Callable[[np.ndarray], np.ndarray]

    def template_points(self, points: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "3 n"]:
        """Where points of the subject's head (mm of a newborn's) lie in the average head."""
        moved = points / self.sizes.astype(np.float32)[:, None]
        # The midplane stays nearly in the middle: the hemispheres differ by little.
        shares = (0.25 + 0.75 * np.minimum(np.abs(points[0]) / 20, 1), 1, 1)
        for place, component, share in zip(moved, self.displacement, shares, strict=True):
            place += share * component(points)
        return moved

    def fold_noise(self, points: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "n"]:
        """Noise at points of the average head, more alike on the two sides than not."""
        from scipy.ndimage import map_coordinates

        start = -NOISE_HALF[:, None].astype(np.float32)
        mirrored = np.concatenate([np.abs(points[:1]), points[1:]])
        even, odd = (
            map_coordinates(noise, (where - start) / np.float32(NOISE_SPACING), order=1, mode="nearest")
            for noise, where in ((self.even, mirrored), (self.odd, points))
        )
        return even + 0.45 * odd


def draw_brain(rng: np.random.Generator, *, age: Age = "neonate") -> Brain:
    """Draw a subject's head; the same state of `rng` gives the same head.

    Raises:
        ConfigError: an unknown age group.
    """
    if age not in AGE_GROUPS:
        raise ConfigError(f"invalid age {age!r}: expected {' or '.join(AGE_GROUPS)}")
    group = AGE_GROUPS[age]

    def number(mean: float, deviation: float) -> float:
        return float(mean + deviation * np.clip(rng.normal(), -2, 2))

    years = float(rng.uniform(*group.ages))
    growth = (years - group.ages[0]) / (group.ages[1] - group.ages[0])  # 0 the youngest, 1 the oldest
    shape = tuple(int(side) + 1 for side in 2 * NOISE_HALF / NOISE_SPACING)
    even, odd = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    return Brain(
        age_group=age,
        age=years,
        scale=group.scale,
        sizes=np.array([number(0.985, 0.02), number(0.985, 0.02), number(0.985, 0.018)]) * (0.98 + 0.03 * growth),
        displacement=tuple(bumps(rng, 0.65, (45, 90)) for _ in range(3)),
        thickness=number(group.thickness, 0.06),
        thickness_variation=bumps(rng, 0.10, (12, 40)),
        wavelength=number(group.wavelength, 0.25) * (1.05 - 0.10 * growth if age == "neonate" else 1.0),
        sulcal_depth=number(group.sulcal_depth, 0.5) * (0.9 + 0.15 * growth),
        depth_variation=bumps(rng, 2.2, (14, 40)),
        lean=tuple(bumps(rng, 1.3, (14, 30)) for _ in range(3)),
        sulcal_width=number(0.45, 0.03),
        fluid=group.fluid * number(1, 0.12),
        fluid_variation=bumps(rng, 0.35, (25, 60)),
        skull=number(group.skull, 0.15),
        scalp=number(group.scalp, 0.3),
        ventricles=number(0.15, 0.35),
        even=even,
        odd=odd,
        folia_depths=rng.uniform(1.6, 7.5, FOLIA).astype(np.float32),
        folia_wobble=bumps(rng, 0.8, (9, 30)),
    )
