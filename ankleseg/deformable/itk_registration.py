"""ITK's registration of two scans: rigid, affine, and free form deformation by cubic B-splines.

Everything is in millimetres, sampled at the same points every time, by one work unit: equal scans give equal results.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from ankleseg.deformable.scans import Scan
from ankleseg.volumes.itk_images import RAS_FROM_LPS
from ankleseg.volumes.poses import transform

Kind = Literal["rigid", "affine"]
Matrix = Float[np.ndarray, "4 4"]

BINS = 32
WORK_UNITS = 1  # several add up their sums in the order in which they end
SHARE = 0.25  # of the voxels of the fixed scan, a regular pattern
ITERATIONS = 150
LEAST_STEP = 1e-3  # of the first
RELAXATION = 0.6  # of the step where the gradient turns
SPLINE_ITERATIONS = 60  # at each level
SEED = 1  # of the jitter around the pattern of samples


def descend_affine(fixed: Scan, moving: Scan, start: Matrix, kind: Kind, *, step: float) -> Matrix:
    """Follow the mutual information (Mattes 2003) of two scans from a start.

    Args:
        fixed, moving: at one resolution.
        start: ``moving_from_fixed``, RAS+ mm.
        kind: ``rigid`` needs a start that is.
        step: the first and longest step, mm.

    Returns:
        ``moving_from_fixed``.
    """
    import itk

    places = fixed.points()
    radius = float(np.sqrt(((places - places.mean(0)) ** 2).sum(1).mean()))
    unit = np.diag([1 / radius, 1 / radius, 1 / radius, 1])  # lengths in radii: a step turns as far as it shifts
    fixed = Scan(fixed.data, unit @ fixed.affine)
    moving = Scan(moving.data, unit @ np.linalg.inv(start) @ moving.affine)  # so that ITK begins at the identity
    moved = itk.VersorRigid3DTransform[itk.D].New() if kind == "rigid" else itk.AffineTransform[itk.D, 3].New()
    moved.SetCenter(transform(RAS_FROM_LPS @ unit, places).mean(0).tolist())
    turning = [4.0] * 3 if kind == "rigid" else [1.0] * 9  # a versor is half the angle
    optimizer = itk.RegularStepGradientDescentOptimizerv4[itk.D].New(
        LearningRate=step / radius,
        MinimumStepLength=LEAST_STEP * step / radius,
        RelaxationFactor=RELAXATION,
        NumberOfIterations=ITERATIONS,
    )
    scales = itk.OptimizerParameters[itk.D]()
    scales.SetSize(len(turning) + 3)
    for number, scale in enumerate([*turning, 1.0, 1.0, 1.0]):
        scales.SetElement(number, scale)
    optimizer.SetScales(scales)
    optimizer.DoEstimateLearningRateOnceOff()
    method = _method(fixed, moving, optimizer, moved, [1], [0.0])
    method.Update()
    found = np.eye(4)
    found[:3, :3] = itk.array_from_matrix(moved.GetMatrix())
    found[:3, 3] = list(moved.GetOffset())
    return start @ np.linalg.inv(unit) @ RAS_FROM_LPS @ found @ RAS_FROM_LPS @ unit


def register_spline(fixed: Scan, moving: Scan, *, knots_mm: float = 20.0) -> Float[np.ndarray, "x y z 3"]:
    """Register by a free form deformation (Rueckert 1999): the displacement in RAS+ mm at the voxels of the fixed scan.

    Args:
        fixed, moving: on one grid, affinely aligned.
        knots_mm: between the control points.
    """
    import itk

    image = _as_itk(fixed)
    extent = np.array(fixed.data.shape) * np.linalg.norm(fixed.affine[:3, :3], axis=0)
    moved = itk.BSplineTransform[itk.D, 3, 3].New()
    initializer = itk.BSplineTransformInitializer[type(moved), type(image)].New(Transform=moved, Image=image)
    initializer.SetTransformDomainMeshSize([max(1, round(length / knots_mm)) for length in extent])
    initializer.InitializeTransform()
    optimizer = itk.LBFGSOptimizerv4.New(NumberOfIterations=SPLINE_ITERATIONS, GradientConvergenceTolerance=1e-6)
    method = _method(fixed, moving, optimizer, moved, [4, 2], [2.0, 1.0])
    method.Update()
    kind = itk.Image[itk.Vector[itk.F, 3], 3]
    field = itk.TransformToDisplacementFieldFilter[kind, itk.D].New(Transform=moved)
    field.SetReferenceImage(image)
    field.UseReferenceImageOn()
    field.Update()
    return itk.array_from_image(field.GetOutput()).transpose(2, 1, 0, 3) * np.array([-1, -1, 1], np.float32)


def _method(fixed: Scan, moving: Scan, optimizer: Any, moved: Any, shrink: list[int], smooth: list[float]) -> Any:
    import itk

    kind = itk.Image[itk.F, 3]
    metric = itk.MattesMutualInformationImageToImageMetricv4[kind, kind].New(NumberOfHistogramBins=BINS)
    metric.SetMaximumNumberOfWorkUnits(WORK_UNITS)
    method = itk.ImageRegistrationMethodv4[kind, kind].New(
        FixedImage=_as_itk(fixed), MovingImage=_as_itk(moving), Metric=metric, Optimizer=optimizer
    )
    method.SetInitialTransform(moved)
    method.InPlaceOn()
    method.SetNumberOfLevels(len(shrink))
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel(smooth)
    method.SetMetricSamplingStrategy(itk.ImageRegistrationMethodv4Enums.MetricSamplingStrategy_REGULAR)
    method.SetMetricSamplingPercentage(SHARE)
    method.MetricSamplingReinitializeSeed(SEED)
    return method


def _as_itk(scan: Scan) -> Any:
    import itk

    image = itk.image_from_array(np.ascontiguousarray(scan.data.T, dtype=np.float32))
    lps = RAS_FROM_LPS @ scan.affine
    size = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(size.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / size)))
    return image
