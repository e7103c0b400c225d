"""A cohort of spinal cords: sizes as published, truth that fits the mask, the same bytes for a seed."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from laws import for_all

from ankleseg.cohorts import load_cohort
from ankleseg.config import compose
from ankleseg.errors import ConfigError
from ankleseg.phantoms import CordLabels, CordScan, CordTissue, Grid, Spine, cord_cohort, cord_scan, draw_spine
from ankleseg.phantoms.__main__ import main
from ankleseg.phantoms.cord_cohort import LETTERS, cord_mask, write_cord_cohort
from ankleseg.phantoms.cord_contrast import cord_contrast
from ankleseg.phantoms.cord_labels import CORD
from ankleseg.volumes import read_volume
from ankleseg.volumes.geometry import axis_codes
from ankleseg.volumes.geometry import spacing as spacing_of

DRAW_GRID = cord_cohort._draw_grid  # as it is; fixtures draw coarser ones


@pytest.fixture(scope="module")
def rough() -> Iterator[None]:
    """Scans of few voxels: what is drawn is the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cord_cohort, "_draw_grid", lambda *settings: DRAW_GRID(*settings).resized(np.full(3, 0.3)))
        yield


@pytest.fixture(scope="module")
def scans(rough: None) -> dict[str, CordScan]:
    return {domain: cord_scan(1, domain=domain, seed=3) for domain in LETTERS}


@pytest.fixture(scope="module")
def spines() -> list[Spine]:
    return [draw_spine(np.random.default_rng(seed)) for seed in range(6)]


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def around(spine: Spine, along: float, sides: tuple[float, float, float], spacing: float) -> Grid:
    """A grid whose third axis runs down the cord, about the place so many mm from its upper end."""
    frame = spine.frame[spine.row(np.float32(along))].reshape(5, 3).astype(float)
    affine, shape = np.eye(4), np.rint(np.array(sides) / spacing).astype(int)
    affine[:3, :3] = frame[[2, 3, 1]].T * spacing
    affine[:3, 3] = frame[0] - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def test_a_cohort_is_a_bids_folder_and_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(rough, tmp_path):
    words = ["cohort=cord", "domain=post_mortem", "subjects=1", "seed=3", "workers=1", f"out={tmp_path / 'one'}"]
    main(compose("phantoms", words))
    write_cord_cohort(tmp_path / "two", domain="post_mortem", subjects=2, seed=3, workers=2)
    few, many = digests(tmp_path / "one"), digests(tmp_path / "two")
    truth = "derivatives/truth/sub-P01/cord/sub-P01"
    files = {"sub-P01/anat/sub-P01_T2w.nii.gz", "derivatives/manual/sub-P01/anat/sub-P01_label-cord_mask.nii.gz"}
    files |= {f"{truth}_tissues.nii.gz", f"{truth}_centreline.csv", f"{truth}_end.json"}
    assert files <= set(few)
    assert all(few[file] == many[file] != many[file.replace("P01", "P02")] for file in files)
    cohort = load_cohort(tmp_path / "two")
    assert [case.name for case in cohort.cases] == ["sub-P01", "sub-P02"] and cohort.structures == ("cord",)
    assert not cohort.remarks
    points = list(csv.DictReader((tmp_path / "two" / f"{truth}_centreline.csv").open()))
    end = json.loads((tmp_path / "two" / f"{truth}_end.json").read_text())["end"]
    assert end == pytest.approx([float(points[-1][axis]) for axis in "xyz"]) and float(points[-1]["area"]) == 0
    mask = read_volume(tmp_path / "two/derivatives/manual/sub-P01/anat/sub-P01_label-cord_mask.nii.gz", dtype=None)
    assert mask.data.dtype == np.uint8 and set(np.unique(mask.data)) == {0, 1}


def test_the_scans_lie_as_those_they_stand_for(scans):
    assert axis_codes(scans["neck"].image.affine) == "PSR"
    assert scans["neck"].end is None and scans["lumbar"].end is not None and scans["post_mortem"].end is not None
    for domain, scan in scans.items():
        assert scan.image.data.dtype == np.int16 and scan.row["group"] == domain
        assert np.isin(scan.tissues.data[scan.mask.data > 0], list(CORD)).mean() > 0.8


def test_in_the_living_fluid_is_bright_and_after_death_no_two_look_alike():
    fluid, white, grey, marrow = CordTissue.CSF, CordTissue.WHITE_MATTER, CordTissue.GREY_MATTER, CordTissue.MARROW
    ratios = []
    for seed in range(8):
        for domain in LETTERS:
            mean = cord_contrast(domain, np.random.default_rng(seed)).mean
            assert mean[grey] > mean[white] and mean[CordTissue.AIR] == 0
            if domain == "post_mortem":
                ratios.append(mean[fluid] / mean[white])
            else:
                assert mean[fluid] > 1.6 * mean[white] > mean[marrow] > 2 * mean[CordTissue.BONE]
    assert min(ratios) < 0.8 and max(ratios) > 1.2


def test_sizes_are_as_published(spines):
    """Within two standard deviations of Frostell et al. 2016; the canal as wide as in adults; the end at T12 to L3."""
    for spine in spines:
        cervical, thoracic, lumbar = (spine.row(np.float32(share * spine.end)) for share in (0.19, 0.6, 0.91))
        wide, deep = spine.values["wide"], spine.values["deep"]
        assert 10.5 < wide[cervical] < 16 and 6 < deep[cervical] < 10
        assert 6.5 < wide[thoracic] < 10.5 and 5 < deep[thoracic] < 8.5
        assert wide[cervical] > wide[lumbar] > wide[thoracic]
        canal = spine.values["sac_wide"][(spine.along > 0) & (spine.along < spine.end)]
        assert canal.min() >= 14.9 and canal.max() <= 23.1
        assert 360 < spine.end < 500


