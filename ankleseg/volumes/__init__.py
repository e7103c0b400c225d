"""Volumes: geometry found from affines, the one reader, the one writer, and the checks before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ankleseg.volumes.archives import extract_archive
from ankleseg.volumes.checks import (
    CaseCheck,
    Finding,
    Verdict,
    check_case,
    check_grid,
    check_image,
    check_mask,
    header_remarks,
    tell,
    tell_of_mask,
    told_in_a_table,
)
from ankleseg.volumes.files import read_header, read_volume
from ankleseg.volumes.formats import IMAGE_ENDINGS, missing_file, not_downloaded, require_file
from ankleseg.volumes.geometry import (
    anatomical_axis,
    axis_codes,
    diagonal_mm,
    holds_grid,
    is_left_handed,
    reorient,
    resample,
    resampled_grid,
    same_grid,
    slice_axis,
    spacing,
    voxel_distance,
)
from ankleseg.volumes.masks import read_label_map, read_mask
from ankleseg.volumes.memory import available_memory
from ankleseg.volumes.meshes import fill_mesh
from ankleseg.volumes.segments import Segment, is_segmentation_name, read_segments
from ankleseg.volumes.selection import selection_suffix, without_selection
from ankleseg.volumes.volume import Header, Remark, Volume, covered_by, on_grid_of, with_header_of
from ankleseg.volumes.writing import write_volume

if TYPE_CHECKING:
    from ankleseg.volumes.monai_reader import Reader

__all__ = [
    "IMAGE_ENDINGS",
    "CaseCheck",
    "Finding",
    "Header",
    "Reader",
    "Remark",
    "Segment",
    "Verdict",
    "Volume",
    "anatomical_axis",
    "available_memory",
    "axis_codes",
    "check_case",
    "check_grid",
    "check_image",
    "check_mask",
    "covered_by",
    "diagonal_mm",
    "extract_archive",
    "fill_mesh",
    "header_remarks",
    "holds_grid",
    "is_left_handed",
    "is_segmentation_name",
    "missing_file",
    "not_downloaded",
    "on_grid_of",
    "read_header",
    "read_label_map",
    "read_mask",
    "read_segments",
    "read_volume",
    "reorient",
    "require_file",
    "resample",
    "resampled_grid",
    "same_grid",
    "selection_suffix",
    "slice_axis",
    "spacing",
    "tell",
    "tell_of_mask",
    "told_in_a_table",
    "voxel_distance",
    "with_header_of",
    "without_selection",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    if name == "Reader":  # MONAI takes seconds to import
        from ankleseg.volumes.monai_reader import Reader

        return Reader
    raise AttributeError(f"module 'ankleseg.volumes' has no attribute {name!r}")
