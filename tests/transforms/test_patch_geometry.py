"""A patch lies in the world where it says: whatever is cut, turned and flipped, in every orientation."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from ankleseg.transforms import RandAnatomicalFlipd, RandForegroundCropd, RandThickSlicesd, RandWorldAffined
from ankleseg.volumes.geometry import reorient

SHAPE = (20, 18, 16)
TURNED = np.array([[0.97, -0.2, 0.1], [0.2, 0.98, -0.05], [-0.1, 0.06, 0.99]])  # an oblique scan, nearly


def world(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Position of each voxel in mm, a channel a coordinate."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).reshape(len(shape), -1)
    index = np.concatenate([index, np.zeros((3 - len(shape), index.shape[1])), np.ones((1, index.shape[1]))])
    return (affine @ index)[:3].reshape(3, *shape)


def test_the_voxels_of_a_patch_are_those_at_its_affine() -> None:
    affine = np.eye(4)
    affine[:3, :3] = TURNED * [0.7, 0.9, 1.3]
    affine[:3, 3] = (-20, 10, 5)
    flips, moves = {"axes": ("LR", "PA", "IS"), "pairs": []}, {"rotate": 15, "zoom": (0.9, 1.2), "shift": 1.0}
    block = Compose(
        [
            RandForegroundCropd(["image", "foreground"], (11, 12, 13), 0.0, margin=1),
            RandWorldAffined(["image"], size=(9, 10, 11), **moves),
            RandThickSlicesd(["image"], finest=(None, None, None), size=(7, 8, 9), noise=0),
            RandAnatomicalFlipd(["image", "target"], **flips),
        ]
    )
    plane = Compose(
        [RandForegroundCropd("image", (9, 8), 0.0, margin=2), RandWorldAffined("image", size=(9, 8), **moves)]
    )
    for number, codes in enumerate("".join(c) for o in permutations(("LR", "PA", "IS")) for c in product(*o)):
        places = [reorient(channel, affine, codes) for channel in world(SHAPE, affine)]
        image = MetaTensor(torch.from_numpy(np.stack([p for p, _ in places])), affine=torch.from_numpy(places[0][1]))
        inside = MetaTensor(torch.ones_like(image.as_tensor())[:1] > 0, affine=image.affine)
        for transform in (block, plane):
            patch = transform.set_random_state(number)({"image": image, "foreground": inside})
            for key in patch.keys() & {"image", "target"}:
                array, found = patch[key].as_tensor().numpy(), world(patch[key].shape[1:], patch[key].affine.numpy())
                assert array.shape[1:] in ((7, 8, 9), (9, 8))
                assert np.median(abs(array - found[: len(array)])) < 1e-3, (codes, key)
