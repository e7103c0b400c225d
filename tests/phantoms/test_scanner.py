"""The scanner obeys physics: slice profile, partial volume, noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from laws import for_all

from ankleseg.errors import ConfigError
from ankleseg.phantoms import Grid, LabelArray, Scanner, SignalTable, random_contrast, scan, t1_contrast
from ankleseg.phantoms.scanner import _majority, _sample, draw_textures
from ankleseg.phantoms.tissues import Tissue

QUIET = {"snr": 1e6, "bias": 0.0}


def flat_table(**signals: float) -> SignalTable:
    """Signals without texture; ``label_1=500.0``."""
    mean = np.zeros(256)
    for name, value in signals.items():
        mean[int(name.removeprefix("label_"))] = value
    return SignalTable(mean, np.zeros(256), np.zeros(256), np.zeros(256))


def centred_grid(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Grid:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(spacing) * (np.array(shape) - 1) / 2
    return Grid(shape, affine)


def take(labels: np.ndarray, own: Grid, target: Grid, scanner: Scanner, seed: int = 0, **signals: float) -> np.ndarray:
    return scan(LabelArray(labels, own.affine), flat_table(**signals), target, scanner, np.random.default_rng(seed))[0]


def gaussian_cumulative(distance: np.ndarray, width: float) -> np.ndarray:
    deviation = width / (2 * math.sqrt(2 * math.log(2)))
    return np.array([0.5 * (1 + math.erf(value / (deviation * math.sqrt(2)))) for value in distance])


@for_all("edge", [0.0, 0.7])
def test_an_edge_across_the_slices_shows_the_integrated_gaussian_profile(edge):
    own, target = centred_grid((8, 8, 640), (1, 1, 0.05)), centred_grid((8, 8, 16), (1, 1, 2))
    heights = own.affine[2, 2] * np.arange(640) + own.affine[2, 3]
    labels = np.broadcast_to(heights > edge, own.shape).astype(np.uint8)
    image = take(labels, own, target, Scanner(through_plane=10, **QUIET), label_1=1000.0)
    centres = target.affine[2, 2] * np.arange(16) + target.affine[2, 3]
    expected = 1000 * gaussian_cumulative(centres - edge, width=2.0)
    np.testing.assert_allclose(image[4, 4, 2:-2], expected[2:-2], atol=12)


@for_all(("profile", "thickness"), [("gaussian", 1.0), ("gaussian", 1.4), ("box", 1.0)])
def test_a_thin_sheet_shows_the_profile_itself(profile, thickness):
    own, target = centred_grid((4, 4, 401), (1, 1, 0.1)), centred_grid((4, 4, 20), (1, 1, 2))
    labels = np.zeros(own.shape, np.uint8)
    labels[:, :, 205:216] = 1  # centred 1 mm above the middle, where a slice lies
    scanner = Scanner(through_plane=20, profile=profile, thickness=thickness, **QUIET)
    image = take(labels, own, target, scanner, label_1=1000.0)[2, 2]
    offset = (target.affine[2, 2] * np.arange(20) + target.affine[2, 3] - 1.0) / 2
    shape = np.exp(-4 * np.log(2) * (offset / thickness) ** 2) if profile == "gaussian" else np.abs(offset) < 0.5
    np.testing.assert_allclose(image / image.sum(), shape / shape.sum(), atol=0.05)


def test_partial_volume_keeps_the_mean_signal():
    own, target = centred_grid((60, 60, 60), (0.5, 0.5, 0.5)), centred_grid((15, 15, 10), (2, 2, 3))
    labels = (np.random.default_rng(0).random(own.shape) < 0.3).astype(np.uint8)
    image = take(labels, own, target, Scanner(profile="box", in_plane=4, through_plane=6, **QUIET), label_1=1000.0)
    assert image.mean() == pytest.approx(1000 * labels.mean(), rel=0.01)
    assert image.std() < 0.2 * 1000 * labels.std()


def test_a_voxel_half_filled_has_half_the_signal():
    own, target = centred_grid((80, 8, 8), (0.25, 1, 1)), centred_grid((10, 8, 8), (2, 1, 1))
    labels = np.zeros(own.shape, np.uint8)
    labels[:44] = 1
    image = take(labels, own, target, Scanner(profile="box", in_plane=8, through_plane=1, **QUIET), label_1=1000.0)
    np.testing.assert_allclose(image[:, 4, 4], [1000] * 5 + [500] + [0] * 4, atol=1)


def test_noise_in_air_is_rayleigh_and_in_tissue_gaussian():
    own, target = centred_grid((100, 100, 26), (1, 1, 2)), centred_grid((100, 100, 20), (1, 1, 2))
    labels = np.zeros(own.shape, np.uint8)
    labels[50:] = 1
    image = take(labels, own, target, Scanner(snr=25.0, bias=0.0), label_1=1000.0)
    deviation = 1000 / 25
    air, tissue = image[:48], image[52:]
    assert air.mean() == pytest.approx(deviation * math.sqrt(math.pi / 2), rel=0.01)
    assert air.std() == pytest.approx(deviation * math.sqrt(2 - math.pi / 2), rel=0.01)
    assert tissue.std() == pytest.approx(deviation, rel=0.02)
    assert tissue.mean() == pytest.approx(math.hypot(1000, deviation), rel=0.002)


def test_a_label_map_scanned_on_its_own_grid_is_itself():
    own = centred_grid((20, 18, 16), (1, 1, 1))
    labels = np.random.default_rng(0).integers(0, 3, own.shape).astype(np.uint8)
    scanner = Scanner(profile="box", in_plane=1, through_plane=1, **QUIET)
    source = LabelArray(labels, own.affine)
    image, masks = scan(
        source, flat_table(label_1=300.0, label_2=900.0), own, scanner, np.random.default_rng(0), [np.arange(256) == 2]
    )
    np.testing.assert_allclose(image, np.array([0, 300, 900])[labels], atol=0.1)
    assert np.array_equal(masks[0], labels == 2)


def test_scans_along_any_axes_show_the_same_texture_when_it_is_given():
    own, target = centred_grid((24, 20, 16), (1, 1, 1)), centred_grid((24, 20, 16), (1, 1, 1))
    table = SignalTable(np.full(256, 500.0), np.full(256, 90.0), np.full(256, 60.0), np.zeros(256))
    source = LabelArray(np.ones(own.shape, np.uint8), own.affine)
    textures = draw_textures(target, Scanner(), np.random.default_rng(3))

    def taken(grid: Grid, seed: int) -> np.ndarray:
        scanner = Scanner(profile="box", in_plane=1, through_plane=1, **QUIET)
        return scan(source, table, grid, scanner, np.random.default_rng(seed), textures=textures)[0]

    turned = Grid((20, 16, 24), target.affine[:, [1, 2, 0, 3]])
    straight = taken(target, 0)
    assert straight.std() > 60
    np.testing.assert_allclose(taken(target, 1), straight, atol=0.05)
    # the axes given are those of the grid: on a turned one the texture turns with them
    other = [noise.turned((1, 2, 0)) for noise in textures]
    scanner = Scanner(profile="box", in_plane=1, through_plane=1, **QUIET)
    rotated = scan(source, table, turned, scanner, np.random.default_rng(0), textures=other)[0]
    np.testing.assert_allclose(np.moveaxis(rotated, 2, 0), straight, atol=0.05)


def test_masks_of_many_structures_are_those_of_each_alone():
    own, target = centred_grid((24, 24, 6), (1, 1, 1)), centred_grid((8, 8, 2), (3, 3, 3))
    source = LabelArray(np.random.default_rng(0).integers(0, 5, own.shape).astype(np.uint8), own.affine)
    members = [np.isin(np.arange(256), np.flatnonzero(np.array(list(np.binary_repr(n, 5))) == "1")) for n in range(32)]
    for planes in (3, 40):  # 12 and 160 samples a voxel, and more than 255 with another plane
        scanner = Scanner(profile="box", in_plane=2 if planes == 3 else 3, through_plane=planes, **QUIET)
        together = scan(source, flat_table(), target, scanner, np.random.default_rng(0), members)[1]
        samples = _sample(source, target, scanner)  # what the scan counts, without its image
        alone = [_majority(samples, [member], scanner)[0] for member in members]
        assert all(np.array_equal(one, other) for one, other in zip(together, alone, strict=True))
    assert together[0].sum() == 0 and together[31].all()


def test_the_slice_axis_is_found_from_the_affine():
    own = centred_grid((24, 24, 24), (1, 1, 1))
    labels = np.zeros(own.shape, np.uint8)
    labels[6:18, 8:20, 4:15] = 1
    target = centred_grid((12, 12, 6), (2, 2, 4))
    turned = Grid((6, 12, 12), target.affine[:, [2, 0, 1, 3]])
    source, table = LabelArray(labels, own.affine), flat_table(label_1=1000.0)
    straight, permuted = (
        scan(source, table, grid, Scanner(**QUIET), np.random.default_rng(0), [np.arange(256) == 1])
        for grid in (target, turned)
    )
    np.testing.assert_array_equal(np.moveaxis(permuted[0], 0, 2), straight[0])
    np.testing.assert_array_equal(np.moveaxis(permuted[1][0], 0, 2), straight[1][0])


def test_outside_a_label_map_there_is_air():
    labels = np.ones((4, 4, 4), np.uint8)
    found = LabelArray(labels, np.eye(4))(centred_grid((12, 12, 12), (1, 1, 1)))
    assert found.sum() == 64


def test_an_unknown_profile_is_refused():
    with pytest.raises(ConfigError, match="invalid slice profile 'sinc': expected box or gaussian"):
        Scanner(profile="sinc")


def test_t1_contrast_orders_the_tissues():
    for seed in range(20):
        mean = t1_contrast(np.random.default_rng(seed)).mean
        assert mean[Tissue.FAT] > mean[Tissue.MUSCLE] > mean[Tissue.TENDON]
        assert mean[Tissue.MARROW] > mean[Tissue.CARTILAGE] > mean[Tissue.CORTEX]
        assert mean[Tissue.AIR] == 0


def test_random_contrasts_put_the_tissues_in_any_order():
    means = [random_contrast(np.random.default_rng(seed)).mean for seed in range(40)]
    brighter = np.mean([mean[Tissue.MUSCLE] > mean[Tissue.FAT] for mean in means])
    assert 0.25 < brighter < 0.75
