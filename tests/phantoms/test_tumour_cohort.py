"""A cohort of brains with tumours: nested regions, a mass effect that is known, the same bytes for a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from laws import for_all
from scipy.ndimage import label, map_coordinates

from ankleseg.config import compose
from ankleseg.errors import ConfigError
from ankleseg.measures.deformation import jacobian_determinant
from ankleseg.phantoms import BrainTissue, Grid, brain_labels, tumour_cohort, tumour_scans, write_tumour_cohort
from ankleseg.phantoms.__main__ import main
from ankleseg.phantoms.brain_tissues import INTRACRANIAL, brain_tissue_of
from ankleseg.phantoms.tumour import Lesion, TumourTissue
from ankleseg.phantoms.tumour_cohort import TumourScans
from ankleseg.phantoms.tumour_contrast import tumour_contrasts
from ankleseg.phantoms.tumour_growth import BEYOND, oedema
from ankleseg.volumes import read_volume

IMAGES = ("t1n", "t1c", "t2w", "t2f")
TRUTH = ("tissues", "healthy", "displacement")


@pytest.fixture(scope="module")
def rough() -> Iterator[None]:
    """Brains drawn on coarse grids and imaged in few voxels: what grows in them is the same."""
    with pytest.MonkeyPatch.context() as patch:
        for name, spacing in (("OUTLINE_SPACING", 3.0), ("NUCLEI_SPACING", 2.4), ("CORTEX_SPACING", 1.8)):
            patch.setattr(brain_labels, name, spacing)
        patch.setattr(tumour_cohort, "DRAWN", ((96, 126, 96), 1.5))
        patch.setitem(tumour_cohort.TUMOUR_GRIDS, "demo", ((48, 64, 48), 3.0))
        yield


@pytest.fixture(scope="module")
def patients(rough: None) -> dict[int, TumourScans]:
    """One with two lesions, one that takes up no contrast agent."""
    return {number: tumour_scans(number, seed=3) for number in (3, 4)}


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_cohort_is_a_brats_folder_and_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(rough, tmp_path):
    main(compose("phantoms", ["cohort=tumour", "subjects=1", "seed=3", "workers=1", f"out={tmp_path / 'one'}"]))
    write_tumour_cohort(tmp_path / "two", subjects=2, seed=3, workers=2)
    few, many = digests(tmp_path / "one"), digests(tmp_path / "two")
    first, second = "PHANTOM-00001-000", "PHANTOM-00002-000"
    files = {f"{first}/{first}-{kind}.nii.gz" for kind in (*IMAGES, "seg")}
    files |= {f"derivatives/truth/{first}/{first}-{kind}.nii.gz" for kind in TRUTH}
    assert set(few) == files | {"phantom.json", "derivatives/truth/cases.tsv"}
    assert all(few[file] == many[file] != many[file.replace(first, second)] for file in files)
    table = (tmp_path / "two/derivatives/truth/cases.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in table] == ["case", first, second]
    volume = read_volume(tmp_path / "one" / first / f"{first}-seg.nii.gz", dtype=None)
    assert volume.data.dtype == np.uint8 and set(np.unique(volume.data)) == {0, 1, 2, 3}


def test_regions_are_nested_and_as_large_as_what_was_drawn(patients):
    for patient in patients.values():
        regions, tissues = patient.images["seg"].data, brain_tissue_of(patient.truth["tissues"].data)
        sizes = np.bincount(regions.ravel(), minlength=4)
        enhancing, core, whole = sizes[3], sizes[3] + sizes[1], sizes[1:].sum()
        assert (enhancing > 0) == (patient.lesions[0].rim > 0) and enhancing < core < whole
        assert core == pytest.approx(np.isin(tissues, [25, 26, 27]).sum(), rel=0.1)
        assert whole == pytest.approx((tissues >= min(TumourTissue)).sum(), rel=0.1)
        drawn = sum(4 / 3 * np.pi * lesion.radius**3 for lesion in patient.lesions)
        assert 0.6 * drawn < core * 27 < 1.4 * drawn


def test_some_patients_have_two_lesions_and_some_take_up_no_contrast_agent(patients):
    assert [len(patient.lesions) for patient in patients.values()] == [2, 1]
    cores = np.isin(patients[3].images["seg"].data, [1, 3])
    pieces, _ = label(cores)
    assert np.sort(np.bincount(pieces.ravel())[1:])[-2] > 10
    assert 3 not in patients[4].images["seg"].data and 1 in patients[4].images["seg"].data


def test_the_mass_effect_does_not_fold_and_leaves_the_skull_where_it_is(patients):
    for patient in patients.values():
        field, affine = patient.displacement, patient.images["seg"].affine
        inside = np.isin(brain_tissue_of(patient.truth["healthy"].data), list(INTRACRANIAL))
        assert jacobian_determinant(np.moveaxis(field, -1, 0), affine).min() > 0.05
        assert np.linalg.norm(field, axis=-1).max() > 2
        assert np.abs(field[~inside]).max() < 0.5


def test_what_lies_at_a_place_lay_where_the_field_says_before(patients):
    """Wherever no tumour and no vessel has taken its place; the field the other way round fits worse."""
    patient = patients[3]
    affine = patient.images["seg"].affine
    before, after = (patient.truth[name].data for name in ("healthy", "tissues"))
    moved = np.moveaxis(patient.displacement @ np.linalg.inv(affine[:3, :3]).T, -1, 0)
    kept = brain_tissue_of(after) < min(TumourTissue)
    kept &= (brain_tissue_of(after) != BrainTissue.VESSEL) & (np.linalg.norm(patient.displacement, axis=-1) > 1.5)
    assert kept.sum() > 500

    def agreement(sign: int) -> float:
        places = np.indices(before.shape) + sign * moved
        return float((map_coordinates(before, places, order=0) == after)[kept].mean())

    assert agreement(1) > 0.75 > 0.65 > agreement(-1)


def test_oedema_runs_along_white_matter_four_times_as_far_as_through_cortex_and_not_through_fluid():
    labels = np.full((41, 9, 9), BrainTissue.WHITE_MATTER, np.uint8)
    labels[18:20], labels[:, 8], labels[20] = BrainTissue.CORTEX, BrainTissue.CSF, TumourTissue.SOLID
    grid = Grid(labels.shape, np.diag([2.0, 2.0, 2.0, 1.0]))

    def even(points: np.ndarray) -> np.ndarray:
        return np.zeros(points.shape[1], np.float32)

    lesion = Lesion(np.array([40, 8, 8], np.float32), 10.0, even, 0.0, even, 0.3, 16.0)
    level = oedema(labels, grid, [lesion])
    np.testing.assert_allclose(level[21:28, 4, 4], (np.arange(7) * 2 + 2) / 16, atol=0.01)
    np.testing.assert_allclose(level[17, 4, 4], (5 + 8 + 5) / 16, atol=0.01)  # two nodes of cortex and their edges
    labels[30] = BrainTissue.CSF
    assert oedema(labels, grid, [lesion])[31:, :8].min() == BEYOND


def test_images_show_the_brain_alone_and_no_threshold_finds_a_region(patients):
    for patient in patients.values():
        brain, regions = patient.images["t1n"].data > 0, patient.images["seg"].data
        assert brain[regions > 0].mean() > 0.99 and 0.9 < brain.sum() * 27e-6 < 1.7  # l
        assert brain.any((0, 1)).mean() < 1
        for kind in IMAGES:
            assert patient.images[kind].data.dtype == np.int16
        assert _best_dice(patient.images["t2f"].data, regions > 0) < 0.9
        assert _best_dice(patient.images["t2w"].data, regions > 0) < 0.6
        assert _best_dice(patient.images["t1c"].data, regions == 3) < 0.8


def _best_dice(image: np.ndarray, truth: np.ndarray) -> float:
    """The best Dice that any one lower threshold reaches."""
    order = np.argsort(image, axis=None)[::-1]
    hits = np.cumsum(truth.ravel()[order])
    return float((2 * hits / (np.arange(1, len(order) + 1) + max(truth.sum(), 1))).max())


def test_tissues_look_as_in_textbooks():
    for seed in range(5):
        mean = {kind: table.mean for kind, table in tumour_contrasts(np.random.default_rng(seed)).items()}
        fluid, white, grey = BrainTissue.CSF, BrainTissue.WHITE_MATTER, BrainTissue.CORTEX
        oedema, rim = TumourTissue.DENSE_OEDEMA, TumourTissue.ENHANCING
        orders = {
            "t1n": (white, grey, fluid),
            "t1c": (rim, white, oedema, fluid),
            "t2w": (fluid, oedema, grey, white),
            "t2f": (oedema, grey, white, fluid),
        }
        for kind, order in orders.items():
            assert np.all(np.diff(mean[kind][list(order)]) < 0), (kind, seed)
        assert mean["t1n"][rim] < mean["t1n"][white]


@for_all(
    ("settings", "message"),
    [
        ({"contrast": "t1"}, "contrast is not a setting of this cohort"),
        ({"size": "huge"}, "invalid size 'huge': expected full or demo"),
        ({"subjects": 0}, "invalid number of subjects 0: expected at least 1"),
    ],
)
def test_what_cannot_be_is_refused(settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        words = [f"{name}={value}" for name, value in settings.items()]
        main(compose("phantoms", ["cohort=tumour", *words, f"out={tmp_path / 'out'}"]))
