"""The peers of ``benchmarks/registration.py``, in an environment of theirs: picsl-greedy, antspyx, dipy, nibabel.

    python benchmarks/registration_peers.py WAY FOLDER THREADS

Registers ``aligned.nii.gz`` to ``fixed.nii.gz`` of the folder, writes ``WAY_bent.nii.gz`` (a displacement in mm, LPS)
and prints the seconds that it took, by the clock and of the processors.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

Times = tuple[float, float]
LEVELS = "100x50x10"  # iterations of greedy, coarse to fine


def main() -> None:
    """Run one way."""
    way, work, threads = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    for name in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = threads
    print(*{"greedy": greedy, "ants": ants, "dipy": dipy}[way](work, threads))


def clock() -> Times:
    """The time by the clock and that of the processors."""
    return time.perf_counter(), time.process_time()


def since(began: Times) -> Times:
    """Seconds of both since then."""
    wall, work = clock()
    return wall - began[0], work - began[1]


def greedy(work: Path, threads: str) -> Times:
    """Greedy with NCC of radius 4."""
    from picsl_greedy import Greedy3D

    began = clock()
    Greedy3D().execute(
        f"-threads {threads} -i {work}/fixed.nii.gz {work}/aligned.nii.gz -m NCC 4x4x4 -n {LEVELS} "
        f"-o {work}/greedy_bent.nii.gz"
    )
    return since(began)


def ants(work: Path, threads: str) -> Times:
    """ANTs' SyN without affine, its default settings."""
    import ants as antspy

    fixed, moving = (antspy.image_read(str(work / f"{name}.nii.gz")) for name in ("fixed", "aligned"))
    began = clock()
    found = antspy.registration(fixed, moving, type_of_transform="SyNOnly", initial_transform="identity", random_seed=1)
    seconds = since(began)
    warp = next(file for file in found["fwdtransforms"] if file.endswith(".nii.gz"))
    (work / "ants_bent.nii.gz").write_bytes(Path(warp).read_bytes())
    return seconds


def dipy(work: Path, threads: str) -> Times:
    """Symmetric diffeomorphic registration of dipy with cross-correlation."""
    import nibabel as nib
    from dipy.align.imwarp import SymmetricDiffeomorphicRegistration
    from dipy.align.metrics import CCMetric

    fixed, moving = (nib.load(work / f"{name}.nii.gz") for name in ("fixed", "aligned"))
    first, second = (np.asarray(image.dataobj, np.float64) for image in (fixed, moving))
    began = clock()
    method = SymmetricDiffeomorphicRegistration(CCMetric(3), [100, 50, 10])
    found = method.optimize(first, second, static_grid2world=fixed.affine, moving_grid2world=moving.affine)
    seconds = since(began)
    points = np.stack(np.meshgrid(*(np.arange(n) for n in first.shape), indexing="ij"), -1).reshape(-1, 3)
    places = points @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    moved = found.transform_points_inverse(places) if hasattr(found, "transform_points_inverse") else None
    if moved is None:
        raise RuntimeError("this dipy cannot move points")
    field = (moved - places).reshape(*first.shape, 1, 3) * [-1, -1, 1]
    image = nib.Nifti1Image(field.astype(np.float32), fixed.affine)
    image.header.set_intent(1007, allow_unknown=True)
    nib.save(image, work / "dipy_bent.nii.gz")
    return seconds


if __name__ == "__main__":
    main()
