"""Dynamic sequences read frame by frame: one broken frame does not cost the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from ankleseg.cohorts import SequenceHeader, read_sidecar
from ankleseg.errors import FileError
from ankleseg.volumes import (
    Finding,
    Verdict,
    Volume,
    header_remarks,
    missing_file,
    read_header,
    read_volume,
    slice_axis,
)

FRAME_SECONDS = (0.02, 60.0)  # from one frame of a moving joint to the next; what lies beyond is another number
SPACING_TOLERANCE = 0.02  # relative, between sidecar and header


@dataclass(frozen=True, eq=False)
class CleanedSequence:
    """A dynamic sequence that can be used.

    Attributes:
        name: such as ``sub-C01_task-active``.
        volume: frames (X, Y, Z, T), finite, int16 or float32; a frame that cannot be used is 0.
        sidecar: what the file beside it says of slices and time, or DICOM itself where there is none.
        unusable: why a frame cannot be used, by its number from 0.
    """

    name: str
    volume: Volume
    sidecar: SequenceHeader = field(default_factory=SequenceHeader)
    unusable: Mapping[int, str] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Number of frames, unusable ones included."""
        return int(self.volume.data.shape[3])

    @property
    def thickness_mm(self) -> float:
        """Thickness of a slice; where nothing says it, the distance to the next slice."""
        return self.sidecar.thickness_mm or float(self.volume.spacing[slice_axis(self.volume.affine)])

    @property
    def mean(self) -> Float[np.ndarray, "x y z"]:
        """Mean of the usable frames, float32."""
        usable = [frame for frame in range(self.frames) if frame not in self.unusable]
        total = np.zeros(self.volume.data.shape[:3], np.float32)
        for frame in usable:
            total += self.volume.data[..., frame]
        return total / np.float32(len(usable))


def check_slices(path: Path) -> list[Finding]:
    """Say, by its header alone, if a sequence shows one slice only."""
    try:
        shape = read_header(path).shape
    except FileError:
        return []  # is told where it is read
    problem = "one slice: bones cannot be followed in three dimensions"
    if len(shape) == 3:
        problem = f"has 3 dimensions ({'×'.join(map(str, shape))}); if the third is time, it is {problem}"
    elif 1 not in shape[:3]:
        return []
    return [Finding(path, Verdict.UNREADABLE, problem, "give frames of several slices, as (X, Y, Z, time)")]


def read_sequence(name: str, path: Path, frames: int | None) -> tuple[CleanedSequence | None, list[Finding]]:
    """Read a sequence whole, look at every frame, and say what is wrong.

    Args:
        path: the 4-D file.
        frames: how many a sequence should have; another number is told and used. None: any number.

    Returns:
        The sequence, None where no frame can be used, and the findings.
    """
    if error := missing_file(path):
        return None, [Finding.of(error, Verdict.MISSING, path)]
    try:
        volume = read_volume(path, dtype=None, dimensions=4, finite=False)
    except FileError as error:
        return None, [Finding.of(error, Verdict.UNREADABLE, path)]
    findings = header_remarks(volume.header)
    sidecar, wrong = _sidecar(path, volume)
    findings += wrong
    unusable = _unusable(volume.data)
    count = volume.data.shape[3]
    if frames is not None and count != frames:
        findings.append(
            Finding(
                path,
                Verdict.SUSPECT,
                f"has {count} frames where {frames} are expected",
                "check that it is whole; all of them are used",
            )
        )
    if len(unusable) == count:
        problem = f"has no frame that can be used: frame 0 {unusable[0]}"
        return None, [*findings, Finding(path, Verdict.UNREADABLE, problem, "export it again")]
    findings += [
        Finding(path, Verdict.UNREADABLE, f"frame {frame} {why}", "it is left out; export the sequence again")
        for frame, why in unusable.items()
    ]
    data = compact(volume.data)
    for frame in unusable:
        data[..., frame] = 0
    assert volume.header is not None
    header = replace(volume.header, frame_time=sidecar.seconds or 0.0)
    return CleanedSequence(name, Volume(data, volume.affine, header), sidecar, unusable), findings


def compact(data: Shaped[np.ndarray, "x y z *rest"]) -> Shaped[np.ndarray, "x y z *rest"]:
    """Return a copy as int16 of whole numbers that fit, else as float32."""
    if data.dtype == np.int16:
        return data.copy(order="F")
    if np.issubdtype(data.dtype, np.integer):
        limits = np.iinfo(np.int16)
        if data.min() >= limits.min and data.max() <= limits.max:
            return data.astype(np.int16, order="F")
    return data.astype(np.float32, order="F")


def _unusable(data: Shaped[np.ndarray, "x y z t"]) -> dict[int, str]:
    found = {}
    for frame in range(data.shape[3]):
        voxels = data[..., frame]
        broken = 0
        if np.issubdtype(data.dtype, np.floating):
            broken = voxels.size - int(np.count_nonzero(np.isfinite(voxels)))
        if broken:
            found[frame] = f"holds {broken} NaN or infinite voxels"
        elif voxels.min() == voxels.max():
            found[frame] = f"holds the value {voxels.flat[0]:g} everywhere"
    return found


def _sidecar(path: Path, volume: Volume) -> tuple[SequenceHeader, list[Finding]]:
    try:
        sidecar = read_sidecar(path)
    except FileError as error:
        return SequenceHeader(), [Finding.of(error, Verdict.SUSPECT, error.file or path)]
    if volume.header is not None:
        thickness = sidecar.thickness_mm or volume.header.thickness_mm or None
        sidecar = replace(sidecar, thickness_mm=thickness)
    seconds, findings = _seconds(path, sidecar, volume)
    spacing = float(volume.spacing[slice_axis(volume.affine)])
    told = sidecar.spacing_mm
    if told is not None and abs(told / spacing - 1) > SPACING_TOLERANCE:
        problem = (
            f"has slices {spacing:.3g} mm apart by its header and {told:.3g} mm by its sidecar; the header is used"
        )
        findings.append(Finding(path, Verdict.SUSPECT, problem, "correct the one that is wrong"))
    return replace(sidecar, seconds=seconds), findings


def _seconds(path: Path, sidecar: SequenceHeader, volume: Volume) -> tuple[float | None, list[Finding]]:
    """Seconds from frame to frame by the sidecar, else by the header; None where that cannot be so."""
    source = "sidecar (RepetitionTime)" if sidecar.seconds is not None else "header"
    told = sidecar.seconds or (0.0 if volume.header is None else volume.header.frame_time)
    if not told or FRAME_SECONDS[0] <= round(told, 6) <= FRAME_SECONDS[1]:
        return told or None, []
    problem = f"has a frame every {told:g} s by its {source}, which is implausible; no time is shown"
    mend = "write the seconds from one frame to the next there"
    if told > FRAME_SECONDS[1]:
        mend += f", {told / 1000:g} if it was given in ms"
    else:
        mend += "; the excitation of a gradient echo repeats faster"
    return None, [Finding(path, Verdict.SUSPECT, problem, mend)]
