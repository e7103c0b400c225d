"""DICOM as it leaves a scanner, as one volume or one sequence: sorted by position and time, never by file name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np

from ankleseg.errors import FileError
from ankleseg.volumes.dicom.contrasts import choose_contrast
from ankleseg.volumes.dicom.elements import DamagedError
from ankleseg.volumes.dicom.export import INDEX, files_below, is_dicom, opened_export, read_export
from ankleseg.volumes.dicom.grid import check_alike, check_distances, ras_grid, slice_numbers, voxel_type
from ankleseg.volumes.dicom.objects import Frame
from ankleseg.volumes.dicom.pixels import read_frames
from ankleseg.volumes.dicom.series import choose_series
from ankleseg.volumes.dicom.times import TimePoints, time_points
from ankleseg.volumes.formats import foreign_format
from ankleseg.volumes.memory import readable_size
from ankleseg.volumes.selection import selection_suffix, split_selection, with_selection
from ankleseg.volumes.volume import SCANNER, Header, Remark

__all__ = ["read_dicom_header", "read_dicom_voxels"]

KEPT = 4  # series whose headers stay in memory, as their voxels are asked for next


@dataclass(frozen=True)
class _Series:
    header: Header
    points: tuple[tuple[Frame, ...], ...]


_kept: dict[tuple[str, tuple[object, ...]], _Series] = {}


def read_dicom_header(path: Path) -> Header:
    """Read the grid of a DICOM series: a folder of any depth, a .zip of one, or an enhanced file.

    Args:
        path: may choose one of several series, parts or echoes at its end, such as ``FOLDER#series=301&echo=80``.

    Raises:
        FileError: no series; several and none chosen; missing or doubled slices, several orientations, or colours; a
            damaged file among the slices.
    """
    return _series(path).header


def read_dicom_voxels(path: Path) -> np.ndarray:
    """Read the voxels of a DICOM series with slope and intercept applied, as (X, Y, Z) or (X, Y, Z, T).

    Raises:
        FileError: what `read_dicom_header` refuses, or a damaged slice.
    """
    series = _series(path)
    bare, _ = split_selection(path)
    with opened_export(bare) as folder:
        return _voxels(bare, folder, series)


def _series(path: Path) -> _Series:
    """Read the headers of a series, or take them from memory where no file has changed since."""
    bare, wanted = split_selection(path)
    key = (str(path), _stamps(bare))
    if key not in _kept:
        with opened_export(bare) as folder:
            series = _read_series(path, bare, folder, wanted)
        while len(_kept) >= KEPT:
            _kept.pop(next(iter(_kept)), None)
        _kept[key] = series
    return _kept[key]


def _stamps(bare: Path) -> tuple[object, ...]:
    files = [bare / file for file in files_below(bare, bare)] if bare.is_dir() else [bare]
    stats = [(str(file), os.stat(file) if file.exists() else None) for file in files]
    return tuple((name, stat and (stat.st_size, stat.st_mtime_ns, stat.st_ino)) for name, stat in stats)


def _read_series(path: Path, bare: Path, folder: Path, wanted: dict[str, str]) -> _Series:
    if bare.is_file() and folder == bare.parent and not is_dicom(bare):
        if wanted:
            raise FileError(
                "is not a DICOM file, so nothing can be chosen in it", file=bare, mend="leave out the part from #"
            )
        raise foreign_format(bare)
    if bare.is_file() and bare.name.upper() == INDEX:
        mend = f"give its folder: {with_selection(bare.parent, wanted)}"
        raise FileError("is the index of a DICOM export, without images", file=bare, mend=mend)
    export = read_export(folder, files_below(bare, folder))
    series, remarks = choose_series(bare, export, wanted)
    if series.source.mosaic:
        raise FileError(
            "is a Siemens mosaic: all slices of a time point are tiled into one picture",
            file=bare,
            mend=f"convert it: dcm2niix -z y -o . {quote(str(bare if bare.is_dir() else bare.parent))}",
        )
    if len(series.frames) == 1:
        _refuse_one_slice(bare, series.frames[0])
    check_alike(bare, series.frames)
    frames = choose_contrast(bare, series.frames, slice_numbers(series.frames), wanted)
    numbers = slice_numbers(frames)
    points = time_points(bare, frames, numbers, f"{bare.stem}{selection_suffix(path)}.json")
    check_distances(bare, points.frames[0])
    return _Series(_header(path, bare, points, remarks), points.frames)


def _refuse_one_slice(bare: Path, frame: Frame) -> None:
    if bare.is_dir() or bare.suffix.lower() == ".zip":
        raise FileError("holds one slice only", file=bare, mend="give the whole series")
    mend = "give the folder that holds its whole series"
    chosen = {"series": frame.source.number or frame.source.series}
    echo = {"echo": f"{frame.echo_time:.6g}"} if frame.echo_time else {}
    for wanted in ({}, chosen, echo, {**chosen, **echo}):
        parent = with_selection(bare.parent, wanted)
        try:
            read_dicom_header(Path(parent))
        except FileError:
            continue
        mend = f"give the folder of the series: {parent}"
        break
    raise FileError("is one slice of a DICOM series", file=bare, mend=mend)


def _header(path: Path, bare: Path, points: TimePoints, remarks: list[Remark]) -> Header:
    slices = points.frames[0]
    pixels = slices[0].source.pixels
    every = [frame for point in points.frames for frame in point]
    shape: tuple[int, ...] = (pixels.columns, pixels.rows, len(slices))
    return Header(
        path=path,
        shape=(*shape, len(points.frames)) if len(points.frames) > 1 else shape,
        affine=ras_grid(bare, slices),
        dtype=voxel_type(every),
        qform_code=SCANNER,
        sform_code=SCANNER,
        format="dicom",
        frame_time=points.seconds,
        thickness_mm=slices[0].thickness,
        remarks=(*remarks, *points.remarks, *_spare_remarks(every)),
    )


def _spare_remarks(frames: list[Frame]) -> list[Remark]:
    spare = max(frame.source.pixels.spare for frame in frames)
    if spare <= 0:
        return []
    problem = f"holds slices with {readable_size(spare)} of pixels more than their rows and columns declare"
    return [Remark(problem, "check in a viewer that the slices are whole", suspect=True)]


def _voxels(bare: Path, folder: Path, series: _Series) -> np.ndarray:
    header = series.header
    data = np.empty((*header.shape[:3], len(series.points)), header.dtype, order="F")
    files: dict[Path, list[tuple[int, int, int, Frame]]] = {}
    for time, point in enumerate(series.points):
        for height, frame in enumerate(point):
            files.setdefault(frame.file, []).append((frame.index, height, time, frame))
    for file, wanted in files.items():
        wanted.sort(key=lambda entry: entry[0])
        try:
            planes = read_frames(folder / file, wanted[0][3].source.pixels, [index for index, *_ in wanted])
            for plane, (_, height, time, frame) in zip(planes, wanted, strict=True):
                data[:, :, height, time] = _scaled(plane, frame, data.dtype).T
        except DamagedError as problem:
            where = bare / file if bare.is_dir() or bare.suffix.lower() == ".zip" else bare
            raise FileError(problem.why, file=where, mend=problem.mend) from None
    return data


def _scaled(plane: np.ndarray, frame: Frame, dtype: np.dtype) -> np.ndarray:
    if (frame.slope, frame.intercept) == (1.0, 0.0):
        return plane.astype(dtype, copy=False)
    return (plane * np.float64(frame.slope) + frame.intercept).astype(dtype)
