"""Laws of thick and sharp patches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ankleseg import keys
from ankleseg.errors import ConfigError
from ankleseg.patches import (
    Augmentation,
    AugmentationDraw,
    PatchSampler,
    PatchSource,
    ThickPatches,
    ThickScans,
    ThickVolumes,
    Window,
    thick_pair,
    thick_volume,
)
from ankleseg.prepare import thick_scan
from ankleseg.prepare.splines import along

FINE = (0.5, 0.5, 0.5)
SHAPE = (40, 44, 96)
SCANS = ThickScans(finest=(None, None, 3.0), coarsest=(None, None, 3.0), noise=0.0)
WINDOW = Window((4, 8, 30), (16, 16, 32))


@pytest.fixture
def source(prepared_case) -> PatchSource:
    grain = np.random.default_rng(3).random(SHAPE).astype(np.float32)[None]
    return PatchSource(prepared_case(SHAPE, spacing=FINE, image=grain))


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
    made = [
        ThickPatches([prepared_case(SHAPE, spacing=FINE, image=grain)], scans, sampler, changes, length=6, seed=7)
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
    volumes = ThickVolumes([case], replace(SCANS, noise=0.05))
    one, other = volumes[0], volumes[0]
    assert torch.equal(one[keys.IMAGE], other[keys.IMAGE]) and one[keys.IMAGE].shape == one[keys.TARGET].shape
    assert torch.equal(one[keys.TARGET], torch.from_numpy(case.image))


def test_a_patch_longer_than_the_volume_is_filled_up(prepared_case):
    source = PatchSource(prepared_case((40, 44, 20), spacing=FINE))
    image, target, label = thick_pair(source, Window((4, 8, -6), (16, 16, 32)), AugmentationDraw(), SCANS.typical())
    assert image.shape == target.shape == label.shape == (1, 16, 16, 32)
    assert torch.equal(target[..., 6:26], torch.from_numpy(source.case.image)[:, 4:20, 8:24])


def test_ranges_in_the_wrong_order_are_refused():
    with pytest.raises(ConfigError, match="give the finer one first, and null for the same axes"):
        ThickScans(finest=(None, None, 4.0), coarsest=(None, None, 3.0))
    with pytest.raises(ConfigError, match="are no range"):
        ThickScans(finest=(None, None, 4.0), coarsest=(None, 4.0, 4.0))
