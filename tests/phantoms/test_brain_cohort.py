"""A cohort of brains on disk: isotropic and thick scans of one anatomy, exact masks, the same bytes for a seed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from laws import for_all

from ankleseg.cohorts import load_cohort
from ankleseg.config import build, compose
from ankleseg.errors import AnklesegError, ConfigError, FileError
from ankleseg.phantoms import (
    BrainLabels,
    BrainTissue,
    Grid,
    LabelArray,
    Scanner,
    ThickSlices,
    brain_labels,
    draw_brain,
    image_brain_labels,
    scan,
    write_brain_cohort,
)
from ankleseg.phantoms.__main__ import main
from ankleseg.phantoms.brain_contrast import Relaxation, draw_relaxation, random_brain_contrast, t1_contrast_of
from ankleseg.phantoms.brain_exam import brain_exam, brain_generators
from ankleseg.phantoms.brain_protocol import BRAIN_VOXELS, as_thick, brain_grid
from ankleseg.phantoms.brain_tissues import brain_label, brain_structures
from ankleseg.phantoms.contrast import SignalTable
from ankleseg.volumes import Volume, axis_codes, read_volume, spacing, write_volume

STRUCTURES = tuple(brain_structures())


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans of a few voxels, for tests that do not look at them."""
    monkeypatch.setitem(BRAIN_VOXELS, "demo", 4.0)
    for name, step in (("OUTLINE_SPACING", 3.0), ("NUCLEI_SPACING", 3.0), ("CORTEX_SPACING", 2.4)):
        monkeypatch.setattr(brain_labels, name, step)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo cohort of one newborn, with a thick scan."""
    out = tmp_path_factory.mktemp("cohort") / "one"
    return write_brain_cohort(out, subjects=1, seed=11, thick=[1, 1, 3], workers=1)


def test_the_layout_is_bids(one):
    found = {path for path in digests(one) if not path.endswith("phantom.json")}
    expected = {"dataset_description.json", "participants.tsv", "derivatives/manual/dataset_description.json"}
    expected |= {f"sub-B01/anat/sub-B01_{kind}.nii.gz" for kind in ("T2w", "T1w", "acq-thick_T2w")}
    expected |= {"sub-B01/anat/sub-B01_acq-thick_T2w.json"}
    expected |= {f"derivatives/manual/sub-B01/anat/sub-B01_label-{name}_mask.nii.gz" for name in STRUCTURES}
    assert found == expected
    assert (one / "participants.tsv").read_text().splitlines()[0] == "participant_id\tage\tage_unit"
    sidecar = json.loads((one / "sub-B01/anat/sub-B01_acq-thick_T2w.json").read_text())
    assert sidecar == {"SliceThickness": 3.0, "SpacingBetweenSlices": 3.0}


def test_the_isotropic_scan_is_found_unless_the_thick_one_is_asked_for(one):
    cohort = load_cohort(one, suffix="T2w")
    assert [image.name for image in cohort.cases[0].images] == ["sub-B01_T2w.nii.gz"]
    assert cohort.structures == tuple(sorted(STRUCTURES))
    assert load_cohort(one).cases[0].images[0].name == "sub-B01_T1w.nii.gz"
    thick = load_cohort(one, suffix="T2w", acquisition="thick").cases[0].images[0]
    assert thick.name == "sub-B01_acq-thick_T2w.nii.gz"


def test_scans_are_isotropic_and_thick_over_one_field_of_view(one):
    fine = read_volume(one / "sub-B01/anat/sub-B01_T2w.nii.gz", dtype=None)
    thick = read_volume(one / "sub-B01/anat/sub-B01_acq-thick_T2w.nii.gz", dtype=None)
    assert fine.data.shape == (104, 124, 96) and thick.data.shape == (104, 124, 32)
    assert fine.data.dtype == thick.data.dtype == np.int16
    assert axis_codes(fine.affine) == "RAS"
    np.testing.assert_allclose(spacing(fine.affine), 1.0, atol=1e-5)
    np.testing.assert_allclose(spacing(thick.affine), (1, 1, 3), atol=1e-5)
    first, last = ([-0.5, -0.5, -0.5, 1], [103.5, 123.5, 95.5, 1]), ([-0.5, -0.5, -0.5, 1], [103.5, 123.5, 31.5, 1])
    for mine, theirs in zip(first, last, strict=True):
        np.testing.assert_allclose((fine.affine @ mine)[:3], (thick.affine @ theirs)[:3], atol=1e-3)


def test_the_thick_scan_lies_over_the_isotropic_one(one):
    fine = read_volume(one / "sub-B01/anat/sub-B01_T2w.nii.gz").data
    thick = read_volume(one / "sub-B01/anat/sub-B01_acq-thick_T2w.nii.gz").data
    averaged = fine.reshape(104, 124, 32, 3).mean(-1)
    shifted = np.roll(fine, 1, 2).reshape(104, 124, 32, 3).mean(-1)
    here, beside = (np.corrcoef(image.ravel(), thick.ravel())[0, 1] for image in (averaged, shifted))
    assert here > 0.985 and here > beside


def test_masks_are_disjoint_and_nested_and_on_the_grid_of_the_isotropic_scan(one):
    image = read_volume(one / "sub-B01/anat/sub-B01_T2w.nii.gz")
    folder = one / "derivatives/manual/sub-B01/anat"
    masks = {name: read_volume(folder / f"sub-B01_label-{name}_mask.nii.gz", dtype=None) for name in STRUCTURES}
    for mask in masks.values():
        assert mask.data.dtype == np.uint8 and set(np.unique(mask.data)) == {0, 1}
        np.testing.assert_array_equal(mask.affine, image.affine)
    data = {name: mask.data.astype(int) for name, mask in masks.items()}
    parts = data["left_cortex"] + data["right_cortex"] + data["left_inner"] + data["right_inner"]
    assert parts.max() == 1 and np.all(parts <= data["intracranial"])
    tissues = ("cortex", "white_matter", "ventricles", "deep_grey", "cerebellum", "brainstem", "csf")
    assert sum(data[tissue] for tissue in tissues).max() == 1
    for side in ("left", "right"):
        whole = data[f"{side}_cortex"] + data[f"{side}_inner"]
        assert np.all(whole <= data[f"{side}_hemisphere"]) and whole.sum() > 0.99 * data[f"{side}_hemisphere"].sum()
        assert np.all(data[f"{side}_cortex"] <= data["cortex"])
    cortex, white, csf = (image.data[data[name] == 1].mean() for name in ("cortex", "white_matter", "csf"))
    assert csf > white > cortex


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers_and_subjects(quick, tmp_path):
    write_brain_cohort(tmp_path / "one", subjects=1, seed=11, thick=[2, 2, 8], workers=1)
    write_brain_cohort(tmp_path / "two", subjects=2, seed=11, thick=[2, 2, 8], workers=2)
    few, many = digests(tmp_path / "one"), digests(tmp_path / "two")
    shared = [path for path in few if path.endswith(".nii.gz")]
    assert len(shared) == len(STRUCTURES) + 3
    assert all(few[path] == many[path] for path in shared)
    assert len({many[path] for path in many if path.endswith("_T2w.nii.gz")}) == 4


def test_a_further_scan_leaves_the_others_as_they_are(quick, tmp_path):
    name = "sub-B01/anat/sub-B01_T2w.nii.gz"
    found = set()
    for folder, settings in {"a": {}, "b": {"thick": [4, 4, 8]}, "c": {"contrast": "t2"}}.items():
        write_brain_cohort(tmp_path / folder, subjects=1, **settings)
        found.add(digests(tmp_path / folder)[name])
    assert len(found) == 1


def test_echoes_fade_while_the_noise_stays(quick, tmp_path):
    root = write_brain_cohort(tmp_path / "echoes", subjects=1, contrast="t2", thick=[4, 4, 8], echoes=4)
    anat = root / "sub-B01" / "anat"
    images = [read_volume(anat / f"sub-B01_acq-te{number}_T2w.nii.gz").data for number in (1, 2, 3, 4)]
    times = [json.loads((anat / f"sub-B01_acq-te{number}_T2w.json").read_text())["EchoTime"] for number in (1, 2, 3, 4)]
    assert times == [0.12, 0.2, 0.28, 0.36]
    assert not (anat / "sub-B01_acq-thick_T2w.nii.gz").exists()
    means = [image.mean() for image in images]
    assert means == sorted(means, reverse=True) and means[-1] < 0.75 * means[0]
    noise = [np.concatenate([image[:3, :3], image[-3:, :3], image[:3, -3:]]).mean() for image in images]  # in air
    np.testing.assert_allclose(noise, noise[0], rtol=0.15)
    assert load_cohort(root, acquisition="te3").cases[0].images[0].name == "sub-B01_acq-te3_T2w.nii.gz"


def test_tissues_are_as_bright_as_in_life():
    cortex, white, fluid = BrainTissue.CORTEX, BrainTissue.WHITE_MATTER, BrainTissue.CSF
    for seed in range(10):
        rng = np.random.default_rng(seed)
        newborn, child = (draw_relaxation(age, rng).table().mean for age in ("neonate", "child"))
        assert newborn[fluid] > newborn[white] > newborn[cortex] and child[fluid] > child[cortex] > child[white]
        newborn, child = (t1_contrast_of(age, rng).mean for age in ("neonate", "child"))
        assert newborn[cortex] > newborn[white] > newborn[fluid] and child[white] > child[cortex] > child[fluid]
        assert newborn[brain_label(cortex, 1)] == newborn[brain_label(cortex, 2)]
    random = [random_brain_contrast(np.random.default_rng(seed)).mean for seed in range(40)]
    assert 0.25 < np.mean([mean[white] > mean[cortex] for mean in random]) < 0.75


QUIET = {"snr": 1e6, "bias": 0.0, "profile": "box"}


def test_a_thick_slice_is_the_mean_of_thin_ones(quick):
    """The samples of a box-shaped slice are those of the thin slices within it."""
    generators = brain_generators("sub-B01", 3)
    grid = brain_grid("demo", "neonate", generators["field"])
    brain = BrainLabels(draw_brain(generators["anatomy"]), grid)
    exam = brain_exam(grid, "neonate", 1.0, generators)
    thin, thick = (ThickSlices((2.0, 2.0, side), "box").grid(grid) for side in (2.0, 8.0))
    taken = [
        scan(brain, exam.relaxation.table(), target, Scanner(through_plane=planes, **QUIET), rng, (), exam.textures)[0]
        for target, planes, rng in ((thin, 2, np.random.default_rng(0)), (thick, 8, np.random.default_rng(0)))
    ]
    averaged = taken[0].reshape(*thick.shape[:2], thick.shape[2], 4).mean(-1)
    np.testing.assert_allclose(averaged, taken[1], atol=0.05)


@for_all(("profile", "thickness"), [("box", None), ("gaussian", None), ("gaussian", 2.0)])
def test_a_point_is_found_where_the_header_of_a_thick_scan_says(profile, thickness):
    place = np.array([3.3, -7.4, 5.9])

    def point(grid: Grid) -> np.ndarray:
        index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
        world = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        return (np.linalg.norm(world - place, axis=-1) < 3.0).astype(np.uint8)

    fine = Grid((40, 44, 36), np.array([[1.0, 0.05, 0, -18], [-0.05, 1, 0.02, -22], [0, -0.02, 1, -15], [0, 0, 0, 1]]))
    slices = ThickSlices((1.0, 1.0, 3.0), profile, thickness)
    grid = slices.grid(fine)
    scanner = slices.scanner(1.0, np.random.default_rng(0))
    table = draw_relaxation("neonate", np.random.default_rng(0)).table()
    table.grain[:], table.patches[:], table.septa[:] = 0, 0, 0
    quiet = Scanner(
        snr=1e6, bias=0, profile=profile, thickness=scanner.thickness, through_plane=scanner.through_plane, in_plane=2
    )
    image, _ = scan(point, table, grid, quiet, np.random.default_rng(0))
    weights = np.where(image > 0.02 * image.max(), image, 0)
    centre = np.array([(weights * index).sum() for index in np.indices(image.shape)]) / weights.sum()
    np.testing.assert_allclose(grid.affine[:3, :3] @ centre + grid.affine[:3, 3], place, atol=0.15)


def test_the_command_writes_brains_and_what_it_is_not_asked_stays_as_the_cohort_has_it(quick, tmp_path):
    out = tmp_path / "brains"
    main(compose("phantoms", ["cohort=brain", "subjects=1", "thick=[4,4,8]", "age=child", f"out={out}"]))
    settings = json.loads((out / "phantom.json").read_text())
    assert (settings["age"], settings["contrast"], settings["size"]) == ("child", "both", "demo")
    assert settings["thick"]["spacing"] == [4.0, 4.0, 8.0]
    with pytest.raises(ConfigError, match="side is not a setting of this cohort; leave it out"):
        main(compose("phantoms", ["cohort=brain", "side=left", f"out={tmp_path / 'no'}"]))


def test_the_cohort_of_the_configuration_is_split_by_its_subjects(tmp_path):
    config = compose("train", ["+experiment=ankle_static_unet", "cohort=brain", "run_dir=x"]).cohort
    for number in range(1, config.phantom.subjects + 1):
        image = tmp_path / f"sub-B{number:02d}" / "anat" / f"sub-B{number:02d}_T2w.nii.gz"
        image.parent.mkdir(parents=True)
        image.touch()
    split = build(config.split)(build(config.load, tmp_path))
    assert (len(split.train), len(split.validation), len(split.test)) == (5, 1, 2)


@for_all(
    ("settings", "message"),
    [
        ({"size": "huge"}, "invalid size 'huge': expected full or demo"),
        ({"age": "adult"}, "invalid age 'adult': expected neonate or child"),
        ({"contrast": "t3"}, "invalid contrast 't3': expected both or t2 or t1 or random"),
        ({"subjects": 0}, "invalid number of subjects 0: expected at least 1"),
        ({"echoes": 4}, "are of thick slices, and there are none; set thick"),
        ({"thick": [1, 3]}, r"cannot have voxels of \[1.0, 3.0\] mm; give three sides"),
        ({"thick": [1, 1, 3], "profile": "sinc"}, "invalid slice profile 'sinc'"),
        ({"thick": [1, 1, 3], "thickness": 0}, "slices 3 mm apart cannot be 0 mm thick here"),
        ({"thick": [1, 1, 3], "thickness": 4}, "slices 3 mm apart cannot be 4 mm thick here"),
        ({"thick": [1, 1, float("nan")]}, "thick slices cannot have voxels of"),
        ({"thick": "abc"}, "invalid thick=abc: expected three sides of a voxel in mm"),
        ({"workers": 0}, "invalid number of workers 0: expected at least 1"),
        ({"thick": [1, 1, 3], "echoes": 0}, "invalid number of echoes 0: expected at least 1"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        write_brain_cohort(tmp_path / "cohort", **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_another_phantom_is_left_alone(one):
    with pytest.raises(AnklesegError, match="holds another phantom"):
        write_brain_cohort(one, subjects=1, seed=12, thick=[1, 1, 3])
    assert write_brain_cohort(one, subjects=1, seed=11, thick=[1, 1, 3]) == one


def test_thin_slices_leave_gaps():
    slices = as_thick([1, 1, 4], "box", 3.0, 1)
    assert slices.scanner(1.0, np.random.default_rng(0)).thickness == 0.75
    assert slices.sidecar(0) == {"SliceThickness": 3.0, "SpacingBetweenSlices": 4.0}


class TestLabelMaps:
    def test_a_map_is_imaged_where_it_lies(self, tmp_path):
        labels = np.zeros((30, 32, 28), np.float32)
        labels[8:22, 8:24, 8:20] = 2
        labels[11:19, 11:21, 11:17] = 41
        affine = np.diag([-1.0, 1.0, 1.0, 1.0])
        affine[:3, 3] = 14, -16, -14
        path = write_volume(tmp_path / "map.nii.gz", labels, affine)
        found = image_brain_labels(path, contrast="t2")
        mask = found.masks["right_inner"]
        assert mask.data.sum() == (labels == 41).sum()
        expected = LabelArray((labels == 41).astype(np.uint8), affine)(Grid(mask.data.shape, mask.affine))
        np.testing.assert_array_equal(mask.data, expected)
        assert axis_codes(found.images["T2w"].affine) == "RAS"

    def test_a_value_without_a_tissue_is_named(self):
        odd = Volume(np.array([[[0, 2], [999, 998]]], np.int16), np.eye(4))
        with pytest.raises(ConfigError, match="no tissue is known for the values 998, 999; give a table"):
            image_brain_labels(odd)

    def test_what_is_no_label_map_is_refused(self, tmp_path):
        path = write_volume(tmp_path / "image.nii.gz", np.full((4, 4, 4), 0.5, np.float32), np.eye(4))
        with pytest.raises(
            FileError, match="image.nii.gz: is not a label map: it holds other values than whole numbers to"
        ):
            image_brain_labels(path)
        with pytest.raises(FileError, match="holds nothing but air"):
            image_brain_labels(Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4)))

    def test_a_real_head_is_imaged(self, shared_data: Path):
        path = shared_data / "brain" / "labels_01.nii.gz"
        given = read_volume(path)
        found = image_brain_labels(path, spacing=2.5, contrast="t1", thick=ThickSlices((2.5, 2.5, 8.0)))
        image, cortex = found.images["T1w"], found.masks["cortex"]
        cerebrum = cortex.data | found.masks["white_matter"].data
        voxel = abs(np.linalg.det(cortex.affine[:3, :3]))
        assert cerebrum.sum() * voxel == pytest.approx(np.isin(given.data, [2, 3, 41, 42]).sum(), rel=0.05)
        white = image.data[found.masks["white_matter"].data == 1].mean()
        assert white > 1.2 * image.data[cortex.data == 1].mean()
        x = np.nonzero(found.masks["left_hemisphere"].data)[0].mean() * 2.5 + cortex.affine[0, 3]
        assert x < -20
        assert found.images["acq-thick_T1w"].data.shape[2] < image.data.shape[2] / 2.5

    def test_primate_labels_are_imaged_with_a_table_of_their_own(self, shared_data: Path):
        path = shared_data / "super_resolution" / "monkey1010_seg.nii.gz"
        table = {0: BrainTissue.AIR, 1: BrainTissue.CORTEX, 3: BrainTissue.WHITE_MATTER, 4: BrainTissue.CSF}
        found = image_brain_labels(path, table=table, spacing=0.7, contrast="t1")
        assert found.masks["cortex"].data.sum() * 0.7**3 == pytest.approx(5600, rel=0.1)


def test_all_echoes_are_taken_with_one_coil(quick, tmp_path, monkeypatch):
    # One signal everywhere and no noise: what is left is the coil, and the echoes differ by a factor alone.
    even = SignalTable(np.full(256, 1000.0), *np.zeros((3, 256)))
    monkeypatch.setattr(Relaxation, "table", lambda self, time=120.0: replace(even, mean=even.mean * 60 / time))
    monkeypatch.setattr(ThickSlices, "scanner", lambda *_: Scanner(snr=1e6, bias=0.2))
    root = write_brain_cohort(tmp_path / "echoes", subjects=1, contrast="t2", thick=[4, 4, 8], echoes=2)
    anat = root / "sub-B01" / "anat"
    first, last = (read_volume(anat / f"sub-B01_acq-te{number}_T2w.nii.gz").data for number in (1, 2))
    assert first.std() > 0.02 * first.mean()
    np.testing.assert_allclose(first / last, 3, rtol=0.02)


@for_all("name", ["sub-IXI002", "sub-R", "patient 3"])
def test_a_head_of_any_name_has_generators_of_its_own(name):
    drawn = [brain_generators(each, 0)["tissue"].random() for each in (name, f"{name}b", "sub-B01")]
    assert len(set(drawn)) == 3
    assert brain_generators(name, 0)["tissue"].random() == drawn[0]
