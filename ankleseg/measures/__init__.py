"""Pure functions on arrays: overlap, surface distance, morphometry."""

from ankleseg.measures.morphometry import volume_ml
from ankleseg.measures.overlap import Overlap, overlap
from ankleseg.measures.surface import SurfaceDistance, surface_distance

__all__ = ["Overlap", "SurfaceDistance", "overlap", "surface_distance", "volume_ml"]
