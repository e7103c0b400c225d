"""Laws of thick and sharp patches made for a network; those of the simulator are with the transforms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import RandFlipd, Randomizable
from preparations import preparation

from ankleseg import keys
from ankleseg.cohorts import Case, Cohort, Reference, Split
from ankleseg.data import PatchSampler, SuperResolutionData, prepared
from ankleseg.data.super_resolution import AsSeenThick, typical
from ankleseg.errors import CohortError, ConfigError
from ankleseg.labels import Labels
from ankleseg.transforms import Preparation, RandGammaInRanged, RandThickSlicesd, scales_of
from ankleseg.volumes import read_volume, write_volume

MM = (0.5, 0.5, 0.5)
SHAPE = (40, 44, 96)
FIXED = RandThickSlicesd("image", finest=(None, None, 3.0), noise=0.0)
BRIGHT_END = {"lower": None, "upper": 99.5, "clip": False}
SCALINGS = (None, BRIGHT_END, {"lower": 0.5, "upper": 99.5})


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """Two sharp scans of a grainy body, one slice of which is brighter than the others, with a blob in it."""
    x, y, z = np.meshgrid(*((np.arange(n) - n / 2) * mm for n, mm in zip(SHAPE, MM, strict=True)), indexing="ij")
    body = (x / 8) ** 2 + (y / 9) ** 2 < 1
    blob = x**2 + y**2 + (z / 2) ** 2 < 20
    cases = []
    for name in ("s1", "s2"):
        grain = np.random.default_rng(len(cases)).random(SHAPE)
        image = (40 + 300 * grain) * body + 200 * blob + grain
        image[..., 50] *= 3
        paths = {key: tmp_path / f"{name}_{key}.nii.gz" for key in ("image", "blob")}
        write_volume(paths["image"], image.astype(np.float32), np.diag([*MM, 1.0]))
        write_volume(paths["blob"], blob.astype(np.uint8), np.diag([*MM, 1.0]))
        cases.append(Case(name, name, {"image": paths["image"]}, {"blob": Reference(paths["blob"])}))
    return Cohort(tmp_path, tuple(cases), ("blob",))


def data_of(cohort: Cohort, **settings: Any) -> SuperResolutionData:
    defaults: dict[str, Any] = {
        "thick": FIXED,
        "cohort": cohort,
        "split": Split(train=("s1",), validation=("s2",)),
        "preparation": preparation(axcodes="RAS", spacing=MM, order=3, scaling=BRIGHT_END),
        "labels": Labels(structures=("blob",), images=("sharp",)),
        "sampler": PatchSampler(size=(16, 16, 32), min_foreground=0.5),
        "batch_size": 2,
        "steps_per_epoch": 3,
    }
    return SuperResolutionData(**(defaults | settings))


def part_of(volume: torch.Tensor, patch: torch.Tensor) -> tuple[slice, ...]:
    """Where a patch was cut out of a volume of which no two voxels are alike."""
    corner = (volume == patch.flatten()[0]).nonzero()
    assert len(corner) == 1
    return tuple(slice(int(a), int(a) + n) for a, n in zip(corner[0], patch.shape, strict=True))


def test_patches_are_parts_of_the_thick_and_the_sharp_scan(cohort: Cohort) -> None:
    """Thick ones that begin elsewhere, as is drawn, are those of the whole volume too (see the transform)."""
    data = data_of(cohort, split=Split(train=("s1",), validation=()))
    (sample,) = data.samples("training", ("s1",))
    assert data.transform().get_index_of_first(lambda step: isinstance(step, Randomizable)) is None, "it is kept"
    data.setup("fit")
    (batch, *_) = data.train_dataloader()
    assert set(batch) == {keys.IMAGE, keys.TARGET, keys.LABEL, keys.SLICE_THICKNESS}
    assert batch[keys.SLICE_THICKNESS].tolist() == [3, 3]
    for image, target, label in zip(batch[keys.IMAGE], batch[keys.TARGET], batch[keys.LABEL], strict=True):
        assert image.shape == target.shape == label.shape == (1, 16, 16, 32)
        there = part_of(sample[keys.IMAGE], target)
        assert torch.equal(sample[keys.IMAGE][there], target)
        assert torch.equal(sample[keys.LABEL][there].long(), label)
        whole = data.thick.set_random_state(0)
        differences = []
        for phase in np.linspace(0, 1, 6, endpoint=False):
            whole.R = _Phase(phase)
            differences.append(float((whole(dict(sample))[keys.IMAGE][there] - image).abs().mean()))
        assert min(differences) < 0.5 * max(differences), "one of the phases is near that of the patch"
        assert (image - target).abs().mean() > 0.05, "slices of six voxels of grain are smooth"


class _Phase:
    """Random numbers that choose where slices begin."""

    def __init__(self, phase: float) -> None:
        self.phase = phase

    def random_sample(self, count: int) -> np.ndarray:
        return np.array([0.5, self.phase, 0.5, 0.5])[:count]


def test_every_epoch_has_other_scans_and_the_same_seed_the_same(cohort: Cohort) -> None:
    drawn = RandThickSlicesd("image", finest=(None, None, 2.0), coarsest=(None, None, 4.0), noise=0.05)
    made = [data_of(cohort, thick=drawn, augment=[RandGammaInRanged("image", gamma=(0.5, 1.5))]) for _ in range(2)]
    one, other = (data.patches() for data in made)
    length = made[0].patches_per_epoch
    thickness = [float(one[index][keys.SLICE_THICKNESS]) for index in range(2 * length)]
    assert len(set(thickness)) == 2 * length and min(thickness) >= 2 and max(thickness) <= 4
    assert made[0].slice_spacing == (2.0, 4.0) and made[0].slice_axis == 2
    for index in (0, length - 1, length):
        assert all(torch.equal(value, other[index][key]) for key, value in one[index].items())


def test_contrast_is_changed_before_the_scan_is_taken_and_critics_have_batches_of_their_own(cohort: Cohort) -> None:
    plain, changed = data_of(cohort), data_of(cohort, augment=[RandGammaInRanged("image", gamma=(1.5, 1.5))])
    before, after = plain.patches()[0], changed.patches()[0]
    assert (after[keys.TARGET] - before[keys.TARGET]).abs().max() > 0.02
    assert not torch.equal(after[keys.IMAGE], before[keys.IMAGE])
    more = data_of(cohort, critic_steps=4)
    more.setup("fit")
    assert len(next(iter(more.train_dataloader()))[keys.IMAGE]) == 10 and more.batch_size == 10


def test_foreground_and_scale_are_those_that_prediction_finds_in_the_thick_file(cohort: Cohort) -> None:
    """A scan of one bright slice among dark ones is darker when it is taken thick."""
    for scaling in SCALINGS:
        whole = preparation(axcodes="RAS", spacing=MM, order=3, scaling=scaling)
        data = data_of(cohort, preparation=whole)
        data.setup("validate")
        (volume,) = data.val_dataloader()
        case = cohort.cases[1]
        raw = read_volume(case.images[0])
        image = {keys.IMAGE: torch.from_numpy(raw.data.copy())[None], keys.AFFINE: raw.affine, keys.CASE: "s2"}
        taken = typical(FIXED, 0)(image)[keys.IMAGE][0].numpy()
        path = write_volume(cohort.root / "taken.nii.gz", taken, raw.affine)
        predicted = prepared(replace(case, channels={"image": path}), whole)
        foreground = predicted[keys.FOREGROUND].as_tensor()
        assert torch.equal(volume[keys.FOREGROUND][0], foreground)
        if not scales_of(predicted)[0].clipped:  # else the sharp scan is clipped, and then taken thick
            assert torch.allclose(volume[keys.IMAGE][0], predicted[keys.IMAGE].as_tensor(), atol=1e-3)
        sharp = scales_of(predicted)[0].applied(torch.from_numpy(raw.data.copy())[None])
        assert torch.allclose(volume[keys.TARGET][0], sharp, atol=1e-3)
        (again,) = data.val_dataloader()
        assert torch.equal(again[keys.IMAGE], volume[keys.IMAGE]), "the same in every epoch"


def test_the_scan_that_is_seen_thick_is_left_as_it_was(cohort: Cohort) -> None:
    whole = preparation(axcodes="RAS", spacing=MM, order=3, scaling=BRIGHT_END)
    before, after = whole.parts()
    sample = before({keys.IMAGE: prepared(cohort.cases[0], Preparation([]))[keys.IMAGE], keys.CASE: "s1"})
    untouched = sample[keys.IMAGE].as_tensor().clone()
    seen = AsSeenThick(FIXED, after)(sample)
    assert torch.equal(sample[keys.IMAGE].as_tensor(), untouched) and not torch.equal(seen[keys.IMAGE], untouched)


def test_kept_in_a_folder_it_is_the_same_and_another_thickness_is_another_entry(cohort: Cohort, tmp_path: Path) -> None:
    expected = data_of(cohort).patches()[0]
    for _ in range(2):
        found = data_of(cohort, cache=tmp_path / "kept").patches()[0]
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
    assert len(list((tmp_path / "kept").iterdir())) == 1
    for other in ({"noise": 0.1}, {"finest": (None, None, 4.0)}, {"published": True}):
        thick = RandThickSlicesd("image", **({"finest": (None, None, 3.0), "noise": 0.0} | other))
        data_of(cohort, thick=thick, cache=tmp_path / "kept").patches()
    assert len(list((tmp_path / "kept").iterdir())) == 4


def test_a_case_without_a_mask_is_not_taught_as_background(cohort: Cohort) -> None:
    half = tuple(
        replace(case, references={**case.references, "other": case.references["blob"]}) for case in cohort.cases
    )
    both = replace(cohort, cases=(replace(half[0], unknown=("other",)), half[1]), structures=("blob", "other"))
    labels = Labels(structures=("blob", "other"), regions=True, images=("sharp",))
    with pytest.raises(CohortError, match="s1 has no mask of other; leave it out of the split"):
        data_of(both, labels=labels).setup("fit")


def test_what_gives_training_other_scans_than_prediction_is_refused(cohort: Cohort) -> None:
    sharp = {"axcodes": "RAS", "spacing": MM, "scaling": BRIGHT_END}
    contrast = {"_target_": "monai.transforms.AdjustContrastd", "keys": ["image"], "gamma": 2.0}
    for settings, message in [
        ({"sampler": PatchSampler(size=(16, 16))}, "invalid patches of 2 sides: expected 3, to be sharpened across"),
        ({"schedule": [{"epoch": 2, "size": [16, 16]}]}, "invalid patches of 2 sides"),
        (
            {"preparation": preparation(**sharp, foreground={"rule": "nonzero"})},
            "they are nowhere exactly 0; choo",
        ),
        (
            {"preparation": preparation(axcodes="RAS")},
            "prediction would leave them as thick as they are; give prepar",
        ),
        ({"preparation": preparation(**sharp | {"spacing": (0.5, 0.5, None)})}, "without a spacing across the slices"),
        ({"preparation": preparation(**sharp | {"axcodes": None})}, "an orientation that depends on the scan"),
        ({"preparation": Preparation([*preparation(**sharp).nodes, contrast])}, "AdjustContrastd after the foreground"),
    ]:
        with pytest.raises(ConfigError, match=message):
            data_of(cohort, **settings)
    for finest, coarsest, message in [
        (3.0, 20.0, "the field of view of s1, 48 mm, holds fewer than 3 slices of 20 mm; choose a smaller coarsest"),
        (0.3, 3.0, "finest 0.3 mm is finer than s1 with 0.5 mm"),
    ]:
        thick = RandThickSlicesd("image", finest=(None, None, finest), coarsest=(None, None, coarsest))
        with pytest.raises(ConfigError, match=message):
            data_of(cohort, thick=thick).setup("fit")
    with pytest.raises(ConfigError, match="RandFlipd reverses left and right"):
        data_of(cohort, augment=[RandFlipd(["image", "label"], prob=0.5, spatial_axis=0)]).setup("fit")
