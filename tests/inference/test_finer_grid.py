"""Sharp images lie on a finer grid of the same world, in the intensities of the input, however it was stored."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from small_models import model_of, tiles_of
from torch import nn

from ankleseg.cohorts import Case
from ankleseg.errors import CheckpointError, ConfigError
from ankleseg.inference import Model, predict_case, predict_cases
from ankleseg.predict import checked_spacing, device_asked_for, tiles_asked_for
from ankleseg.volumes import reorient, write_volume
from ankleseg.volumes.geometry import spacing

ORIENTATIONS = sorted(
    "".join(code) for axes in permutations(("LR", "PA", "IS")) for code in product(*axes)
)  # fmt: skip
FINE = (1.0, 1.0, 1.0)
TILES = tiles_of(16, 16, 16)


class Same(nn.Module):
    """The image as it comes in, and a logit that is positive where it is bright."""

    divisor = 4

    def __init__(self, conditional: bool = False) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))
        self.conditional = conditional
        self.told: list[float] = []

    def forward(self, x: torch.Tensor, slice_thickness: torch.Tensor | None = None) -> torch.Tensor:
        if slice_thickness is not None:
            self.told += slice_thickness.tolist()
        return torch.cat([x, 40 * (x - 0.6)], dim=1)


def model(network: nn.Module | None = None, *overrides: str, **others) -> Model:
    settings = ["prepare=sharp", "prepare.spacing=[1,1,1]", "prepare/foreground=whole_image", *overrides]
    return model_of(network or Same(), *settings, **{"structures": ["bright"], "images": ["sharp"], **others})


def wave(points: np.ndarray) -> np.ndarray:
    """A smooth signal of world positions in mm."""
    return 600 + 300 * np.sin(points[..., 0] / 7) * np.cos(points[..., 1] / 9) + 90 * np.cos(points[..., 2] / 8)


def world(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return grid @ affine[:3, :3].T + affine[:3, 3]


def thick(path: Path, codes: str = "RAS") -> Case:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [4, -7, 11], degrees=True).as_matrix() * [1.0, 1.0, 3.0]
    affine[:3, 3] = -12, 20, -7
    data, turned = reorient(wave(world((24, 20, 9), affine)).astype(np.float32), affine, codes)
    write_volume(path, data, turned)
    return Case("a", "a", {"image": path})


def test_every_orientation_is_kept_and_every_voxel_is_where_it_says(tmp_path: Path):
    sharp = model()
    for codes in ORIENTATIONS:
        found = predict_case(thick(tmp_path / f"{codes}.nii.gz", codes), [sharp], TILES)
        assert "".join(nib.aff2axcodes(found.affine)) == codes
        assert np.allclose(spacing(found.affine), 1), codes
        expected = wave(world(found.images.shape[1:], found.affine))
        slices = codes.index(next(code for code in codes if code in "IS"))
        inner = tuple(slice(6, -6) if axis == slices else slice(1, -1) for axis in range(3))
        assert np.abs(found.images[0] - expected)[inner].max() < 4, f"of a signal from 200 to 1000, {codes}"


def test_the_files_say_so_too(tmp_path: Path):
    scan = thick(tmp_path / "a.nii.gz", "PSR")
    (row,) = predict_cases([scan], [model()], tmp_path / "out", inferer=TILES)
    assert row["status"] == "ok" and row["images"] == {"sharp": "a/a_sharp.nii.gz"}
    sharp, mask = (nib.load(tmp_path / "out" / file) for file in (row["images"]["sharp"], row["masks"]["bright"]))
    source = nib.load(scan.images[0])
    assert np.allclose(sharp.affine, mask.affine) and sharp.shape == mask.shape == (20, 27, 24)
    assert sharp.header["sform_code"] == source.header["sform_code"]
    assert np.allclose(sharp.get_qform(), sharp.affine, atol=1e-4)
    edge = np.full(3, -0.5)
    corner = [image.affine[:3, :3] @ edge + image.affine[:3, 3] for image in (sharp, source)]
    assert np.allclose(*corner, atol=1e-4), "the field of view keeps its corner"
    assert sharp.get_data_dtype() == np.float32


def test_another_spacing_can_be_asked_for_and_masks_alone_return_to_their_input(tmp_path: Path):
    scan = thick(tmp_path / "a.nii.gz")
    assert predict_case(scan, [model()], TILES, spacing=(0.5, 0.5, 0.5)).images.shape == (1, 48, 40, 54)

    class Masks(Same):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x)[:, 1:]

    alone = model(Masks(), images=[])
    assert predict_case(scan, [alone], TILES).masks.shape == (1, 24, 20, 9)
    assert predict_case(scan, [alone], TILES, spacing=FINE).masks.shape == (1, 24, 20, 27)


def test_no_intensity_lies_below_the_input(tmp_path: Path):
    data = np.zeros((16, 16, 8), np.int16)
    data[4:12, 4:12, 3:5] = 1000  # a spline undershoots beside this edge
    write_volume(tmp_path / "a.nii.gz", data, np.diag([1, 1, 3, 1.0]))
    found = predict_case(Case("a", "a", {"image": tmp_path / "a.nii.gz"}), [model()], TILES)
    assert found.images.min() == 0 and found.images.max() > 1000


def test_air_keeps_the_interpolated_intensities(tmp_path: Path):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (48, 20, 9)), indexing="ij"), -1)
    body = (((grid - [8, 10, 4]) / [6, 8, 3]) ** 2).sum(-1) < 1
    noise = np.random.default_rng(0).random(body.shape) * 20
    write_volume(tmp_path / "a.nii.gz", (noise + 900 * body).astype(np.float32), np.diag([1, 1, 3, 1.0]))
    found = predict_case(
        Case("a", "a", {"image": tmp_path / "a.nii.gz"}), [model(None, "prepare/foreground=otsu")], TILES
    )
    assert found.images[0, 36:].std() > 2 and (found.probabilities[0, 36:] == 0).all()


def test_a_conditional_network_is_told_the_slice_thickness(tmp_path: Path):
    network = Same(conditional=True)
    predict_case(thick(tmp_path / "a.nii.gz"), [model(network)], TILES)
    assert network.told and np.allclose(network.told, 3)


def test_runs_that_give_other_images_are_not_averaged(tmp_path: Path):
    one, other = model(), model(images=[])
    with pytest.raises(CheckpointError, match="the checkpoints predict different"):
        predict_case(thick(tmp_path / "a.nii.gz"), [one, other], TILES)


def test_a_step_longer_than_the_patch_is_refused():
    settings = {"window": None, "patch": 128, "step": 30, "overlap": 0.5}
    assert tiles_asked_for(settings, (64, 64, 64)) == {"window": [128, 128, 128], "overlap": 1 - 30 / 128}
    with pytest.raises(ConfigError, match="invalid predict.step 200: expected 1 to 64, the side of a patch"):
        tiles_asked_for({"window": None, "patch": None, "step": 200, "overlap": 0.5}, (64, 64, 64))


@pytest.mark.parametrize(
    "asked", [{"patch": 0, "window": None}, {"patch": None, "window": [64, 64]}, {"patch": 4, "window": None}]
)
def test_windows_that_do_not_suit_the_network_are_refused(asked: dict):
    with pytest.raises(ConfigError, match="expected 3 sides of at least 8 voxels; set predict.patch or predict.window"):
        tiles_asked_for({"step": None, "overlap": 0.5, **asked}, (64, 64, 64))


@pytest.mark.parametrize("asked", [0.5, [0.5, 0.5], [0.5, 0.5, "a"], [0.5, 0.5, 0]])
def test_a_spacing_that_is_none_is_refused(asked):
    with pytest.raises(ConfigError, match="invalid predict.spacing .*: expected three positive numbers in mm; e.g. "):
        checked_spacing(asked)
    assert checked_spacing([0.5, None, 2]) == [0.5, None, 2] and checked_spacing(None) is None


def test_one_number_is_the_side_of_a_window_and_one_step_needs_equal_sides():
    settings = {"patch": None, "step": None, "overlap": 0.5}
    assert tiles_asked_for({"window": 64, **settings}, (32, 32, 32))["window"] == [64, 64, 64]
    with pytest.raises(ConfigError, match="invalid predict.step 16: a window of .* set predict.overlap"):
        tiles_asked_for({"window": [64, 64, 32], **settings, "step": 16}, (32, 32, 32))


@pytest.mark.parametrize("device", ["gpu", "cuda:97", "cpu and more"])
def test_a_device_that_is_not_there_is_told_in_one_line(device: str):
    with pytest.raises(ConfigError, match=f"device={device} cannot be used here; choose auto"):
        device_asked_for(device)
    assert device_asked_for("cpu") == "cpu"
