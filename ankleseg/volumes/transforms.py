"""Poses in the files of other programs: ITK's text transforms and FLIRT's matrices.

Both are *images' ways*: a file named ``from-static_to-frame`` serves to resample the static scan on the frame's grid.
ITK (ANTs, 3D Slicer, ITK-SNAP) stores for it the map of points from the frame to the static scan, in LPS mm; FLIRT
stores the map from the static scan to the frame, in its own scaled voxels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from ankleseg.errors import FileError, GeometryError
from ankleseg.files import replace_file
from ankleseg.volumes.geometry import Affine, is_left_handed, spacing
from ankleseg.volumes.itk_images import RAS_FROM_LPS
from ankleseg.volumes.poses import Pose, invert_pose, is_rigid

ITK_FIRST_LINE = "#Insight Transform File V1.0"
MATRIX_TRANSFORMS = ("AffineTransform", "MatrixOffsetTransformBase")
LARGEST_FILE = 1 << 16  # bytes; the transforms read here take less than one thousand


@runtime_checkable
class OnGrid(Protocol):
    """Anything with a grid, such as a header."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(X, Y, Z) or (X, Y, Z, …)."""

    @property
    def affine(self) -> Affine:
        """Voxel to RAS+ mm."""


def write_itk_transform(path: str | Path, target_from_source: Float[np.ndarray, "4 4"]) -> Path:
    """Write the transform with which ITK resamples the source image on the target's grid.

    Args:
        path: ends in .tfm or .txt, the endings by which ITK knows the format.
        target_from_source: moves a point (RAS+ mm) of the image that is resampled to where it lies in the target; ITK
            needs the way back, and that is what the file holds, in LPS, as an affine transform about the origin.

    Raises:
        FileError: another ending, or the folder cannot be written.
        GeometryError: not a rigid pose.
    """
    return write_itk_affine(path, invert_pose(_rigid(target_from_source)))


