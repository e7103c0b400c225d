"""Classical segmentation, without a network: what is bright in a scan, by thresholds, regions, edges and clusters.

A method is called with intensities from 0 to 1 inside a mask (`scaled`), that mask and the size of a voxel, and returns
the bright part of it. It is told nothing of any reference.
"""

from ankleseg.classical.brightness import bright_level, scaled
from ankleseg.classical.clusters import KMeans, MeanShift
from ankleseg.classical.edges import Edges
from ankleseg.classical.fuzzy_c_means import FuzzyCMeans
from ankleseg.classical.regions import RegionGrowing
from ankleseg.classical.snakes import Snakes
from ankleseg.classical.split_and_merge import SplitAndMerge
from ankleseg.classical.thresholds import AdaptiveThreshold, GlobalThreshold, OtsuThreshold
from ankleseg.classical.tumour import REGIONS, Method, tumour_masks

__all__ = [
    "REGIONS",
    "AdaptiveThreshold",
    "Edges",
    "FuzzyCMeans",
    "GlobalThreshold",
    "KMeans",
    "MeanShift",
    "Method",
    "OtsuThreshold",
    "RegionGrowing",
    "Snakes",
    "SplitAndMerge",
    "bright_level",
    "scaled",
    "tumour_masks",
]
