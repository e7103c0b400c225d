"""A tumour in a brain: what it pushes aside, what it replaces, and where its oedema runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from ankleseg.phantoms.brain_tissues import DEEP_GREY, INTRACRANIAL, BrainTissue, brain_tissue_of
from ankleseg.phantoms.grid import Field, FieldReader, Grid
from ankleseg.phantoms.tumour import CORE, Lesion, TumourTissue

Noise = Callable[[np.ndarray], np.ndarray]  # of points (3, n) in mm

STEPS = 7  # of scaling and squaring
ANCHORED, FREE = 8.0, 20.0  # mm below the skull to which the brain does not move, and from where on it does freely
CAPILLARY = 0.35  # vessels run where two noises of unit variance are both nearer to zero than this
BEYOND = 2.0  # reaches, from where on it does not matter how far away a core is

# how much slower than in white matter oedema spreads; where none is named it does not
SLOWNESS: Mapping[BrainTissue, float] = {
    BrainTissue.WHITE_MATTER: 1.0,
    BrainTissue.MYELINATED: 1.0,
    BrainTissue.BRAINSTEM: 3.0,
    BrainTissue.CORTEX: 4.0,
    **dict.fromkeys(DEEP_GREY, 2.5),
}
SWELLING = sorted(set(SLOWNESS) - {BrainTissue.CORTEX})  # the cortex is crossed, but hardly swells
# from which share of the reach outwards
GRADES = {0.0: TumourTissue.DENSE_OEDEMA, 0.5: TumourTissue.OEDEMA, 0.8: TumourTissue.FAINT_OEDEMA}


def grow(
    healthy: UInt8[np.ndarray, "x y z"],
    grid: Grid,
    nodes: Grid,
    field: Float[np.ndarray, "u v w 3"],
    lesions: Sequence[Lesion],
    vessels: tuple[Noise, Noise],
) -> UInt8[np.ndarray, "x y z"]:
    """Labels of a brain with a tumour, those of the tumour from `TumourTissue`.

    Args:
        healthy, grid: labels before the tumour, 0 outside the skull, and where they lie.
        nodes, field: the mass effect as `mass_effect` returns it, and where it lies.
        lesions: what grows.
        vessels: their common zeros are the vessels in the fluid.
    """
    points = _points(grid)
    places = points + np.moveaxis(onto(field, nodes, grid), -1, 0)
    local = np.linalg.inv(grid.affine)
    index = np.einsum("ij,jxyz->ixyz", local[:3, :3], places) + local[:3, 3, None, None, None]
    limits = (np.array(healthy.shape) - 1)[:, None, None, None]
    labels = healthy[tuple(np.clip(np.rint(index), 0, limits).astype(np.intp))]
    tissue = brain_tissue_of(labels)
    fluid = np.isin(tissue, (BrainTissue.CSF, BrainTissue.VENTRICLE))
    labels[fluid & (np.hypot(*(_where(fluid, points, noise) for noise in vessels)) < CAPILLARY)] = BrainTissue.VESSEL
    soft, core = np.isin(tissue, list(INTRACRANIAL - {BrainTissue.DURA})), np.zeros(labels.shape, bool)
    for lesion in lesions:
        near = soft & (_squared(points, lesion) < (2 * lesion.radius) ** 2)
        near &= places[0] * np.sign(lesion.centre[0]) > 1  # on its side of the falx
        depth = lesion.radius + _where(near, points, lesion.lobes) - np.sqrt(_squared(points, lesion))
        inner = _where(near, points, lesion.unevenness)
        found = np.where(depth > lesion.rim * (1 + inner), TumourTissue.NECROSIS, TumourTissue.ENHANCING)
        mine = near & (depth > 0)
        labels[mine] = found[mine] if lesion.rim else TumourTissue.SOLID
        core |= mine
    level = onto(oedema(labels[1::3, 1::3, 1::3], nodes, lesions), nodes, grid)
    for start, grade in GRADES.items():
        labels[(level >= start) & (level < 1) & np.isin(tissue, SWELLING) & ~core] = grade
    return labels


def mass_effect(
    healthy: UInt8[np.ndarray, "x y z"], grid: Grid, lesions: Sequence[Lesion]
) -> Float[np.ndarray, "x y z 3"]:
    """The diffeomorphism by which lesions push the brain aside, RAS+ mm: what lies at ``p`` lay at ``p + field``.

    A stationary velocity away from the lesions that fades towards the skull, integrated by scaling and squaring
    (Arsigny et al. 2006).
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

    inside = np.isin(brain_tissue_of(healthy), list(INTRACRANIAL))
    depth = distance_transform_edt(inside, sampling=grid.spacing)
    freedom = gaussian_filter(np.clip((depth - ANCHORED) / (FREE - ANCHORED), 0, 1), 4.0 / grid.spacing)
    points = _points(grid)
    velocity = np.zeros_like(points)
    for lesion in lesions:
        reach = 1.3 * lesion.radius + 5.0
        pull = lesion.push * np.exp(-_squared(points, lesion) / (2 * reach**2))
        velocity -= pull * (points - lesion.centre[:, None, None, None])
    steps = np.einsum("ij,jxyz->ixyz", np.linalg.inv(grid.affine[:3, :3]), velocity * freedom) / 2**STEPS
    index = np.indices(grid.shape)
    for _ in range(STEPS):
        steps = steps + np.stack([map_coordinates(axis, index + steps, order=1, mode="nearest") for axis in steps])
    return np.einsum("ij,jxyz->xyzi", grid.affine[:3, :3], steps).astype(np.float32)


