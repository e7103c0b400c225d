"""How far each structure of a prediction is to be trusted: ``ok``, ``suspect`` or ``failed``, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.errors import ConfigError
from ankleseg.inference.views import VIEWS
from ankleseg.labels import Labels
from ankleseg.measures.mask_shape import MaskShape, Range, ShapeRanges, gap_mm, lies_between, mask_shape
from ankleseg.measures.overlap import expected_dice
from ankleseg.volumes.geometry import Affine, spacing

Status = Literal["ok", "suspect", "failed"]
Probabilities = Float[np.ndarray, "structures x y z"]
Masks = Bool[np.ndarray, "structures x y z"]

CHAIN = ("tibia", "talus", "calcaneus")  # from above; neighbours have a joint
PLANE_ERROR = 0.5  # of the mean of planes, of what each plane differs from it, in Dice: measured on phantoms
SLICES_APART = 1.5  # of slices: bones of a joint may lie in neighbouring ones
WORST_FIRST: tuple[Status, ...] = ("failed", "suspect", "ok")


@dataclass(frozen=True)
class StructureConfidence:
    """What is thought of one structure of a case.

    Attributes:
        status: ``ok``: nothing speaks against it. ``suspect``: look at it. ``failed``: do not use it.
        score: estimated Dice, 0 of what was not found.
        reason: why it is not ok, empty where it is.
        volume_ml: of the mask.
        cut: whether it touches the border of the scan, and may go on beyond.
        expected_dice: by the probabilities alone.
        agreement: Dice of the prediction with those of altered scans, or of each of several planes, their mean; None:
            not asked for.
        kept: share of the voxels found that the largest piece has; None where others are kept too.
        frame: of a sequence, the number of the worst frame, from 0; all else is of this frame.
        not_ok: of a sequence, in how many frames it is not ok.
    """

    status: Status
    score: float
    reason: str
    volume_ml: float
    cut: bool
    expected_dice: float | None
    agreement: float | None
    kept: float | None
    frame: int | None = None
    not_ok: int | None = None

    def to_plain(self) -> dict[str, Any]:
        """Plain types for ``predictions.json``, numbers to three decimals; a scan has no frames."""
        plain = {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}
        return {name: value for name, value in plain.items() if self.frame is not None or name not in FRAMES}


FRAMES = ("frame", "not_ok")


@dataclass(frozen=True, kw_only=True)
class ConfidenceRule:
    """When a structure is ``suspect`` or ``failed``; the numbers were set on faults made in phantoms.

    The score, an estimated Dice, is the less of two: the Dice expected from the probabilities (Borges 2024), and that
    of the mask with what is predicted of the scan at another resolution and contrast (Wang 2019). Where a scan is seen
    in several planes it is told by their agreement alone. The rest is shape.

    Args:
        views: how many altered scans are predicted too, 0 to 4; each takes about as long as the prediction. None are
            where a scan is seen in several planes; 0 leaves their agreement out too.
        suspect, failed: scores below which a structure is that.
        suspect_by_planes: the first where several planes tell the score.
        kept: least share of the voxels found that are in the largest piece, where that alone is kept.
        tolerance: by what share volumes, and ratios of two, may lie outside of what they were in the masks of training;
            only of structures that lie whole in the scan, and of a model that knows them.
        gap_mm: largest distance between the surfaces of bones that have a joint; 1.5 slices where these are thicker.

    Raises:
        ConfigError: a number is out of range.

    Source: Borges et al. 2024 (arXiv:2402.10665); Wang et al., Neurocomputing 2019.
    """

    views: int = 1
    suspect: float = 0.85
    suspect_by_planes: float = 0.8
    failed: float = 0.6
    kept: float = 0.8
    tolerance: float = 0.2
    gap_mm: float = 6.0

    def __post_init__(self) -> None:
        if not isinstance(self.views, int) or not 0 <= self.views <= len(VIEWS):
            raise ConfigError(f"invalid predict.confidence.views {self.views}: expected 0 to {len(VIEWS)}")
        for suspect in (self.suspect, self.suspect_by_planes):
            if not 0 <= self.failed <= suspect <= 1:
                raise ConfigError(
                    f"invalid predict.confidence: failed {self.failed} and suspect {suspect}: expected "
                    "0 ≤ failed ≤ suspect ≤ 1"
                )
        if not 0 <= self.kept <= 1 or self.tolerance < 0 or self.gap_mm < 0:
            raise ConfigError("invalid predict.confidence: expected 0 ≤ kept ≤ 1, tolerance ≥ 0 and gap_mm ≥ 0")

    @staticmethod
    def applies_to(labels: Labels) -> bool:
        """Whether there is a rule for such outputs: structures that exclude each other, and no images."""
        return bool(len(labels)) and not labels.regions and not labels.images

    def judge(
        self,
        probabilities: Probabilities,
        found: Masks,
        masks: Masks,
        affine: Affine,
        labels: Labels,
        *,
        agreement: Sequence[float | None] | None = None,
        by_planes: bool = False,
        ranges: ShapeRanges | None = None,
        one_piece: bool = True,
    ) -> dict[str, StructureConfidence]:
        """Judge each structure of a prediction.

        Args:
            probabilities: of each structure.
            found: masks as these give them.
            masks: as they are written, after postprocessing.
            affine: of all.
            labels: names of the structures.
            agreement: of each structure, see `StructureConfidence`.
            by_planes: whether that is the agreement of several planes.
            ranges: of the masks of training.
            one_piece: whether each structure is one piece.
        """
        shapes = {name: mask_shape(mask, affine) for name, mask in labels.named(masks)}
        faults = _Faults()
        result = {}
        self._by_volume(shapes, ranges, faults)
        self._by_place(shapes, max(self.gap_mm, SLICES_APART * float(spacing(affine).max())), faults)
        for k, name in enumerate(labels.structures):
            shape, agreed = shapes[name], None if agreement is None else agreement[k]
            if shape is None:
                result[name] = StructureConfidence("failed", 0.0, "not found", 0.0, False, None, agreed, None)
                continue
            expected = expected_dice(probabilities[k], masks[k])
            kept = float((found[k] & masks[k]).sum() / max(int(found[k].sum()), 1)) if one_piece else None
            score = _estimated_dice(expected, agreed, by_planes)
            if kept is not None and kept < self.kept:
                faults.add(name, "suspect", f"in several pieces, of which the largest has {kept:.0%}")
            if score < (self.suspect_by_planes if by_planes else self.suspect):
                changes = "the planes disagree" if by_planes else "changes with resolution and contrast"
                doubt = "the network is not sure" if score == expected else changes
                faults.add(name, "failed" if score < self.failed else "suspect", f"{doubt}: estimated Dice {score:.2f}")
            status, reason = faults.of(name)
            result[name] = StructureConfidence(
                status, score, reason, shape.volume_ml, shape.cut, expected, agreed, kept
            )
        return result

    def _by_volume(self, shapes: Mapping[str, MaskShape | None], ranges: ShapeRanges | None, faults: _Faults) -> None:
        if ranges is None:
            return
        for name, shape in shapes.items():
            if shape is None or name not in ranges.volume_ml:
                continue
            low, high = self._wider(ranges.volume_ml[name])
            if shape.volume_ml > high or (shape.volume_ml < low and not shape.cut):
                said = f"its volume is {shape.volume_ml:.3g} ml, in training {_text(ranges.volume_ml[name])} ml"
                faults.add(name, "suspect", said)
        for pair, usual in ranges.ratio.items():
            names = pair.split("/")
            first, second = (shapes.get(name) for name in names)
            if first is None or second is None or first.cut or second.cut or set(names) & faults.reasons.keys():
                continue
            low, high = self._wider(usual)
            ratio = first.volume_ml / second.volume_ml
            if not low <= ratio <= high:
                said = f"the volume of {names[0]} is {ratio:.2g} times that of {names[1]}, in training {_text(usual)}"
                for name in names:
                    faults.add(name, "suspect", said)

    def _wider(self, usual: Range) -> Range:
        return usual[0] / (1 + self.tolerance), usual[1] * (1 + self.tolerance)

    def _by_place(self, shapes: Mapping[str, MaskShape | None], most_mm: float, faults: _Faults) -> None:
        """Whether bones lie as in an ankle."""
        chain = [shapes.get(name) for name in CHAIN]
        tibia, talus, calcaneus = chain
        if tibia and talus and calcaneus and not lies_between(talus, tibia, calcaneus):
            for name in CHAIN:
                faults.add(name, "failed", "talus does not lie between tibia and calcaneus")
        if tibia is not None and calcaneus is not None and tibia.centroid_mm[2] < calcaneus.centroid_mm[2]:
            for name in ("tibia", "calcaneus"):
                faults.add(name, "suspect", "tibia lies below calcaneus: confused, or the header is wrong")
        for (upper, one), (lower, other) in pairwise(zip(CHAIN, chain, strict=True)):
            if one is None or other is None:
                continue
            gap = gap_mm(one, other)
            if gap > most_mm:
                for name in (upper, lower):
                    faults.add(name, "suspect", f"{upper} and {lower} lie {gap:.0f} mm apart")


def _estimated_dice(expected: float | None, agreed: float | None, by_planes: bool) -> float:
    """What is thought of the Dice: the mean of several planes is less sure than right, and errs less than each."""
    if by_planes and agreed is not None:
        return 1 - PLANE_ERROR * (1 - agreed)
    return min(value for value in (expected, agreed) if value is not None)


class _Faults:
    """What was found of each structure."""

    def __init__(self) -> None:
        self.reasons: dict[str, list[tuple[Status, str]]] = {}

    def add(self, name: str, status: Status, reason: str) -> None:
        self.reasons.setdefault(name, []).append((status, reason))

    def of(self, name: str) -> tuple[Status, str]:
        """The worst status, and all reasons, those of the worst first."""
        reasons = sorted(self.reasons.get(name, []), key=lambda fault: WORST_FIRST.index(fault[0]))
        return (reasons[0][0] if reasons else "ok"), "; ".join(reason for _, reason in reasons)


def _text(usual: Range) -> str:
    return f"{usual[0]:.3g} to {usual[1]:.3g}"


def of_sequence(frames: Sequence[Mapping[str, StructureConfidence]]) -> dict[str, StructureConfidence]:
    """The worst frame of each structure, and in how many it is not ok."""
    result = {}
    for name in frames[0]:
        each = [frame[name] for frame in frames]
        worst = min(range(len(each)), key=lambda k: (WORST_FIRST.index(each[k].status), each[k].score))
        result[name] = replace(each[worst], frame=worst, not_ok=sum(one.status != "ok" for one in each))
    return result


def summary(confidence: Mapping[str, StructureConfidence]) -> str:
    """One line on the structures that are not ok, empty where all are."""
    said = []
    for name, one in confidence.items():
        if one.status != "ok":
            frames = "" if one.not_ok is None else f" in {one.not_ok} frames, worst frame {one.frame}"
            said.append(f"{name} {one.status}{frames} ({one.reason})")
    return ", ".join(said)
