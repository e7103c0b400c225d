"""Laws of shapes in a label map: they lie where it told nothing, and are told apart from all that it tells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ankleseg.errors import ConfigError
from ankleseg.transforms import RandShapesInLabeld

EXAMPLES = {"RandShapesInLabeld": {"keys": ("label",), "smoothness": (2.0, 4.0)}}


def sample(*shape: int) -> dict:
    label = torch.zeros(1, *shape, dtype=torch.uint8)
    label[:, : shape[0] // 2] = 5
    return {"label": label, "affine": np.diag([1.0, 1.0, 2.0, 1.0])}


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 12)])
def test_what_the_map_tells_stays_and_the_rest_is_shapes_of_other_numbers(shape: tuple[int, ...]) -> None:
    before = sample(*shape)
    given = RandShapesInLabeld("label", shapes=4, smoothness=(8, 8)).set_random_state(0)(before)["label"]
    told = before["label"] == 5
    assert (given[told] == 5).all() and set(given[~told].unique().tolist()) == {6, 7, 8, 9}
    assert torch.equal(before["label"], sample(*shape)["label"])


def test_shapes_are_as_large_as_asked() -> None:
    def borders(mm: float) -> int:
        transform = RandShapesInLabeld("label", value=5, smoothness=(mm, mm)).set_random_state(1)
        return int((transform(sample(80, 80))["label"].diff(dim=-1) != 0).sum())

    assert borders(2) > 3 * borders(10) > 0


def test_arguments_that_are_none() -> None:
    with pytest.raises(ConfigError, match=r"invalid smoothness \[4, 2\]: expected a range in mm"):
        RandShapesInLabeld("label", smoothness=(4, 2))
    with pytest.raises(ConfigError, match="invalid shapes 0: expected at least 1"):
        RandShapesInLabeld("label", shapes=0)
