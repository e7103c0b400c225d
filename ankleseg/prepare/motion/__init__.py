"""The ankle in motion: from a cohort as it leaves the scanner to registered sequences and joint angles."""

from ankleseg.prepare.motion.cohort import describe, prepare_motion_cohort
from ankleseg.prepare.motion.recipe import MotionRecipe
from ankleseg.prepare.motion.result import SubjectResult
from ankleseg.prepare.motion.weights import BoneWeights

__all__ = ["BoneWeights", "MotionRecipe", "SubjectResult", "describe", "prepare_motion_cohort"]
