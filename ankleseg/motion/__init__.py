"""The ankle in motion: from a cohort as it leaves the scanner to registered sequences and joint angles."""

from ankleseg.motion.cohort import describe, prepare_motion_cohort, prepared_in_motion
from ankleseg.motion.result import SubjectResult
from ankleseg.motion.settings import MotionSettings
from ankleseg.motion.weights import BoneWeights

__all__ = ["BoneWeights", "MotionSettings", "SubjectResult", "describe", "prepare_motion_cohort", "prepared_in_motion"]
