"""Laws of image quality: values worked out by hand, masks respected, and what must not matter does not."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log10

import numpy as np
import pytest
from laws import for_all
from scipy.ndimage import gaussian_filter

from ankleseg.errors import ConfigError, GeometryError
from ankleseg.measures import correlation, psnr, ssim
from ankleseg.measures.image_quality import (
    GRADIENT_CONSTANT,
    deviation_inside,
    gradient_similarity_map,
    mean_inside,
    ssim_map,
)


def gms(image: np.ndarray, reference: np.ndarray, *, mask: np.ndarray | None = None) -> float | None:
    """Mean similarity of the gradient magnitudes, as an evaluation tells it."""
    return mean_inside(gradient_similarity_map(image, reference), mask)


MEASURES = (psnr, ssim, correlation, gms)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def anatomy(shape: tuple[int, ...] = (24, 26, 22)) -> np.ndarray:
    """Smooth, from 0 to 1000."""
    field = gaussian_filter(noise(shape), 1.5)
    return 1000 * (field - field.min()) / np.ptp(field)


def half(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[: shape[0] // 2] = True
    return mask


@for_all(("peak", "squared"), [("maximum", 6.0**2), ("range", 4.0**2), (3.0, 3.0**2), (255, 255.0**2)])
def test_psnr_is_the_squared_peak_by_the_mean_squared_difference(peak: str | float, squared: float):
    reference = np.array([[2.0, 2], [2, 6]])
    image = reference + np.array([[1, -3], [1, 1]])  # mean squared difference 3
    assert psnr(image, reference, peak=peak) == pytest.approx(10 * log10(squared / 3))


def test_psnr_of_the_published_peaks():
    """An error of 0.1 everywhere: 29.54 dB at a peak of 3, 20 dB at a maximum of 1."""
    reference = np.array([0.0, 0.5, 1.0])
    assert psnr(reference + 0.1, reference, peak=3.0) == pytest.approx(29.5424, abs=1e-4)
    assert psnr(reference + 0.1, reference) == pytest.approx(20)


def test_twice_the_error_is_six_decibels():
    reference, error = anatomy(), noise((24, 26, 22), 1) - 0.5
    once, twice = psnr(reference + error, reference), psnr(reference + 2 * error, reference)
    assert once - twice == pytest.approx(20 * log10(2))


def test_psnr_of_an_image_with_itself_is_infinite():
    assert psnr(anatomy(), anatomy()) == inf


def test_whole_numbers_do_not_overflow():
    reference = np.array([0, 250], dtype=np.uint8)
    assert psnr(np.array([250, 0], dtype=np.uint8), reference) == pytest.approx(0)
    assert correlation(np.array([250, 0], dtype=np.uint8), reference) == pytest.approx(-1)


def test_the_peak_is_that_of_the_whole_reference():
    reference = np.array([1.0, 1, 10])
    mask = np.array([True, True, False])
    assert psnr(reference + 1, reference, mask=mask) == pytest.approx(20)


def test_an_unknown_peak_is_refused():
    with pytest.raises(ConfigError, match="invalid peak 'median': expected maximum, range or a number"):
        psnr(anatomy(), anatomy(), peak="median")


def test_psnr_without_a_peak_is_none():
    assert psnr(np.ones(3), np.zeros(3)) is None
    assert psnr(np.ones(3), np.full(3, 5.0), peak="range") is None


@for_all("shape", [(30, 33), (20, 24, 22), (20, 24, 3), (5, 4, 3)])
def test_an_image_is_like_itself(shape: tuple[int, ...]):
    image = noise(shape)
    assert ssim(image, image) == pytest.approx(1)
    assert correlation(image, image) == pytest.approx(1)
    similarity = gradient_similarity_map(image, image)
    assert (mean_inside(similarity), deviation_inside(similarity)) == (pytest.approx(1), pytest.approx(0))


@for_all("place", [(12, 13, 11), (6, 15, 14)])
def test_ssim_of_a_voxel_is_that_of_its_window(place: tuple[int, int, int]):
    image, reference = noise((24, 26, 22), 1), noise((24, 26, 22), 2)
    offsets = np.arange(-5, 6)
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.einsum("i,j,k->ijk", line, line, line)
    weights /= weights.sum()
    window = tuple(slice(k - 5, k + 6) for k in place)
    x, y, extent = image[window], reference[window], np.ptp(reference)
    mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
    var_x, var_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
    shared = (weights * (x - mean_x) * (y - mean_y)).sum()
    c1, c2 = (0.01 * extent) ** 2, (0.03 * extent) ** 2
    expected = (2 * mean_x * mean_y + c1) * (2 * shared + c2)
    expected /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    found = ssim_map(image, reference)
    assert found is not None and found[place] == pytest.approx(expected, rel=1e-9)


def test_ssim_of_flat_images_compares_their_means():
    image, reference = np.full((12, 12, 12), 0.5), np.full((12, 12, 12), 0.25)
    expected = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)
    assert ssim(image, reference, data_range=1.0) == pytest.approx(expected)
    assert ssim(image, reference) is None  # a flat reference has no range


def test_ssim_exchanges_its_images():
    one, other = noise((20, 21, 22), 1), noise((20, 21, 22), 2)
    assert ssim(one, other, data_range=1.0) == pytest.approx(ssim(other, one, data_range=1.0))


def test_few_slices_go_on_mirrored():
    image, reference = noise((16, 17, 3), 1), noise((16, 17, 3), 2)
    mirrored = [np.pad(volume, [(0, 0), (0, 0), (6, 6)], mode="symmetric") for volume in (image, reference)]
    extended = ssim_map(*mirrored, data_range=1.0)
    assert extended is not None
    assert np.allclose(ssim_map(image, reference, data_range=1.0), extended[..., 6:9])


@for_all("box", [np.s_[8:12, 9:14, 7:9], np.s_[0:3, 20:26, 0:22], np.s_[:, :, :]])
def test_ssim_inside_a_mask_is_the_mean_of_the_whole_map_there(box: tuple[slice, ...]):
    image, reference = noise((24, 26, 22), 1), noise((24, 26, 22), 2)
    mask = np.zeros(image.shape, dtype=bool)
    mask[box] = noise(image.shape, 3)[box] > 0.4
    whole = ssim_map(image, reference)
    assert whole is not None
    assert ssim(image, reference, mask=mask) == pytest.approx(whole[mask].mean(), rel=1e-9)


def test_correlation_by_hand():
    assert correlation(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == pytest.approx(0.5)


@for_all(("gain", "offset", "sign"), [(3.0, -200.0, 1), (0.01, 5.0, 1), (-2.0, 0.0, -1)])
def test_gain_and_offset_do_not_matter_to_the_correlation(gain: float, offset: float, sign: int):
    reference = anatomy()
    image = reference + 100 * noise(reference.shape, 4)
    assert correlation(gain * image + offset, reference) == pytest.approx(sign * correlation(image, reference))


def test_the_correlation_of_a_constant_image_is_not_known():
    assert correlation(np.full(5, 3.0), np.arange(5.0)) is None
    assert correlation(np.arange(5.0), np.full(5, 3.0)) is None
    inside = np.array([True, True, False, False, False])
    assert correlation(np.array([1.0, 1, 2, 3, 4]), np.arange(5.0), mask=inside) is None


@for_all("axis", [0, 1, 2])
@for_all("length", [1.0, 2.0])
def test_gradient_similarity_of_two_ramps(axis: int, length: float):
    """Prewitt's difference of a ramp is twice its slope; along a longer voxel the slope a mm counts."""
    places = np.moveaxis(np.broadcast_to(np.arange(9.0), (9, 9, 9)), 2, axis)
    image, reference = 2 * places, 5 * places
    size = np.ones(3)
    size[axis] = length
    found = gradient_similarity_map(image, reference, spacing=size, data_range=40.0)
    m, r = 2 * 2 / 40 / length, 2 * 5 / 40 / length
    expected = (2 * m * r + GRADIENT_CONSTANT) / (m**2 + r**2 + GRADIENT_CONSTANT)
    assert found is not None and np.allclose(found[1:-1, 1:-1, 1:-1], expected)


