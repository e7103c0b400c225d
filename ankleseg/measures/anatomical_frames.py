"""Anatomical axes of tibia, talus and calcaneus, found from the shapes of the bones.

A frame is ``world_from_bone``: x to the right of the body, y to anterior, z to superior, a proper rotation on both
sides. So x is lateral in a right foot and medial in a left one; `ankleseg.measures.kinematics` sets the signs. A left
foot is mirrored, treated as a right one, and its frames are mirrored back, so that both are found by the same rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.errors import GeometryError
from ankleseg.measures.bone_surfaces import BoneSurface, bone_surface
from ankleseg.volumes.geometry import Affine

Frame = Float[np.ndarray, "4 4"]

BONES = ("tibia", "talus", "calcaneus")
SIDES = ("left", "right")
MIRROR = np.diag([-1.0, 1, 1, 1])

AXIS_TO_MIDLINE = 84.0  # degrees, talocrural axis to the midline of the foot seen from above (Isman and Inman 1969)
FACING_MM = 4.0  # beyond the narrowest place of a joint, where two surfaces still face each other
SECTION_MM = 2.0
SLANT_MM = 12.0  # over which the end of the tibia may reach, cut by a field of view that lies at a slant
LEAST_SHAFT_MM = 8.0


@dataclass(frozen=True, eq=False)
class Dome:
    """The trochlea of the talus as part of a cylinder about the talocrural axis.

    Attributes:
        centre: (3,) on the axis, half-way between the edges of the dome, mm.
        axis: (3,) unit vector to lateral.
        radius: mm.
    """

    centre: Float[np.ndarray, "3"]
    axis: Float[np.ndarray, "3"]
    radius: float


def anatomical_frames(masks: Mapping[str, Bool[np.ndarray, "x y z"]], affine: Affine, side: str) -> dict[str, Frame]:
    """Find ``world_from_bone`` of tibia, talus and calcaneus of one scan.

    - tibia: z along the shaft; x along the talocrural axis seen along the shaft, turned by 6° so that y is the midline
      of the foot; origin at the centre of the talar dome.
    - talus: x along the talocrural axis; y along the longest axis of the bone, as far as it is square to x; origin at
      the centre of the dome.
    - calcaneus: y along the longest axis of the bone; z towards the middle of the surface that faces the talus, which
      is the origin.

    Args:
        masks: of the three bones, (X, Y, Z) on one grid.
        affine: voxel to RAS+ mm.
        side: ``left`` or ``right``.

    Raises:
        GeometryError: a bone or the side is missing, a mask is empty, or too little of the tibia's shaft is there.

    Source: Montefiori et al. 2019 (cylinder of the talar dome); Wu et al. 2002 (directions of the axes).
    """
    _check(masks, side)
    bones = {bone: bone_surface(masks[bone], affine) for bone in BONES}
    if side == "left":
        bones = {bone: surface.mirrored() for bone, surface in bones.items()}
    frames = _of_right_foot(bones)
    return {bone: MIRROR @ frame @ MIRROR if side == "left" else frame for bone, frame in frames.items()}


def common_axes(frames: Mapping[str, Frame], axes_of: str = "tibia") -> dict[str, Frame]:
    """Return frames with the axes of one bone and the origin of each.

    With them the planes of flexion, inversion and rotation are the same for all joints.
    """
    result = {bone: frame.copy() for bone, frame in frames.items()}
    for frame in result.values():
        frame[:3, :3] = frames[axes_of][:3, :3]
    return result


def frame_of(x: np.ndarray, z: np.ndarray, origin: np.ndarray, *, keep: str) -> Frame:
    """Return the frame with the axis ``keep`` (``x`` or ``z``) as given and the other one made square to it."""
    if keep == "x":
        x = unit(x)
        z = unit(z - x * (z @ x))
    else:
        z = unit(z)
        x = unit(x - z * (x @ z))
    frame = np.eye(4)
    frame[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    frame[:3, 3] = origin
    return frame


def unit(vector: np.ndarray) -> np.ndarray:
    """Return the vector with length one."""
    return np.asarray(vector, float) / np.linalg.norm(vector)


def talar_dome(talus: BoneSurface, tibia: BoneSurface, lateral: np.ndarray, superior: np.ndarray) -> Dome:
    """Fit a cylinder with flat ends to the trochlea: the upper surface of the talus and the facets at its two sides.

    The upper surface is first taken where the tibia covers it, then as far as it goes on. The facets for the malleoli
    are within some degrees of square to the axis (Inman 1976) and tell its direction better than the short arc alone.

    Args:
        talus, tibia: of one scan.
        lateral, superior: rough directions, unit vectors.

    Raises:
        GeometryError: talus and tibia do not face each other.
    """
    chosen = facing(talus, tibia) & (talus.normals @ superior > 0.5)
    if chosen.sum() < 50:
        raise GeometryError(
            "talus and tibia do not face each other", mend="check that both masks are of one foot and one scan"
        )
    start = talus.points[chosen].mean(0) - 15 * unit(talus.normals[chosen].mean(0))
    dome = _fitted(talus, [chosen], Dome(start, lateral, 15.0))
    for _ in range(4):
        along, radial, outwards = _about(talus, dome)
        sideways = talus.normals @ dome.axis
        above = (talus.points - dome.centre) @ superior > 0.3 * dome.radius
        edges = np.percentile(along[chosen], [2, 98])
        chosen = above & (np.abs(radial - dome.radius) < 2) & (outwards > 0.9) & (along > edges[0]) & (along < edges[1])
        facets = [above & (radial < dome.radius) & (sign * sideways > 0.8) for sign in (1, -1)]
        dome = _fitted(talus, [chosen, *facets], dome)
    along, _, _ = _about(talus, dome)
    middle = np.percentile(along[chosen], [5, 95]).mean()
    return Dome(dome.centre + middle * dome.axis, dome.axis, dome.radius)


def facing(bone: BoneSurface, other: BoneSurface) -> Bool[np.ndarray, " n"]:
    """Tell which triangles of a bone look at a triangle of another one that looks back, across the joint space."""
    from scipy.spatial import cKDTree

    distance, nearest = cKDTree(other.points).query(bone.points)
    opposed = np.einsum("ni,ni->n", bone.normals, other.normals[nearest]) < -0.5
    return opposed & (distance < np.percentile(distance, 1) + FACING_MM)


def shaft_axis(tibia: BoneSurface, dome: Dome, superior: np.ndarray) -> Float[np.ndarray, "3"]:
    """Find the direction along which the surface of the tibia's shaft runs; unit vector to superior.

    It is the one to which the normals of the surface are most nearly square (least squares), which holds for a
    tapered shaft too. The shaft begins one joint width above the joint (the square that bounds the metaphysis), or
    half-way up to where the mask ends, if that is lower; the end itself, flat or slanted, is left out.

    Args:
        tibia: its surface and inside.
        dome: of the talus below it.
        superior: rough direction, unit vector.

    Raises:
        GeometryError: the tibia ends too near the joint.
    """
    axis = unit(superior)
    for _ in range(20):
        heights, lean = (tibia.points - dome.centre) @ axis - dome.radius, tibia.normals @ axis
        end = heights[(lean > 0.85) & (heights > max(heights.max() - SLANT_MM, 0.6 * heights.max()))]
        top = (np.percentile(end, 2) if len(end) else heights.max()) - SECTION_MM
        bottom = min(_width(tibia, axis), top / 2)
        shaft = (heights > bottom) & (heights < top) & (np.abs(lean) < 0.6)
        if top - bottom < LEAST_SHAFT_MM or shaft.sum() < 50:
            raise GeometryError(
                f"shows the tibia only to {heights.max():.0f} mm above the joint",
                mend="include 30 mm of it, or give landmarks",
            )
        normals = tibia.normals[shaft]
        _, directions = np.linalg.eigh((normals * tibia.areas[shaft][:, None]).T @ normals)
        found = directions[:, 0] * np.sign(directions[:, 0] @ axis)
        converged = found @ axis > 1 - 1e-9
        axis = found
        if converged:
            break
    return axis


def _width(tibia: BoneSurface, axis: np.ndarray) -> float:
    """Diameter of the circle as large as the largest cross-section, mm."""
    section = np.floor(tibia.cells @ axis / SECTION_MM).astype(int)
    areas = np.bincount(section - section.min(), tibia.shares) * tibia.cell_volume / SECTION_MM
    return float(np.sqrt(areas.max() * 4 / np.pi))


def _of_right_foot(bones: Mapping[str, BoneSurface]) -> dict[str, Frame]:
    tibia, talus, calcaneus = (bones[bone] for bone in BONES)
    superior = unit(tibia.centroid - talus.centroid)
    forwards = talus.centroid - calcaneus.centroid
    lateral = unit(np.cross(forwards, superior))
    dome = talar_dome(talus, tibia, lateral, superior)
    superior = shaft_axis(tibia, dome, superior)
    square = frame_of(dome.axis, superior, dome.centre, keep="z")
    turn = np.radians(90 - AXIS_TO_MIDLINE)
    lateral = np.cos(turn) * square[:3, 0] + np.sin(turn) * square[:3, 1]
    forwards = square[:3, 1]
    talar_length, calcaneal_length = (_longest(bone, forwards) for bone in (talus, calcaneus))
    facet = facing(calcaneus, talus)
    subtalar = np.average(calcaneus.points[facet], axis=0, weights=calcaneus.areas[facet])
    up = subtalar - calcaneus.centroid
    up = unit(up - calcaneal_length * (up @ calcaneal_length))
    return {
        "tibia": frame_of(lateral, superior, dome.centre, keep="z"),
        "talus": frame_of(dome.axis, np.cross(dome.axis, talar_length), dome.centre, keep="x"),
        "calcaneus": frame_of(np.cross(calcaneal_length, up), up, subtalar, keep="z"),
    }


def _longest(bone: BoneSurface, forwards: np.ndarray) -> np.ndarray:
    """Axis along which a bone is longest (the least moment of inertia), pointing forwards."""
    offsets = bone.cells - bone.centroid
    _, axes = np.linalg.eigh((offsets * bone.shares[:, None]).T @ offsets)
    return axes[:, 2] * np.sign(axes[:, 2] @ forwards)


def _about(bone: BoneSurface, dome: Dome) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where triangles lie along the axis, their distance from it, and how far they look away from it (−1 to 1)."""
    offset = bone.points - dome.centre
    along = offset @ dome.axis
    across = offset - along[:, None] * dome.axis
    radial = np.linalg.norm(across, axis=1)
    return along, radial, np.einsum("ni,ni->n", bone.normals, across) / np.maximum(radial, 1e-6)


