"""Every list of random transforms that is shipped can be built and used."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose

from ankleseg.config import build, compose
from ankleseg.transforms import RandSliceFromBlockd

LISTS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "augment").glob("*.yaml"))


def test_patches_stay_patches() -> None:
    assert LISTS
    composed = {name: compose("train", [f"augment={name}", "left_right_pairs=[]"]).augment.transforms for name in LISTS}
    lists = {
        name: Compose([build(node) for node in nodes])
        for name, nodes in composed.items()
        if not any("moving" in node.get("keys", ()) for node in nodes)  # those make the second scan of a pair
    }
    assert lists
    for (name, transform), dimensions in product(lists.items(), (2, 3)):
        takes_blocks = any(isinstance(each, RandSliceFromBlockd) for each in transform.transforms)
        if takes_blocks and dimensions == 2:
            continue
        shape = (32, 30, 12)[:dimensions]
        image = torch.rand((1, *shape), generator=torch.Generator().manual_seed(0))
        sample = {
            "image": image,
            "label": (3 * image).to(torch.uint8),
            "affine": np.diag([0.5, 0.6, 3.0, 1.0]),
            "image_range": torch.tensor([[0.0, 1.0]]),
        }
        for seed in range(3):
            given = transform.set_random_state(seed)(sample)
            assert set(given) == set(sample) and given["image"].shape == given["label"].shape
            assert given["image"].shape == (image.shape[:-1] if takes_blocks else image.shape)
            assert given["image"].isfinite().all() and given["label"].dtype == torch.uint8
            assert torch.equal(given["image"], image) == (name == "none")
