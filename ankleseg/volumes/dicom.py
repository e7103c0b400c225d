"""One DICOM series as a volume: sorted by position in the world, never by file name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ankleseg.errors import FileError
from ankleseg.volumes.archives import extract_archive
from ankleseg.volumes.geometry import affine_problem
from ankleseg.volumes.itk_images import image_reader, ras_affine, read_itk_voxels, voxel_type
from ankleseg.volumes.volume import SCANNER, Header

SERIES, DESCRIPTION = "0020|000e", "0008|103e"
SCOUT_SLICES = 3  # a series of at most so many slices is not taken for the volume
SPACING_TOLERANCE = 0.1  # of the slice distance


@dataclass(frozen=True)
class _Slice:
    """One file of a series; positions and axes in LPS mm."""

    file: Path
    series: str
    description: str
    size: tuple[int, int]
    spacing: tuple[float, float]
    origin: tuple[float, ...]
    axes: tuple[tuple[float, ...], tuple[float, ...]]
    dtype: np.dtype

    @property
    def normal(self) -> np.ndarray:
        return np.cross(*self.axes)

    @property
    def height(self) -> float:
        return float(np.dot(self.normal, self.origin))


def read_dicom_header(path: Path) -> Header:
    """Read the grid of the DICOM series in a folder or a .zip.

    Raises:
        FileError: no series, several, missing or doubled slices, several orientations, or colours.
    """
    with _dicom_files(path) as files:
        return _header(path, _volume_slices(path, files))


def read_dicom_voxels(path: Path) -> np.ndarray:
    """Read the voxels of the DICOM series in a folder or a .zip, as (X, Y, Z) with the slices along Z.

    Raises:
        FileError: what `read_dicom_header` refuses, or a damaged slice.
    """
    with _dicom_files(path) as files:
        slices = _volume_slices(path, files)
        header = _header(path, slices)
        data = np.empty(header.shape, header.dtype, order="F")
        for index, piece in enumerate(slices):
            data[:, :, index] = read_itk_voxels(piece.file)[:, :, 0]
        return data


@contextmanager
def _dicom_files(path: Path) -> Iterator[list[Path]]:
    if path.is_dir():
        yield _only_dicom(path, sorted(path.iterdir()))
    elif path.suffix.lower() == ".zip":
        with TemporaryDirectory(prefix="ankleseg-") as folder:
            yield _only_dicom(path, sorted(extract_archive(path, folder)))
    elif _is_dicom(path):
        raise FileError("is one slice of a DICOM series", file=path, mend="give the folder of the series")
    else:
        raise FileError(
            f"is of a format that is not read ({path.suffix or 'no ending'})",
            file=path,
            mend="give .nii, .nii.gz, .nrrd, .mha, or the folder or .zip of a DICOM series",
        )


def _only_dicom(path: Path, files: list[Path]) -> list[Path]:
    found = [file for file in files if file.is_file() and file.name != "DICOMDIR" and _is_dicom(file)]
    if not found:
        raise FileError("holds no DICOM slices", file=path, mend="give the folder that holds the slices themselves")
    return found


def _is_dicom(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _read_slice(file: Path) -> _Slice:
    reader = image_reader(file)
    if reader.GetNumberOfDimensions() > 2 and reader.GetDimensions(2) > 1:
        raise FileError("holds several frames in one file", file=file, mend="convert the series by dcm2niix")
    tags = reader.GetMetaDataDictionary()
    return _Slice(
        file=file,
        series=tags[SERIES].strip("\0 ") if tags.HasKey(SERIES) else "",
        description=tags[DESCRIPTION].strip() if tags.HasKey(DESCRIPTION) else "",
        size=(reader.GetDimensions(0), reader.GetDimensions(1)),
        spacing=(reader.GetSpacing(0), reader.GetSpacing(1)),
        origin=tuple(reader.GetOrigin(axis) for axis in range(3)),
        axes=(reader.GetDirection(0)[:3], reader.GetDirection(1)[:3]),
        dtype=voxel_type(file, reader),
    )


def _volume_slices(path: Path, files: list[Path]) -> list[_Slice]:
    """Return the slices of the one volume among the files, sorted along their normal."""
    series: dict[str, list[_Slice]] = {}
    for file in files:
        piece = _read_slice(file)
        series.setdefault(piece.series, []).append(piece)
    slices = sorted(_one_series(path, series), key=lambda piece: piece.height)
    _check_alike(path, slices)
    _check_distances(path, slices)
    return slices


def _one_series(path: Path, series: dict[str, list[_Slice]]) -> list[_Slice]:
    volumes = [slices for slices in series.values() if len(slices) > SCOUT_SLICES]
    if len(volumes) == 1:
        return volumes[0]
    if len(series) == 1:
        slices = next(iter(series.values()))
        if len(slices) > 1:
            return slices
        raise FileError("holds one slice only", file=path, mend="give the whole series")
    names = ", ".join(f"{slices[0].description or 'unnamed'} ({len(slices)} slices)" for slices in series.values())
    raise FileError(
        f"holds {len(series)} DICOM series: {names}", file=path, mend="put the wanted one in a folder of its own"
    )


def _check_alike(path: Path, slices: list[_Slice]) -> None:
    first = slices[0]
    for piece in slices[1:]:
        if piece.size != first.size:
            raise FileError(f"mixes slices of {first.size} and {piece.size} pixels", file=path, mend="separate them")
        if not np.allclose(piece.axes, first.axes, atol=1e-3):
            raise FileError("mixes slices of different orientation", file=path, mend="give a series of parallel slices")
        if not np.allclose(piece.spacing, first.spacing, rtol=1e-3):
            raise FileError("mixes slices of different pixel spacing", file=path, mend="separate them")


def _check_distances(path: Path, slices: list[_Slice]) -> None:
    distances = np.diff([piece.height for piece in slices])
    usual = float(np.median(distances))
    if distances.min() < 0.01 * max(usual, 0.1):
        raise FileError(
            "holds several slices at one position, as dynamic and multi-echo series do",
            file=path,
            mend="separate them, or convert the series by dcm2niix",
        )
    gaps = distances > (1 + SPACING_TOLERANCE) * usual
    if gaps.any():
        missing = int(np.round(distances[gaps] / usual - 1).sum())
        before, after = slices[int(np.argmax(gaps))], slices[int(np.argmax(gaps)) + 1]
        raise FileError(
            f"lacks slices: {max(missing, 1)} missing, the first between {before.file.name} and {after.file.name}, "
            f"{distances.max():.2f} mm apart where {usual:.2f} mm are usual",
            file=path,
            mend="export the whole series again",
        )
    if (distances < (1 - SPACING_TOLERANCE) * usual).any():
        raise FileError(
            f"has slices {distances.min():.2f} to {distances.max():.2f} mm apart",
            file=path,
            mend="resample it evenly first",
        )


def _header(path: Path, slices: list[_Slice]) -> Header:
    first, last = slices[0], slices[-1]
    step = (np.array(last.origin) - first.origin) / (len(slices) - 1)
    distance = float(np.linalg.norm(step))
    affine = ras_affine([*first.axes, (step / distance).tolist()], [*first.spacing, distance], first.origin)
    problem = affine_problem(affine)
    if problem:
        raise FileError(problem, file=path, mend="export the series again")
    dtype = np.result_type(*{piece.dtype for piece in slices})
    return Header(path, (*first.size, len(slices)), affine, dtype, SCANNER, SCANNER, "dicom")
