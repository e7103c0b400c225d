"""A phantom cohort on disk: the BIDS layout, exact masks, all of it or nothing, the same bytes for the same seed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from laws import for_all
from scipy.ndimage import binary_erosion

from ankleseg.config import compose
from ankleseg.errors import AnklesegError, ConfigError
from ankleseg.phantoms import AnkleLabels, Grid, Tissue, cohort, draw_ankle, write_ankle_cohort
from ankleseg.phantoms.__main__ import main
from ankleseg.phantoms.exam import subject_generators
from ankleseg.phantoms.protocol import PROTOCOLS, Protocol
from ankleseg.phantoms.tissues import tissue_of
from ankleseg.volumes import axis_codes, read_volume, spacing

STRUCTURES = ("calcaneus", "talus", "tibia")


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans of a few voxels, for tests that do not look at them."""
    monkeypatch.setitem(PROTOCOLS, "demo", Protocol((48, 48, 8), (3.4, 3.4, 9.0), 1))
    monkeypatch.setattr(AnkleLabels.__init__, "__defaults__", (3.0,))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo cohort of one control and one child with equinus."""
    return write_ankle_cohort(tmp_path_factory.mktemp("cohort") / "pair", subjects=2, seed=11, workers=1)


def test_the_layout_is_bids(pair):
    found = {path for path in digests(pair) if not path.endswith("phantom.json")}
    expected = {"dataset_description.json", "participants.tsv", "derivatives/manual/dataset_description.json"}
    for name in ("sub-C01", "sub-E01"):
        expected.add(f"{name}/anat/{name}_T1w.nii.gz")
        expected |= {f"derivatives/manual/{name}/anat/{name}_label-{bone}_mask.nii.gz" for bone in STRUCTURES}
    assert found == expected
    rows = [line.split("\t") for line in (pair / "participants.tsv").read_text().splitlines()]
    assert rows[0] == ["participant_id", "group", "side", "age"]
    assert [row[:2] for row in rows[1:]] == [["sub-C01", "control"], ["sub-E01", "equinus"]]
    assert json.loads((pair / "dataset_description.json").read_text())["DatasetType"] == "raw"


def test_scans_are_sagittal_slightly_oblique_and_of_the_published_kind(pair):
    scan = read_volume(pair / "sub-C01/anat/sub-C01_T1w.nii.gz", dtype=None)
    assert scan.data.shape == (192, 192, 30) and scan.data.dtype == np.int16
    np.testing.assert_allclose(spacing(scan.affine), (0.84, 0.84, 2.4), atol=1e-4)
    assert axis_codes(scan.affine) == "PSR"
    tilt = np.degrees(np.arccos(abs(scan.affine[0, 2]) / 2.4))
    assert 0.2 < tilt < 12


def test_masks_are_binary_disjoint_and_on_the_grid_of_the_image(pair):
    for name in ("sub-C01", "sub-E01"):
        image = read_volume(pair / f"{name}/anat/{name}_T1w.nii.gz")
        masks = [
            read_volume(pair / f"derivatives/manual/{name}/anat/{name}_label-{bone}_mask.nii.gz", dtype=None)
            for bone in STRUCTURES
        ]
        for mask in masks:
            assert mask.data.dtype == np.uint8 and set(np.unique(mask.data)) == {0, 1}
            np.testing.assert_array_equal(mask.affine, image.affine)
        assert sum(mask.data.astype(int) for mask in masks).max() == 1


def test_the_published_threshold_parts_foot_and_air(pair):
    """Voxels above 250, as in the published ankle pipeline (Coupeau 2020)."""
    scan = read_volume(pair / "sub-E01/anat/sub-E01_T1w.nii.gz", dtype=None)
    ankle = draw_ankle(subject_generators("sub-E01", seed=11)[0], group="equinus")
    grid = Grid(scan.data.shape, scan.affine)
    labels = AnkleLabels(ankle, grid)(grid)
    marrow, air = (binary_erosion(tissue_of(labels) == tissue, iterations=1) for tissue in (Tissue.MARROW, Tissue.AIR))
    assert marrow.sum() > 5000 and air.sum() > 100_000
    assert scan.data[marrow].min() > 250
    assert np.mean(scan.data[air] > 250) < 0.01
    assert np.mean(scan.data[labels != Tissue.AIR] > 250) > 0.95


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers_and_subjects(quick, tmp_path):
    write_ankle_cohort(tmp_path / "two", subjects=2, seed=11, workers=1)
    write_ankle_cohort(tmp_path / "four", subjects=4, seed=11, workers=2)
    few, many = digests(tmp_path / "two"), digests(tmp_path / "four")
    shared = [path for path in few if path.endswith(".nii.gz")]
    assert len(shared) == 8
    assert all(few[path] == many[path] for path in shared)
    assert len({many[path] for path in many if path.endswith("T1w.nii.gz")}) == 4


def test_a_random_contrast_changes_the_image_and_not_the_anatomy(quick, tmp_path):
    write_ankle_cohort(tmp_path / "random", subjects=1, seed=11, contrast="random")
    write_ankle_cohort(tmp_path / "t1", subjects=1, seed=11)
    name = "sub-C01/anat/sub-C01_T1w.nii.gz"
    mask = "derivatives/manual/sub-C01/anat/sub-C01_label-tibia_mask.nii.gz"
    random, t1 = (read_volume(tmp_path / kind / name).data for kind in ("random", "t1"))
    assert abs(np.corrcoef(random.ravel(), t1.ravel())[0, 1]) < 0.97
    assert digests(tmp_path / "random")[mask] == digests(tmp_path / "t1")[mask]


def test_a_phantom_already_there_is_used_as_it_is(pair):
    before = {path: path.stat().st_mtime_ns for path in pair.rglob("*")}
    assert write_ankle_cohort(pair, subjects=2, seed=11) == pair
    assert before == {path: path.stat().st_mtime_ns for path in pair.rglob("*")}


def test_a_folder_that_holds_something_else_is_left_alone(pair, tmp_path):
    with pytest.raises(AnklesegError, match=rf"{pair}: holds another phantom; choose another folder with out="):
        write_ankle_cohort(pair, subjects=2, seed=12)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(AnklesegError, match="holds something else than a phantom"):
        write_ankle_cohort(tmp_path, subjects=2)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failure_half_way_leaves_nothing(quick, tmp_path, monkeypatch):
    small = cohort.ankle_scan("sub-C01", seed=1)

    def failing(name, **settings):
        if name == "sub-E01":
            raise RuntimeError("the disk is full")
        return small

    monkeypatch.setattr(cohort, "ankle_scan", failing)
    with pytest.raises(RuntimeError, match="the disk is full"):
        write_ankle_cohort(tmp_path / "cohort", subjects=2, workers=1)
    assert list(tmp_path.iterdir()) == []


@for_all(
    ("settings", "message"),
    [
        ({"size": "huge"}, "invalid size 'huge': expected full or demo"),
        ({"contrast": "t3"}, "invalid contrast 't3': expected t1 or random"),
        ({"side": "both"}, "invalid side 'both': expected left or right"),
        ({"subjects": 0}, "invalid number of subjects 0: expected at least 1"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        write_ankle_cohort(tmp_path / "cohort", **settings)
    assert list(tmp_path.iterdir()) == []


def test_all_feet_can_be_of_one_side(quick, tmp_path):
    write_ankle_cohort(tmp_path / "left", subjects=2, seed=13, side="left")
    rows = [line.split("\t") for line in (tmp_path / "left" / "participants.tsv").read_text().splitlines()[1:]]
    assert [row[2] for row in rows] == ["left"] * 2


@pytest.mark.parametrize("kind", ["folder", "link", "here"])
def test_an_empty_folder_is_filled(quick, tmp_path, monkeypatch, kind):
    empty = tmp_path / "empty"
    empty.mkdir()
    if kind == "link":
        (tmp_path / "link").symlink_to(empty)
    if kind == "here":
        monkeypatch.chdir(empty)
    out = {"folder": empty, "link": tmp_path / "link", "here": Path()}[kind]
    write_ankle_cohort(out, subjects=1)
    assert sorted(path.name for path in empty.iterdir()) == [
        "dataset_description.json", "derivatives", "participants.tsv", "phantom.json", "sub-C01"
    ]  # fmt: skip


def test_a_place_that_cannot_hold_a_cohort_is_told_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AnklesegError, match="file/cohort: cannot be written: Not a directory; choose another"):
        write_ankle_cohort(tmp_path / "file" / "cohort", subjects=1)


def test_a_setting_of_another_cohort_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="side is not a setting of this cohort; leave it out"):
        main(compose("phantoms", ["cohort=brain", "side=left", f"out={tmp_path / 'out'}"]))
