"""A scan seen in several planes: slices lie as in training, answers come back; thick scans have one plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import model_of, tiles_of
from torch import nn

from ankleseg.cohorts import Case
from ankleseg.errors import ConfigError
from ankleseg.inference import ConfidenceRule, predict_case
from ankleseg.inference.planes import planes_of, seen_in_plane
from ankleseg.transforms.slices_last import AXCODES, PLANES
from ankleseg.volumes import write_volume
from ankleseg.volumes.geometry import reorient

ALL = ("sagittal", "coronal", "axial")


def ramps(codes: str, shape: tuple[int, int, int] = (9, 8, 7)) -> tuple[torch.Tensor, np.ndarray]:
    """Three channels that grow to the right, to the front and upwards, stored with these axes, and their affine."""
    volumes = [reorient(volume, np.eye(4), codes) for volume in np.indices(shape).astype(np.float32)]
    return torch.from_numpy(np.stack([volume for volume, _ in volumes])), volumes[0][1]


@pytest.mark.parametrize("own", ALL)
@pytest.mark.parametrize("plane", ALL)
def test_slices_lie_as_in_training_and_answers_come_back(own: str, plane: str) -> None:
    image, affine = ramps(AXCODES[PLANES[own]])
    towards = {"R": (0, 1), "A": (1, 1), "P": (1, -1), "S": (2, 1)}

    def predict(shown: torch.Tensor, foreground: torch.Tensor) -> torch.Tensor:
        for axis, code in enumerate(AXCODES[PLANES[plane]]):
            channel, sign = towards[code]
            assert (shown[channel].diff(dim=axis) == sign).all(), f"axis {axis} points to {code}"
        assert torch.equal(foreground[0], shown[0] > 3)
        return shown

    found = seen_in_plane(predict, image, image[:1] > 3, affine, plane)
    torch.testing.assert_close(found, image)


def test_other_planes_are_made_at_the_spacing_within_the_slices() -> None:
    image, affine = torch.rand(1, 20, 16, 5), np.diag([1.2, 1.2, 3.6, 1.0])
    shapes = []

    def predict(shown: torch.Tensor, foreground: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(shown.shape))
        return torch.cat([shown, 1 - shown])

    found = seen_in_plane(predict, image, image > 0, affine, "coronal")
    assert shapes == [(1, 20, 15, 16)] and found.shape == (2, 20, 16, 5)
    torch.testing.assert_close(found.sum(0), torch.ones(20, 16, 5))


def test_a_scan_is_seen_in_its_own_plane_first_and_a_thick_one_in_no_other() -> None:
    thin, thick = np.diag([1.2, 1.2, 0.9, 1.0]), np.diag([1.2, 1.2, 8.0, 1.0])
    assert planes_of(thin, ALL) == ("axial", "sagittal", "coronal")
    assert planes_of(thin, ()) == planes_of(thin, ALL, "scanned") == planes_of(thick, ALL) == ("axial",)
    with pytest.raises(ConfigError, match="invalid predict.planes 'each': expected all or scanned; choose one"):
        planes_of(thin, ALL, "each")


class BrightSlices(nn.Module):
    """Bone where a slice is brighter than half of the largest value on average, and it is bright itself."""

    divisor = 1

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = images.mean((2, 3), keepdim=True) > 0.25
        return torch.where(bright & (images > 0.5), 8.0, -8.0)


def test_what_the_planes_give_is_averaged_and_their_agreement_is_the_score(tmp_path: Path) -> None:
    scan = np.zeros((24, 24, 24), np.float32)
    scan[:, :, 6:18], scan[2:22, 2:22, 10] = 0.0, 1.0  # axial slice 10 is bright; other planes see a thin line of it
    path = write_volume(tmp_path / "scan.nii.gz", scan, np.diag([1.2, 1.2, 1.2, 1.0]))
    case = Case(name="scan", subject="scan", channels={"image": path})
    model = model_of(BrightSlices(), "prepare=ankle_slices", window=(24, 24), planes=ALL)
    results = {
        planes: predict_case(case, [model], tiles_of(24, 24), planes=planes, confidence=ConfidenceRule())
        for planes in ("all", "scanned")
    }
    inside = np.s_[:, 4:20, 4:20, 10]
    assert len(model.planes) == 3
    own, mean = (results[planes].probabilities[inside] for planes in ("scanned", "all"))
    shares = {round(float(value)) for value in np.unique(3 * own)}, {round(float(v)) for v in np.unique(3 * mean)}
    assert shares in (({3}, {1}), ({0}, {1})), "one plane in three takes it for bone"
