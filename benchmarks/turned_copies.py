"""Alignment of a scan with copies of itself on turned grids of thicker slices: how far any point of it is moved.

    python benchmarks/turned_copies.py SCAN [--thick 1 3.5 5]

The true map is the identity. Slices are averages of seven thinner ones (of 1 mm: one).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

TURNS = ([12, 0, 8], [0, 20, -5])  # degrees about the axes of the world
FIELD = np.array([240, 240, 200])  # mm
IN_PLANE = (0.9, 1.1)  # mm
THIN = 7  # slices that a thick one is the average of


def main() -> None:
    """Align every copy both ways and print the mean and the largest distance in mm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--thick", type=float, nargs="+", default=[1.0, 3.5, 5.0])
    arguments = parser.parse_args()
    from ankleseg.deformable import align, as_scan
    from ankleseg.volumes import read_volume

    scan = read_volume(arguments.scan)
    for turn in TURNS:
        for thick in arguments.thick:
            copy = turned_copy(scan, turn, thick)
            for way, fixed, moving in (("copy on scan", scan, copy), ("scan on copy", copy, scan)):
                matrix = align(as_scan(fixed), as_scan(moving)).moving_from_fixed
                points = as_scan(fixed).points()
                moved = np.linalg.norm(points @ matrix[:3, :3].T + matrix[:3, 3] - points, axis=1)
                print(f"{turn} {thick:g} mm {way}: mean {moved.mean():.3f}, largest {moved.max():.3f} mm", flush=True)


def turned_copy(scan, turn: list[int], thick: float):
    """The scan on a grid that is turned about its middle."""
    from scipy.spatial.transform import Rotation

    from ankleseg.volumes import Volume
    from ankleseg.volumes.geometry import resample

    data = scan.data.astype(np.float32)
    middle = scan.affine[:3, :3] @ (np.array(data.shape) / 2) + scan.affine[:3, 3]
    together = THIN if thick > 1 else 1
    size = np.array([*IN_PLANE, thick / together])
    shape = np.ceil(FIELD / size).astype(int)
    shape[2] -= shape[2] % together
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * size
    affine[:3, 3] = middle - affine[:3, :3] @ ((shape - 1) / 2)
    thin = resample(data, scan.affine, tuple(shape), affine)
    slices = thin.reshape(shape[0], shape[1], -1, together).mean(-1)
    affine[:3, 3] += affine[:3, 2] * (together - 1) / 2
    affine[:3, 2] *= together
    return Volume(np.ascontiguousarray(slices), affine)


if __name__ == "__main__":
    main()
