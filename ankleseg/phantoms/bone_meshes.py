"""Bones as closed surface meshes, as shape models and segmentations of CT come."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from ankleseg.errors import FileError
from ankleseg.phantoms.bone_masks import BoneMask, bone_of_mask
from ankleseg.volumes import fill_mesh

STEP = 0.5  # mm, of the grid that a mesh is filled on


@dataclass(frozen=True, eq=False)
class BoneMesh:
    """A closed surface of triangles.

    Attributes:
        vertices: (n, 3) RAS+ mm.
        triangles: (m, 3) indices of vertices.
    """

    vertices: Float[np.ndarray, "n 3"]
    triangles: Int[np.ndarray, "m 3"]

    def moved(self, matrix: Float[np.ndarray, "4 4"]) -> BoneMesh:
        """The surface where an affine map takes it."""
        return BoneMesh(self.vertices @ matrix[:3, :3].T + matrix[:3, 3], self.triangles)

    @property
    def volume(self) -> float:
        """What it encloses, in ml."""
        a, b, c = (self.vertices[self.triangles[:, corner]] for corner in range(3))
        return abs(float(np.einsum("ij,ij->", a, np.cross(b, c)))) / 6000


def read_bone_mesh(path: str | Path) -> BoneMesh:
    """Read a mesh from an ``.npz`` file with ``v`` (n, 3), mm in LPS, and ``f`` (m, 3).

    Raises:
        FileError: the file holds no such mesh.
    """
    try:
        with np.load(path) as file:
            vertices, triangles = file["v"].astype(float), file["f"].astype(np.int64)
    except (OSError, ValueError, KeyError) as error:
        raise FileError("is no mesh: expected arrays v and f", file=path, mend="write it by numpy.savez") from error
    if vertices.ndim != 2 or vertices.shape[1] != 3 or triangles.ndim != 2 or triangles.shape[1] != 3:
        raise FileError(
            f"has v {vertices.shape} and f {triangles.shape}: expected (n, 3) and (m, 3)",
            file=path,
            mend="write triangles",
        )
    return BoneMesh(vertices * (-1, -1, 1), triangles)


def mask_of_mesh(mesh: BoneMesh, spacing: float = STEP) -> BoneMask:
    """Fill a closed mesh, on a grid along the world's axes, and see it as a smooth surface."""
    return bone_of_mask(*fill_mesh(mesh.vertices, mesh.triangles, spacing))
