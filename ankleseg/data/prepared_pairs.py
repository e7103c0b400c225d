"""An image and what it is to become, on one grid: frames with the registered static scan, and repeats of a scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.cohorts import Case
from ankleseg.cohorts.registrations import GLOBAL, Registration, read_registrations
from ankleseg.errors import CohortError, ConfigError
from ankleseg.transforms.placement import Placement
from ankleseg.transforms.preparation import Preparation, Prepared
from ankleseg.transforms.scaling import ZScore
from ankleseg.transforms.scan import PreparedCase, prepare_case
from ankleseg.volumes import read_volume, resample
from ankleseg.volumes.geometry import Affine, anatomical_axis, bounding_box, spacing

MARGIN_MM = 20.0  # kept around a bone: more than a patch reaches beyond it
SCALINGS = ("foot", "bone")
TARGETS = ("noisy", "clean")
KEPT = 2  # static scans: frames are asked for one subject after the other

Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class PreparedPair:
    """A prepared case and its target.

    Attributes:
        case: the image. Patches are drawn where its ``foreground`` is, results are scored where its ``label`` is not 0.
        target: (1, X, Y, Z) float32 on the grid of the image, scaled.
        min_foreground: least fraction of foreground in a patch; None leaves it to the sampler.
    """

    case: PreparedCase
    target: Float[np.ndarray, "1 x y z"]
    min_foreground: float | None = None

    @property
    def size_in_bytes(self) -> int:
        """Memory taken by the arrays."""
        return self.case.size_in_bytes + self.target.nbytes


@runtime_checkable
class Pairs(Protocol):
    """How pairs are made of a case."""

    def training(self, case: Case, preparation: Preparation) -> list[PreparedPair]:
        """Return the pairs that patches are drawn from."""

    def validation(self, case: Case, preparation: Preparation) -> list[PreparedPair]:
        """Return whole images; their foreground is where a network looks."""


@dataclass(frozen=True, kw_only=True)
class FramePairs:
    """A frame of a sequence, and the static scan as each bone shows it there (Coupeau 2020; rousseau/dynMRI).

    The target of a bone is the static scan, moved as the bone was registered, at the voxel centres of the prepared
    frame (linear). It holds for this bone only: in training, each bone of a frame is a pair of its own, whose
    patches hold enough of it. In validation, the targets of the bones are put together, and scored inside the bones;
    what lies between them is the static scan moved as a whole foot, to look at.

    Args:
        bones: least fraction of a patch that each bone fills; published are 0.7 of the calcaneus, 0.5 of the talus and
            0.6 of the tibia, in patches of 32×32 pixels of 0.56 mm. A bone that is unknown on a frame is left out.
        scaling: ``foot``: frame and static scan are each scaled in their own foot, the frame as in prediction;
            ``bone``: both are z-scored inside the bone on the frame, as published, which a frame without masks
            cannot be.

    Raises:
        ConfigError: another scaling, or a fraction that is none.
    """

    bones: Mapping[str, float]
    scaling: str = "foot"

    def __post_init__(self) -> None:
        if self.scaling not in SCALINGS:
            raise ConfigError(f"scaling {self.scaling!r} of pairs is unknown", mend=f"use {' or '.join(SCALINGS)}")
        for bone, least in self.bones.items():
            if not 0 <= least <= 1:
                raise ConfigError(f"{least:g} of the {bone} is no fraction", mend="choose it between 0 and 1")

    def training(self, case: Case, preparation: Preparation) -> list[PreparedPair]:
        """Cut each known bone and its surroundings out of a frame, with its target.

        Raises:
            CohortError: the case is no registered frame.
            FileError: a file cannot be read or scaled.
        """
        frame, poses = self._frame(case, preparation)
        pairs = []
        for value, bone in enumerate(self.bones, start=1):
            mask = frame.label == value
            if not mask.any():
                continue
            box = bounding_box(mask, np.ceil(MARGIN_MM / spacing(frame.affine)).astype(int).tolist())
            image, target = frame.image[(slice(None), *box)], _posed(case, preparation, poses[bone], frame, box)
            mask = mask[box]
            if self.scaling == "bone":
                image, target = _z_scored(image, mask), _z_scored(target, mask)
            cut = replace(
                frame,
                name=f"{frame.name} {bone}",
                image=np.asfortranarray(image),
                foreground=np.asfortranarray(mask),
                label=np.asfortranarray(mask, dtype=np.uint8),
                affine=_moved_to(frame.affine, box),
                known=None,
            )
            pairs.append(PreparedPair(cut, np.asfortranarray(target), self.bones[bone]))
        return pairs

    def validation(self, case: Case, preparation: Preparation) -> list[PreparedPair]:
        """Return the whole frame; with bone scaling, once for each bone.

        Raises:
            CohortError: the case is no registered frame.
            FileError: a file cannot be read or scaled.
        """
        frame, poses = self._frame(case, preparation)
        whole = tuple(slice(0, side) for side in frame.label.shape)
        targets = {
            value: _posed(case, preparation, poses[bone], frame, whole)
            for value, bone in enumerate(self.bones, start=1)
            if (frame.label == value).any()
        }
        if self.scaling == "bone":
            pairs = []
            for value, target in targets.items():
                mask = frame.label == value
                image, label = _z_scored(frame.image, mask), np.where(mask, frame.label, np.uint8(0))
                name = f"{frame.name} {tuple(self.bones)[value - 1]}"
                scaled = replace(frame, name=name, image=image, label=label, known=None)
                pairs.append(PreparedPair(scaled, _z_scored(target, mask)))
            return pairs
        if not targets:
            return []
        around = poses.get(GLOBAL)
        if around is None or around.frame_from_static is None:
            around = poses[tuple(self.bones)[min(targets) - 1]]
        together = _posed(case, preparation, around, frame, whole)
        for value, target in targets.items():
            np.copyto(together, target, where=frame.label == value)
        return [PreparedPair(replace(frame, known=None), together)]

    def _frame(self, case: Case, preparation: Preparation) -> tuple[PreparedCase, dict[str, Registration]]:
        """The prepared frame with the masks of its known bones, and how they lie."""
        if case.frame is None or case.registrations is None or case.static is None:
            raise CohortError(
                f"case {case.name} is no frame with a registered static scan",
                mend="give a folder written by ankleseg.prepare recipe=ankle_dynamic",
            )
        found = read_registrations(case.registrations)
        poses = {bone: pose for (frame, bone), pose in found.items() if frame == case.frame}
        lost = [bone for bone in self.bones if bone not in poses or poses[bone].status == "failed"]
        believed = replace(case, unknown=tuple(dict.fromkeys((*case.unknown, *lost))))
        return prepare_case(believed, preparation, tuple(self.bones)), poses


@dataclass(frozen=True, kw_only=True)
class RepeatPairs:
    """Two scans of one anatomy with independent noise: each is to become the other (Noise2Noise; Lehtinen 2018).

    The target is scaled as the image is, so that one scale holds for both, the one that prediction finds of the image
    alone. Patches and scores are those of the foreground.

    Args:
        target: ``noisy``: another of the repeats; ``clean``: the scan without noise, which only a phantom has.

    Raises:
        ConfigError: another target.
    """

    target: str = "noisy"

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ConfigError(f"target {self.target!r} of pairs is unknown", mend=f"use {' or '.join(TARGETS)}")

    def training(self, case: Case, preparation: Preparation) -> list[PreparedPair]:
        """Pair every repeat with every other one, or with the scan without noise.

        Raises:
            CohortError: there is nothing to pair with.
            FileError: a file cannot be read or scaled.
        """
        files = self._files(case)
        return [_repeated(case, image, target, preparation) for image, target in files]

    def validation(self, case: Case, preparation: Preparation) -> list[PreparedPair]:
        """Return the first of these pairs."""
        return [_repeated(case, *self._files(case)[0], preparation)]

    def _files(self, case: Case) -> list[tuple[Path, Path]]:
        if self.target == "noisy":
            if len(case.images) < 2:
                raise CohortError(f"case {case.name} was not repeated", mend="give cases of two scans or more")
            return list(permutations(case.images, 2))
        if case.clean is None:
            raise CohortError(
                f"case {case.name} has no scan without noise", mend="set patches.pairs.target=noisy, or take a phantom"
            )
        return [(image, case.clean) for image in case.images]


def _repeated(case: Case, image: Path, target: Path, preparation: Preparation) -> PreparedPair:
    prepared = preparation([read_volume(image)], case.side)
    other = prepared.scales[0](prepared.placement.image_to_prepared(read_volume(target).data))
    return PreparedPair(
        PreparedCase(
            name=case.name,
            image=prepared.image,
            foreground=prepared.foreground,
            label=prepared.foreground.astype(np.uint8, order="F"),
            affine=prepared.affine,
            placement=prepared.placement,
        ),
        np.asfortranarray(other[None], dtype=np.float32),
    )


def _posed(
    case: Case, preparation: Preparation, registration: Registration, frame: PreparedCase, box: Box
) -> Float[np.ndarray, "1 x y z"]:
    """The static scan in a box of the prepared frame, moved as registered; its darkest value beyond its borders."""
    assert case.static is not None and registration.frame_from_static is not None
    static = _static(case.static, case.static.stat().st_mtime_ns, preparation)
    room = _unmirrored(box, frame.placement)
    moved = resample(
        static.image[0],
        registration.frame_from_static @ static.affine,
        [cut.stop - cut.start for cut in room],
        _moved_to(frame.affine, room),
        cval=float(static.image.min()),
    )
    if frame.placement.mirrored:
        moved = np.flip(moved, anatomical_axis(frame.affine, "LR"))
    return np.asfortranarray(moved[None], dtype=np.float32)


@lru_cache(maxsize=KEPT)
def _static(path: Path, stamp: int, preparation: Preparation) -> Prepared:
    """A static scan, scaled in its own foot, at its own spacing and not mirrored, as poses want it."""
    as_scanned = replace(preparation, spacing=None, bring_to_side=None)
    return as_scanned([read_volume(path)])


def _unmirrored(box: Box, placement: Placement) -> Box:
    """Where a box of a mirrored array lies on the grid of the array before."""
    if not placement.mirrored:
        return box
    axis = anatomical_axis(placement.affine, "LR")
    side, cut = placement.shape[axis], box[axis]
    return (*box[:axis], slice(side - cut.stop, side - cut.start), *box[axis + 1 :])


def _moved_to(affine: Affine, box: Sequence[slice]) -> Affine:
    """Affine of a box of a grid."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [cut.start for cut in box]
    return moved


def _z_scored(image: Float[np.ndarray, "c x y z"], mask: Bool[np.ndarray, "x y z"]) -> Float[np.ndarray, "c x y z"]:
    rule = ZScore()
    return np.stack([rule(channel, mask) for channel in image])
