"""Laws of moving scans by known fields: nothing folds, the field leads back, and no voxel goes farther than asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from laws import for_all

from ankleseg.errors import ConfigError
from ankleseg.measures.deformation import folded_share, jacobian_determinant
from ankleseg.networks import composed, warped
from ankleseg.transforms import RandSmoothFieldd

EXAMPLES = {"RandSmoothFieldd": {"keys": ("image", "label"), "largest": (1.0, 2.0), "smoothness": (3.0, 5.0)}}
KINDS = ("velocity", "elastic", "b_spline")
MM = (1.0, 1.5, 2.0)


def blob(shape: tuple[int, ...] = (48, 40, 32)) -> dict[str, Any]:
    """A smooth image with its label, and the scan itself as what moves."""
    places = np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij")
    image = np.sin(9 * places[0]) * np.cos(8 * places[1]) + sum(places)
    tensor = torch.from_numpy(image.astype(np.float32))[None]
    label = (tensor > 1).to(torch.uint8)
    affine = np.diag([*MM, 1.0])
    return {"image": tensor, "moving": tensor.clone(), "moving_label": label, "affine": affine}


@for_all("kind", KINDS)
def test_the_field_leads_back_folds_nothing_and_stays_within_its_bound(kind: str) -> None:
    transform = RandSmoothFieldd(["moving", "moving_label"], kind=kind, largest=(6, 6), smoothness=(8, 8))
    transform.set_random_state(3)
    before = blob()
    after = transform(before)
    truth = after["displacement"]
    far = (truth * torch.tensor(MM).reshape(3, 1, 1, 1)).norm(dim=0)
    assert truth.dtype == torch.float32 and 2 < far.max() <= 6.2
    assert folded_share(jacobian_determinant(truth.numpy())) == 0
    assert (after["moving"] - before["moving"]).abs().max() > 0.1, "something moved"
    inner = (..., slice(8, -8), slice(8, -8), slice(8, -8))
    back = warped(after["moving"][None], truth[None])[0]
    assert (back - before["image"])[inner].abs().max() < 0.06
    assert after["moving_label"].unique().tolist() == [0, 1]
    assert torch.equal(before["moving"], before["image"]), "the input is as it was"


def test_a_negative_velocity_is_the_inverse() -> None:
    transform = RandSmoothFieldd("moving", largest=(6, 6), smoothness=(8, 8)).set_random_state(1)
    transform.randomize()
    there, back = transform._fields((48, 40, 32), np.array(MM))
    inner = (..., slice(8, -8), slice(8, -8), slice(8, -8))
    assert composed(there, back)[inner].norm(dim=1).max() < 0.1


def test_planes_move_too_and_what_is_not_drawn_stays() -> None:
    plane = {"moving": torch.rand(1, 40, 30), "affine": np.eye(4)}
    given = RandSmoothFieldd("moving", largest=(3, 3), smoothness=(6, 6)).set_random_state(0)(plane)
    assert given["displacement"].shape == (2, 40, 30) and given["displacement"].abs().max() > 1
    still = RandSmoothFieldd("moving", prob=0.0)(plane)
    assert torch.equal(still["moving"], plane["moving"]) and not still["displacement"].any()


@for_all(
    ("settings", "message"),
    [
        ({"kind": "spline"}, "invalid kind 'spline': expected one of velocity, elastic, b_spline"),
        ({"largest": [5, 2]}, r"invalid largest \[5, 2\]: expected a range in mm"),
        ({"smoothness": [0, 2]}, r"invalid smoothness \[0, 2\]: expected a range in mm"),
        ({"mode": "cubic"}, "invalid mode 'cubic': expected one of bilinear, nearest"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RandSmoothFieldd("moving", **settings)