def test_in_two_dimensions_the_gradient_is_the_published_one():
    """Prewitt's 3 × 3 filter divided by 3."""
    image, reference = noise((8, 9), 1), noise((8, 9), 2)
    filters = np.array([[1, 0, -1]] * 3) / 3
    window = np.s_[3:6, 4:7]
    x, y = (np.hypot((one[window] * filters).sum(), (one[window] * filters.T).sum()) for one in (image, reference))
    expected = (2 * x * y + GRADIENT_CONSTANT) / (x**2 + y**2 + GRADIENT_CONSTANT)
    found = gradient_similarity_map(image, reference, data_range=1.0)
    assert found is not None and found[4, 5] == pytest.approx(expected)


def test_the_deviation_is_that_of_the_map():
    image, reference = noise((12, 13, 14), 1), noise((12, 13, 14), 2)
    found, mask = gradient_similarity_map(image, reference), half((12, 13, 14))
    assert found is not None
    assert mean_inside(found, mask) == pytest.approx(found[mask].mean())
    assert deviation_inside(found, mask) == pytest.approx(np.sqrt((found[mask] ** 2).mean() - found[mask].mean() ** 2))


@for_all("measure", MEASURES)
def test_what_lies_far_outside_the_mask_does_not_count(measure: Callable):
    reference = anatomy()
    image = reference + 50 * noise(reference.shape, 5)
    image[-1] = image[-2]
    spoilt = image.copy()
    spoilt[18:] += 5000
    inside = half(reference.shape)
    assert measure(spoilt, reference, mask=inside) == pytest.approx(measure(image, reference, mask=inside))
    assert measure(spoilt, reference) != pytest.approx(measure(image, reference))


