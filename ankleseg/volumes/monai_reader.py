"""The one reader as a MONAI image reader, for ``LoadImaged(reader=ankleseg.volumes.Reader)``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from ankleseg.errors import AnklesegError, GeometryError
from ankleseg.volumes.checks import tell
from ankleseg.volumes.files import read_volume
from ankleseg.volumes.geometry import same_grid
from ankleseg.volumes.volume import Volume

FILES = "files"  # of each channel, in the metadata


class Reader(ImageReader):
    """Read a scan with all checks and messages of `read_volume`, as float32 with its affine to RAS+ mm.

    A list of files gives the channels of one scan, which must share a grid. ``FILE#frame=3`` is a frame of a sequence,
    counted from 0; what `read_volume` takes at the end of a DICOM path is taken too.

    MONAI tries its other readers on what one refuses, and would read a file that is refused here for a reason. So a
    refusal is kept until the voxels are asked for.

    Raises (when loading):
        FileError: what `read_volume` refuses.
        GeometryError: the channels are on different grids.
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        return True

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[Volume] | AnklesegError:
        try:
            volumes = [read_volume(str(path)) for path in ensure_tuple(data)]
            require_one_grid(volumes)
        except AnklesegError as error:
            return error
        for volume in volumes:
            tell(volume.header, all_remarks=True)
        return volumes

    def get_data(self, img: list[Volume] | AnklesegError) -> tuple[np.ndarray, dict[str, Any]]:
        if isinstance(img, AnklesegError):
            raise img
        first = img[0]
        meta = {
            MetaKeys.AFFINE: first.affine.copy(),
            MetaKeys.ORIGINAL_AFFINE: first.affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.array(first.data.shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
            FILES: [str(volume.path) for volume in img],
        }
        return np.stack([volume.data for volume in img]), meta


def require_one_grid(volumes: Sequence[Volume]) -> None:
    """Refuse channels on different grids.

    Raises:
        GeometryError: naming the file that is not on the grid of the first.
    """
    first = volumes[0]
    for volume in volumes[1:]:
        if not same_grid(first.data.shape, first.affine, volume.data.shape, volume.affine):
            raise GeometryError(
                f"is not on the grid of {first.path or 'the first channel'}",
                file=volume.path,
                mend="resample the channels of a case onto one grid, "
                f"e.g. by python -m ankleseg.register fixed={first.path} moving={volume.path} out=DIR",
            )
