"""Laws of pairs: the target lies where the bone lies, and every draw follows from its number."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import RandFlipd, RandGaussianNoised
from preparations import preparation
from registered_sequences import SPACING, foot_poses, write_registered

from ankleseg import keys
from ankleseg.cohorts import Case, Cohort, Split, load_cohort, load_dynamic
from ankleseg.data import FramePairs, PairData, PairDataset, PatchSampler, RepeatPairs, prepared
from ankleseg.data.pairs import correlation_of
from ankleseg.errors import CohortError, ConfigError
from ankleseg.labels import Labels
from ankleseg.transforms import RandAnatomicalFlipd, RandCoilFieldd, RandGammaInRanged, RandWorldAffined, RandWorldBlurd
from ankleseg.volumes import read_volume

BONES = {"calcaneus": 0.6, "talus": 0.4, "tibia": 0.5}
WHOLE = preparation(side="right")
SAMPLER = PatchSampler(size=(12, 10), min_foreground=0)
LENGTH = 12

Sample = dict[Any, Any]


@pytest.fixture(scope="module")
def registered(phantom_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two controls in motion: a bone of the first is suspect, one of the second was lost."""
    status = {("sub-C01", 0, "talus"): "suspect", ("sub-C02", 1, "tibia"): "failed"}
    out = tmp_path_factory.mktemp("registered") / "out"
    return write_registered(phantom_cohort, out, status, ("sub-C01", "sub-C02"))


def frame_of(root: Path, name: str = "sub-C01", frame: int = 2, **settings: Any) -> Case:
    cases = load_dynamic(root, **settings).cases
    return next(case for case in cases if case.subject == name and case.frame == frame)


@pytest.fixture(scope="module")
def pairs(registered: Path) -> list[Sample]:
    return FramePairs(bones=BONES).training(frame_of(registered), WHOLE)


