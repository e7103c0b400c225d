"""Laws of pairs: the target lies where the bone lies, and every draw follows from its number."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from registered_sequences import SPACING, foot_poses, write_registered

from ankleseg import keys
from ankleseg.cohorts import Case, Cohort, Split, load_cohort, load_dynamic, load_repeats
from ankleseg.data import Augmentation, EpochSampler, FramePairs, PairData, PairDataset, PatchSampler, RepeatPairs
from ankleseg.data.pairs import correlation_of
from ankleseg.data.prepared_pairs import PreparedPair
from ankleseg.errors import CohortError, ConfigError, GeometryError
from ankleseg.transforms import NonZero, Otsu, Preparation, ZScore
from ankleseg.volumes import read_volume, write_volume

BONES = {"calcaneus": 0.6, "talus": 0.4, "tibia": 0.5}
PREPARATION = Preparation(orientation="PSR", foreground=Otsu(), scaling=ZScore(), bring_to_side="right")
SAMPLER = PatchSampler(size=(12, 10), min_foreground=0)
LENGTH = 12


@pytest.fixture(scope="module")
def registered(phantom_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two controls in motion: a bone of the first is suspect, one of the second was lost."""
    status = {("sub-C01", 0, "talus"): "suspect", ("sub-C02", 1, "tibia"): "failed"}
    out = tmp_path_factory.mktemp("registered") / "out"
    return write_registered(phantom_cohort, out, status, ("sub-C01", "sub-C02"))


def frame_of(root: Path, name: str = "sub-C01", frame: int = 2, **settings) -> Case:
    cases = load_dynamic(root, **settings).cases
    return next(case for case in cases if case.subject == name and case.frame == frame)


@pytest.fixture(scope="module")
def pairs(registered: Path) -> list[PreparedPair]:
    return FramePairs(bones=BONES).training(frame_of(registered), PREPARATION)


# what pairs of frames are


def test_a_frame_names_its_static_scan_and_its_registrations(registered: Path) -> None:
    case = frame_of(registered)
    assert case.static == registered / "sub-C01" / "anat" / "sub-C01_T1w.nii.gz"
    assert case.registrations == registered / "sub-C01" / "dyn" / "sub-C01_task-active_poses.json"


@pytest.mark.parametrize("subject", ["sub-C01", "sub-C02"])
@pytest.mark.parametrize("spacing", [None, [0.9, 0.9, None]])
def test_the_target_is_the_static_scan_where_the_bone_lies_in_the_frame(registered, subject, spacing) -> None:
    """The frames of this cohort are the static scan itself, so that both are one image but for their scale."""
    preparation = replace(PREPARATION, spacing=spacing, order=3)
    for pair in FramePairs(bones=BONES).training(frame_of(registered, subject), preparation):
        image, target = (array[0][pair.case.label > 0] for array in (pair.case.image, pair.target))
        assert np.corrcoef(image, target)[0, 1] > 0.97, pair.case.name


def test_a_wrong_pose_is_noticed_by_that_law(registered: Path, tmp_path: Path) -> None:
    case = frame_of(registered)
    rows = json.loads(case.registrations.read_text())
    for row in rows:
        row["frame_from_static"][0][3] += 6.0
    (tmp_path / "poses.json").write_text(json.dumps(rows))
    pairs = FramePairs(bones=BONES).training(replace(case, registrations=tmp_path / "poses.json"), PREPARATION)
    for pair in pairs:
        inside = pair.case.label > 0
        assert np.corrcoef(pair.case.image[0][inside], pair.target[0][inside])[0, 1] < 0.9


def test_left_feet_are_mirrored_with_their_targets(registered: Path) -> None:
    case = frame_of(registered)
    sides = {
        side: FramePairs(bones=BONES).training(replace(case, side=side), PREPARATION) for side in ("left", "right")
    }
    for left, right in zip(*sides.values(), strict=True):
        np.testing.assert_allclose(left.case.image, right.case.image[..., ::-1], atol=1e-6)
        np.testing.assert_allclose(left.target, right.target[..., ::-1], atol=1e-6)