def _fitted(bone: BoneSurface, parts: Sequence[np.ndarray], start: Dome) -> Dome:
    """The cylinder nearest to the triangles of the first part, its ends to those of the others; with a robust loss."""
    from scipy.optimize import least_squares

    parts = [part for part in parts if part.sum() >= 20]
    points = [bone.points[part] for part in parts]
    weights = [np.sqrt(bone.areas[part] / bone.areas[parts[0]].mean()) for part in parts]
    first = unit(np.cross(start.axis, np.eye(3)[np.argmin(np.abs(start.axis))]))
    second = np.cross(start.axis, first)

    def cylinder(values: np.ndarray) -> Dome:
        # Tilts by radians, shifts and radius by mm; along the axis nothing is free.
        axis = unit(start.axis + values[0] * first + values[1] * second)
        return Dome(start.centre + values[2] * first + values[3] * second, axis, start.radius + values[4])

    def misfit(values: np.ndarray) -> np.ndarray:
        dome = cylinder(values)
        offset = points[0] - dome.centre
        radial = np.sqrt(np.maximum((offset**2).sum(1) - (offset @ dome.axis) ** 2, 0))
        ends = [part @ dome.axis for part in points[1:]]
        distances = [radial - dome.radius, *(end - np.median(end) for end in ends)]
        return np.concatenate([weight * distance for weight, distance in zip(weights, distances, strict=True)])

    found = least_squares(misfit, np.zeros(5), x_scale=[0.05, 0.05, 1, 1, 1], loss="soft_l1", f_scale=0.5)
    return cylinder(found.x)


def _check(masks: Mapping[str, np.ndarray], side: str) -> None:
    missing = [bone for bone in BONES if bone not in masks]
    if missing:
        raise GeometryError(f"no mask of {', '.join(missing)} is given", mend=f"give {', '.join(BONES)}, or landmarks")
    if side not in SIDES:
        raise GeometryError(f"invalid side {side!r}: expected {' or '.join(SIDES)}")
