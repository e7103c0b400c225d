"""Laws of the datasets: one seed, one draw, with any number of workers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ankleseg import keys
from ankleseg.data import Augmentation, EpochSampler, PatchDataset, PatchSampler, VolumeDataset
from ankleseg.data.dataset import batch_of_one

LENGTH = 24
MILD = Augmentation(rotation=20, zoom=(0.9, 1.1), noise=0.05, gamma=(0.8, 1.2), blur=0.5, bias=0.2)


@pytest.fixture
def patches(prepared_case):
    """Make a dataset of two cases."""
    cases = [prepared_case(name="a"), prepared_case((40, 44, 4), name="b")]
    sampler = PatchSampler(size=(16, 14), balance=0.3)
    return lambda seed=0, augmentation=MILD, **others: PatchDataset(
        cases, sampler, augmentation, length=LENGTH, seed=seed, **others
    )


def epoch_of(dataset: PatchDataset, epoch: int, workers: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    sampler = EpochSampler(LENGTH)
    sampler.set_epoch(epoch)
    batches = list(DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=workers))
    assert len(batches) == LENGTH // 4
    return torch.cat([b[keys.IMAGE] for b in batches]), torch.cat([b[keys.LABEL] for b in batches])


def test_a_batch_has_the_promised_shapes_and_types(patches) -> None:
    image, label = epoch_of(patches(), 0)
    assert image.shape == label.shape == (LENGTH, 1, 16, 14)
    assert image.dtype == torch.float32 and label.dtype == torch.int64
    assert set(label.unique().tolist()) == {0, 1, 2}


def test_blocks_are_drawn_by_three_sides(prepared_case) -> None:
    dataset = PatchDataset([prepared_case()], PatchSampler(size=(16, 14, 3)), MILD, length=3)
    assert dataset[2][keys.IMAGE].shape == dataset[2][keys.LABEL].shape == (1, 16, 14, 3)


def test_workers_do_not_change_the_draw(patches) -> None:
    alone, helped = epoch_of(patches(), 3), epoch_of(patches(), 3, workers=2)
    assert torch.equal(alone[0], helped[0]) and torch.equal(alone[1], helped[1])


def test_threads_do_not_change_the_draw(prepared_case) -> None:
    case = prepared_case((160, 150, 2))
    dataset = PatchDataset([case], PatchSampler(size=(128, 128), min_foreground=0), MILD, length=LENGTH)
    threads, drawn = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            drawn.append(torch.stack([dataset[n][keys.IMAGE] for n in range(8)]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*drawn)


def test_neither_the_order_nor_other_randomness_changes_a_patch(patches) -> None:
    dataset = patches()
    expected = dataset[30][keys.IMAGE]
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 - that the global state does not matter is what is tested
    for index in (5, 31, 2):
        dataset[index]
    assert torch.equal(dataset[30][keys.IMAGE], expected)
    assert torch.equal(patches()[30][keys.IMAGE], expected)


def test_two_seeds_are_two_draws(patches) -> None:
    first, second = epoch_of(patches(seed=0), 0)[0], epoch_of(patches(seed=1), 0)[0]
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_no_patch_comes_twice_in_or_between_epochs(patches) -> None:
    images = torch.cat([epoch_of(patches(), epoch)[0] for epoch in (0, 1, 2)])
    assert len({image.numpy().tobytes() for image in images}) == 3 * LENGTH


def test_without_augmentation_patches_are_cut_from_the_volumes(patches, prepared_case) -> None:
    volumes = [prepared_case().image[0], prepared_case((40, 44, 4)).image[0]]
    views = [np.lib.stride_tricks.sliding_window_view(volume, (16, 14), axis=(0, 1)) for volume in volumes]
    for number in range(6):
        patch = patches(augmentation=None)[number][keys.IMAGE][0].numpy()
        assert any((view == patch).all((-2, -1)).any() for view in views)


def test_cases_are_drawn_alike_whatever_their_size(prepared_case) -> None:
    cases = [prepared_case((60, 60, 6), name="large"), prepared_case((24, 24, 1), name="small")]
    cases[1].image[...] = -9
    dataset = PatchDataset(cases, PatchSampler(size=(8, 8)), length=400)
    small = sum(bool((dataset[n][keys.IMAGE] == -9).all()) for n in range(400))
    assert 150 < small < 250


def test_whole_volumes_come_one_at_a_time_and_uncopied(prepared_case) -> None:
    case = prepared_case(name="sub-C01")
    (batch,) = DataLoader(VolumeDataset([case]), batch_size=1, collate_fn=batch_of_one)
    assert batch[keys.CASE] == ["sub-C01"]
    for key, array, dtype in [
        (keys.IMAGE, case.image, torch.float32),
        (keys.LABEL, case.label[None], torch.int64),
        (keys.FOREGROUND, case.foreground[None], torch.bool),
    ]:
        assert batch[key].dtype == dtype
        assert np.array_equal(batch[key][0].numpy(), array)
    assert batch[keys.IMAGE].data_ptr() == torch.from_numpy(case.image).data_ptr()