def test_every_bone_of_a_frame_is_a_pair_with_its_own_share_of_a_patch(pairs) -> None:
    assert [pair.case.name.split()[-1] for pair in pairs] == list(BONES)
    assert [pair.min_foreground for pair in pairs] == list(BONES.values())
    for pair in pairs:
        assert pair.case.image.shape == pair.target.shape == (1, *pair.case.label.shape)
        assert pair.case.image.dtype == pair.target.dtype == np.float32


def test_a_failed_registration_is_never_used(registered: Path) -> None:
    case = frame_of(registered, "sub-C02", 1)
    assert case.unknown == ("tibia",)
    for believed in (case, replace(case, unknown=())):  # not even where a cohort does not say so
        names = [pair.case.name.split()[-1] for pair in FramePairs(bones=BONES).training(believed, PREPARATION)]
        assert names == ["calcaneus", "talus"]


@pytest.mark.parametrize("believed", [True, False])
def test_a_suspect_registration_is_used_where_the_cohort_believes_it(registered: Path, believed: bool) -> None:
    case = frame_of(registered, "sub-C01", 0, with_suspect=believed)
    found = {pair.case.name.split()[-1] for pair in FramePairs(bones=BONES).training(case, PREPARATION)}
    assert ("talus" in found) == believed


def test_no_structures_in_a_cohort_of_frames_means_all_bones(registered: Path) -> None:
    assert load_dynamic(registered, structures=[]).structures == tuple(sorted(BONES))


def test_frames_are_scaled_as_in_prediction_and_the_static_scan_in_its_own_foot(registered: Path, pairs) -> None:
    case = frame_of(registered)
    predicted = PREPARATION(case)
    (whole,) = FramePairs(bones=BONES).validation(case, PREPARATION)
    np.testing.assert_array_equal(whole.case.image, predicted.image)
    static = replace(PREPARATION, bring_to_side=None)([read_volume(case.static)])
    assert whole.target.max() <= static.image.max() + 1e-4
    assert abs(static.image[0][static.foreground].mean()) < 1e-4


def test_published_scaling_is_that_of_the_bone(registered: Path) -> None:
    pairs = FramePairs(bones=BONES, scaling="bone")
    for made in (pairs.training, pairs.validation):
        found = made(frame_of(registered), PREPARATION)
        assert len(found) == len(BONES)
        for pair in found:
            for array in (pair.case.image, pair.target):
                inside = array[0][pair.case.label > 0]
                assert (inside.mean(), inside.std()) == pytest.approx((0, 1), abs=1e-4)


def test_in_validation_each_bone_is_compared_with_its_own_target(registered: Path, pairs) -> None:
    (whole,) = FramePairs(bones=BONES).validation(frame_of(registered), PREPARATION)
    assert whole.case.image.shape == whole.target.shape == (1, *whole.case.foreground.shape)
    assert set(np.unique(whole.case.label)) == {0, 1, 2, 3}
    assert whole.case.foreground.sum() > 3 * (whole.case.label > 0).sum(), "the network looks at the whole foot"
    for value, pair in enumerate(pairs, start=1):
        expected, found = pair.target[0][pair.case.label > 0], whole.target[0][whole.case.label == value]
        np.testing.assert_allclose(np.sort(found), np.sort(expected), atol=1e-5)


def test_only_registered_frames_make_pairs(phantom_cohort: Path) -> None:
    case = load_cohort(phantom_cohort).cases[0]
    with pytest.raises(CohortError) as refused:
        FramePairs(bones=BONES).training(case, PREPARATION)
    assert str(refused.value) == (
        "case sub-C01 is no frame with a registered static scan; give a folder written by ankleseg.prepare "
        "recipe=ankle_dynamic"
    )


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="scaling 'hand' of pairs is unknown; use foot or bone"):
        FramePairs(bones=BONES, scaling="hand")
    with pytest.raises(ConfigError, match="2 of the talus is no fraction"):
        FramePairs(bones={"talus": 2})
    with pytest.raises(ConfigError, match="target 'quiet' of pairs is unknown; use noisy or clean"):
        RepeatPairs(target="quiet")


# repeats


