"""Laws of the simulator of thick scans."""

from __future__ import annotations

import numpy as np
import pytest
from preparations import in_memory
from scipy.ndimage import gaussian_filter1d, zoom

from ankleseg.errors import ConfigError
from ankleseg.transforms import LowResolution, ResampleToSpacingd, thick_scan
from ankleseg.transforms.axis_splines import along, spline_matrix
from ankleseg.volumes.geometry import axis_codes, reorient, spacing
from ankleseg.volumes.poses import rotation_about

OBLIQUE = rotation_about(np.array([1.0, 2.0, -0.5]), 17.0) @ np.diag([-0.5, 0.5, 0.5, 1.0])
OBLIQUE[:3, 3] = 30, -20, 10


def fine(shape=(12, 14, 60), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def test_a_box_of_whole_voxels_is_their_mean():
    image = fine()
    thick, _ = thick_scan(image, np.diag([0.5, 0.5, 0.5, 1]), LowResolution(spacing=(None, None, 3), profile="box"))
    assert thick.shape == (12, 14, 10)
    assert np.allclose(thick, image.reshape(12, 14, 10, 6).mean(-1), atol=1e-6)


def test_a_gaussian_has_its_full_width_at_half_maximum_in_mm():
    point = np.zeros((1, 1, 401), np.float32)
    point[0, 0, 200] = 1
    affine = np.diag([1, 1, 0.05, 1])
    responses = []
    for phase in np.arange(0, 1, 0.05):  # one slice after the other passes over the point
        thick, where = thick_scan(point, affine, LowResolution(spacing=(None, None, 3), phase=phase))
        responses += list(zip(where[2, 2] * np.arange(thick.shape[2]) + where[2, 3] - 10.0, thick[0, 0], strict=True))
    places, signal = np.array(sorted(responses)).T
    deviation = 3 / (2 * np.sqrt(2 * np.log(2)))
    expected = 0.05 * np.exp(-0.5 * (places / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
    inside = abs(places) < 6
    assert np.allclose(signal[inside], expected[inside], atol=2e-4 * expected.max())
    half = places[signal >= signal.max() / 2]
    assert half.max() - half.min() == pytest.approx(3, abs=0.16)  # in steps of 0.15 mm


@pytest.mark.parametrize("profile", ["box", "gaussian"])
@pytest.mark.parametrize("phase", [0.0, 0.4])
def test_the_header_says_where_a_point_is(profile, phase):
    """The centre of mass of a blurred point, by the thick scan's header, is the point."""
    low = LowResolution(spacing=(1.2, 0.9, 3.0), thickness=1.5, profile=profile, phase=phase)
    voxel = np.array([20, 17, 31])
    # averaged over the places of the point within a slice, since a single one is sampled coarsely
    world, total = np.zeros(3), 0.0
    for shift in np.ndindex(3, 2, 7):
        image = np.zeros((41, 37, 67), np.float32)
        image[tuple(voxel + shift)] = 1
        thick, affine = thick_scan(image, OBLIQUE, low)
        grid = np.stack(np.meshgrid(*map(np.arange, thick.shape), indexing="ij"), -1)
        seen = (thick[..., None] * (grid @ affine[:3, :3].T + affine[:3, 3])).sum((0, 1, 2)) / thick.sum()
        world += seen - (OBLIQUE[:3, :3] @ (voxel + shift) + OBLIQUE[:3, 3])
        total += 1
    assert np.linalg.norm(world / total) < 0.12
    assert np.allclose(spacing(affine), (1.2, 0.9, 3.0))


def test_a_linear_ramp_stays_in_place_and_order_is_kept():
    ramp = np.broadcast_to(np.arange(60, dtype=np.float32), (3, 3, 60))
    thick, affine = thick_scan(ramp, np.eye(4), LowResolution(spacing=(None, None, 4), phase=0.3))
    inner = slice(2, -2)
    assert np.allclose(thick[0, 0, inner], (affine[2, 2] * np.arange(thick.shape[2]) + affine[2, 3])[inner], atol=0.02)


def test_way_back_is_the_preparation_of_the_thick_file():
    """What a network is trained on is what prediction gives it, voxel by voxel."""
    image = fine((10, 16, 66), seed=3)
    low = LowResolution(spacing=(None, None, 3.0), phase=0.0)
    thick, affine = thick_scan(image, OBLIQUE, low)
    step = spacing(OBLIQUE)
    prepared = ResampleToSpacingd("image", step.tolist(), mode=3)(in_memory(thick, affine))["image"][0].numpy()
    axis = low.axis(2, 66, float(step[2]))
    back = along(thick, axis.fine_from_thick, 2)
    assert prepared.shape == back.shape and np.allclose(prepared, back, atol=1e-4)


def test_a_part_of_the_axis_gives_the_patch_of_the_whole():
    axis = LowResolution(spacing=(None, None, 3.0), thickness=1.2, phase=0.7).axis(2, 200, 0.5)
    line = fine((1, 1, 200), seed=4)[0, 0]
    whole = axis.fine_from_thick @ (axis.thick_from_fine @ line)
    for start in (0, 60, 168):
        seen, part = axis.around(slice(start, start + 32))
        assert seen.stop - seen.start < 110
        patch = part.fine_from_thick @ (part.thick_from_fine @ line[seen])
        assert np.abs(patch - whole[start : start + 32]).max() < 1e-3


def test_published_option_repeats_the_published_code():
    """Blur of FWHM / 2.355 *voxels*, nearest voxels from corner to corner, cubic zoom back (Delannoy 2020)."""
    image = fine((2, 2, 60), seed=5)
    low = LowResolution(spacing=(None, None, 3.0), published=True)
    thick, _ = thick_scan(image, np.diag([0.5, 0.5, 0.5, 1]), low)
    blurred = gaussian_filter1d(image, 3.0 / (2 * np.sqrt(2 * np.log(2))), axis=2, truncate=8)
    expected = zoom(blurred, (1, 1, 1 / 6), order=0)
    assert [round(float(c)) for c in low.axis(2, 60, 0.5).centres] == [0, 7, 13, 20, 26, 33, 39, 46, 52, 59]
    assert np.allclose(thick[..., 1:-1], expected[..., 1:-1], atol=1e-5)
    back = along(thick, low.axis(2, 60, 0.5).fine_from_thick, 2)
    assert np.allclose(back[..., 12:-12], zoom(thick, (1, 1, 6), order=3)[..., 12:-12], atol=2e-2)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 5])
def test_splines_pass_through_the_samples_and_keep_what_they_can(order):
    samples = fine((1, 1, 20), seed=6)[0, 0]
    assert np.allclose(spline_matrix(20, np.arange(20.0), order) @ samples, samples, atol=1e-5)
    places = np.linspace(6, 13, 23)
    assert np.allclose(spline_matrix(20, places, order).sum(1), 1, atol=1e-5)
    if order:
        assert np.allclose(spline_matrix(20, places, order) @ np.arange(20.0), places, atol=3e-3)
    with pytest.raises(ConfigError, match="a spline of order 7 is unknown; choose 0 to 5"):
        spline_matrix(20, places, 7)


def test_no_more_than_half_a_slice_of_the_field_of_view_is_left_out():
    for length in range(12, 40):
        thick, affine = thick_scan(
            fine((2, 2, length)), np.diag([0.5, 0.5, 0.5, 1]), LowResolution(spacing=(None, None, 3))
        )
        assert -1.5 <= length * 0.5 - thick.shape[2] * 3 < 1.5
        assert affine[2, 3] == pytest.approx(1.25), "the first slice begins at the edge"


def test_what_cannot_be_is_refused():
    image = fine()
    with pytest.raises(ConfigError, match="finer than the scan's 0.5 mm; give a larger spacing"):
        thick_scan(image, np.diag([0.5, 0.5, 0.5, 1]), LowResolution(spacing=(None, None, 0.3)))
    with pytest.raises(ConfigError, match="30 mm holds fewer than two slices of 20 mm; choose thinner slices"):
        thick_scan(image, np.diag([0.5, 0.5, 0.5, 1]), LowResolution(spacing=(None, None, 20)))
    with pytest.raises(ConfigError, match="is no spacing"):
        LowResolution(spacing=(1, 2))


@pytest.mark.parametrize("codes", ["PSR", "LIA", "RAS"])
def test_any_orientation_gives_the_same_scan(codes):
    image = fine((20, 24, 60), seed=7)
    thick, affine = thick_scan(image, OBLIQUE, LowResolution(spacing=(None, None, 3)))
    turned, turned_affine = reorient(image, OBLIQUE, codes)
    asked = [None, None, None]
    asked[turned.shape.index(60)] = 3.0
    other, other_affine = thick_scan(turned, turned_affine, LowResolution(spacing=asked))
    back, back_affine = reorient(other, other_affine, axis_codes(affine))
    assert np.allclose(back, thick, atol=1e-5) and np.allclose(back_affine, affine, atol=1e-6)