def onto(values: Float[np.ndarray, "u v w *c"], nodes: Grid, grid: Grid) -> Float[np.ndarray, "x y z *c"]:
    """Values at nodes, interpolated cubically on a grid along the same axes; 0 beyond the nodes."""
    result = np.zeros((*grid.shape, *values.shape[3:]), np.float32)
    for channel in np.ndindex(values.shape[3:]):
        found = FieldReader(Field(values[..., *channel], np.zeros(3, int)), nodes, grid).block(range(grid.shape[2]))
        assert found is not None, "the grids do not meet"
        (rows, planes, columns), block = found
        result[rows, columns, planes, *channel] = np.moveaxis(block, 1, 2)
    return result


def oedema(labels: UInt8[np.ndarray, "x y z"], grid: Grid, lesions: Sequence[Lesion]) -> Float[np.ndarray, "x y z"]:
    """How far oedema has to go from the nearest core to tissue that swells, in reaches of that lesion."""
    from scipy.ndimage import distance_transform_edt
    from skimage.graph import MCP_Geometric

    slowness = np.full(256, -1.0)
    slowness[list(CORE)] = 1.0
    for tissue, factor in SLOWNESS.items():
        slowness[brain_tissue_of(np.arange(256)) == tissue] = factor
    points, core = _points(grid), np.isin(labels, list(CORE))
    result = np.full(grid.shape, BEYOND, np.float32)
    for lesion in lesions:
        cost = slowness[labels] * np.exp(lesion.unevenness(points.reshape(3, -1))).reshape(grid.shape)
        starts = np.argwhere(core & (_squared(points, lesion) < (2 * lesion.radius) ** 2))
        found, _ = MCP_Geometric(cost, sampling=tuple(grid.spacing.tolist())).find_costs(starts)
        np.minimum(result, found / lesion.oedema, out=result)
    # between a node in fluid or cortex and one in white matter, the level is that of the white matter
    other = ~(core | np.isin(brain_tissue_of(labels), SWELLING))
    return result[tuple(distance_transform_edt(other, return_distances=False, return_indices=True))]


def _points(grid: Grid) -> Float[np.ndarray, "3 x y z"]:
    index = np.indices(grid.shape, np.float32)
    affine = grid.affine.astype(np.float32)
    return np.einsum("ij,jxyz->ixyz", affine[:3, :3], index) + affine[:3, 3, None, None, None]


def _squared(points: Float[np.ndarray, "3 x y z"], lesion: Lesion) -> Float[np.ndarray, "x y z"]:
    return ((points - lesion.centre[:, None, None, None]) ** 2).sum(0)


def _where(mask: np.ndarray, points: np.ndarray, function: Noise) -> Float[np.ndarray, "x y z"]:
    result = np.zeros(mask.shape, np.float32)
    result[mask] = function(points[:, mask])
    return result