@pytest.fixture
def repeats(tmp_path: Path) -> Path:
    """Two subjects, scanned twice with independent noise on a thick grid, and one scanned once."""
    rng, affine = np.random.default_rng(0), np.diag([1.0, 1.0, 4.0, 1.0])
    for subject in ("sub-1", "sub-2"):
        clean = np.zeros((30, 28, 5))
        clean[6:24, 5:22] = 200 + 150 * rng.random((18, 17, 5)).round()
        for run in (1, 2):
            noisy = clean + rng.normal(0, 20, clean.shape) * (clean > 0)
            write_volume(tmp_path / subject / "anat" / f"{subject}_run-{run}_T1w.nii.gz", noisy.astype("f4"), affine)
        truth = tmp_path / "derivatives" / "truth" / subject / "anat" / f"{subject}_T1w.nii.gz"
        write_volume(truth, clean.astype("f4"), affine)
    write_volume(tmp_path / "sub-3" / "anat" / "sub-3_run-1_T1w.nii.gz", clean.astype("f4"), affine)
    return tmp_path


RAW = Preparation(orientation="RAS", foreground=NonZero(), scaling=ZScore())


def test_repeats_are_the_images_of_a_case(repeats: Path) -> None:
    cohort = load_repeats(repeats)
    assert [(case.name, case.subject) for case in cohort.cases] == [("sub-1_T1w", "sub-1"), ("sub-2_T1w", "sub-2")]
    assert [image.name for image in cohort.cases[0].images] == ["sub-1_run-1_T1w.nii.gz", "sub-1_run-2_T1w.nii.gz"]
    assert cohort.cases[0].clean == repeats / "derivatives/truth/sub-1/anat/sub-1_T1w.nii.gz"


def test_repeats_on_different_grids_are_refused_in_one_line(repeats: Path) -> None:
    second = repeats / "sub-2" / "anat" / "sub-2_run-2_T1w.nii.gz"
    write_volume(second, read_volume(second).data, np.diag([1.0, 1.0, 4.5, 1.0]))
    with pytest.raises(GeometryError) as refused:
        load_repeats(repeats)
    assert str(refused.value) == (
        f"{second}: is not on the grid of sub-2_run-1_T1w.nii.gz: the foot moved, or the protocol changed; give "
        "repeats of one position and protocol, or take the run out of the folder"
    )


def test_a_folder_without_repeats_is_refused(phantom_cohort: Path, repeats: Path) -> None:
    with pytest.raises(CohortError, match=r"holds no repeated scans; name them sub-\*/anat/\*_run-1_T1w"):
        load_repeats(phantom_cohort)
    with pytest.raises(CohortError, match="holds no repeated scans"):
        load_repeats(repeats, suffix="T2w")
    with pytest.raises(CohortError, match="is not a folder"):
        load_repeats(repeats / "nowhere")


def test_each_repeat_is_to_become_the_other_in_one_scale(repeats: Path) -> None:
    case = load_repeats(repeats).cases[0]
    runs = [read_volume(image).data for image in case.images]
    pairs = RepeatPairs().training(case, RAW)
    assert len(pairs) == 2
    for pair, (image, target) in zip(pairs, (runs, runs[::-1]), strict=True):
        inside = image != 0
        mean, deviation = image[inside].mean(), image[inside].std()
        np.testing.assert_allclose(pair.case.image[0], (image - mean) / deviation, atol=1e-4)
        np.testing.assert_allclose(pair.target[0], (target - mean) / deviation, atol=1e-4)
    (validated,) = RepeatPairs().validation(case, RAW)
    np.testing.assert_array_equal(validated.target, pairs[0].target)


def test_the_clean_scan_can_be_the_target(repeats: Path) -> None:
    case = load_repeats(repeats).cases[0]
    pairs = RepeatPairs(target="clean").training(case, RAW)
    noisy = RepeatPairs().training(case, RAW)
    assert len(pairs) == 2
    for clean, other in zip(pairs, noisy, strict=True):
        np.testing.assert_array_equal(clean.case.image, other.case.image)
        inside = clean.case.label > 0
        assert np.unique(clean.target[0][inside].round(4)).size == 2, "two tissues without noise"