def write_itk_affine(path: str | Path, source_from_target: Float[np.ndarray, "4 4"]) -> Path:
    """Write the affine transform with which ITK resamples the source image on the target's grid.

    Args:
        path: ends in .tfm or .txt, the endings by which ITK knows the format.
        source_from_target: takes a point (RAS+ mm) of the target's grid to where it lies in the image that is
            resampled: the way that ITK needs, and that the file holds, in LPS.

    Raises:
        FileError: another ending, or the folder cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tfm", ".txt"):
        raise FileError("cannot be written in this format", file=path, mend="name it .tfm")
    points = RAS_FROM_LPS @ source_from_target @ RAS_FROM_LPS
    lines = [
        ITK_FIRST_LINE,
        "#Transform 0",
        "Transform: AffineTransform_double_3_3",
        "Parameters: " + _numbers([*points[:3, :3].ravel(), *points[:3, 3]]),
        "FixedParameters: 0 0 0",
    ]
    return _write(path, lines)


def read_itk_transform(path: str | Path) -> Float[np.ndarray, "4 4"]:
    """Read what `write_itk_transform` or another program wrote: ``target_from_source``, RAS+ mm.

    Affine and Euler transforms in ITK's text format are understood, about any centre, if they are rigid.

    Raises:
        FileError: another format, several transforms, an unknown kind, or one that scales or mirrors.
    """
    path = Path(path)
    fields = _itk_fields(path)
    kind = fields["Transform"].split("_")[0]
    parameters, fixed = (_parsed(path, fields[name]) for name in ("Parameters", "FixedParameters"))
    points = np.eye(4)
    if kind in MATRIX_TRANSFORMS and len(parameters) == 12 and len(fixed) == 3:
        points[:3, :3] = parameters[:9].reshape(3, 3)
        shift = parameters[9:]
    elif kind == "Euler3DTransform" and len(parameters) == 6 and len(fixed) in (3, 4):
        points[:3, :3] = _euler(parameters[:3], turns_zyx=len(fixed) == 4 and bool(fixed[3]))
        shift = parameters[3:]
    else:
        raise FileError(
            f"holds a {fields['Transform']}, not a rigid or affine one in three dimensions",
            file=path,
            mend="save it as AffineTransform or Euler3DTransform",
        )
    centre = fixed[:3]
    points[:3, 3] = shift + centre - points[:3, :3] @ centre
    return invert_pose(_rigid(RAS_FROM_LPS @ points @ RAS_FROM_LPS, path))


def write_flirt_matrix(
    path: str | Path, target_from_source: Float[np.ndarray, "4 4"], source: OnGrid, target: OnGrid
) -> Path:
    """Write the matrix with which FLIRT resamples ``source`` (its ``-in``) on ``target`` (its ``-ref``).

    Args:
        path: of the text file, four rows of four numbers.
        target_from_source: moves a point (RAS+ mm) of the source to where it lies in the target.
        source, target: the two grids; FLIRT's numbers mean nothing without them.

    Raises:
        FileError: the folder cannot be written.
        GeometryError: not a rigid pose.
    """
    matrix = flirt_from_pose(_rigid(target_from_source), source, target)
    return _write(Path(path), [_numbers(row) for row in matrix])


def read_flirt_matrix(path: str | Path, source: OnGrid, target: OnGrid) -> Float[np.ndarray, "4 4"]:
    """Read a FLIRT matrix as ``target_from_source``, RAS+ mm; FLIRT rounds, so the rotation is made one again.

    Raises:
        FileError: not four rows of four numbers, or a matrix that scales or mirrors.
    """
    path = Path(path)
    rows = [_parsed(path, line) for line in _text(path).splitlines() if line.strip()]
    if [len(row) for row in rows] != [4, 4, 4, 4]:
        raise FileError("does not hold four rows of four numbers", file=path, mend="give the .mat file FLIRT wrote")
    return _rigid(pose_from_flirt(np.array(rows), source, target), path)


def flirt_from_pose(target_from_source: Pose, source: OnGrid, target: OnGrid) -> Float[np.ndarray, "4 4"]:
    """Return FLIRT's matrix of a pose: scaled voxels of the source to scaled voxels of the target.

    Scaled voxels are voxel indices times the voxel size in mm; where the affine keeps handedness (a positive
    determinant), the first index counts from the other end, and only the first (Jenkinson, FSL: FLIRT, "What is the
    format of the matrix").
    """
    return np.linalg.inv(_world_from_scaled(target)) @ target_from_source @ _world_from_scaled(source)


def pose_from_flirt(matrix: Float[np.ndarray, "4 4"], source: OnGrid, target: OnGrid) -> Float[np.ndarray, "4 4"]:
    """Return ``target_from_source`` in RAS+ mm of a FLIRT matrix from source to target."""
    return _world_from_scaled(target) @ matrix @ np.linalg.inv(_world_from_scaled(source))


def _world_from_scaled(grid: OnGrid) -> Float[np.ndarray, "4 4"]:
    affine = np.asarray(grid.affine, float)
    voxel_from_scaled = np.diag([*(1 / spacing(affine)), 1.0])
    if not is_left_handed(affine):
        voxel_from_scaled[0, 0] *= -1
        voxel_from_scaled[0, 3] = grid.shape[0] - 1
    return affine @ voxel_from_scaled


def _rigid(pose: np.ndarray, path: Path | None = None) -> Float[np.ndarray, "4 4"]:
    """The pose with its rotation made exact, since text is rounded."""
    pose = np.asarray(pose, float)
    if not is_rigid(pose, tolerance=1e-3):
        problem, mend = "scales, shears or mirrors: expected a rigid pose", "give one of six degrees of freedom"
        raise GeometryError(problem, mend=mend) if path is None else FileError(problem, file=path, mend=mend)
    left, _, right = np.linalg.svd(pose[:3, :3])
    exact = pose.copy()
    exact[:3, :3] = left @ right
    return exact


def _euler(angles: np.ndarray, turns_zyx: bool) -> np.ndarray:
    """ITK's Euler rotation: about y, then x, then z; with ``turns_zyx`` about x, then y, then z."""
    from scipy.spatial.transform import Rotation

    x, y, z = angles
    if turns_zyx:
        return Rotation.from_euler("ZYX", [z, y, x]).as_matrix()
    return Rotation.from_euler("ZXY", [z, x, y]).as_matrix()


def _itk_fields(path: Path) -> dict[str, str]:
    text = _text(path)
    if not text.startswith("#Insight Transform File"):
        raise FileError("is not a text transform of ITK", file=path, mend="save it as .tfm")
    lines = [line.partition(":") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    names = [name.strip() for name, _, _ in lines]
    if sorted(names) != ["FixedParameters", "Parameters", "Transform"]:
        raise FileError(
            f"holds {names.count('Transform')} transforms, one is needed", file=path, mend="join them into one"
        )
    return {name.strip(): value.strip() for name, _, value in lines}


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise FileError(
            f"cannot be read ({error.strerror or error})", file=path, mend="check the file and its disk"
        ) from None
    if len(content) > LARGEST_FILE or b"\0" in content:
        raise FileError("is not a text file of one transform", file=path, mend="save it as text")
    return content.decode("utf-8", "replace")


def _parsed(path: Path, text: str) -> np.ndarray:
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        raise FileError(f"holds {text.strip()[:40]!r} where numbers belong", file=path, mend="write it again") from None
    if not np.isfinite(values).all():
        raise FileError("holds a number that is not finite", file=path, mend="write it again")
    return values


def _numbers(values: object) -> str:
    return " ".join(repr(float(value) + 0.0) for value in values)  # type: ignore[attr-defined]


def _write(path: Path, lines: list[str]) -> Path:
    with replace_file(path) as part:
        part.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path
