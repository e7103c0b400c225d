"""A scan seen in several planes: slices lie as in training, answers come back; few or thick slices have one plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from small_models import model_of, tiles_of
from torch import nn

from ankleseg.cohorts import Case
from ankleseg.errors import ConfigError
from ankleseg.inference import ConfidenceRule, SeveralPlanesInferer, VolumeInferer, predict_case
from ankleseg.inference.planes import planes_of, seen_in_plane
from ankleseg.inference.views import Agreement
from ankleseg.labels import Labels
from ankleseg.transforms.planes import AXCODES, PLANES
from ankleseg.volumes import write_volume
from ankleseg.volumes.geometry import reorient

ALL = ("sagittal", "coronal", "axial")


@pytest.fixture
def small_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scans be small here, for speed."""
    monkeypatch.setattr("ankleseg.transforms.planes.NARROWEST", 0.0)


def ramps(codes: str, shape: tuple[int, int, int] = (12, 10, 8)) -> tuple[torch.Tensor, np.ndarray]:
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
            step = sign * (2 if axis == 2 else 1)  # slices of other planes are twice as far apart
            torch.testing.assert_close(
                shown[channel].diff(dim=axis), torch.full(shown[0].diff(dim=axis).shape, float(step))
            )
        assert foreground.shape == shown[:1].shape and (foreground[0] == (shown[0] > 3)).float().mean() > 0.8
        return shown

    found, inside = seen_in_plane(predict, image, image[:1] > 3, affine, plane), np.s_[:, 1:-1, 1:-1, 1:-1]
    torch.testing.assert_close(found[inside], image[inside])


def test_other_planes_are_made_at_the_spacing_within_the_slices() -> None:
    image, affine = torch.rand(1, 20, 16, 5), np.diag([1.2, 1.2, 3.6, 1.0])
    shapes = []

    def predict(shown: torch.Tensor, foreground: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(shown.shape))
        return torch.cat([shown, 1 - shown])

    found = seen_in_plane(predict, image, image > 0, affine, "coronal")
    assert shapes == [(1, 20, 15, 8)] and found.shape == (2, 20, 16, 5)
    torch.testing.assert_close(found.sum(0), torch.ones(20, 16, 5))


def test_a_scan_is_seen_in_its_own_plane_first_and_one_of_few_or_thick_slices_in_no_other() -> None:
    thin, thick = np.diag([1.2, 1.2, 0.9, 1.0]), np.diag([1.2, 1.2, 8.0, 1.0])
    many, few = (128, 128, 80), (128, 128, 16)
    for shape, affine in ((many, thin), (few, np.diag([1.2, 1.2, 5.0, 1.0]))):
        assert planes_of(shape, affine, ALL) == ("axial", "sagittal", "coronal")
    assert planes_of(many, thin, ()) == planes_of(many, thin, ALL, "scanned") == ("axial",)
    assert planes_of(few, thin, ALL) == planes_of(many, thick, ALL) == ("axial",)
    with pytest.raises(ConfigError, match="invalid predict.planes 'each': expected all or scanned; choose one"):
        planes_of(many, thin, ALL, "each")


class BrightSlices(nn.Module):
    """Bone where a slice is brighter than half of the largest value on average, and it is bright itself."""

    divisor = 1

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = images.mean((2, 3), keepdim=True) > 0.25
        return torch.where(bright & (images > 0.5), 8.0, -8.0)


def test_what_the_planes_give_is_averaged_and_their_agreement_is_told(tmp_path: Path, small_scans) -> None:
    scan = np.zeros((24, 24, 24), np.float32)
    scan[2:22, 2:22, 9:12] = 1.0  # bright in axial slices; in those of other planes a thin bar
    path = write_volume(tmp_path / "scan.nii.gz", scan, np.diag([1.2, 1.2, 1.2, 1.0]))
    case = Case(name="scan", subject="scan", channels={"image": path})
    model = model_of(BrightSlices(), "prepare=ankle_slices", window=(24, 24), planes=ALL)
    inside = np.s_[0, 2:22, 2:22, 9:12]
    for planes, share, agreement in (("all", 1 / 3, 0.0), ("scanned", 1.0, None)):
        rule = ConfidenceRule(views=0 if planes == "scanned" else 1)
        found = predict_case(case, [model], tiles_of(24, 24, tiling="slices"), planes=planes, confidence=rule)
        np.testing.assert_allclose(found.probabilities[inside], share, atol=1e-3)
        bone = found.confidence["bone"]
        assert bone.agreement == agreement
        assert found.masks[inside].any() == (planes == "scanned"), "two of three planes say there is nothing"


