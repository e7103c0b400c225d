"""Ten broken cohorts and some more: each gives the right verdict, and the other cases go on."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import broken_studies
import nibabel as nib
import numpy as np
import pytest
from broken_studies import BONES, LEFT, RIGHT, copy_subject, flipped_foot, mask, rewrite, sequence
from laws import for_all

from ankleseg.cohorts import Case, load_cohort
from ankleseg.motion.cleaning import Cleaned, CleaningRules, clean_case, clean_cohort
from ankleseg.motion.cleaning.sequences import read_sequence
from ankleseg.volumes import Verdict, Volume, anatomical_axis, read_mask, reorient

# What was broken, the status of the case, the verdict on the file, and what is said of it.
VERDICTS = {
    "missing_mask": ("partly", "missing", "has no mask of the talus"),
    "masks_of_another_subject": ("excluded", "different scan", "its outline does not follow the edges of "),
    "flipped_foot": ("excluded", "mirrored", "its bones are those of a left foot, and the table says right"),
    "fourteen_frames": ("usable", "suspect", "has 14 frames where 15 are expected"),
    "truncated_sequence": ("partly", "unreadable", "is truncated"),
    "nan_in_a_frame": ("partly", "unreadable", "frame 6 holds 1 NaN or infinite voxels"),
    "oblique_frames": ("usable", "ok", ""),
    "swapped_affine": ("usable", "fixable by header copy", "does not show the foot where "),
    "scan_of_the_other_side": ("excluded", "different scan", "it does not lie where its sequences lie"),
    "empty_mask": ("partly", "missing", "is empty"),
    # and more
    "one_mask_of_another_subject": ("partly", "different scan", "its outline does not follow the edges of "),
    "image_of_the_other_side": ("excluded", "different scan", "its outline does not follow the edges of "),
    "truncated_scan": ("excluded", "unreadable", "is truncated"),
    "nan_in_the_scan": ("excluded", "unreadable", "holds 1 NaN or infinite voxels"),
    "only_nan": ("partly", "unreadable", "has no frame that can be used: frame 0 holds"),
    "sequence_elsewhere": ("usable", "fixable by header copy", "does not show the foot where "),
    "volume_instead_of_a_sequence": ("partly", "unreadable", "has 3 dimensions"),
    "cine_of_one_slice": ("partly", "unreadable", "one slice: bones cannot be followed in three dimensions"),
    "wrong_sidecar": ("usable", "suspect", "gives SliceThickness as 'thick'"),
    "mask_with_a_foreign_header": ("usable", "fixable by header copy", "its header puts them up to 30.0 mm"),
    "swapped_names": ("excluded", "different scan", "the talus is not between calcaneus and tibia"),
    "one_mask_twice": ("partly", "different scan", ""),
    "no_masks_at_all": ("excluded", "missing", "has no bone mask that can be used"),
    "header_that_turns_the_foot": ("usable", "suspect", "by its header the shin points to"),
    "no_scan": ("excluded", "missing", "holds no image"),
    "two_scans": ("excluded", "missing", "holds 2 T1w images where one is needed"),
    "no_folder": ("excluded", "missing", "does not exist"),
}
NAMES = {broken: f"sub-B{number:02d}" for number, broken in enumerate(VERDICTS, start=1)}


@pytest.fixture(scope="module")
def broken_study(whole_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two children in order, and one for everything that may be broken."""
    root = Path(shutil.copytree(whole_study, tmp_path_factory.mktemp("broken") / "study"))
    for broken, name in NAMES.items():
        copy_subject(root, RIGHT, name)
        getattr(broken_studies, broken)(root, name)
    return root


@pytest.fixture(scope="module")
def rows(broken_study: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    before = hashes(broken_study)
    rows = clean_cohort(load_cohort(broken_study, strict=False), tmp_path_factory.mktemp("out"))
    assert hashes(broken_study) == before, "inputs are never modified"
    return rows


def hashes(root: Path) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


def case_of(root: Path, name: str) -> Case:
    return next(case for case in load_cohort(root, strict=False).cases if case.name == name)


@for_all("broken", VERDICTS)
def test_what_is_broken_gets_its_verdict_and_a_mend(broken: str, rows: list[dict[str, str]]) -> None:
    status, verdict, problem = VERDICTS[broken]
    told = [row for row in rows if row["subject"] == NAMES[broken]]
    assert {row["status"] for row in told} == {status}, told
    assert [row for row in told if row["verdict"] == verdict and problem in row["problem"]], told
    assert all(row["mend"] for row in told if row["problem"])
    if verdict == "ok":
        assert [row["problem"] for row in told] == [""]


def test_the_other_cases_go_on(rows: list[dict[str, str]]) -> None:
    assert [(row["verdict"], row["status"]) for row in rows if row["subject"] in (RIGHT, LEFT)] == [
        ("ok", "usable")
    ] * 2
    assert {row["subject"] for row in rows} == {RIGHT, LEFT, *NAMES.values()}


@pytest.fixture
def study(whole_study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_study, tmp_path / "study"))


