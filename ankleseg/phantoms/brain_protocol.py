"""How brains are scanned: an isotropic scan, and thick slices of the same head at one or several echo times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ankleseg.errors import ConfigError
from ankleseg.phantoms.brain import AGE_GROUPS, Age
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.protocol import Size
from ankleseg.phantoms.scanner import PROFILES, Scanner
from ankleseg.volumes.poses import rotation_about

BrainContrast = Literal["both", "t2", "t1", "random"]

# mm of a newborn's head
FIELD_OF_VIEW = (104.0, 124.0, 96.0)
BELOW = 2.0  # the middle of the field lies below that of the brain
SAMPLE = 0.25  # of a slice, largest distance of the planes of samples


BRAIN_VOXELS = {"full": 0.5, "demo": 1.0}  # sides of isotropic voxels


@dataclass(frozen=True)
class ThickSlices:
    """A second scan of the same field of view, with thick slices.

    Attributes:
        spacing: of its voxels in mm along the axes to the right, the front and up; the largest is that of the slices.
        profile: sensitivity along the slice normal.
        thickness: full width at half maximum of the profile, mm; None: the spacing of the slices. Less leaves gaps.
        echoes: acquisitions with echo times from `first_echo` to `last_echo`; 1: the usual echo time.
        first_echo, last_echo: ms.
    """

    spacing: tuple[float, float, float]
    profile: Literal["box", "gaussian"] = "gaussian"
    thickness: float | None = None
    echoes: int = 1
    first_echo: float = 120.0
    last_echo: float = 360.0

    def __post_init__(self) -> None:
        if len(self.spacing) != 3 or not all(side > 0 for side in self.spacing):
            raise ConfigError(
                f"thick slices cannot have voxels of {list(self.spacing)} mm", mend="give three sides, e.g. [0.5,0.5,3]"
            )
        if self.profile not in PROFILES:
            raise ConfigError(f"invalid slice profile {self.profile!r}: expected {' or '.join(PROFILES)}")
        if self.thickness is not None and not 0 < self.thickness <= max(self.spacing):
            raise ConfigError(
                f"slices {max(self.spacing):g} mm apart cannot be {self.thickness:g} mm thick here",
                mend=f"give a thickness above 0, to {max(self.spacing):g} mm: slices do not overlap",
            )
        if self.echoes < 1:
            raise ConfigError(f"invalid number of echoes {self.echoes}: expected at least 1")

    def echo_times(self) -> Mapping[str, float]:
        """Echo times in ms by the name of their acquisition, where there are several."""
        times = np.linspace(self.first_echo, self.last_echo, self.echoes)
        return {f"te{number}": float(time) for number, time in enumerate(times, start=1)}

    def sidecar(self, number: int) -> dict[str, float]:
        """What a BIDS file beside the scan of such number says: lengths in mm, times in s."""
        spacing = float(max(self.spacing))
        told = {"SliceThickness": self.thickness or spacing, "SpacingBetweenSlices": spacing}
        if self.echoes > 1:
            told["EchoTime"] = round(list(self.echo_times().values())[number] / 1000, 4)
        return told

    def grid(self, isotropic: Grid) -> Grid:
        """The grid over the field of view of another scan: from the same corner, and at least to the other."""
        spacing = np.asarray(self.spacing, float)
        first, second, third = (int(side) for side in np.ceil(isotropic.extent / spacing - 1e-6))
        local = np.diag([*(spacing / isotropic.spacing), 1.0])
        local[:3, 3] = (spacing / isotropic.spacing - 1) / 2
        return Grid((first, second, third), isotropic.affine @ local)

    def scanner(self, scale: float, rng: np.random.Generator) -> Scanner:
        """Draw the settings of the scanner for a head so many times as large as a newborn's."""
        slices = max(self.spacing)
        return Scanner(
            snr=float(rng.uniform(22, 34)),
            bias=float(rng.uniform(0.04, 0.12)),
            profile=self.profile,
            thickness=(self.thickness or slices) / slices,
            through_plane=max(2, int(np.ceil(slices / (SAMPLE * scale)))),
        )


def check_brain_settings(size: str, age: str, contrast: str, subjects: int) -> None:
    """Refuse what no cohort can be made of.

    Raises:
        ConfigError: an unknown size, age or contrast, or no subject.
    """
    for what, value, known in (
        ("size", size, BRAIN_VOXELS),
        ("age", age, AGE_GROUPS),
        ("contrast", contrast, get_args(BrainContrast)),
    ):
        if value not in known:
            raise ConfigError(f"invalid {what} {value!r}: expected {' or '.join(known)}")
    if subjects < 1:
        raise ConfigError(f"invalid number of subjects {subjects}: expected at least 1")


def brain_grid(size: Size, age: Age, rng: np.random.Generator) -> Grid:
    """A field of view about the head, tilted by some degrees; the same for both sizes."""
    scale = AGE_GROUPS[age].scale
    spacing = BRAIN_VOXELS[size] * scale
    turn = np.eye(4)
    for axis, angle in zip(np.eye(3), np.clip(rng.normal(0, 2.0, 3), -4, 4), strict=True):
        turn = turn @ rotation_about(axis, angle)
    first, second, third = (round(side * scale / spacing) for side in FIELD_OF_VIEW)
    centre = scale * (np.array([0, 0, -BELOW]) + np.clip(rng.normal(0, 0.5, 3), -1, 1))
    affine = np.eye(4)
    affine[:3, :3] = turn[:3, :3] * spacing
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array((first, second, third)) - 1) / 2)
    return Grid((first, second, third), affine)


def isotropic_scanner(contrast: BrainContrast, rng: np.random.Generator) -> Scanner:
    """Draw the settings of an isotropic scan; with random contrast they vary more.

    A voxel has nine samples, at nine depths: of an odd number no two structures can both have half.
    """
    random = contrast == "random"
    return Scanner(
        snr=float(np.exp(rng.uniform(np.log(8), np.log(60)))) if random else float(rng.uniform(22, 34)),
        bias=float(rng.uniform(0, 0.35)) if random else float(rng.uniform(0.04, 0.12)),
        profile="box",
        in_plane=3,
        through_plane=1,
    )


def as_thick(
    thick: Sequence[float] | None, profile: Literal["box", "gaussian"], thickness: float | None, echoes: int
) -> ThickSlices | None:
    """Thick slices as a command asks for them.

    Raises:
        ConfigError: echoes or a thickness are asked for without thick slices, what is no number, or what no scanner can
            do.
    """
    if thick is None:
        if echoes != 1 or thickness is not None:
            raise ConfigError(
                "several echoes and a slice thickness are of thick slices, and there are none",
                mend="set thick, e.g. thick=[0.5,0.5,3]",
            )
        return None
    try:
        sides = tuple(float(side) for side in thick)
    except (TypeError, ValueError):
        raise ConfigError(f"invalid thick={thick}: expected three sides of a voxel in mm, e.g. [0.5,0.5,3]") from None
    return ThickSlices(sides, profile, thickness, int(echoes))  # type: ignore[arg-type]
