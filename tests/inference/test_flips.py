"""A scan predicted in its mirror images too: found in the patient's axes, brought back, refused where sides matter."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import torch
from small_models import model_of, tiles_of
from torch import nn

from ankleseg.cohorts import Case
from ankleseg.errors import ConfigError
from ankleseg.inference import predict_case
from ankleseg.inference.flips import averaged_over_flips, checked_flips
from ankleseg.labels import Labels
from ankleseg.volumes import write_volume
from ankleseg.volumes.geometry import reorient

BOTH = Labels(structures=["left", "right", "middle"], regions=True, pairs=[["left", "right"]])
SHAPE = (4, 5, 6)
ORIENTATIONS = ["".join(codes) for order in permutations(("LR", "PA", "IS")) for codes in product(*order)]


def test_what_looks_the_same_mirrored_gives_the_same_answer_in_every_orientation() -> None:
    volume = np.random.default_rng(0).random((3, *SHAPE)).astype(np.float32)
    for codes in ORIENTATIONS:
        turned = [reorient(channel, np.eye(4), codes) for channel in volume]
        given, affine = torch.from_numpy(np.stack([each for each, _ in turned])), turned[0][1]
        left_right = next(axis for axis, code in enumerate(codes) if code in "LR")

        def predict(axes: tuple[int, ...], given=given, left_right=left_right) -> torch.Tensor:
            seen = given.flip([axis + 1 for axis in axes]) if axes else given.clone()
            return seen[[1, 0, 2]] if left_right in axes else seen

        found = averaged_over_flips(predict, ("LR", "IS"), affine, BOTH)
        torch.testing.assert_close(found, given)


def test_each_combination_is_asked_for_once() -> None:
    asked: list[tuple[int, ...]] = []

    def predict(axes: tuple[int, ...]) -> torch.Tensor:
        asked.append(axes)
        return torch.full((3, 2, 2, 2), float(len(axes)))

    assert (averaged_over_flips(predict, ("PA", "LR"), np.eye(4), BOTH) == 1).all()
    assert sorted(asked) == [(), (0,), (0, 1), (1,)]
    asked.clear()
    averaged_over_flips(predict, (), np.eye(4), BOTH)
    assert asked == [()]


class TowardsTheEnd(nn.Module):
    """Surer towards the end of the first axis, whatever lies there."""

    divisor = 1

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(8.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * torch.linspace(-1, 1, x.shape[2]).view(1, 1, -1, *[1] * (x.ndim - 3)).expand_as(x)


def test_a_prediction_averages_the_mirror_images(tmp_path) -> None:
    image = np.random.default_rng(1).random((16, 16, 16)).astype(np.float32)
    case = Case("a", "a", {"image": write_volume(tmp_path / "a.nii.gz", image, np.eye(4))})
    model = model_of(TowardsTheEnd(), "prepare=whole_image", window=(16, 16, 16))
    model = replace(model, labels=replace(model.labels, pairs=()))
    once = predict_case(case, [model], tiles_of(16, 16, 16)).probabilities
    twice = predict_case(case, [model], tiles_of(16, 16, 16), flips=["LR"]).probabilities
    np.testing.assert_allclose(twice, (once + once[:, ::-1]) / 2, atol=1e-6)
    assert abs(once - twice).max() > 0.3
    with pytest.raises(ConfigError, match="predict.flips: a left-right flip turns a right foot into a left one"):
        predict_case(case, [replace(model, labels=replace(model.labels, pairs=None))], tiles_of(16, 16, 16), flips="LR")


def test_an_axis_that_is_none_is_told() -> None:
    assert checked_flips(None, BOTH) == () and checked_flips(["PA", "PA"], Labels()) == ("PA",)
    with pytest.raises(ConfigError, match=r"invalid predict.flips 'x': expected some of LR, PA, IS; e.g. \[LR\]"):
        checked_flips(["x"], BOTH)