def test_a_flipped_foot_is_mended_on_request_and_its_sequence_left_as_it_is(study: Path, whole_study: Path) -> None:
    flipped_foot(study, RIGHT)
    mended = clean_case(case_of(study, RIGHT), CleaningRules(mend_flipped=True))
    original = clean_case(case_of(whole_study, RIGHT))
    assert mended.status == original.status == "usable"
    assert [finding.verdict for finding in mended.findings] == [Verdict.MIRRORED]
    assert mended.side == "right"
    assert_same_voxels(mended, original)


def test_a_flipped_sequence_is_mended_too(study: Path, whole_study: Path) -> None:
    def flip(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
        return np.flip(volume.data, anatomical_axis(volume.affine, "LR")), volume.affine

    rewrite(sequence(study, RIGHT), flip, 4)
    told = clean_case(case_of(study, RIGHT))
    assert [(f.file.name, f.verdict) for f in told.findings] == [(sequence(study, RIGHT).name, Verdict.SUSPECT)]
    assert "looks more like sub-C01_T1w.nii.gz when mirrored" in told.reasons[0]
    flipped_foot(study, RIGHT)
    mended = clean_case(case_of(study, RIGHT), CleaningRules(mend_flipped=True))
    assert_same_voxels(mended, clean_case(case_of(whole_study, RIGHT)))


def assert_same_voxels(one: Cleaned, other: Cleaned) -> None:
    assert one.static is not None and other.static is not None
    np.testing.assert_array_equal(one.static.data, other.static.data)
    np.testing.assert_array_equal(one.foot, other.foot)
    np.testing.assert_allclose(one.static.affine, other.static.affine, atol=1e-6)
    assert list(one.masks) == list(other.masks) == list(BONES)
    for bone in BONES:
        np.testing.assert_array_equal(one.masks[bone], other.masks[bone])
    assert one.sequences.keys() == other.sequences.keys()
    for name, found in one.sequences.items():
        np.testing.assert_array_equal(found.volume.data, other.sequences[name].volume.data)
        np.testing.assert_allclose(found.volume.affine, other.sequences[name].volume.affine, atol=1e-5)
        assert (found.sidecar, found.unusable) == (other.sequences[name].sidecar, other.sequences[name].unusable)


def test_a_frame_with_nan_costs_only_itself(broken_study: Path, whole_study: Path) -> None:
    (found,) = clean_case(case_of(broken_study, NAMES["nan_in_a_frame"])).sequences.values()
    (whole,) = clean_case(case_of(whole_study, RIGHT)).sequences.values()
    assert found.unusable == {6: "holds 1 NaN or infinite voxels"}
    assert (found.frames, found.thickness_mm) == (15, 8.0)
    assert not found.volume.data[..., 6].any()
    others = [frame for frame in range(15) if frame != 6]
    np.testing.assert_array_equal(found.volume.data[..., others], whole.volume.data[..., others])


@for_all("broken", ["swapped_affine", "sequence_elsewhere"])
def test_a_copied_header_puts_the_foot_back(broken: str, broken_study: Path, whole_study: Path) -> None:
    (found,) = clean_case(case_of(broken_study, NAMES[broken])).sequences.values()
    (whole,) = clean_case(case_of(whole_study, RIGHT)).sequences.values()
    corners = np.array([[0, 0, 0, 1], [0, *whole.volume.data.shape[1:3], 1], [*whole.volume.data.shape[:3], 1]]).T
    apart = np.linalg.norm((found.volume.affine @ corners - whole.volume.affine @ corners)[:3], axis=0)
    assert apart.max() < 12, "nearer than legs move between two scans"
    refused = clean_case(case_of(broken_study, NAMES[broken]), CleaningRules(copy_headers=False))
    assert (refused.status, dict(refused.sequences)) == ("partly", {})
    assert refused.findings[-1].mend == "set copy_headers=true"


def test_a_mask_with_a_foreign_header_is_used_only_where_its_outline_fits(broken_study: Path) -> None:
    for broken, expected in (("mask_with_a_foreign_header", set(BONES)), ("masks_of_another_subject", set())):
        cleaned = clean_case(case_of(broken_study, NAMES[broken]))
        assert set(cleaned.masks) == expected
        copied = [f for f in cleaned.findings if f.verdict is Verdict.HEADER_COPY]
        assert copied and all("the header of the scan was taken" in finding.mend for finding in copied)
    refused = clean_case(case_of(broken_study, NAMES["mask_with_a_foreign_header"]), CleaningRules(copy_headers=False))
    assert set(refused.masks) == {"calcaneus", "tibia"}


def test_a_side_that_no_table_tells_is_told_by_the_bones(study: Path) -> None:
    (study / "participants.tsv").unlink()
    assert {name: clean_case(case_of(study, name)).side for name in (RIGHT, LEFT)} == {RIGHT: "right", LEFT: "left"}


def test_bones_that_nobody_asks_for_are_not_missed(broken_study: Path) -> None:
    cleaned = clean_case(case_of(broken_study, NAMES["missing_mask"]), CleaningRules(bones=("calcaneus", "tibia")))
    assert (cleaned.status, set(cleaned.masks)) == ("usable", {"calcaneus", "tibia"})


def test_exported_masks_become_the_same_mask_and_smoothed_ones_are_refused(study: Path, whole_study: Path) -> None:
    from scipy.ndimage import gaussian_filter

    rewrite(mask(study, RIGHT, "calcaneus"), lambda volume: (volume.data * np.int16(255), volume.affine))
    rewrite(mask(study, RIGHT, "talus"), lambda volume: (volume.data * np.float32(0.3), volume.affine))
    blur = gaussian_filter(read_mask(mask(study, RIGHT, "tibia")).data.astype(np.float32), 0.4)
    rewrite(mask(study, RIGHT, "tibia"), lambda volume: (blur, volume.affine))
    cleaned = clean_case(case_of(study, RIGHT))
    for bone in ("calcaneus", "talus"):
        np.testing.assert_array_equal(cleaned.masks[bone], read_mask(mask(whole_study, RIGHT, bone)).data)
    assert "tibia" not in cleaned.masks
    remark, refusal = cleaned.findings
    assert (remark.file.name, remark.verdict) == ("sub-C01_label-talus_mask.nii.gz", Verdict.OK)
    assert (refusal.file.name, refusal.verdict) == ("sub-C01_label-tibia_mask.nii.gz", Verdict.UNREADABLE)
    assert refusal.mend == "cut it at a threshold and save it as 0 and 1"


@pytest.mark.parametrize("codes", ["RAS", "ALI"])
def test_a_sequence_that_is_stored_in_another_order_is_in_order(codes: str, study: Path) -> None:
    rewrite(sequence(study, RIGHT), lambda volume: reorient(volume.data, volume.affine, codes), 4)
    cleaned = clean_case(case_of(study, RIGHT))
    assert (cleaned.status, cleaned.findings) == ("usable", ())


@for_all(
    ("header", "sidecar", "shown", "said"),
    [
        (0.4, None, 0.4, ""),
        (0.0, None, None, ""),
        (1.0, 0.5, 0.5, ""),
        (0.02, None, 0.02, ""),
        (60.0, None, 60.0, ""),
        (2000.0, None, None, "has a frame every 2000 s by its header, which is implausible; no time is shown"),
        (0.5, 400, None, "has a frame every 400 s by its sidecar (RepetitionTime), which is implausible"),
        (0.5, 0.0038, None, "has a frame every 0.0038 s by its sidecar"),
    ],
)
def test_a_time_between_frames_that_cannot_be_is_not_shown(header, sidecar, shown, said, tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.random.default_rng(0).integers(0, 99, (4, 5, 6, 3)).astype(np.int16), np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = header
    nib.save(image, tmp_path / "a_dynamic.nii.gz")
    if sidecar is not None:
        (tmp_path / "a_dynamic.json").write_text(json.dumps({"RepetitionTime": sidecar}))
    found, findings = read_sequence("a", tmp_path / "a_dynamic.nii.gz", None)
    assert found is not None and found.volume.header is not None
    assert found.sidecar.seconds == (None if shown is None else pytest.approx(shown))
    assert found.volume.header.frame_time == pytest.approx(shown or 0.0)
    assert [finding.problem[: len(said)] for finding in findings] == ([said] if said else [])
