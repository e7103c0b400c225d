"""Laws of the datasets: one seed, one draw, with any number of workers; each size of patch in its epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Lambdad, RandAdjustContrastd, RandFlipd, RandGaussianNoised
from torch.utils.data import DataLoader

from ankleseg import keys
from ankleseg.data import EpochSampler, PatchDataset, PatchSampler, PatchSchedule, PatchTransforms, VolumeDataset
from ankleseg.data.dataset import batch_of_one
from ankleseg.errors import CohortError, ConfigError
from ankleseg.transforms import RandGammaInRanged, RandWorldAffined, RandWorldBlurd

LENGTH = 24
BOTH = [keys.IMAGE, keys.LABEL]
MIXED = [  # ours, MONAI's, and one that draws from PyTorch
    RandWorldAffined(BOTH, rotate=20, zoom=(0.9, 1.1)),
    RandFlipd(BOTH, prob=0.5, spatial_axis=0),
    RandWorldBlurd(keys.IMAGE, sigma=0.5),
    RandGammaInRanged(keys.IMAGE, gamma=(0.8, 1.2)),
    RandAdjustContrastd(keys.IMAGE, prob=0.5, gamma=(0.9, 1.1)),
    RandGaussianNoised(keys.IMAGE, prob=1.0, std=0.05),
    Lambdad(keys.IMAGE, lambda image: image + 0.01 * torch.randn_like(image)),
]


def dataset_of(
    samples: list[dict], sampler: PatchSampler, augment: Any = (), schedule: Any = (), **drawing: Any
) -> PatchDataset:
    spacing = (0.6, 0.9, 3.0)[: len(sampler.size)]
    steps = [(epoch, PatchTransforms(s, augment, [spacing])) for epoch, s in PatchSchedule(sampler, schedule).steps]
    return PatchDataset(samples, steps, **({"length": LENGTH} | drawing))


@pytest.fixture
def patches(prepared):
    """Make a dataset of two samples."""
    samples = [prepared(name="a"), prepared((40, 44, 4), name="b")]
    sampler = PatchSampler(size=(16, 14), min_foreground=0.5, balance=0.3)
    return lambda seed=0, augment=MIXED: dataset_of(samples, sampler, augment, seed=seed)


def epoch_of(dataset: PatchDataset, epoch: int, workers: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    sampler = EpochSampler(LENGTH)
    sampler.set_epoch(epoch)
    batches = list(DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=workers))
    assert len(batches) == LENGTH // 4
    return torch.cat([b[keys.IMAGE] for b in batches]), torch.cat([b[keys.LABEL] for b in batches])


def test_a_batch_has_the_promised_shapes_and_types(patches, prepared) -> None:
    image, label = epoch_of(patches(), 0)
    assert image.shape == label.shape == (LENGTH, 1, 16, 14) and type(image) is torch.Tensor
    assert image.dtype == torch.float32 and label.dtype == torch.int64
    assert set(label.unique().tolist()) == {0, 1, 2}
    block = dataset_of([prepared()], PatchSampler(size=(16, 14, 3)), MIXED)[2]
    assert set(block) == {keys.IMAGE, keys.LABEL} and block[keys.IMAGE].shape == (1, 16, 14, 3)


def test_one_seed_is_one_draw_and_another_one_another(patches) -> None:
    """With any number of workers, in any order, whatever else is random."""
    alone, helped, other = epoch_of(patches(), 3), epoch_of(patches(), 3, workers=2), epoch_of(patches(seed=1), 3)[0]
    assert torch.equal(alone[0], helped[0]) and torch.equal(alone[1], helped[1])
    assert not any(torch.equal(a, b) for a, b in zip(alone[0], other, strict=True))
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 - that the global state does not matter is what is tested
    again = patches()
    for number in (5, 23, 0):
        assert torch.equal(again[3 * LENGTH + number][keys.IMAGE], alone[0][number])
    images = torch.cat([alone[0], *(epoch_of(patches(), epoch)[0] for epoch in (0, 1))])
    assert len({image.numpy().tobytes() for image in images}) == 3 * LENGTH, "no patch comes twice"


def test_what_monai_adds_untracked_does_not_hide_the_spacing(prepared) -> None:
    blur, same = RandWorldBlurd(keys.IMAGE, sigma=2.0), Lambdad(keys.IMAGE, lambda image: image)
    one, other = (dataset_of([prepared()], PatchSampler(size=(16, 14)), a)[1] for a in ([blur], [same, blur]))
    assert torch.equal(one[keys.IMAGE], other[keys.IMAGE])


def test_threads_do_not_change_the_draw(prepared) -> None:
    dataset = dataset_of([prepared((160, 150, 2))], PatchSampler(size=(128, 128), min_foreground=0), MIXED)
    threads, drawn = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            drawn.append(torch.stack([dataset[n][keys.IMAGE] for n in range(8)]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*drawn)


def test_without_augmentation_patches_are_cut_from_the_volumes_which_stay(patches, prepared) -> None:
    volumes = [prepared()[keys.IMAGE][0].numpy(), prepared((40, 44, 4))[keys.IMAGE][0].numpy()]
    views = [np.lib.stride_tricks.sliding_window_view(volume, (16, 14), axis=(0, 1)) for volume in volumes]
    plain = patches(augment=())
    for number in range(6):
        patch = plain[number][keys.IMAGE]
        assert any((view == patch[0].numpy()).all((-2, -1)).any() for view in views)
        patch.fill_(99)
        assert plain[number][keys.IMAGE].max() < 99


def test_no_patch_that_is_turned_has_empty_corners_inside_the_volume(prepared) -> None:
    """The crop leaves as much around as the transform may reach."""
    full = prepared((90, 80, 3), spacing=(0.6, 0.9, 3.0))
    full[keys.LABEL] = torch.full_like(full[keys.LABEL], 1)
    inner = torch.zeros_like(full[keys.FOREGROUND])
    inner[:, 30:60, 28:52] = True
    turned = RandWorldAffined(BOTH, rotate=45, zoom=(0.9, 1.1), shift=2)
    dataset = dataset_of([full | {keys.FOREGROUND: inner}], PatchSampler(size=(20, 18), min_foreground=0.9), [turned])
    assert all(bool(dataset[number][keys.LABEL].all()) for number in range(60))


def test_scans_are_drawn_alike_whatever_their_size_and_sequences_as_scans(prepared) -> None:
    large = prepared((60, 60, 6), name="large")
    frames = [prepared((24, 24, 1), name=f"frame-{n}", sequence="cine.nii") for n in range(3)]
    for number, frame in enumerate(frames):
        frame[keys.IMAGE][:] = -9 - number
    dataset = dataset_of([large, *frames], PatchSampler(size=(8, 8)), length=600)
    values = [float(dataset[n][keys.IMAGE].min()) for n in range(600)]
    counts = [sum(value == -9 - number for value in values) for number in range(3)]
    assert 240 < sum(counts) < 360 and min(counts) > 60


def test_what_is_known_of_the_structures_travels_with_the_patch(prepared) -> None:
    samples = [prepared(name="a", known=torch.tensor([True, False])), prepared(name="b", known=torch.ones(2) > 0)]
    batch = next(iter(DataLoader(dataset_of(samples, PatchSampler(size=(8, 8))), batch_size=LENGTH)))
    assert set(map(tuple, batch[keys.KNOWN].tolist())) == {(True, False), (True, True)}


def test_whole_volumes_come_one_at_a_time_and_uncopied(prepared) -> None:
    sample = prepared(name="sub-C01")
    (batch,) = DataLoader(VolumeDataset([sample]), batch_size=1, collate_fn=batch_of_one)
    assert batch[keys.CASE] == ["sub-C01"]
    for key, dtype in [(keys.IMAGE, torch.float32), (keys.LABEL, torch.int64), (keys.FOREGROUND, torch.bool)]:
        assert batch[key].dtype == dtype and torch.equal(batch[key][0], sample[key].to(dtype))
    assert batch[keys.IMAGE].data_ptr() == sample[keys.IMAGE].data_ptr()


# growing patches

SCHEDULE = [{"epoch": 2, "size": [24, 24], "min_foreground": 0.4}, {"epoch": 5, "size": [64, 64], "min_foreground": 0}]


def test_a_step_holds_until_the_next_one_even_past_the_size_of_the_image(prepared) -> None:
    dataset = dataset_of([prepared()], PatchSampler(size=(12, 12)), schedule=SCHEDULE, length=4)
    for epoch, side in enumerate([12] * 2 + [24] * 3 + [64] * 3):
        for number in range(4):
            sample = dataset[epoch * 4 + number]
            assert sample[keys.IMAGE].shape == sample[keys.LABEL].shape == (1, side, side)
    assert PatchSchedule(PatchSampler(size=(12, 12)), SCHEDULE).sizes == [(0, (12, 12)), (2, (24, 24)), (5, (64, 64))]
    replaced = PatchSchedule(PatchSampler(size=(12, 12)), [{"epoch": 0, "size": [16, 16]}, *SCHEDULE])
    assert [tuple(sampler.size) for sampler in replaced.samplers] == [(16, 16), (24, 24), (64, 64)]
    assert replaced.samplers[0].min_foreground == 0.75


def test_a_later_step_that_cannot_be_drawn_is_told_before_training(prepared) -> None:
    with pytest.raises(CohortError, match="s1: no patch of 40×40 voxels holds 75 % foreground, the best holds .*; set"):
        dataset_of([prepared()], PatchSampler(size=(12, 12)), schedule=[{"epoch": 9, "size": [40, 40]}])


def test_settings_that_mean_nothing_are_refused() -> None:
    for schedule, message in [
        ([{"epoch": 1}], r"step {'epoch': 1} of the patch schedule is not understood; write {epoch: 3, size: \[256, "),
        ([{"epoch": 1, "size": [8, 8], "sides": 2}], "is not understood"),
        ([{"epoch": 3, "size": [8, 8]}, {"epoch": 3, "size": [9, 9]}], "do not rise; sort its steps by epoch"),
    ]:
        with pytest.raises(ConfigError, match=message):
            PatchSchedule(PatchSampler(), schedule)
    for settings, message in [
        ({"size": (128,)}, r"invalid patch size \(128,\): expected 2 or 3 sides; give them in voxels"),
        ({"min_foreground": 75}, "invalid min_foreground 75: expected a fraction"),
        ({"balance": -0.1}, "invalid balance -0.1"),
    ]:
        with pytest.raises(ConfigError, match=message):
            PatchSampler(**settings)