def of_bone(pair: Sample, value: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Image and target inside the bones, or inside one of them."""
    inside = pair[keys.LABEL] > 0 if value is None else pair[keys.LABEL] == value
    return pair[keys.IMAGE][inside], pair[keys.TARGET][inside]


def bones_of(pairs: list[Sample]) -> list[str]:
    return [pair[keys.CASE].split()[-1] for pair in pairs]


# what pairs of frames are


def test_a_frame_names_its_static_scan_and_its_registrations(registered: Path) -> None:
    case = frame_of(registered)
    assert case.static == registered / "sub-C01" / "anat" / "sub-C01_T1w.nii.gz"
    assert case.registrations == registered / "sub-C01" / "dyn" / "sub-C01_task-active_poses.json"
    assert load_dynamic(registered, structures=[]).structures == tuple(sorted(BONES)), "none named means all"
    volume = read_volume(case.images[0], dimensions=4)  # thick slices, poses that move the foot
    np.testing.assert_allclose(np.linalg.norm(volume.affine[:3, :3], axis=0), SPACING, rtol=1e-3)
    poses = foot_poses(volume.affine, volume.data.shape[:3])
    assert not np.allclose(poses[0], poses[2])


def test_the_target_is_the_static_scan_where_the_bone_lies_in_the_frame(registered: Path, tmp_path: Path) -> None:
    """The frames of this cohort are the static scan itself, so that both are one image but for their scale; mirrored
    or not, at their own and at another spacing. A pose that is 6 mm wrong is noticed."""
    for subject, side in (("sub-C01", "left"), ("sub-C02", "right")):
        for spacing in (None, [0.9, 0.9, None]):
            case = replace(frame_of(registered, subject), side=side)
            for pair in FramePairs(bones=BONES).training(case, preparation(side="right", spacing=spacing, order=3)):
                assert np.corrcoef(*of_bone(pair))[0, 1] > 0.97, pair[keys.CASE]
    rows = json.loads(case.registrations.read_text())
    for row in rows:
        if row["frame_from_static"]:
            row["frame_from_static"][0][3] += 6.0
    wrong = tmp_path / "poses.json"
    wrong.write_text(json.dumps(rows))
    for pair in FramePairs(bones=BONES).training(replace(case, registrations=wrong), WHOLE):
        assert np.corrcoef(*of_bone(pair))[0, 1] < 0.9


def test_left_feet_are_mirrored_with_their_targets(registered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the bone alone, so that the box around it has another place once it is mirrored."""
    monkeypatch.setattr("ankleseg.data.prepared_pairs.MARGIN_MM", 0.0)
    case = frame_of(registered)
    sides = [FramePairs(bones=BONES).training(replace(case, side=side), WHOLE) for side in ("left", "right")]
    for left, right in zip(*sides, strict=True):
        for key in (keys.IMAGE, keys.TARGET, keys.LABEL):
            assert torch.allclose(left[key].float(), right[key].float().flip(3), atol=1e-6)


def test_every_bone_of_a_frame_is_a_pair_with_its_own_share_of_a_patch(pairs) -> None:
    assert bones_of(pairs) == list(BONES)
    assert [pair["min_foreground"] for pair in pairs] == list(BONES.values())
    for pair in pairs:
        assert pair[keys.IMAGE].shape == pair[keys.TARGET].shape == pair[keys.LABEL].shape
        assert pair[keys.IMAGE].dtype == pair[keys.TARGET].dtype == torch.float32
        assert type(pair[keys.IMAGE]) is torch.Tensor and pair[keys.IMAGE][..., 0].is_contiguous()


def test_a_failed_registration_is_never_used_and_a_suspect_one_where_the_cohort_believes_it(
    registered: Path, tmp_path: Path
) -> None:
    case = frame_of(registered, "sub-C02", 1)
    assert case.unknown == ("tibia",)
    rows = json.loads(frame_of(registered).registrations.read_text())
    for row in rows:
        if row["bone"] == "tibia":
            row |= {"status": "failed", "frame_from_static": None, "correlation": None}
    (tmp_path / "poses.json").write_text(json.dumps(rows))
    masked = replace(frame_of(registered), registrations=tmp_path / "poses.json")
    for believed in (case, replace(case, unknown=()), masked):  # not even where there is a mask all the same
        assert bones_of(FramePairs(bones=BONES).training(believed, WHOLE)) == ["calcaneus", "talus"]
    for believe in (True, False):
        case = frame_of(registered, "sub-C01", 0, with_suspect=believe)
        assert ("talus" in bones_of(FramePairs(bones=BONES).training(case, WHOLE))) == believe


def test_frames_are_scaled_as_in_prediction_and_the_static_scan_in_its_own_foot(registered: Path) -> None:
    case = frame_of(registered)
    (whole,) = FramePairs(bones=BONES).validation(case, WHOLE)
    assert torch.equal(whole[keys.IMAGE], prepared(case, WHOLE)[keys.IMAGE].as_tensor())
    static = prepared(Case("static", "sub-C01", {"image": case.static}), preparation())
    assert whole[keys.TARGET].max() <= static[keys.IMAGE].max() + 1e-4
    assert whole[keys.TARGET].min() >= static[keys.IMAGE].min() - 1e-4
    assert float(static[keys.IMAGE][static[keys.FOREGROUND]].mean()) == pytest.approx(0, abs=1e-4)


def test_published_scaling_is_that_of_the_bone(registered: Path) -> None:
    scaled = FramePairs(bones=BONES, scaling="bone")
    for made in (scaled.training, scaled.validation):
        found = made(frame_of(registered), WHOLE)
        assert bones_of(found) == list(BONES)
        for pair in found:
            for inside in of_bone(pair):
                assert (float(inside.mean()), float(inside.std())) == pytest.approx((0, 1), abs=1e-3)


def test_in_validation_each_bone_is_compared_with_its_own_target(registered: Path, pairs) -> None:
    (whole,) = FramePairs(bones=BONES).validation(frame_of(registered), WHOLE)
    assert whole[keys.IMAGE].shape == whole[keys.TARGET].shape == whole[keys.FOREGROUND].shape
    assert set(whole[keys.LABEL].unique().tolist()) == {0, 1, 2, 3}
    assert whole[keys.FOREGROUND].sum() > 3 * (whole[keys.LABEL] > 0).sum(), "the network looks at the whole foot"
    for value, pair in enumerate(pairs, start=1):
        expected, found = of_bone(pair)[1], of_bone(whole, value)[1]
        assert torch.allclose(found.sort().values, expected.sort().values, atol=1e-5)


def test_what_makes_no_pairs_is_refused(phantom_cohort: Path) -> None:
    with pytest.raises(CohortError) as refused:
        FramePairs(bones=BONES).training(load_cohort(phantom_cohort).cases[0], WHOLE)
    assert str(refused.value) == (
        "case sub-C01 is no frame with a registered static scan; give a folder written by ankleseg.prepare "
        "recipe=ankle_dynamic"
    )
    with pytest.raises(ConfigError, match="scaling 'hand' of pairs is unknown; use foot or bone"):
        FramePairs(bones=BONES, scaling="hand")
    with pytest.raises(ConfigError, match="2 of the talus is no fraction"):
        FramePairs(bones={"talus": 2})
    with pytest.raises(ConfigError, match="target 'quiet' of pairs is unknown; use noisy or clean"):
        RepeatPairs(target="quiet")


# patches


def dataset(pairs: list[Sample], seed: int = 0, **settings: Any) -> PairDataset:
    return PairDataset(pairs, SAMPLER, length=LENGTH, seed=seed, **settings)


def test_patches_hold_enough_of_their_bone(pairs) -> None:
    for pair in pairs:
        patches = dataset([pair | {keys.IMAGE: pair[keys.LABEL].float()}])
        shares = [float(patches[number][keys.IMAGE].mean()) for number in range(LENGTH)]
        assert min(shares) >= pair["min_foreground"] - 1e-6


def test_a_patch_tells_the_correlation_of_its_image_and_target(pairs) -> None:
    patches = dataset(pairs)
    for number in range(LENGTH):
        sample = patches[number]
        assert sample[keys.IMAGE].shape == sample[keys.TARGET].shape == (1, 12, 10)
        expected = np.corrcoef(sample[keys.IMAGE].numpy().ravel(), sample[keys.TARGET].numpy().ravel())[0, 1]
        assert float(sample[keys.CORRELATION]) == pytest.approx(expected, abs=1e-5)
    image = torch.arange(12.0).reshape(1, 3, 4)  # gain and offset do not matter
    assert float(correlation_of(image, 3 * image - 5)) == pytest.approx(1)
    assert float(correlation_of(image, -image)) == pytest.approx(-1)
    assert float(correlation_of(image, torch.ones(1, 3, 4))) == 0


def noisy_target(pair: Sample, seed: int) -> Sample:
    noise = torch.randn(pair[keys.TARGET].shape, generator=torch.Generator().manual_seed(seed))
    return pair | {keys.TARGET: pair[keys.TARGET] + noise}


def test_patches_that_correlate_too_little_are_drawn_again_until_that_is_told_to_be_of_no_use(pairs) -> None:
    noisy = [noisy_target(pair, number) for number, pair in enumerate(pairs)]
    free = [float(dataset(noisy)[number][keys.CORRELATION]) for number in range(LENGTH)]
    assert min(free) < 0.4 < max(free)
    kept = dataset(noisy, min_correlation=0.4)
    assert min(float(kept[number][keys.CORRELATION]) for number in range(LENGTH)) >= 0.4
    assert 0 < kept.share_kept() < 1 == dataset(noisy).share_kept()
    with pytest.raises(CohortError) as refused:
        dataset(noisy[:1], min_correlation=0.999)[0]
    assert str(refused.value) == (
        "of 1000 patches none has a correlation of 0.999; lower patches.min_correlation, or look at the registrations"
    )


MOVED = (keys.IMAGE, keys.TARGET)
MOVES = [
    RandWorldAffined(MOVED, rotate=40, zoom=(0.8, 1.2), shift=3),
    RandAnatomicalFlipd(MOVED, ["PA", "IS"]),
    RandFlipd(MOVED, prob=0.5, spatial_axis=1),
]
COLOURS = [
    RandGammaInRanged(keys.IMAGE, gamma=(2, 2)),
    RandWorldBlurd(keys.IMAGE, sigma=1),
    RandCoilFieldd(keys.IMAGE, coefficient=0.4),
    RandGaussianNoised(keys.IMAGE, prob=1.0, std=0.1),
]


def ranged(pair: Sample) -> Sample:
    return pair | {keys.RANGE: torch.tensor([[-3.0, 3.0]])}


def test_a_draw_follows_from_seed_epoch_and_number(pairs) -> None:
    noisy = [ranged(noisy_target(pair, number)) for number, pair in enumerate(pairs)]
    settings = {"min_correlation": 0.2, "augment": [*MOVES, *COLOURS]}
    first, again = dataset(noisy, **settings), dataset(noisy, **settings)
    backwards = [again[number] for number in reversed(range(2 * LENGTH))][::-1]
    for number, other in enumerate(backwards):
        assert all(torch.equal(first[number][key], other[key]) for key in (*MOVED, keys.CORRELATION))
    for other in (first[LENGTH], dataset(noisy, seed=1, **settings)[0]):
        assert not torch.equal(first[0][keys.IMAGE], other[keys.IMAGE]), "every epoch and seed draws anew"


def test_what_moves_the_image_moves_the_target_and_what_colours_it_does_not(pairs) -> None:
    twins = [ranged(pair) | {keys.TARGET: pair[keys.IMAGE]} for pair in pairs]
    moved, coloured, plain = (dataset(twins, augment=augment) for augment in (MOVES, COLOURS, ()))
    for number in range(LENGTH):
        assert torch.equal(moved[number][keys.IMAGE], moved[number][keys.TARGET])
        assert not torch.equal(moved[number][keys.IMAGE], plain[number][keys.IMAGE])
        assert torch.equal(coloured[number][keys.TARGET], plain[number][keys.TARGET])
        assert not torch.equal(coloured[number][keys.IMAGE], plain[number][keys.IMAGE])


def test_a_bone_too_small_for_a_patch_is_passed_over(pairs, caplog) -> None:
    greedy, wide = pairs[1] | {"min_foreground": 1.0}, PatchSampler(size=(28, 28))
    easy = pairs[0] | {"min_foreground": 0.1}
    with caplog.at_level(logging.INFO):
        PairDataset([easy, greedy], wide, length=1)
    assert "1 of 2 pairs have patches with enough foreground" in caplog.text
    with pytest.raises(CohortError, match="no pair has a patch with enough foreground; choose smaller patches"):
        PairDataset([greedy], wide, length=1)


# the data module


def data_of(cohort: Path | Cohort, **settings: Any) -> PairData:
    defaults = {
        "cohort": cohort if isinstance(cohort, Cohort) else load_dynamic(cohort),
        "split": Split(train=("sub-C01",), validation=("sub-C02",)),
        "preparation": WHOLE,
        "labels": Labels(images=("restored",)),
        "pairs": FramePairs(bones=BONES),
        "sampler": SAMPLER,
        "batch_size": 4,
        "steps_per_epoch": 3,
    }
    return PairData(**(defaults | settings))


def test_training_draws_patches_and_validation_reads_frames_spread_over_the_sequence(registered: Path) -> None:
    """With any number of workers the same patches."""
    data = data_of(registered, augment=MOVES)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [tuple(batch[keys.TARGET].shape) for batch in batches] == [(4, 1, 12, 10)] * 3
    assert batches[0][keys.CORRELATION].shape == (4,) and batches[0][keys.CORRELATION].dtype == torch.float32
    frames = list(data.val_dataloader())
    assert [frame[keys.CASE] for frame in frames] == [[f"sub-C02_task-active_frame-0{n}"] for n in range(3)]
    assert frames[0][keys.IMAGE].shape == frames[0][keys.TARGET].shape == frames[0][keys.LABEL].shape

    helped = data_of(registered, augment=MOVES, workers=2, split=Split(train=("sub-C01",)))
    helped.setup("fit")
    for one, other in zip(batches, helped.train_dataloader(), strict=True):
        assert torch.equal(one[keys.TARGET], other[keys.TARGET])
    assert helped.val_dataloader() == []
    few = data_of(registered, validation_frames=1)
    few.setup("validate")
    assert [frame[keys.CASE] for frame in few.val_dataloader()] == [["sub-C02_task-active_frame-01"]]


def test_flips_that_reverse_left_and_right_are_refused_here_too(registered: Path) -> None:
    blocks = {"sampler": PatchSampler(size=(12, 10, 1), min_foreground=0)}
    flip = RandFlipd(MOVED, prob=0.5, spatial_axis=2)
    with pytest.raises(ConfigError, match="RandFlipd reverses left and right, which turns a right foot into a left on"):
        data_of(registered, augment=[flip], **blocks).setup("fit")


def test_processes_that_train_together_share_the_pairs_that_one_of_them_prepared(
    registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, one, other = (data_of(registered) for _ in range(3))
    alone.setup("fit")
    for data in (one, other):
        data.trainer = SimpleNamespace(world_size=2, default_root_dir=str(tmp_path))
    one.prepare_data()
    assert len(list((tmp_path / "prepared").iterdir())) == 6, "two subjects of three frames"
    monkeypatch.setattr("ankleseg.data.volumes.FolderCache._pre_transform", lambda *_: pytest.fail("prepared again"))
    other.setup("fit")
    for expected, found in zip(
        [*alone.train_dataloader(), *alone.val_dataloader()],
        [*other.train_dataloader(), *other.val_dataloader()],
        strict=True,
    ):
        assert all(torch.equal(value, found[key]) for key, value in expected.items() if key != keys.CASE)


def test_pairs_in_a_folder_are_made_again_where_a_pose_or_the_kind_of_pair_is_another(
    registered: Path, tmp_path: Path
) -> None:
    poses = tmp_path / "poses.json"
    poses.write_text(frame_of(registered).registrations.read_text())
    case = replace(frame_of(registered), registrations=poses)

    def entries(pairs: FramePairs) -> int:
        data = data_of(Cohort(registered, (case,)), split=Split(train=("sub-C01",)), pairs=pairs, cache=tmp_path / "c")
        data.setup("fit")
        return len(list((tmp_path / "c").iterdir()))

    assert entries(FramePairs(bones=BONES)) == entries(FramePairs(bones=BONES)) == 1
    assert entries(FramePairs(bones=BONES, scaling="bone")) == 2
    poses.write_text(poses.read_text().replace('"correlation": 0.9', '"correlation": 0.8'))
    assert entries(FramePairs(bones=BONES)) == 3