def test_planes_agree_as_far_as_their_masks_overlap_that_of_the_mean() -> None:
    labels = Labels(structures=["bone"])
    one, two = torch.zeros(2, 4, 4, 4), torch.zeros(2, 4, 4, 4)
    for values, bone in ((one, slice(0, 2)), (two, slice(0, 4))):
        values[1, bone], values[0] = 0.9, 0.1
    agreement = Agreement((), labels, None)
    agreement.compare_planes([one[1:], one[1:], two[1:]])
    assert agreement.dice == [pytest.approx((1 + 1 + 2 / 3) / 3)]


def test_the_inferer_is_one_of_monai_and_wants_a_volume_that_knows_where_it_lies(small_scans) -> None:
    inferer = SeveralPlanesInferer(VolumeInferer((8, 8), tiling="slices"), ALL)
    image = MetaTensor(torch.full((1, 1, 10, 12, 8), 0.7), affine=torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0])))
    assert isinstance(inferer, Inferer)
    torch.testing.assert_close(inferer(image, nn.Identity()), image.as_tensor())
    seen = image.as_tensor() > 0.5
    assert not inferer(image, nn.Identity(), foreground=torch.zeros_like(seen)).any()
    with pytest.raises(ConfigError, match="expected a MetaTensor of one volume, with its affine"):
        inferer(image.as_tensor(), nn.Identity())
    with pytest.raises(ConfigError, match="invalid plane 'oblique': expected sagittal, coronal, axial"):
        SeveralPlanesInferer(VolumeInferer((8, 8)), ["oblique"])


def test_a_slice_that_is_little_longer_than_a_tile_is_one_tile() -> None:
    seen: list[tuple[int, ...]] = []

    class Watched(nn.Identity):
        divisor = 1

        def forward(self, tiles: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(tiles.shape[2:]))
            return tiles

    affine = torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0]))
    for shape, tile in (((20, 16, 6), (20, 16)), ((21, 16, 6), (16, 16)), ((10, 18, 6), (16, 18))):
        image = MetaTensor(torch.rand(1, 1, *shape), affine=affine)
        SeveralPlanesInferer(VolumeInferer((16, 16)), ["axial"])(image, Watched())
        assert seen[-1] == tile


class AsBright(nn.Identity):
    """A structure is as likely as its channel is bright; the tiles are counted."""

    divisor = 1
    tiles = -3  # the first call for each plane looks at the memory that is needed

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        self.tiles += len(tiles)
        return tiles


@pytest.mark.parametrize("missed", [False, True])
def test_other_planes_are_seen_around_what_the_first_one_shows(missed: bool) -> None:
    image = torch.zeros(1, 2, 80, 40, 80)
    image[..., 0, 0, 0] = 0.4
    image[..., 36:44, 16:24, 36:44] = 0.9
    image[0, 1] *= not missed
    network, told = AsBright(), []
    inferer = SeveralPlanesInferer(VolumeInferer((16, 16), tiling="slices"), ["sagittal", "coronal"])
    volume = MetaTensor(image, affine=torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0])))
    found = inferer(volume, network, each=told.append).as_tensor()
    # 8 voxels and 20 mm on both sides are 28 voxels; slices of other planes lie two voxels apart
    (planes,) = told
    assert [tuple(values.shape[1:]) for values in planes] == [(80, 40, 80) if missed else (28, 28, 28)] * 3
    assert network.tiles == 80 + (40 + 20 if missed else 14 + 14)
    inside = np.s_[..., 38:42, 18:22, 38:42]
    torch.testing.assert_close(found[inside], image[inside])
    assert missed or torch.equal(found[..., 0, 0, 0], image[..., 0, 0, 0]), "elsewhere its own plane decides"