def test_without_a_repeat_or_a_clean_scan_there_is_no_target(repeats: Path) -> None:
    case = load_repeats(repeats).cases[0]
    with pytest.raises(CohortError, match="case sub-1_T1w was not repeated; give cases of two scans or more"):
        RepeatPairs().training(replace(case, channels=dict([*case.channels.items()][:1])), RAW)
    with pytest.raises(CohortError, match="has no scan without noise; set patches.pairs.target=noisy"):
        RepeatPairs(target="clean").training(replace(case, clean=None), RAW)


# patches


def dataset(pairs, seed: int = 0, **settings) -> PairDataset:
    return PairDataset(pairs, SAMPLER, length=LENGTH, seed=seed, **settings)


def test_patches_hold_enough_of_their_bone(pairs) -> None:
    marked = [replace(pair, case=replace(pair.case, image=pair.case.label[None].astype(np.float32))) for pair in pairs]
    for pair in marked:
        patches = dataset([pair])
        shares = [float(patches[number][keys.IMAGE].mean()) for number in range(LENGTH)]
        assert min(shares) >= pair.min_foreground - 1e-6


def test_a_patch_tells_the_correlation_of_its_image_and_target(pairs) -> None:
    patches = dataset(pairs)
    for number in range(LENGTH):
        sample = patches[number]
        assert sample[keys.IMAGE].shape == sample[keys.TARGET].shape == (1, 12, 10)
        expected = np.corrcoef(sample[keys.IMAGE].numpy().ravel(), sample[keys.TARGET].numpy().ravel())[0, 1]
        assert float(sample[keys.CORRELATION]) == pytest.approx(expected, abs=1e-5)


def test_correlation_ignores_gain_and_offset_and_is_zero_for_a_constant() -> None:
    image = torch.arange(12.0).reshape(1, 3, 4)
    assert float(correlation_of(image, 3 * image - 5)) == pytest.approx(1)
    assert float(correlation_of(image, -image)) == pytest.approx(-1)
    assert float(correlation_of(image, torch.ones(1, 3, 4))) == 0


def noisy_target(pair: PreparedPair, seed: int) -> PreparedPair:
    noise = np.random.default_rng(seed).normal(0, 1, pair.target.shape).astype(np.float32)
    return replace(pair, target=pair.target + noise)


def test_patches_that_correlate_too_little_are_drawn_again(pairs) -> None:
    noisy = [noisy_target(pair, number) for number, pair in enumerate(pairs)]
    free = [float(dataset(noisy)[number][keys.CORRELATION]) for number in range(LENGTH)]
    assert min(free) < 0.4 < max(free)
    kept = dataset(noisy, min_correlation=0.4)
    assert min(float(kept[number][keys.CORRELATION]) for number in range(LENGTH)) >= 0.4
    assert 0 < kept.share_kept() < 1 == dataset(noisy).share_kept()


def test_where_none_correlates_enough_this_is_told(pairs) -> None:
    with pytest.raises(CohortError) as refused:
        dataset([noisy_target(pairs[0], 0)], min_correlation=0.999)[0]
    assert str(refused.value) == (
        "of 1000 patches none has a correlation of 0.999; lower patches.min_correlation, or look at the registrations"
    )


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


def test_a_draw_follows_from_seed_epoch_and_number(pairs) -> None:
    settings = {"min_correlation": 0.5, "augmentation": Augmentation(rotation=20, noise=0.05, gamma=(0.8, 1.2))}
    noisy = [noisy_target(pair, number) for number, pair in enumerate(pairs)]
    first, again = dataset(noisy, **settings), dataset(noisy, **settings)
    backwards = [again[number] for number in reversed(range(2 * LENGTH))][::-1]
    assert all(same(first[number], backwards[number]) for number in range(2 * LENGTH))
    assert not same(first[0], first[LENGTH]), "every epoch draws anew"
    assert not same(first[0], dataset(noisy, seed=1, **settings)[0])


def test_what_moves_the_image_moves_the_target_and_what_colours_it_does_not(pairs) -> None:
    twins = [replace(pair, target=pair.case.image) for pair in pairs]
    moved = dataset(twins, augmentation=Augmentation(rotation=40, zoom=(0.8, 1.2), shift=3, flips=["PA", "IS"]))
    coloured = dataset(twins, augmentation=Augmentation(gamma=(2, 2), brightness=0.3, noise=0.1, blur=1, bias=0.4))
    plain = dataset(twins)
    for number in range(LENGTH):
        assert torch.equal(moved[number][keys.IMAGE], moved[number][keys.TARGET])
        assert not torch.equal(moved[number][keys.IMAGE], plain[number][keys.IMAGE])
        assert torch.equal(coloured[number][keys.TARGET], plain[number][keys.TARGET])
        assert not torch.equal(coloured[number][keys.IMAGE], plain[number][keys.IMAGE])


