"""Laws of thick and sharp patches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ankleseg import keys
from ankleseg.cohorts import Case, Cohort, Split
from ankleseg.data import (
    Augmentation,
    AugmentationDraw,
    PatchSampler,
    PatchSource,
    SeenThick,
    SuperResolutionData,
    ThickPatches,
    ThickScans,
    ThickVolumes,
    Window,
    thick_pair,
    thick_volume,
)
from ankleseg.errors import CohortError, ConfigError
from ankleseg.transforms import BrightEnd, Otsu, Percentile, Preparation, PreparedCase, ZScore, thick_scan
from ankleseg.transforms.axis_splines import along
from ankleseg.transforms.scaling import Scale

FINE = (0.5, 0.5, 0.5)
SHAPE = (40, 44, 96)
SCANS = ThickScans(finest=(None, None, 3.0), coarsest=(None, None, 3.0), noise=0.0)
WINDOW = Window((4, 8, 30), (16, 16, 32))


@pytest.fixture
def source(prepared_case) -> PatchSource:
    grain = np.random.default_rng(3).random(SHAPE).astype(np.float32)[None]
    return PatchSource(prepared_case(SHAPE, spacing=FINE, image=grain))


def as_it_is(case: PreparedCase) -> SeenThick:
    return SeenThick(case, (Scale(0.0, 1.0),))


def inside(volume: torch.Tensor, window: Window = WINDOW) -> torch.Tensor:
    return volume[(slice(None), *(slice(c, c + s) for c, s in zip(window.corner, window.size, strict=True)))]


def test_a_patch_is_a_part_of_the_whole_thick_scan(source):
    thick = replace(SCANS).draw(np.random.default_rng(1))
    image, target, label = thick_pair(source, WINDOW, AugmentationDraw(), thick)
    whole = thick_volume(source, thick)
    assert torch.equal(target, inside(torch.from_numpy(source.case.image)))
    assert torch.equal(label[0], inside(torch.from_numpy(source.case.label)[None])[0].long())
    assert image.shape == target.shape == (1, 16, 16, 32)
    assert (image - inside(whole)).abs().max() < 2e-3
    assert (image - target).abs().mean() > 0.1, "slices of six voxels of noise are smooth"


def test_the_whole_thick_scan_is_that_of_the_file_simulator(source):
    thick = SCANS.typical()
    scan, _ = thick_scan(source.case.image[0], source.case.affine, thick.low)
    axis = thick.low.axis(2, SHAPE[2], 0.5)
    expected = along(scan, axis.fine_from_thick, 2)
    assert np.allclose(thick_volume(source, thick)[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("flips", [("IS",), ("PA",), ("LR",), ("LR", "IS")])
def test_a_flipped_pair_is_the_pair_flipped(source, flips):
    """Flipping the anatomy and taking it thick, or the other way round, is the same where slices mirror each other."""
    thick = SCANS.typical()
    draw = AugmentationDraw(flips=flips)
    plain = thick_pair(source, WINDOW, AugmentationDraw(), thick)
    flipped = thick_pair(source, WINDOW, draw, thick)
    axes = [axis + 1 for axis in source.flipped_axes(draw)]
    for one, other in zip(plain, flipped, strict=True):
        assert torch.allclose(one.flip(axes).float(), other.float(), atol=1e-5)


def test_noise_is_of_the_thick_scan_alone_and_follows_its_seed(source):
    scans = replace(SCANS, noise=0.1)
    rng = np.random.default_rng(5)
    thick = scans.draw(rng)
    image, target, _ = thick_pair(source, WINDOW, AugmentationDraw(noise=0.3, noise_seed=4), thick)
    again, _, _ = thick_pair(source, WINDOW, AugmentationDraw(), thick)
    clean, _, _ = thick_pair(source, WINDOW, AugmentationDraw(), replace(thick, noise=0.0))
    assert torch.equal(image, again)
    assert torch.equal(target, inside(torch.from_numpy(source.case.image)))
    deviation = float((image - clean).std() / source.intensity_range)
    assert 0.5 * thick.noise < deviation < thick.noise, "the spline smooths it a little"


def test_contrast_is_changed_before_the_scan_is_taken(source):
    draw = AugmentationDraw(gamma=1.4)
    image, target, _ = thick_pair(source, WINDOW, draw, SCANS.typical())
    plain, _, _ = thick_pair(source, WINDOW, AugmentationDraw(), SCANS.typical())
    assert (target - inside(torch.from_numpy(source.case.image))).abs().max() > 0.02
    assert (image - plain).abs().max() > 0.02


def test_every_epoch_has_other_scans_and_the_same_epoch_the_same(prepared_case):
    grain = np.random.default_rng(3).random(SHAPE).astype(np.float32)[None]
    scans = ThickScans(finest=(None, None, 2.0), coarsest=(None, None, 4.0), noise=0.05)
    sampler, changes = PatchSampler(size=(16, 16, 32), min_foreground=0), Augmentation(gamma=(0.5, 1.5))
    drawing = {"length": 6, "seed": 7}
    made = [
        ThickPatches([as_it_is(prepared_case(SHAPE, spacing=FINE, image=grain))], scans, sampler, changes, **drawing)
        for _ in range(2)
    ]
    thickness = [float(made[0][index][keys.SLICE_THICKNESS]) for index in range(12)]
    assert len(set(thickness)) == 12 and min(thickness) >= 2 and max(thickness) <= 4
    for index in (0, 5, 11):
        one, other = made[0][index], made[1][index]
        assert set(one) == {keys.IMAGE, keys.TARGET, keys.LABEL, keys.SLICE_THICKNESS}
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_validation_is_the_same_in_every_epoch(prepared_case):
    case = prepared_case(SHAPE, spacing=FINE)
    volumes = ThickVolumes([as_it_is(case)], replace(SCANS, noise=0.05))
    one, other = volumes[0], volumes[0]
    assert torch.equal(one[keys.IMAGE], other[keys.IMAGE]) and one[keys.IMAGE].shape == one[keys.TARGET].shape
    assert torch.equal(one[keys.TARGET], torch.from_numpy(case.image))


@pytest.mark.parametrize("scaling", [BrightEnd(), ZScore(), Percentile()])
def test_foreground_and_scale_are_those_that_prediction_finds(prepared_case, scaling):
    """A scan of one bright slice among dark ones is darker when it is taken thick."""
    raw = 40 + 400 * prepared_case(SHAPE, spacing=FINE).image.clip(0, None)
    raw[..., 50] *= 3
    scale = scaling.scale(raw[0], np.ones(SHAPE, dtype=bool))
    case = replace(prepared_case(SHAPE, spacing=FINE, image=scale(raw[0])[None]), scales=(scale,))
    preparation = Preparation(orientation="PSR", foreground=Otsu(), scaling=scaling)
    seen = SeenThick.of(case, SCANS, preparation)
    thick = thick_volume(PatchSource(case), SCANS.typical())[0].numpy()
    foreground = preparation.foreground(scale.undone(thick))
    expected = scaling(scale.undone(thick), foreground)
    assert np.array_equal(seen.case.foreground, foreground)
    volume = ThickVolumes([seen], SCANS)[0]
    assert np.allclose(volume[keys.IMAGE][0].numpy(), expected, atol=1e-5)
    assert np.abs(expected - thick).max() > 0.02
    patches = ThickPatches([seen], SCANS, PatchSampler(size=(40, 44, 96), min_foreground=0), length=1)
    assert torch.allclose(patches[0][keys.TARGET], volume[keys.TARGET], atol=1e-5)


def test_the_target_is_the_first_channel(prepared_case):
    grain = np.random.default_rng(3).random((2, *SHAPE)).astype(np.float32)
    seen = SeenThick(prepared_case(SHAPE, spacing=FINE, image=grain), (Scale(0.0, 1.0),) * 2)
    volume = ThickVolumes([seen], SCANS)[0]
    assert volume[keys.IMAGE].shape == (2, *SHAPE)
    assert torch.equal(volume[keys.TARGET], torch.from_numpy(grain[:1]))


@pytest.mark.parametrize(("coarsest", "axis"), [((None, None, 3.0), 2), ((None, 4.0, 3.0), 1), ((None,) * 3, 2)])
def test_the_slice_axis_is_the_thickest(coarsest, axis):
    assert ThickScans(finest=coarsest, coarsest=coarsest).slice_axis == axis


def test_a_patch_longer_than_the_volume_is_filled_up(prepared_case):
    source = PatchSource(prepared_case((40, 44, 20), spacing=FINE))
    image, target, label = thick_pair(source, Window((4, 8, -6), (16, 16, 32)), AugmentationDraw(), SCANS.typical())
    assert image.shape == target.shape == label.shape == (1, 16, 16, 32)
    assert torch.equal(target[..., 6:26], torch.from_numpy(source.case.image)[:, 4:20, 8:24])
    whole = thick_volume(source, SCANS.typical())[:, 4:20, 8:24]
    for patch in (image, target, label):
        assert torch.equal(patch[..., :6], patch[..., 6:7].expand(1, 16, 16, 6)), "as prediction fills up"
        assert torch.equal(patch[..., 26:], patch[..., 25:26].expand(1, 16, 16, 6))
    assert image[..., 6:26].shape == whole.shape and (image[..., 6:26] - whole).abs().max() < 2e-3


def test_ranges_in_the_wrong_order_are_refused():
    with pytest.raises(ConfigError, match="give the finer one first, and null for the same axes"):
        ThickScans(finest=(None, None, 4.0), coarsest=(None, None, 3.0))
    with pytest.raises(ConfigError, match="are no range"):
        ThickScans(finest=(None, None, 4.0), coarsest=(None, 4.0, 4.0))
    with pytest.raises(ConfigError, match="2 finest and 3 coarsest spacings; give three of each"):
        ThickScans(finest=(None, 4.0), coarsest=(None, None, 4.0))


@pytest.mark.parametrize(
    ("finest", "coarsest", "problem"),
    [
        (3.0, 20.0, "48 mm, holds fewer than 3 slices of 20 mm; choose"),
        (0.3, 3.0, "0.3 mm is finer than .* with 0.5 mm"),
    ],
)
def test_both_ends_of_a_range_are_checked_before_training(prepared_case, finest, coarsest, problem):
    case = prepared_case(SHAPE, spacing=FINE)
    scans = ThickScans(finest=(None, None, finest), coarsest=(None, None, coarsest))
    preparation = Preparation(orientation="RAS", spacing=FINE, foreground=Otsu(), scaling=BrightEnd())
    with pytest.raises(ConfigError, match=problem):
        SeenThick.of(case, scans, preparation)


def test_a_case_without_a_mask_is_not_taught_as_background(prepared_case, tmp_path):
    data = SuperResolutionData(
        thick=SCANS,
        cohort=Cohort(tmp_path, (Case("s1", "s1", {}),), ("left", "right")),
        split=Split(("s1",), (), ()),
        preparation=Preparation(orientation="RAS", spacing=FINE, foreground=Otsu(), scaling=ZScore()),
        sampler=PatchSampler(size=(16, 16, 16), min_foreground=0),
    )
    half_known = replace(prepared_case(SHAPE, spacing=FINE), known=(True, False))
    for make in (data.volumes_of, data.patches_of):
        with pytest.raises(CohortError, match="s1 has no mask of right; leave it out of the split"):
            make([half_known])