def test_the_cord_lies_within_the_sac(spines):
    for spine in spines:
        inside = (spine.along > 0) & (spine.along < spine.end)
        for side, offset in (("wide", "aside"), ("deep", "forth")):
            room = (spine.values[f"sac_{side}"] - spine.values[side]) / 2 - np.abs(spine.values[offset])
            assert room[inside].min() > 0.2


def test_sections_are_perpendicular_and_of_the_area_that_the_truth_gives(spines):
    """In fine voxels; the section is that of a slice across the cord, whichever way the cord runs there."""
    for spine, along in zip(spines, (60, 110, 150, 350), strict=False):
        grid = around(spine, along, (20, 16, 0.6), 0.2)
        row = spine.row(np.float32(along))
        area = np.pi / 4 * spine.values["wide"][row] * spine.values["deep"][row]
        assert cord_mask(spine, grid)[:, :, 1].sum() * 0.04 == pytest.approx(area, rel=0.01)
        labels = CordLabels(spine)(grid)[:, :, 1]
        assert np.isin(labels, list(CORD)).sum() * 0.04 == pytest.approx(area, rel=0.02)


def test_a_voxel_belongs_to_the_cord_that_fills_half_of_it(spines):
    spine = spines[0]
    coarse = around(spine, 120, (24, 24, 8), 2.0)
    fine = coarse.resized(np.full(3, 8))
    inside = np.isin(CordLabels(spine)(fine), list(CORD)).reshape(12, 8, 12, 8, 4, 8).mean((1, 3, 5))
    clear = np.abs(inside - 0.5) > 0.06
    assert clear.mean() > 0.9 and ((inside > 0.5) == cord_mask(spine, coarse))[clear].all()


def test_the_centreline_lies_in_the_mask_in_every_slice_and_ends_where_the_mask_ends(scans):
    for scan in scans.values():
        voxels = (scan.centreline[:, :3] - scan.mask.affine[:3, 3]) @ np.linalg.inv(scan.mask.affine[:3, :3]).T
        thin = scan.centreline[:, 3] < 15
        place = tuple(np.clip(np.rint(voxels[~thin]).astype(int), 0, np.array(scan.mask.data.shape) - 1).T)
        assert scan.mask.data[place].mean() > 0.98
        if scan.end is not None:
            lowest = (np.argwhere(scan.mask.data) @ scan.mask.affine[2, :3]).min() + scan.mask.affine[2, 3]
            assert -3 < lowest - scan.end[2] < 8


def test_the_end_of_the_mask_is_the_end_of_the_cord_in_fine_voxels(spines):
    for spine in spines[:4]:
        grid = around(spine, spine.end, (8, 8, 12), 0.25)
        seen = np.flatnonzero(cord_mask(spine, grid).any((0, 1)))
        assert seen[0] == 0 and -1.2 < (seen[-1] + 0.5) * 0.25 - 6 <= 0.2
        below = CordLabels(spine)(around(spine, spine.end + 25, (16, 12, 4), 0.4))
        assert not np.isin(below, list(CORD)).any() and (below == CordTissue.ROOT).any()
        assert (below == CordTissue.CSF).any()


def test_neither_size_nor_contrast_of_a_scan_changes_its_anatomy(rough):
    small, large = (cord_scan(2, domain="lumbar", size=size, seed=1) for size in ("demo", "full"))
    np.testing.assert_allclose(small.end, large.end)
    assert small.row == large.row and large.image.data.size > small.image.data.size


def test_a_spacing_of_choice_leaves_anatomy_and_field_of_view_as_they_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cord_cohort, "_draw_grid", DRAW_GRID)
    spacings = (4, 4, 4), (5, 5, 3)
    one, other = (cord_scan(2, domain="lumbar", seed=1, spacing=spacing) for spacing in spacings)
    for scan, spacing in zip((one, other), spacings, strict=True):
        np.testing.assert_allclose(spacing_of(scan.image.affine), spacing)
    np.testing.assert_allclose(one.end, other.end)
    sides = [np.array(scan.image.data.shape) * spacing_of(scan.image.affine) for scan in (one, other)]
    np.testing.assert_allclose(*sides, atol=5)


def test_the_coil_hears_less_of_what_lies_in_front():
    rng, grid = np.random.default_rng(0), Grid((40, 30, 20), np.diag([3.0, 3.0, 3.0, 1.0]))
    coil = cord_cohort._surface_coil(cord_cohort.draw_coil(grid, rng), grid, 0.5)
    plane = coil.across(np.full(1, 60.0), np.array([5.0, 85.0]))(30.0)
    assert plane[0, 0] - plane[0, 1] == pytest.approx(40, abs=8)


@for_all(
    ("settings", "message"),
    [
        ({"domain": "thorax"}, "invalid domain 'thorax': expected neck or lumbar or post_mortem"),
        ({"contrast": "t1"}, "contrast is not a setting of this cohort"),
        ({"size": "huge"}, "invalid size 'huge': expected full or demo"),
        ({"spacing": "[1,1]"}, r"invalid spacing \[1, 1\]: expected three positive numbers in mm"),
        ({"subjects": 0}, "invalid number of subjects 0: expected at least 1"),
    ],
)
def test_what_cannot_be_is_refused(settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        words = [f"{name}={value}" for name, value in settings.items()]
        main(compose("phantoms", ["cohort=cord", *words, f"out={tmp_path / 'out'}"]))
