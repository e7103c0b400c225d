"""An image and what it is to become, on one grid: frames with the registered static scan, and repeats of a scan."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from monai.transforms import Transform

from ankleseg import keys
from ankleseg.cohorts import Case
from ankleseg.cohorts.registrations import GLOBAL, Registration, read_registrations
from ankleseg.data.reading import WithoutMetadata, prepared, preparing, slices_together, with_foreground
from ankleseg.errors import CohortError, ConfigError, own_errors
from ankleseg.labels import Labels
from ankleseg.transforms import NormalizeInForegroundd, Preparation, scales_of
from ankleseg.transforms.metadata import affine_of
from ankleseg.transforms.mirror_to_side import is_mirrored
from ankleseg.volumes import resample
from ankleseg.volumes.geometry import Affine, anatomical_axis, bounding_box, spacing

MIN_FOREGROUND = "min_foreground"  # key of a sample: least fraction of foreground in its patches
MARGIN_MM = 20.0  # kept around a bone: more than a patch reaches beyond it
SCALINGS = ("foot", "bone")
TARGETS = ("noisy", "clean")
KEPT = 2  # static scans: frames are asked for one subject after the other

Box = tuple[slice, ...]
Sample = dict[Hashable, Any]


@runtime_checkable
class Pairs(Protocol):
    """How pairs are made of a case."""

    def training(self, case: Case, preparation: Preparation) -> list[Sample]:
        """Return the pairs that patches are drawn from.

        A pair is a sample of plain tensors: image (C, X, Y, Z) and target (1, X, Y, Z) on its grid, scaled; foreground
        (1, X, Y, Z), where patches are drawn; label (1, X, Y, Z), scored where it is not 0; and where a patch is to
        hold another least fraction of foreground than the sampler says, that fraction under ``min_foreground``.
        """

    def validation(self, case: Case, preparation: Preparation) -> list[Sample]:
        """Return whole images; their foreground is where a network looks."""


class PairsOfCase(Transform):
    """From the item of a case to its pairs, a list as MONAI's transforms of several samples give it.

    Args:
        pairs: ``training`` or ``validation`` of `Pairs`.
        preparation: of the scans.
    """

    def __init__(self, pairs: Callable[[Case, Preparation], list[Sample]], preparation: Preparation) -> None:
        self.pairs = pairs
        self.preparation = preparation

    def __call__(self, data: Mapping[Hashable, Any]) -> list[Sample]:
        return self.pairs(data[keys.LABEL], self.preparation)


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

    def training(self, case: Case, preparation: Preparation) -> list[Sample]:
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
            image, target = frame.image[(slice(None), *box)], frame.posed(poses[bone], box)
            mask = mask[box]
            if self.scaling == "bone":
                image, target = z_scored(image, mask), z_scored(target, mask)
            pair = frame.pair(image, target, mask, mask, box) | {keys.CASE: f"{frame.name} {bone}"}
            pairs.append(pair | {MIN_FOREGROUND: self.bones[bone]})
        return pairs

    def validation(self, case: Case, preparation: Preparation) -> list[Sample]:
        """Return the whole frame; with bone scaling, once for each bone.

        Raises:
            CohortError: the case is no registered frame.
            FileError: a file cannot be read or scaled.
        """
        frame, poses = self._frame(case, preparation)
        label, foreground = frame.label, frame.foreground
        whole = tuple(slice(0, side) for side in label.shape)
        targets = {
            value: frame.posed(poses[bone], whole)
            for value, bone in enumerate(self.bones, start=1)
            if (label == value).any()
        }
        if self.scaling == "bone":
            pairs = []
            for value, target in targets.items():
                mask = label == value
                image, target = z_scored(frame.image, mask), z_scored(target, mask)
                pair = frame.pair(image, target, foreground, np.where(mask, label, np.uint8(0)), whole)
                pairs.append(pair | {keys.CASE: f"{frame.name} {tuple(self.bones)[value - 1]}"})
            return pairs
        if not targets:
            return []
        around = poses.get(GLOBAL)
        if around is None or around.frame_from_static is None:
            around = poses[tuple(self.bones)[min(targets) - 1]]
        together = frame.posed(around, whole)
        for value, target in targets.items():
            np.copyto(together, target, where=label == value)
        return [frame.pair(frame.image, together, foreground, label, whole)]

    def _frame(self, case: Case, preparation: Preparation) -> tuple[PreparedFrame, dict[str, Registration]]:
        """The prepared frame with the masks of its known bones, and how they lie."""
        if case.frame is None or case.registrations is None or case.static is None:
            raise CohortError(
                f"case {case.name} is no frame with a registered static scan",
                mend="give a folder written by ankleseg.prepare recipe=ankle_dynamic",
            )
        poses = {
            bone: pose for (frame, bone), pose in read_registrations(case.registrations).items() if frame == case.frame
        }
        lost = [bone for bone in self.bones if bone not in poses or poses[bone].status == "failed"]
        believed = replace(case, unknown=tuple(dict.fromkeys((*case.unknown, *lost))))
        sample = prepared(believed, preparation, Labels(structures=tuple(self.bones)))
        return PreparedFrame(sample, case.static, preparation), poses


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

    def training(self, case: Case, preparation: Preparation) -> list[Sample]:
        """Pair every repeat with every other one, or with the scan without noise.

        Raises:
            CohortError: there is nothing to pair with.
            FileError: a file cannot be read or scaled.
        """
        files = self._files(case)
        return [_repeated(case, image, target, preparation) for image, target in files]

    def validation(self, case: Case, preparation: Preparation) -> list[Sample]:
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


def _repeated(case: Case, image: Path, target: Path, preparation: Preparation) -> Sample:
    item = {keys.IMAGE: str(image), keys.TARGET: str(target), keys.CASE: case.name, keys.SIDE: case.side or ""}
    with own_errors():
        sample = with_foreground(preparing(preparation)(item))
    sample[keys.TARGET] = scales_of(sample)[0].applied(sample[keys.TARGET])
    return WithoutMetadata()(sample | {keys.LABEL: sample[keys.FOREGROUND].to(torch.uint8)})


class PreparedFrame:
    """A prepared frame, and the static scan of the same foot, which can be brought onto it.

    Args:
        sample: the frame, with metadata.
        static: file of the static scan.
        preparation: of both; the static scan keeps its own spacing and side, as poses want it.
    """

    def __init__(self, sample: Sample, static: Path, preparation: Preparation) -> None:
        self._sample = sample
        self._static = static
        self._preparation = preparation
        self.affine = affine_of(sample[keys.IMAGE])
        self.mirrored = is_mirrored(sample[keys.IMAGE])
        self.image, self.label, self.foreground = (
            np.asarray(sample[name]) for name in (keys.IMAGE, keys.LABEL, keys.FOREGROUND)
        )
        self.label, self.foreground = self.label[0], self.foreground[0]
        self.name = str(sample[keys.CASE])

    def posed(self, registration: Registration, box: Box) -> Float[np.ndarray, "1 x y z"]:
        """The static scan in a box of the frame, moved as registered; its darkest value beyond its borders."""
        assert registration.frame_from_static is not None
        static, affine = _static(self._static, self._static.stat().st_mtime_ns, json.dumps(self._preparation.nodes))
        axis = anatomical_axis(self.affine, "LR")
        room = list(box)
        if self.mirrored:  # where the box lies on the grid of the array before
            side = self.label.shape[axis]
            room[axis] = slice(side - box[axis].stop, side - box[axis].start)
        moved = resample(
            static,
            registration.frame_from_static @ affine,
            [cut.stop - cut.start for cut in room],
            moved_to(self.affine, room),
            cval=float(static.min()),
        )
        return np.ascontiguousarray(np.flip(moved, axis) if self.mirrored else moved, dtype=np.float32)[None]

    def pair(
        self, image: np.ndarray, target: np.ndarray, foreground: np.ndarray, label: np.ndarray, box: Box
    ) -> Sample:
        """A box of the frame as a sample of plain tensors."""
        arrays = {
            keys.IMAGE: image,
            keys.TARGET: target,
            keys.FOREGROUND: foreground[None],
            keys.LABEL: label[None].astype(np.uint8),
        }
        tensors = {name: slices_together(torch.from_numpy(np.ascontiguousarray(a))) for name, a in arrays.items()}
        return tensors | {
            keys.AFFINE: torch.from_numpy(moved_to(self.affine, box)),
            keys.CASE: self.name,
            keys.SEQUENCE: self._sample[keys.SEQUENCE],
        }


@lru_cache(maxsize=KEPT)
def _static(path: Path, stamp: int, nodes: str) -> tuple[Float[np.ndarray, "x y z"], Affine]:
    """A static scan, scaled in its own foot, at its own spacing and not mirrored, with its affine."""
    preparation = Preparation(json.loads(nodes)).at_own_spacing()
    with own_errors():
        image = preparing(preparation)({keys.IMAGE: str(path)})[keys.IMAGE]
    return np.asarray(image[0]), affine_of(image)


def moved_to(affine: Affine, box: Sequence[slice]) -> Affine:
    """Affine of a box of a grid."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [cut.start for cut in box]
    return moved


def z_scored(image: Float[np.ndarray, "c x y z"], mask: Bool[np.ndarray, "x y z"]) -> Float[np.ndarray, "c x y z"]:
    """An image z-scored inside a mask."""
    sample: Sample = {
        keys.IMAGE: torch.from_numpy(np.ascontiguousarray(image)),
        keys.FOREGROUND: torch.from_numpy(mask)[None],
    }
    return NormalizeInForegroundd(keys.IMAGE)(sample)[keys.IMAGE].numpy()