@for_all("measure", MEASURES)
def test_a_full_mask_is_no_mask(measure: Callable):
    reference = anatomy()
    image = gaussian_filter(reference, 1)
    full = np.ones(reference.shape, dtype=bool)
    assert measure(image, reference, mask=full) == pytest.approx(measure(image, reference))


@for_all("measure", MEASURES)
def test_an_empty_mask_has_no_quality(measure: Callable):
    assert measure(anatomy(), anatomy(), mask=np.zeros(anatomy().shape, dtype=bool)) is None


@for_all("measure", MEASURES)
def test_the_order_of_the_axes_does_not_matter(measure: Callable):
    reference = anatomy()
    image = gaussian_filter(reference, 1) + 30 * noise(reference.shape, 6)
    turned = measure(image.transpose(2, 0, 1)[::-1], reference.transpose(2, 0, 1)[::-1])
    assert turned == pytest.approx(measure(image, reference))


@for_all("measure", MEASURES)
def test_more_blur_is_worse(measure: Callable):
    reference = anatomy()
    found = [measure(gaussian_filter(reference, width), reference) for width in (0.4, 0.8, 1.6, 3.2)]
    assert found == sorted(found, reverse=True)  # type: ignore[type-var]


@for_all("measure", [psnr, ssim, correlation])
def test_other_shapes_are_refused(measure: Callable):
    said = r"of shape \(4, 1\) cannot be compared with a reference of shape \(4, 4\); bring both to one grid"
    with pytest.raises(GeometryError, match=said):
        measure(np.ones((4, 1)), np.ones((4, 4)))
    with pytest.raises(GeometryError, match=said):
        measure(np.ones((4, 4)), np.ones((4, 4)), mask=np.ones((4, 1), dtype=bool))
