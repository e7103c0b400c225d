"""From a raw scan to the array a network sees: one object, shared by training and prediction."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.cohorts import Case
from ankleseg.config import build
from ankleseg.errors import AnklesegError, ConfigError, GeometryError
from ankleseg.transforms.foreground import without_spikes
from ankleseg.transforms.placement import Placement, place
from ankleseg.transforms.scaling import Scale, Scaling
from ankleseg.volumes import Volume, read_volume, tell
from ankleseg.volumes.frames import read_frame
from ankleseg.volumes.geometry import ANATOMICAL_AXES, Affine, anatomical_axis, same_grid, slice_axis

log = logging.getLogger(__name__)

SLICES_LAST = "slices last"
SLICE_ORIENTATIONS = {"LR": "PSR", "PA": "RSA", "IS": "RAS"}  # by the axis across the slices


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan as the network sees it.

    Attributes:
        image: (C, X, Y, Z) float32, scaled.
        foreground: (X, Y, Z), where the body is.
        affine: voxel to world of the prepared grid.
        placement: the way back to the input grid.
        scales: of each channel, the way back to the input's intensities.
        lowest: raw intensity of the first channel.
    """

    image: Float[np.ndarray, "c x y z"]
    foreground: Bool[np.ndarray, "x y z"]
    affine: Affine
    placement: Placement
    scales: tuple[Scale, ...]
    lowest: float


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Orientation, spacing, side, foreground and scaling, in this order; nothing in it is random.

    Args:
        orientation: what the axes of the prepared array point to, e.g. ``PSR`` for sagittal slices along the last
            axis; ``slices last`` keeps the scan's own slice axis (the one with the largest spacing) and puts it last.
        spacing: mm along the prepared axes; None keeps the scan's own, for one axis or for all. Differences below 2 %
            are left alone.
        foreground: rule that finds the body in the raw intensities of the first channel.
        scaling: rule that scales each channel by its statistics in the foreground.
        order: of the spline by which images are brought to the spacing: 1 is linear, 3 cubic, up to 5.
        bring_to_side: ``right`` or ``left``; feet of the other side are mirrored, and back afterwards. A case of
            unknown side is left as it is.
    """

    orientation: str = "PSR"
    spacing: Sequence[float | None] | None = None
    foreground: Callable[..., Any]
    scaling: Scaling
    bring_to_side: str | None = None
    order: int = 1

    def __post_init__(self) -> None:
        axes = sorted(next((axis for axis in ANATOMICAL_AXES if code in axis), code) for code in self.orientation)
        if self.orientation != SLICES_LAST and axes != sorted(ANATOMICAL_AXES):
            raise ConfigError(
                f"prepare.orientation {self.orientation!r} is unknown", mend=f"use letters like PSR, or {SLICES_LAST!r}"
            )
        if self.bring_to_side not in (None, "left", "right"):
            raise ConfigError(
                f"side {self.bring_to_side!r} is unknown", mend="set prepare.bring_to_side to left, right or null"
            )
        if self.spacing is not None:
            spacing = tuple(None if value is None else float(value) for value in self.spacing)
            if len(spacing) != 3 or any(value is not None and not value > 0 for value in spacing):
                raise ConfigError(
                    f"prepare.spacing {list(spacing)} is no spacing", mend="give three positive numbers in mm, or null"
                )
            object.__setattr__(self, "spacing", spacing)
        if self.order not in range(1, 6):
            raise ConfigError(f"prepare.order {self.order} is no order of a spline", mend="choose 1 (linear) to 5")

    def __call__(self, scan: Case | Sequence[Volume], side: str | None = None) -> Prepared:
        """Prepare a scan.

        Args:
            scan: a case, whose files are read, or its channels as volumes.
            side: ``left`` or ``right``; that of the case if a case is given.

        Raises:
            FileError: a file cannot be read, has no foreground or no contrast.
            GeometryError: the channels are on different grids.
        """
        if isinstance(scan, Case):
            frame = scan.frame
            volumes: Sequence[Volume] = [
                read_volume(path) if frame is None else read_frame(path, frame) for path in scan.images
            ]
            side = scan.side
            for volume in volumes:
                tell(volume.header, all_remarks=True)
        else:
            volumes = scan
        _require_one_grid(volumes)
        volumes = [_without_spikes(volume) for volume in volumes]
        first = volumes[0]
        if self.bring_to_side is not None and side is None:
            _warn_of_side(first.path, self.bring_to_side)
        placement = self.place(first.data.shape, first.affine, side)
        image = np.empty((len(volumes), *placement.shape), dtype=np.float32, order="F")
        foreground = None
        scales: list[Scale] = []
        for channel, volume in enumerate(volumes):
            raw = np.asfortranarray(placement.image_to_prepared(volume.data))
            with _naming(volume.path):
                if foreground is None:
                    foreground = self.foreground(raw)
                scales.append(self.scaling.scale(raw, foreground))
            image[channel] = scales[-1](raw)
        lowest = float(first.data.min())
        return Prepared(image, np.asfortranarray(foreground), placement.affine, placement, tuple(scales), lowest)

    def place(self, shape: Sequence[int], affine: Affine, side: str | None = None) -> Placement:
        """Plan where a scan of this grid and side goes, without its voxels."""
        orientation = self.orientation
        if orientation == SLICES_LAST:
            across = next(axis for axis in ANATOMICAL_AXES if anatomical_axis(affine, axis) == slice_axis(affine))
            orientation = SLICE_ORIENTATIONS[across]
        mirrored = self.bring_to_side is not None and side is not None and side != self.bring_to_side
        return place(
            shape, affine, orientation=orientation, new_spacing=self.spacing, mirrored=mirrored, order=self.order
        )

    def to_node(self) -> dict[str, Any]:
        """Describe the preparation in plain types: a configuration node that travels in a checkpoint.

        Raises:
            ConfigError: its foreground or scaling is not a dataclass that a node could name.
        """
        return _node_of(self)

    @staticmethod
    def from_node(node: Mapping[str, Any]) -> Preparation:
        """Rebuild a preparation from `to_node`; only classes that a configuration may name are let through.

        Raises:
            ConfigError: the node is refused or does not describe a preparation.
        """
        preparation = build(node)
        if not isinstance(preparation, Preparation):
            raise ConfigError(
                "the node describes no preparation", mend=f"its _target_ must be {_target_of(Preparation)}"
            )
        return preparation


def _node_of(rule: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(rule) or isinstance(rule, type):
        raise ConfigError(f"{rule!r} cannot be written into a checkpoint", mend="write it as a dataclass of ankleseg")
    node: dict[str, Any] = {"_target_": _target_of(type(rule))}
    for field in dataclasses.fields(rule):
        value = getattr(rule, field.name)
        is_plain = value is None or isinstance(value, (bool, int, float, str))
        node[field.name] = value if is_plain else list(value) if isinstance(value, tuple) else _node_of(value)
    return node


def _target_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _without_spikes(volume: Volume) -> Volume:
    data, spikes = without_spikes(volume.data)
    if not spikes:
        return volume
    log.warning(
        "%s: clipped %d %s far outside the range of all others (more than 100 times its width)",
        *(volume.path or "scan", spikes, "voxel" if spikes == 1 else "voxels"),
    )
    return dataclasses.replace(volume, data=data)


@cache
def _warn_of_side(path: Path | None, side: str) -> None:
    """Once a file, however many frames it has."""
    log.warning("%s: its side is unknown and is taken as %s", path or "scan", side)


def _require_one_grid(volumes: Sequence[Volume]) -> None:
    first = volumes[0]
    for volume in volumes:
        if volume.data.ndim != 3:
            raise GeometryError(f"has {volume.data.ndim} dimensions", file=volume.path, mend="give one volume of three")
        if not same_grid(first.data.shape, first.affine, volume.data.shape, volume.affine):
            raise GeometryError(
                f"is not on the grid of {first.path or 'the first channel'}",
                file=volume.path,
                mend="resample the channels of a case onto one grid",
            )


@contextmanager
def _naming(file: Path | None) -> Iterator[None]:
    """Add the file to errors raised by rules that see arrays only."""
    try:
        yield
    except AnklesegError as error:
        if error.file is None and file is not None:
            error.file = str(file)
        raise
