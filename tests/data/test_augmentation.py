"""Laws of drawing and applying changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ankleseg.data import Augmentation, AugmentationDraw, PatchSource, Window
from ankleseg.errors import ConfigError

STRONG = Augmentation(
    rotation=30, zoom=(0.8, 1.25), shift=4, flips=("PA", "IS"),
    gamma=(0.7, 1.4), contrast=(0.8, 1.2), brightness=0.1, noise=0.05, blur=1.0, bias=0.3,
)  # fmt: skip
WINDOWS = {2: Window((8, 6, 2), (28, 26, 1)), 3: Window((8, 6, 1), (28, 26, 3))}


def dice(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_draw_of_nothing_is_the_voxels_of_the_volume(prepared_case, dimensions: int) -> None:
    case = prepared_case()
    image, label = PatchSource(case).cut(WINDOWS[dimensions], Augmentation().draw(np.random.default_rng(0), dimensions))
    room = (slice(8, 36), slice(6, 32), 2 if dimensions == 2 else slice(1, 4))
    assert np.array_equal(image.numpy(), case.image[(slice(None), *room)])
    assert np.array_equal(label.numpy()[0], case.label[room])
    assert image.dtype == torch.float32 and label.dtype == torch.int64


@pytest.mark.parametrize("dimensions", [2, 3])
def test_moving_by_nothing_is_the_identity(prepared_case, dimensions: int) -> None:
    """The interpolating path, with a shift too small to matter, agrees with the plain one."""
    source = PatchSource(prepared_case())
    plain_image, plain_label = source.cut(WINDOWS[dimensions])
    image, label = source.cut(
        WINDOWS[dimensions], AugmentationDraw(rotation=(0.0,) * (2 * dimensions - 3), shift=(1e-6,) * dimensions)
    )
    assert torch.allclose(image, plain_image, atol=1e-4)
    assert torch.equal(label, plain_label)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_image_and_label_stay_together(prepared_case, dimensions: int) -> None:
    smooth = prepared_case((48, 40, 9), spacing=(0.6, 0.9, 1.2)).image
    case = prepared_case((48, 40, 9), spacing=(0.6, 0.9, 1.2), label=(smooth[0] > 0.2).astype(np.uint8))
    source, rng = PatchSource(case), np.random.default_rng(0)
    geometry = Augmentation(rotation=30, zoom=(0.8, 1.25), shift=4, flips=("PA", "IS"))
    window = Window((8, 6, 3), (32, 28, 1 if dimensions == 2 else 5))
    for _ in range(40):
        image, label = source.cut(window, geometry.draw(rng, dimensions))
        assert dice(image > 0.2, label > 0) > 0.95


def test_rotation_and_zoom_happen_in_mm(prepared_case) -> None:
    """A round blob on a grid of unequal spacing stays round, keeps its centre distance, and grows by the zoom."""
    case = prepared_case((81, 61, 1), spacing=(0.5, 0.8, 3.0))
    source = PatchSource(case)
    window = Window((0, 0, 0), (81, 61, 1))

    def measured(draw: AugmentationDraw) -> tuple[np.ndarray, np.ndarray, float]:
        _, label = source.cut(window, draw)
        points = (np.argwhere(label[0].numpy() == 1) - [40, 30]) * [0.5, 0.8]
        return points.mean(0), points.std(0), len(points) * 0.4

    centre, spread, area = measured(AugmentationDraw())
    for angle, zoom in [(90.0, 1.0), (30.0, 1.0), (-45.0, 1.2), (0.001, 0.8)]:
        moved, moved_spread, moved_area = measured(AugmentationDraw(rotation=(angle,), zoom=zoom, shift=(0.0, 0.0)))
        turn = np.deg2rad(angle)
        expected = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ centre
        assert np.allclose(moved, expected, atol=0.15)
        assert np.allclose(moved_spread, zoom * spread, rtol=0.05)
        assert moved_area == pytest.approx(zoom**2 * area, rel=0.05)


def test_a_shift_moves_the_anatomy_by_its_mm(prepared_case) -> None:
    source = PatchSource(prepared_case())
    plain, _ = source.cut(Window((8, 6, 2), (28, 26, 1)))
    shifted, _ = source.cut(Window((8, 6, 2), (28, 26, 1)), AugmentationDraw(rotation=(0.0,), shift=(1.2, -1.8)))
    assert torch.allclose(shifted[:, 2:, :-2], plain[:, :-2, 2:], atol=1e-4)  # 2 voxels of 0.6 mm, 2 of 0.9 mm


def test_a_rotation_about_one_axis_of_a_block_leaves_that_axis_alone(prepared_case) -> None:
    case = prepared_case((31, 31, 31), spacing=(1.0, 1.0, 1.0))
    source, window = PatchSource(case), Window((5, 5, 5), (21, 21, 21))
    plain, _ = source.cut(window)
    turned, _ = source.cut(window, AugmentationDraw(rotation=(0.0, 0.0, 90.0), shift=(0.0, 0.0, 0.0)))
    quarter = torch.rot90(plain, 1, (1, 2))
    assert torch.allclose(turned, quarter, atol=1e-3)


def test_rotated_patches_have_no_empty_corners_inside_the_volume(prepared_case) -> None:
    image = np.full((1, 60, 60, 1), 5.0, dtype=np.float32)
    image[0, 0, 0] = -1.0  # the darkest voxel, far from the window
    case = prepared_case((60, 60, 1), image=image, spacing=(1.0, 1.0, 1.0))
    patch, _ = PatchSource(case).cut(
        Window((18, 18, 0), (24, 24, 1)), AugmentationDraw(rotation=(45.0,), shift=(0.0, 0.0))
    )
    assert torch.allclose(patch, torch.tensor(5.0))


@pytest.mark.parametrize("angle", [0.0, 30.0])
def test_outside_the_volume_is_dark_and_without_structures(prepared_case, angle: float) -> None:
    image = np.full((1, 20, 20, 1), 5.0, dtype=np.float32)
    image[0, 10, 10] = -1.0
    label = np.full((20, 20, 1), 2, dtype=np.uint8)
    case = prepared_case((20, 20, 1), image=image, label=label, spacing=(1.0, 1.0, 1.0))
    patch, patch_label = PatchSource(case).cut(
        Window((-10, -10, 0), (40, 40, 1)), AugmentationDraw(rotation=(angle,), shift=(0.0, 0.0))
    )
    assert set(patch_label.unique().tolist()) == {0, 2}
    assert (patch[patch_label == 0] == -1.0).all()
    assert (patch_label > 0).sum() == pytest.approx(400, abs=20)
    assert float(patch[0, 0, 0]) == -1.0 and int(patch_label[0, 20, 15]) == 2


def test_one_draw_gives_one_patch(prepared_case) -> None:
    source = PatchSource(prepared_case())
    draw = STRONG.draw(np.random.default_rng(3), 2)
    first, again = source.cut(WINDOWS[2], draw), source.cut(WINDOWS[2], draw)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])


def test_draws_stay_in_their_ranges_and_use_them() -> None:
    rng = np.random.default_rng(0)
    draws = [STRONG.draw(rng, 2) for _ in range(400)]
    for name, low, high in [
        ("zoom", 0.8, 1.25),
        ("gamma", 0.7, 1.4),
        ("contrast", 0.8, 1.2),
        ("blur", 0, 1),
        ("noise", 0, 0.05),
    ]:
        values = np.array([getattr(draw, name) for draw in draws])
        assert low <= values.min() < low + 0.1 * (high - low) and high - 0.1 * (high - low) < values.max() <= high
    angles = np.array([draw.rotation[0] for draw in draws])
    assert -30 <= angles.min() < -27 and 27 < angles.max() <= 30
    assert {draw.flips for draw in draws} == {(), ("PA",), ("IS",), ("PA", "IS")}


def test_one_range_does_not_disturb_the_other_draws() -> None:
    with_noise = Augmentation(rotation=20, noise=0.1).draw(np.random.default_rng(0), 2)
    without = Augmentation(rotation=20).draw(np.random.default_rng(0), 2)
    assert with_noise.rotation == without.rotation and with_noise.noise > without.noise == 0


def test_flips_reverse_the_anatomical_axis(prepared_case) -> None:
    source = PatchSource(prepared_case())  # axes posterior, superior, right
    image, label = source.cut(WINDOWS[2])
    for flips, axes in [(("PA",), [1]), (("IS",), [2]), (("PA", "IS"), [1, 2])]:
        flipped_image, flipped_label = source.cut(WINDOWS[2], AugmentationDraw(flips=flips))
        assert torch.equal(flipped_image, image.flip(axes)) and torch.equal(flipped_label, label.flip(axes))


def test_left_and_right_are_never_flipped_by_default() -> None:
    rng = np.random.default_rng(0)
    assert not any(Augmentation(rotation=10).draw(rng, 3).flips for _ in range(100))
    with pytest.raises(
        ConfigError, match="a flip along LR turns a right foot into a left one; leave LR out of the flips, or"
    ):
        Augmentation(flips=("LR",))


def test_a_left_right_flip_swaps_the_sides_of_the_labels(prepared_case) -> None:
    case = prepared_case()
    rng = np.random.default_rng(0)
    draws = [Augmentation(flips=("LR",), left_right_swap=[(1, 2)]).draw(rng, 3) for _ in range(20)]
    assert {(draw.flips, draw.swap) for draw in draws} == {((), ()), (("LR",), ((1, 2),))}
    label = PatchSource(case).cut(WINDOWS[3])[1]
    swapped = PatchSource(case).cut(WINDOWS[3], next(draw for draw in draws if draw.flips))[1]
    assert torch.equal(swapped == 1, label.flip(3) == 2) and torch.equal(swapped == 2, label.flip(3) == 1)


def test_a_flip_across_the_slices_of_a_flat_patch_is_refused(prepared_case) -> None:
    with pytest.raises(
        ConfigError, match="a flip along LR goes across the slices; leave it out of patches.augmentation.fl"
    ):
        PatchSource(prepared_case()).cut(WINDOWS[2], AugmentationDraw(flips=("LR",)))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_intensity_changes_leave_the_label_and_the_background_alone(prepared_case, dimensions: int) -> None:
    case = prepared_case()
    darkest = float(case.image.min())
    source = PatchSource(case)
    terms = dimensions + dimensions * (dimensions + 1) // 2
    draw = AugmentationDraw(gamma=1.4, contrast=0.8, bias=(0.2,) * terms)
    image, label = source.cut(WINDOWS[dimensions])
    altered, altered_label = source.cut(WINDOWS[dimensions], draw)
    assert torch.equal(altered_label, label)
    assert not torch.allclose(altered, image, atol=0.1)
    dark = image - darkest < 1e-3
    assert torch.allclose(altered[dark], image[dark], atol=2e-3)


def test_each_intensity_change_does_what_its_number_says(prepared_case) -> None:
    case = prepared_case()
    source, window = PatchSource(case), WINDOWS[2]
    image, _ = source.cut(window)
    dark = float(case.image.min())
    extent = float(np.percentile(case.image[0][case.foreground], 99.5)) - dark

    def change(**drawn) -> torch.Tensor:
        return source.cut(window, AugmentationDraw(**drawn))[0]

    assert torch.allclose(change(contrast=1.3) - dark, 1.3 * (image - dark), atol=1e-4)
    assert torch.allclose(change(brightness=0.1), image + 0.1 * extent, atol=1e-4)
    assert torch.allclose(((change(gamma=2.0) - dark) / extent).sqrt(), (image - dark) / extent, atol=1e-3)
    noise = change(noise=0.05, noise_seed=4) - image
    assert float(noise.std()) == pytest.approx(0.05 * extent, rel=0.1)
    assert not torch.equal(change(noise=0.05, noise_seed=5) - image, noise)
    field = (change(bias=(0.3, -0.2, 0.1, 0.05, -0.1))[0] - dark) / (image[0] - dark)
    x, y = torch.linspace(-1, 1, 28)[:, None], torch.linspace(-1, 1, 26)[None, :]
    expected = 0.3 * x - 0.2 * y + 0.1 * x * x + 0.05 * x * y - 0.1 * y * y
    bright = image[0] - dark > 0.1 * extent
    assert torch.allclose(field[bright].log(), expected[bright], atol=1e-3)


def test_blur_is_a_gaussian_of_its_width_in_mm(prepared_case) -> None:
    image = np.zeros((1, 61, 61, 1), dtype=np.float32)
    image[0, 30, 30] = 1000.0
    case = prepared_case((61, 61, 1), image=image, spacing=(0.5, 0.8, 3.0))
    spot = PatchSource(case).cut(Window((0, 0, 0), (61, 61, 1)), AugmentationDraw(blur=2.0))[0][0].double()
    assert float(spot.sum()) == pytest.approx(1000, rel=1e-3)
    for axis, mm in ((0, 0.5), (1, 0.8)):
        profile = spot.sum(1 - axis)
        width = ((profile * ((torch.arange(61) - 30) * mm) ** 2).sum() / profile.sum()).sqrt()
        assert float(width) == pytest.approx(2.0, rel=0.01)
    flat = np.full((1, 30, 30, 1), 7.0, dtype=np.float32)
    case = prepared_case((30, 30, 1), image=flat, spacing=(0.5, 0.8, 3.0))
    assert torch.allclose(
        PatchSource(case).cut(Window((0, 0, 0), (30, 30, 1)), AugmentationDraw(blur=2.0))[0], torch.tensor(7.0)
    )


def test_channels_are_changed_alike_and_stay_finite(prepared_case) -> None:
    case = prepared_case()
    two = prepared_case(image=np.concatenate([case.image, 10 * case.image + 3]))
    rng = np.random.default_rng(0)
    quiet = Augmentation(rotation=30, zoom=(0.8, 1.25), gamma=(0.7, 1.4), contrast=(0.8, 1.2), bias=0.3, blur=1.0)
    for _ in range(20):
        image, _ = PatchSource(two).cut(WINDOWS[2], quiet.draw(rng, 2))
        assert image.isfinite().all()
        assert torch.allclose(image[1], 10 * image[0] + 3, atol=2e-3)


def test_the_volume_is_never_changed(prepared_case) -> None:
    case = prepared_case()
    before = case.image.copy(), case.label.copy()
    source, rng = PatchSource(case), np.random.default_rng(0)
    for dimensions in (2, 3):
        for augmentation in (Augmentation(), STRONG):
            source.cut(WINDOWS[dimensions], augmentation.draw(rng, dimensions))
    assert np.array_equal(case.image, before[0]) and np.array_equal(case.label, before[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"zoom": (1.2, 0.8)}, r"zoom \[1.2, 0.8\] is no range; give two factors above 0, the smaller first"),
        ({"gamma": (0, 1)}, r"gamma \[0, 1\] is no range"),
        ({"flips": ("AP",)}, "flip 'AP' is unknown; use LR, PA, IS"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Augmentation(**settings)
