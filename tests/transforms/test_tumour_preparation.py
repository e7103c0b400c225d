"""``prepare=tumour``: a box of one size, centred on the brain, that prediction undoes, in every orientation."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ankleseg.config import compose, to_plain
from ankleseg.transforms import Preparation
from ankleseg.volumes.geometry import reorient

SIZE = (16, 18, 12)
ORIENTATIONS = ["".join(codes) for order in permutations(("LR", "PA", "IS")) for codes in product(*order)]


def preparation(prepare: str = "tumour", size: tuple[int, ...] = SIZE) -> Preparation:
    words = [f"prepare={prepare}", f"prepare.size={list(size)}"]
    return Preparation(to_plain(compose("train", words).prepare.transforms))


def scan(codes: str = "LPS", shape: tuple[int, int, int] = (24, 26, 15)) -> tuple[dict[str, Any], np.ndarray]:
    """A brain off the middle, zero around it, in two channels, and its label."""
    brain = np.zeros(shape, bool)
    brain[3:15, 8:22, 2:11] = True
    image = np.where(brain, 50 + 100 * np.random.default_rng(0).random((2, *shape)), 0).astype(np.float32)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    label = np.zeros((1, *shape), np.uint8)
    label[0, 5:9, 10:14, 4:7] = 1
    turned = {
        key: [reorient(one, affine, codes) for one in array] for key, array in (("image", image), ("label", label))
    }
    tensors = {
        key: MetaTensor(torch.from_numpy(np.stack([one for one, _ in each])), affine=torch.as_tensor(each[0][1]))
        for key, each in turned.items()
    }
    return {**tensors, "side": ""}, np.stack([one for one, _ in turned["image"]])


def test_the_box_is_centred_on_the_brain_and_undone_in_every_orientation() -> None:
    prepare = preparation()
    for codes in ORIENTATIONS:
        sample, image = scan(codes)
        found = prepare(sample)
        assert found["image"].shape == (2, *SIZE) and found["label"].shape == found["foreground"].shape == (1, *SIZE)
        inside = np.argwhere(np.asarray(found["foreground"][0]))
        middle = (inside.min(0) + inside.max(0)) / 2
        assert abs(middle - (np.array(SIZE) - 1) / 2).max() <= 0.5, codes
        assert found["label"].sum() == 4 * 4 * 3 and len(inside) == 12 * 14 * 9, "nothing of the brain is lost"
        values = found["image"].as_tensor()
        assert values.min() == 0 and values.max() == 1 and (values[:, found["foreground"][0] == 0] == 0).all()
        raw = torch.cat([found["foreground"].float(), found["label"].float()])
        back = prepare.restore(raw, found["image"])
        assert np.allclose(back.affine, sample["image"].affine) and back.shape[1:] == image.shape[1:], codes
        assert np.array_equal(np.asarray(back[0]) > 0.5, image[0] > 0) and back[1].sum() == 4 * 4 * 3


@pytest.mark.parametrize("size", [(8, 8, 8), (40, 40, 40)])
def test_a_brain_larger_than_the_box_is_cut_evenly_and_a_smaller_scan_is_padded(size: tuple[int, ...]) -> None:
    sample, image = scan()
    prepare = preparation(size=size)
    found = prepare(sample)
    assert found["image"].shape == (2, *size)
    back = prepare.restore(found["foreground"].float(), found["image"])
    kept = np.asarray(back[0]) > 0.5
    assert not (kept & (image[0] == 0)).any()
    assert kept.sum() == np.prod([min(side, n) for side, n in zip(size, (12, 14, 9), strict=True)])


def test_the_z_score_is_that_of_the_brain() -> None:
    found = preparation("tumour_z_score")(scan()[0])
    inside = found["image"].as_tensor()[:, found["foreground"].as_tensor()[0]]
    torch.testing.assert_close(inside.mean(1), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(inside.std(1), torch.ones(2), atol=1e-2, rtol=0)