def test_a_bone_too_small_for_a_patch_is_passed_over(pairs, caplog) -> None:
    greedy, wide = replace(pairs[1], min_foreground=1.0), PatchSampler(size=(28, 28))
    easy = replace(pairs[0], min_foreground=0.1)
    with caplog.at_level(logging.INFO):
        PairDataset([easy, greedy], wide, length=1)
    assert "1 of 2 pairs have patches with enough foreground" in caplog.text
    with pytest.raises(CohortError, match="no pair has a patch with enough foreground; choose smaller patches"):
        PairDataset([greedy], wide, length=1)


# the data module


def data_of(cohort: Path | Cohort, **settings) -> PairData:
    defaults = {
        "cohort": cohort if isinstance(cohort, Cohort) else load_dynamic(cohort),
        "split": Split(train=("sub-C01",), validation=("sub-C02",)),
        "preparation": PREPARATION,
        "pairs": FramePairs(bones=BONES),
        "sampler": SAMPLER,
        "batch_size": 4,
        "steps_per_epoch": 3,
    }
    return PairData(**(defaults | settings))


def test_training_draws_patches_and_validation_reads_frames(registered: Path) -> None:
    data = data_of(registered)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [tuple(batch[keys.TARGET].shape) for batch in batches] == [(4, 1, 12, 10)] * 3
    assert batches[0][keys.CORRELATION].shape == (4,) and batches[0][keys.CORRELATION].dtype == torch.float32
    frames = list(data.val_dataloader())
    assert [frame[keys.CASE] for frame in frames] == [[f"sub-C02_task-active_frame-0{n}"] for n in range(3)]
    assert frames[0][keys.IMAGE].shape == frames[0][keys.TARGET].shape == frames[0][keys.LABEL].shape


def test_frames_to_validate_are_spread_over_the_sequence(registered: Path) -> None:
    data = data_of(registered, validation_frames=1)
    data.setup("validate")
    assert [frame[keys.CASE] for frame in data.val_dataloader()] == [["sub-C02_task-active_frame-01"]]


def test_without_validation_subjects_there_is_nothing_to_validate(registered: Path) -> None:
    data = data_of(registered, split=Split(train=("sub-C01",)))
    data.setup("fit")
    assert data.val_dataloader() == []


def test_workers_do_not_change_the_draw(registered: Path) -> None:
    def epoch(workers: int) -> list[torch.Tensor]:
        data = data_of(registered, workers=workers)
        data.setup("fit")
        loader = data.train_dataloader()
        assert isinstance(loader.sampler, EpochSampler)
        loader.sampler.set_epoch(2)
        return [batch[keys.TARGET] for batch in loader]

    assert all(torch.equal(one, other) for one, other in zip(epoch(0), epoch(2), strict=True))


def test_spacing_of_the_frames_is_thick(registered: Path) -> None:
    """The fixtures of this file are what they say: thick slices, poses that move the foot."""
    volume = read_volume(frame_of(registered).images[0], dimensions=4)
    np.testing.assert_allclose(np.linalg.norm(volume.affine[:3, :3], axis=0), SPACING, rtol=1e-3)
    poses = foot_poses(volume.affine, volume.data.shape[:3])
    assert not np.allclose(poses[0], poses[2])


def test_a_cohort_of_repeats_is_split_by_subject(repeats: Path) -> None:
    data = data_of(
        load_repeats(repeats), split=Split(train=("sub-1",), validation=("sub-2",)), pairs=RepeatPairs(),
        preparation=RAW, sampler=PatchSampler(size=(12, 10), min_foreground=0.3),
    )  # fmt: skip
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch[keys.IMAGE].shape == batch[keys.TARGET].shape == (4, 1, 12, 10)
    assert [frame[keys.CASE] for frame in data.val_dataloader()] == [["sub-2_T1w"]]
