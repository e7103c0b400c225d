"""The peers of ``benchmarks/rigid.py``: elastix and greedy on the jobs of a folder; runs in an environment of theirs.

    python benchmarks/rigid_peers.py JOBS RESULTS THREADS WAY…

A job is an ``.npz`` with one bone on one frame. One line of JSON is written for each job and way: seconds without
reading files or building images, and ``static_from_frame`` (4×4, RAS+ mm), or null with the reason where a tool gave
up.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS to LPS and back
SMOOTHING = (2.0, 1.0, 0.0)  # mm, in the levels of elastix
LEVELS = "100x100x60"  # most iterations in the levels of greedy
FRAME_NCC = "NCC 2x2x0"  # voxels, about the same patch as

Register = Callable[[], np.ndarray]


def main() -> None:
    """Write what each way finds in each job."""
    jobs, results, threads, ways = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    for path in sorted(jobs.glob("*.npz")):
        job = dict(np.load(path))
        for way in ways:
            register = prepare(way, job, threads)
            began = time.perf_counter()
            try:
                found, reason = register().tolist(), ""
            except Exception as error:  # a tool that gives up has lost this job, not the contest
                found, reason = None, str(error).strip().splitlines()[-1]
            seconds = time.perf_counter() - began
            row = {"job": path.stem, "way": way, "seconds": seconds, "static_from_frame": found, "reason": reason}
            with results.open("a") as file:  # the tools write to the standard output whatever they like
                file.write(json.dumps(row) + "\n")


def prepare(way: str, job: dict[str, np.ndarray], threads: int) -> Register:
    """Build the images of a way, named ``tool metric[, blurred]``."""
    name, *options = way.split(", ")
    tool, metric = name.split()
    static = job["blurred" if "blurred" in options else "static"]
    if tool == "elastix":
        return elastix(metric, job, static, threads)
    return greedy(job, static, threads)


def elastix(metric: str, job: dict[str, np.ndarray], static: np.ndarray, threads: int) -> Register:
    """The static scan, its header already moved by the start, on the frame; samples are voxels of the frame."""
    import itk

    def image(values: np.ndarray, affine: np.ndarray):
        origin, spacing, direction = lps_geometry(affine)
        result = itk.image_from_array(np.ascontiguousarray(values.T))
        result.SetOrigin(origin)
        result.SetSpacing(spacing)
        result.SetDirection(itk.matrix_from_array(direction))
        return result

    start = np.linalg.inv(job["static_from_frame"])
    method = itk.ElastixRegistrationMethod.New(
        image(job["frame"], job["frame_affine"]), image(static, start @ job["static_affine"])
    )
    method.SetFixedMask(image((job["frame_weight"] > 0.5).astype(np.uint8), job["frame_affine"]))
    parameters = itk.ParameterObject.New()
    parameters.AddParameterMap(parameter_map(metric, np.linalg.norm(job["frame_affine"][:3, 0])))
    method.SetParameterObject(parameters)
    method.SetNumberOfThreads(threads)
    method.SetLogToConsole(False)

    def register() -> np.ndarray:
        method.UpdateLargestPossibleRegion()
        found = method.GetTransformParameterObject().GetParameterMap(0)
        values = [np.array(found[key], float) for key in ("TransformParameters", "CenterOfRotationPoint")]
        return job["static_from_frame"] @ FLIP @ euler(*values) @ FLIP

    return register


def parameter_map(metric: str, pixel: float) -> dict[str, tuple[str, ...]]:
    """A usual rigid set-up of elastix with three levels; nothing is smoothed across the slices of the frame."""
    measure = {"NCC": "AdvancedNormalizedCorrelation", "MI": "AdvancedMattesMutualInformation"}[metric]
    levels = len(SMOOTHING)
    return {
        "Registration": ("MultiResolutionRegistration",),
        "Transform": ("EulerTransform",),
        "Metric": (measure,),
        "Optimizer": ("AdaptiveStochasticGradientDescent",),
        "Interpolator": ("LinearInterpolator",),
        "ImageSampler": ("Random",),
        "NumberOfSpatialSamples": ("4000",),
        "NewSamplesEveryIteration": ("true",),
        "MaximumNumberOfIterations": ("250",),
        "AutomaticParameterEstimation": ("true",),
        "AutomaticScalesEstimation": ("true",),
        "AutomaticTransformInitialization": ("false",),
        "NumberOfHistogramBins": ("32",),
        "RequiredRatioOfValidSamples": ("0.05",),
        "NumberOfResolutions": (str(levels),),
        "FixedImagePyramid": ("FixedSmoothingImagePyramid",),
        "MovingImagePyramid": ("MovingGenericImagePyramid",),
        "MovingImagePyramidRescaleSchedule": ("1",) * 3 * levels,
        # Twice the standard deviation in voxels.
        "FixedImagePyramidSchedule": tuple(f"{round(2 * mm / pixel * u)}" for mm in SMOOTHING for u in (1, 1, 0)),
        "MovingImagePyramidSmoothingSchedule": tuple(f"{mm}" for mm in SMOOTHING for _ in range(3)),
        "ErodeMask": ("false",),
        "WriteResultImage": ("false",),
        "ResampleInterpolator": ("FinalLinearInterpolator",),
        "Resampler": ("DefaultResampler",),
        "FixedInternalImagePixelType": ("float",),
        "MovingInternalImagePixelType": ("float",),
        "RandomSeed": ("1",),
    }


def greedy(job: dict[str, np.ndarray], static: np.ndarray, threads: int) -> Register:
    """The static scan on the frame, weighted there by the bone in its starting pose.

    NCC alone: WNCC was lost from the same starts. The frame on the static scan takes minutes a bone at full size.
    """
    import SimpleITK as sitk
    from picsl_greedy import Greedy3D

    def image(values: np.ndarray, affine: np.ndarray):
        origin, spacing, direction = lps_geometry(affine)
        result = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
        result.SetOrigin(origin)
        result.SetSpacing(spacing)
        result.SetDirection(direction.ravel())
        return result

    frame, scan = image(job["frame"], job["frame_affine"]), image(static, job["static_affine"])
    start = job["static_from_frame"]
    given = {"fixed": frame, "moving": scan, "weight": image(job["frame_weight"], job["frame_affine"])}
    matrix = Path(tempfile.gettempdir()) / f"start-{os.getpid()}.mat"  # greedy reads no start from memory
    np.savetxt(matrix, start, fmt="%.12f")
    tool = Greedy3D()

    def register() -> np.ndarray:
        tool.execute(
            f"-a -dof 6 -m {FRAME_NCC} -i fixed moving -gm weight -ia {matrix} -o found -n {LEVELS} "
            f"-threads {threads} -seed 1 -V 0",
            **given,
            found=None,
        )
        matrix.unlink()
        return np.array(tool["found"], float)  # moving_from_fixed, RAS

    return register


def lps_geometry(affine: np.ndarray) -> tuple[list[float], list[float], np.ndarray]:
    """Origin, spacing and direction of an ITK image, LPS, from a RAS affine."""
    turned = FLIP @ affine
    spacing = np.linalg.norm(turned[:3, :3], axis=0)
    return turned[:3, 3].tolist(), spacing.tolist(), turned[:3, :3] / spacing


def euler(parameters: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """4×4 matrix of an ITK Euler transform: R = Rz Rx Ry about the centre, then a shift."""
    rotations = []
    for axis, angle in enumerate(parameters[:3]):
        one = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        rotations.append(one)
    matrix = np.eye(4)
    matrix[:3, :3] = rotations[2] @ rotations[0] @ rotations[1]
    matrix[:3, 3] = centre + parameters[3:] - matrix[:3, :3] @ centre
    return matrix


if __name__ == "__main__":
    main()
