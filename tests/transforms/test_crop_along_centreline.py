"""Windows along the cord are undone exactly, however the scan is stored, and lie where the centreline is."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from laws import for_all
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation

from ankleseg import keys
from ankleseg.errors import ConfigError
from ankleseg.transforms import CropAlongCentrelined
from ankleseg.volumes.geometry import anatomical_axis, reorient

ORIENTATIONS = ["".join(codes) for order in permutations(("LR", "PA", "IS")) for codes in product(*order)]


def _line(folder: Path) -> dict[str, Any]:
    """A line through the volume of the contract, in its world."""
    z = np.linspace(6.2, 20.4, 14)
    return {keys.CENTRELINE: np.column_stack([-13 + 0.1 * z, 18 + 0.2 * np.sin(z), z])}


EXAMPLES = {"CropAlongCentrelined": {"keys": ["image", "label", "foreground"], "size": [12, 10]}}
SAMPLES = {"CropAlongCentrelined": _line}


def scan(codes: str = "RAS", turn: float = 0.0) -> dict[str, Any]:
    """No two voxels alike, and a curved line from slice 3 to slice 16 of 20."""
    shape = (24, 30, 20)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [turn, turn, -turn], degrees=True).as_matrix() * [0.5, 0.6, 1.5]
    affine[:3, 3] = (11, -70, 200)
    z = np.arange(3, 17)
    points = np.column_stack([11 + 4 * np.sin(z / 4), 14 + 0.4 * z, z])
    image, turned = reorient(1.0 + np.arange(np.prod(shape), dtype=np.float32).reshape(shape), affine, codes)
    tensor = torch.from_numpy(np.ascontiguousarray(image))[None]
    world = points @ affine[:3, :3].T + affine[:3, 3]
    return {"image": MetaTensor(tensor, affine=torch.from_numpy(turned)), keys.CENTRELINE: world}


@for_all("codes", ORIENTATIONS)
@for_all(("size", "beyond"), [((9, 9), 0.0), ((8, 14), 3.0), ((60, 60), None)])
def test_crop_then_invert_returns_the_volume(codes, size, beyond):
    sample = scan(codes, turn=14)
    crop = CropAlongCentrelined("image", size=size, beyond=beyond)
    cut = crop(sample)
    back = crop.inverse(cut)["image"]
    old, new = sample["image"].as_tensor(), back.as_tensor()
    there = new != old.min()
    assert torch.equal(new[there], old[there])
    axis = anatomical_axis(sample["image"].affine.numpy(), "IS")
    kept = {0.0: 14, 3.0: 18, None: 20}[beyond]
    assert cut["image"].shape[1 + axis] == kept
    in_plane = [side for k, side in enumerate(cut["image"].shape[1:]) if k != axis]
    assert tuple(in_plane) == size
    whole = beyond is None
    assert there.sum() == (old.numel() - 1 if whole else int((cut["image"] != old.min()).sum()))
    assert torch.allclose(back.affine, sample["image"].affine) and not back.applied_operations


@for_all("codes", ["RAS", "PSR", "ILP", "LAI"])
def test_the_centreline_is_in_the_middle_of_each_window(codes):
    sample = scan(codes)
    affine = sample["image"].affine.numpy()
    voxels = np.rint((sample[keys.CENTRELINE] - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).astype(int)
    wanted = sorted(float(sample["image"][0, x, y, z]) for x, y, z in voxels)
    cut = CropAlongCentrelined("image", size=(5, 5))(sample)["image"]
    axis = anatomical_axis(affine, "IS")
    middle = cut[0].movedim(axis, 0)[:, 2, 2]
    assert sorted(middle.tolist()) == wanted


def test_slices_and_axes_of_the_result_are_told():
    sample = scan()
    cut = CropAlongCentrelined("image", size=(8, 8))(sample)["image"]
    assert np.allclose(cut.affine[:3, :3], sample["image"].affine[:3, :3])
    assert float(cut.affine[2, 3]) == pytest.approx(200 + 3 * 1.5)


def test_errors_name_the_mend():
    sample = scan()
    without = {"image": sample["image"]}
    expected = r"missing key 'centreline': expected the centreline of the cord; add a centreline model to checkpoint"
    with pytest.raises(ConfigError, match=expected):
        CropAlongCentrelined("image")(without)
    for moved in (sample[keys.CENTRELINE] + [0, 0, 500], sample[keys.CENTRELINE] - [90, 0, 0]):
        with pytest.raises(ConfigError, match="its centreline leaves the image; give the centreline of this scan"):
            CropAlongCentrelined("image")(sample | {keys.CENTRELINE: moved})
    with pytest.raises(ConfigError, match=r"invalid size \[80\]: expected 2 sides of a window"):
        CropAlongCentrelined("image", size=[80])
    with pytest.raises(ConfigError, match="invalid beyond -1: expected mm; choose 0 or more, or null"):
        CropAlongCentrelined("image", beyond=-1)
