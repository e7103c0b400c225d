"""Laws of the foreground rules."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from ankleseg.errors import FileError
from ankleseg.transforms import NonZero, Otsu, Preparation, Threshold, WholeImage, ZScore
from ankleseg.transforms.foreground import without_spikes


def image_with(mask: np.ndarray, bright: float = 1000.0) -> np.ndarray:
    return np.where(mask, bright, 10.0).astype(np.float32)


@pytest.fixture
def ring() -> np.ndarray:
    """A tube along the slices, open at both ends, and a speck beside it."""
    x, y, _ = np.meshgrid(*(np.arange(n) - n // 2 for n in (30, 30, 6)), indexing="ij")
    radius = np.hypot(x, y)
    ring = (radius > 5) & (radius < 10)
    ring[0, 0, 0] = True
    return ring


@pytest.mark.parametrize("rule", [Threshold(value=250), Otsu()])
def test_a_tube_is_filled_slice_by_slice_and_a_speck_is_dropped(ring: np.ndarray, rule: Threshold | Otsu) -> None:
    x, y, _ = np.meshgrid(*(np.arange(n) - n // 2 for n in (30, 30, 6)), indexing="ij")
    assert np.array_equal(rule(image_with(ring)), np.hypot(x, y) < 10)


def test_clean_up_can_be_left_out_as_published(ring: np.ndarray) -> None:
    assert np.array_equal(Threshold(value=250, largest=False, fill_holes=False)(image_with(ring)), ring)


def test_a_hole_enclosed_in_three_dimensions_is_filled() -> None:
    box = np.zeros((12, 12, 12), dtype=bool)
    box[2:10, 2:10, 2:10] = True
    hollow = box.copy()
    hollow[4:8, 4:8, 4:8] = False
    assert np.array_equal(Threshold(value=250)(image_with(hollow)), box)


def test_threshold_is_exclusive() -> None:
    image = np.full((4, 4, 4), 250, dtype=np.float32)
    image[1:3, 1:3, 1:3] = 251
    assert Threshold(value=250)(image).sum() == 8


def test_non_zero_and_whole_image() -> None:
    image = np.zeros((6, 6, 6), dtype=np.float32)
    image[1:4, 1:4, 1:4] = -3
    assert np.array_equal(NonZero()(image), image < 0)
    assert WholeImage()(image).all()


def test_otsu_parts_body_from_air_even_where_fat_is_much_brighter_than_muscle(foot: dict[str, np.ndarray]) -> None:
    image = foot["image"].astype(np.float32)
    image[foot["heel"] | foot["shin"]] *= 4
    found = Otsu()(image)
    assert 2 * (found & foot["body"]).sum() / (found.sum() + foot["body"].sum()) > 0.99


def test_otsu_does_not_depend_on_the_scale_of_intensities(foot: dict[str, np.ndarray]) -> None:
    image = foot["image"].astype(np.float32)
    assert np.array_equal(Otsu()(image), Otsu()(image * 0.01 - 7))


@pytest.mark.parametrize("rule", [Threshold(value=2000), NonZero()])
def test_an_empty_foreground_is_refused_with_a_mend(rule: Threshold | NonZero) -> None:
    image = np.zeros((20, 20, 20), dtype=np.float32)
    with pytest.raises(
        FileError, match=r"its foreground covers 0 % of the image; choose a lower prepare\.foreground\.value"
    ):
        rule(image)


def test_a_tiny_foreground_is_refused() -> None:
    image = np.zeros((20, 20, 20), dtype=np.float32)
    image[3, 3, 3] = 900
    with pytest.raises(FileError, match=r"its foreground covers 0\.013 % of the image"):
        Threshold(value=250)(image)


def test_otsu_refuses_a_constant_image() -> None:
    with pytest.raises(
        FileError, match="is \\(almost\\) constant: it has no foreground; check that this is the right scan"
    ):
        Otsu()(np.full((5, 5, 5), 7, dtype=np.float32))


def test_otsu_finds_the_leg_in_a_real_scan(shared_data) -> None:
    leg = nib.as_closest_canonical(nib.load(shared_data / "ankle" / "lower_leg_mri.nii.gz"))
    found = Otsu(largest=False)(np.asarray(leg.dataobj, dtype=np.float32))
    image = np.asarray(leg.dataobj)
    assert 0.05 < found.mean() < 0.12
    assert found[image > 300].mean() > 0.999


@pytest.mark.parametrize("spike", [1e30, -1e30, 3e38, 1e6, -1e6])
def test_a_damaged_voxel_moves_neither_foreground_nor_scale(
    spike: float, write_case, foot: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    preparation = Preparation(foreground=Otsu(), scaling=ZScore())
    sound = preparation(write_case("sound", image=foot["image"].astype(np.float32)))
    damaged = foot["image"].astype(np.float32)
    damaged[20, 18, 5] = spike
    assert np.array_equal(Otsu()(damaged), Otsu()(foot["image"].astype(np.float32)))
    prepared = preparation(write_case("damaged", image=damaged))
    assert np.mean(prepared.foreground != sound.foreground) < 1e-3
    assert np.isfinite(prepared.image).all() and np.abs(prepared.image - sound.image).mean() < 0.02
    assert "damaged_image.nii.gz: clipped 1 voxel far outside the range of all others" in caplog.text


def test_bright_vessels_and_dark_air_are_no_spikes(foot: dict[str, np.ndarray]) -> None:
    image = foot["image"].astype(np.float32)
    image[20, 18, 4:6] = 50 * image.max()
    assert without_spikes(image)[0] is image
