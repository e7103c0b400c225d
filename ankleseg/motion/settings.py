"""The settings of the ankle in motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ankleseg.errors import ConfigError
from ankleseg.motion.cleaning import CleaningRules
from ankleseg.motion.weights import BoneWeights
from ankleseg.rigid.profile import SHAPES
from ankleseg.rigid.quality import Criteria


@dataclass(frozen=True, kw_only=True)
class MotionSettings:
    """From cleaned scans to registered sequences and joint angles.

    Args:
        cleaning: which scans are used, and what is mended.
        weights: where a frame is compared with the static scan.
        criteria: which registrations are trusted.
        profile: of the slices across: ``box``, which loses less where it is wrong, or ``gaussian``.
        thickness: of the slices in mm; None: what the sidecar says, else the distance between slices.
        order: of the polynomial by which the coils may change the intensity over a bone: 0, 1 or 2.
        highres: write the static scan moved into every frame.
        spacing: mm, of these images; None: that of the static scan.
        decay: how the soft tissue follows the bones, ``logistic``, which folds least, or ``rational``.
        soft_tissue: ``polyrigid``, blended from the poses of the bones, or ``registered`` beyond that blend.
        smoothing_frames: joint angles are also told of poses smoothed over so many frames; None: not.
        landmarks: JSON file with anatomical landmarks of one subject; None: axes from the shapes of the bones.
        threads: in which a sequence is computed; another number may change the last digits.
        device: where bones are registered, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: a profile, order or thickness that does not exist.
    """

    cleaning: CleaningRules = field(default_factory=CleaningRules)
    weights: BoneWeights = field(default_factory=BoneWeights)
    criteria: Criteria = field(default_factory=Criteria)
    profile: Literal["box", "gaussian"] = "box"
    thickness: float | None = None
    order: int = 2
    highres: bool = True
    spacing: Sequence[float] | None = None
    decay: Literal["rational", "logistic"] = "logistic"
    soft_tissue: Literal["polyrigid", "registered"] = "polyrigid"
    smoothing_frames: float | None = None
    landmarks: str | None = None
    threads: int = 2
    device: str = "cpu"

    def __post_init__(self) -> None:
        known: dict[str, tuple[Any, Sequence[Any]]] = {
            "profile": (self.profile, SHAPES),
            "order": (self.order, (0, 1, 2)),
            "decay": (self.decay, ("rational", "logistic")),
            "soft_tissue": (self.soft_tissue, ("polyrigid", "registered")),
        }
        for name, (value, values) in known.items():
            if value not in values:
                raise ConfigError(f"invalid motion.{name} {value!r}: expected {', '.join(str(one) for one in values)}")
        if self.thickness is not None and not self.thickness > 0:
            raise ConfigError(f"invalid motion.thickness {self.thickness}: expected more than 0 mm")
        if self.threads < 1:
            raise ConfigError(f"invalid motion.threads {self.threads}: expected at least 1")
