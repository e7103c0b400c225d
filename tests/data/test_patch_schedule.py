"""Laws of growing patches."""

from __future__ import annotations

import pytest

from ankleseg import keys
from ankleseg.data import PatchDataset, PatchSampler, PatchSchedule
from ankleseg.errors import CohortError, ConfigError

SCHEDULE = [{"epoch": 2, "size": [24, 24], "min_foreground": 0.4}, {"epoch": 5, "size": [64, 64], "min_foreground": 0}]


def test_a_step_holds_until_the_next_one() -> None:
    schedule = PatchSchedule(PatchSampler(size=(12, 12)), SCHEDULE)
    sizes = [schedule.samplers[schedule.step(epoch)].size for epoch in range(8)]
    assert sizes == [(12, 12)] * 2 + [(24, 24)] * 3 + [(64, 64)] * 3


def test_a_step_at_epoch_0_takes_the_place_of_the_sampler() -> None:
    schedule = PatchSchedule(PatchSampler(size=(12, 12)), [{"epoch": 0, "size": [16, 16]}, *SCHEDULE])
    assert schedule.samplers[schedule.step(0)].size == (16, 16)
    assert schedule.samplers[schedule.step(1)].min_foreground == 0.75


def test_patches_of_an_epoch_have_its_size_even_past_the_size_of_the_image(prepared_case) -> None:
    patches = PatchDataset([prepared_case()], PatchSampler(size=(12, 12)), length=4, schedule=SCHEDULE)
    for epoch, side in [(0, 12), (1, 12), (2, 24), (4, 24), (5, 64), (9, 64)]:
        for number in range(4):
            sample = patches[epoch * 4 + number]
            assert sample[keys.IMAGE].shape == sample[keys.LABEL].shape == (1, side, side)


def test_a_later_step_that_cannot_be_drawn_is_told_before_training(prepared_case) -> None:
    with pytest.raises(CohortError, match="s1: no patch of 40×40 voxels holds 75 % foreground"):
        PatchDataset(
            [prepared_case()], PatchSampler(size=(12, 12)), length=4, schedule=[{"epoch": 9, "size": [40, 40]}]
        )


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (
            [{"epoch": 1}],
            r"step {'epoch': 1} of the patch schedule is not understood; write {epoch: 3, size: \[256, 256\]}",
        ),
        ([{"epoch": 1, "size": [8, 8], "sides": 2}], "is not understood"),
        ([{"epoch": 3, "size": [8, 8]}, {"epoch": 3, "size": [9, 9]}], "do not rise; sort its steps by epoch"),
    ],
)
def test_a_schedule_that_means_nothing_is_refused(schedule, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PatchSchedule(PatchSampler(), schedule)
