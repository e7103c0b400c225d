"""Closed surface meshes as masks."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from ankleseg.volumes.geometry import Affine

MARGIN = 3  # voxels around a mesh


def fill_mesh(
    vertices: Float[np.ndarray, "n 3"], triangles: Int[np.ndarray, "m 3"], spacing: float
) -> tuple[Bool[np.ndarray, "x y z"], Affine]:
    """The voxels inside a closed mesh, by ITK, on a grid along the world's axes that holds it.

    Args:
        vertices: RAS+ mm.
        triangles: indices of vertices.
        spacing: of the grid, mm.

    Returns:
        The mask and its affine.
    """
    import itk

    surface = itk.Mesh[itk.F, 3].New()
    surface.SetPoints(itk.vector_container_from_array(vertices.astype(np.float32).ravel()))
    cells = itk.vector_container_from_array(triangles.astype(np.uint64).ravel())
    surface.SetCellsArray(cells, itk.CommonEnums.CellGeometry_TRIANGLE_CELL)
    low = vertices.min(0) - MARGIN * spacing
    size = np.ceil(np.ptp(vertices, axis=0) / spacing).astype(int) + 2 * MARGIN
    fill = itk.TriangleMeshToBinaryImageFilter[itk.Mesh[itk.F, 3], itk.Image[itk.F, 3]].New(Input=surface)
    fill.SetOrigin(low.tolist())
    fill.SetSpacing([spacing] * 3)
    fill.SetSize(size.tolist())
    fill.SetInsideValue(1)
    fill.Update()
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = low
    return itk.array_from_image(fill.GetOutput()).transpose(2, 1, 0) > 0, affine
