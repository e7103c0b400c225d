"""Our checks and messages in MONAI's ``LoadImaged``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import LoadImaged
from volume_grids import GRIDS, counting

from ankleseg.errors import AnklesegError, FileError, GeometryError, own_errors
from ankleseg.volumes import Reader, read_volume, write_volume

LOAD = LoadImaged("image", reader=Reader, ensure_channel_first=True)


def loaded(*files: object) -> torch.Tensor:
    with own_errors():
        return LOAD({"image": [str(file) for file in files]})["image"]


def test_a_scan_is_what_our_reader_reads_on_every_grid(tmp_path: Path) -> None:
    for name, affine in GRIDS.items():
        path = write_volume(tmp_path / f"{name}.nii.gz", counting(), affine)
        image, expected = loaded(path), read_volume(path)
        assert image.dtype == torch.float32 and np.array_equal(image[0], expected.data), name
        assert np.allclose(image.affine, expected.affine) and np.allclose(image.affine, affine, atol=1e-5)


def test_files_are_channels_and_a_frame_is_named_after_its_sequence(tmp_path: Path) -> None:
    stacked = np.random.default_rng(0).normal(size=(6, 5, 4, 3)).astype(np.float32)
    sequence = write_volume(tmp_path / "cine.nii.gz", stacked, np.eye(4))
    channels = loaded(f"{sequence}#frame=2", f"{sequence}#frame=0")
    assert np.array_equal(channels, np.moveaxis(stacked[..., [2, 0]], -1, 0))


def test_what_we_refuse_no_other_reader_of_monai_reads(tmp_path: Path) -> None:
    """It would read most of these."""
    data = np.ones((4, 4, 4), np.float32)
    good = write_volume(tmp_path / "good.nii.gz", data, np.eye(4))
    moved = write_volume(tmp_path / "moved.nii.gz", data, np.diag([1.0, 1.0, 1.5, 1.0]))
    sequence = write_volume(tmp_path / "cine.nii.gz", np.ones((4, 4, 4, 2), np.float32), np.eye(4))
    nan = write_volume(tmp_path / "nan.nii.gz", np.where(np.arange(64).reshape(4, 4, 4) == 7, np.nan, data), np.eye(4))
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(good.read_bytes()[:-30])
    for files, kind, message in [
        ([tmp_path / "gone.nii.gz"], FileError, "gone.nii.gz: does not exist"),
        (
            [good, moved],
            GeometryError,
            "moved.nii.gz: is not on the grid of .*good.nii.gz; resample the channels of a case onto one grid, e.g. by "
            "python -m ankleseg.register fixed=.*good.nii.gz moving=.*moved.nii.gz out=DIR",
        ),
        ([sequence], AnklesegError, "cine.nii.gz: has 4 dimensions"),
        ([nan], FileError, "nan.nii.gz: holds 1 NaN or infinite voxels"),
        ([broken], FileError, "broken.nii.gz: "),
    ]:
        with pytest.raises(kind, match=message):
            loaded(*files)
