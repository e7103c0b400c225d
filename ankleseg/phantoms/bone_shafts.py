"""The shin above the place where the mesh or mask of a bone ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import distance_transform_edt, map_coordinates

from ankleseg.phantoms.ankle import Ankle
from ankleseg.phantoms.bones import Bone
from ankleseg.phantoms.grid import FAR
from ankleseg.phantoms.shapes import Shape

TOP = 130.0  # mm above the talar dome at the average size, as of the drawn bones
BELOW_END = 10.0  # mm by which the section that goes on lies below the end, whose cap is not a part of the bone
MARGIN = 8.0  # mm around the section
STEP = 0.5  # mm, of the section
SECTIONS = {  # heights, and mean radii there, of the drawn bones
    Bone.TIBIA: ((18, 26, 36, 50, 70, TOP), (18.8, 18.2, 16.0, 13.2, 11.8, 11.8)),
    Bone.FIBULA: ((4, 14, 26, 45, TOP), (7.2, 7.0, 6.5, 5.2, 5.5)),
}


def with_shafts(ankle: Ankle) -> Ankle:
    """Let tibia and fibula of given shape go on upwards: their highest section, tapered as the drawn bones are."""
    skeleton = dict(ankle.skeleton)
    for bone in SECTIONS:
        if bone in ankle.real:
            skeleton[bone] = replace(skeleton[bone], outer=_extended(skeleton[bone].outer, *SECTIONS[bone]))
    return replace(ankle, skeleton=skeleton)


def _extended(shape: Shape, heights: tuple[float, ...], radii: tuple[float, ...]) -> Shape:
    end = float(shape.high[2]) - BELOW_END
    first = float(np.interp(end, heights, radii))
    low = shape.low[:2] - MARGIN
    ends = zip(low.tolist(), (shape.high[:2] + MARGIN).tolist(), strict=True)
    lines = [np.arange(start, stop, STEP).astype(np.float32) for start, stop in ends]
    plane = np.stack([part.ravel() for part in np.meshgrid(*lines, [np.float32(end)], indexing="ij")])
    inside = (shape(plane) < 0).reshape(len(lines[0]), len(lines[1]))
    section = STEP * (distance_transform_edt(~inside) - distance_transform_edt(inside)).astype(np.float32)
    middle = low + STEP * np.argwhere(inside).mean(0)

    def distance(points: np.ndarray) -> np.ndarray:
        found = shape(points)
        above = points[2] > end
        shrunk = (np.interp(points[2, above], heights, radii) / first).astype(np.float32)
        places = middle[:, None] + (points[:2, above] - middle[:, None]) / shrunk
        voxels = (places - low[:, None]) / STEP
        found[above] = map_coordinates(section, voxels, order=1, mode="constant", cval=FAR) * shrunk
        return found

    high = shape.high.copy()
    high[2] = TOP
    return Shape(distance, shape.low, high)
