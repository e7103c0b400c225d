"""Pure functions on arrays: overlap, surface distance, image quality, volumetry, motion of the joints."""

from ankleseg.measures.anatomical_frames import anatomical_frames, common_axes
from ankleseg.measures.centreline import (
    Centreline,
    CentrelineError,
    centreline_error,
    centreline_of_mask,
    find_centreline,
)
from ankleseg.measures.cord_mask import mended_cord
from ankleseg.measures.cord_shape import CordShape, cord_shape
from ankleseg.measures.helical_axes import finite_helical_axes, helical_axis, mean_helical_axis
from ankleseg.measures.image_quality import (
    correlation,
    psnr,
    ssim,
)
from ankleseg.measures.kinematics import joint_angles, joint_motion, motion_rows, ranges_of_motion
from ankleseg.measures.label_agreement import LabelAgreement, label_agreement
from ankleseg.measures.landmark_frames import frames_from_landmarks
from ankleseg.measures.lesions import Lesion, LesionScores, lesion_scores
from ankleseg.measures.mask_shape import MaskShape, ShapeRanges, mask_shape, shape_ranges
from ankleseg.measures.morphometry import volume_ml
from ankleseg.measures.motion_groups import compare_groups
from ankleseg.measures.overlap import Overlap, expected_dice, overlap
from ankleseg.measures.pose_smoothing import smooth_poses
from ankleseg.measures.surface import SurfaceDistance, surface_distance
from ankleseg.measures.volumetry import (
    Variation,
    variation,
    variation_of_acquisitions,
    variation_within_subjects,
    volume_ratios,
)

__all__ = [
    "Centreline",
    "CentrelineError",
    "CordShape",
    "LabelAgreement",
    "Lesion",
    "LesionScores",
    "MaskShape",
    "Overlap",
    "ShapeRanges",
    "SurfaceDistance",
    "Variation",
    "anatomical_frames",
    "centreline_error",
    "centreline_of_mask",
    "common_axes",
    "compare_groups",
    "cord_shape",
    "correlation",
    "expected_dice",
    "find_centreline",
    "finite_helical_axes",
    "frames_from_landmarks",
    "helical_axis",
    "joint_angles",
    "joint_motion",
    "label_agreement",
    "lesion_scores",
    "mask_shape",
    "mean_helical_axis",
    "mended_cord",
    "motion_rows",
    "overlap",
    "psnr",
    "ranges_of_motion",
    "shape_ranges",
    "smooth_poses",
    "ssim",
    "surface_distance",
    "variation",
    "variation_of_acquisitions",
    "variation_within_subjects",
    "volume_ml",
    "volume_ratios",
]
