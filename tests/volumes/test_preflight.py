"""A verdict on every case, and what mends it."""

from __future__ import annotations

import hashlib

import nibabel as nib
import numpy as np
import pytest
from laws import for_all
from volume_grids import affine_of, counting

from ankleseg.errors import FileError, GeometryError
from ankleseg.volumes import (
    Verdict,
    axis_codes,
    check_case,
    check_image,
    check_mask,
    on_grid_of,
    read_header,
    read_mask,
    read_volume,
    reorient,
    resample,
    resampled_grid,
    same_grid,
    with_header_of,
    write_volume,
)

SHAPE = (20, 18, 8)
AFFINE = affine_of("PSR", oblique=True)


@pytest.fixture
def image(tmp_path):
    return write_volume(tmp_path / "image.nii.gz", counting(SHAPE), AFFINE)


def ball() -> np.ndarray:
    grid = np.indices(SHAPE)
    return sum(((grid[axis] - 3 - axis) / (2 + axis)) ** 2 for axis in range(3)) < 1


def moved(millimetres: float) -> np.ndarray:
    shift = np.eye(4)
    shift[0, 3] = millimetres
    return shift @ AFFINE


def only_finding(path, image, **options):
    findings = check_mask(path, read_header(image), **options)
    assert len(findings) == 1
    return findings[0]


def test_a_good_case_has_nothing_to_say(image, tmp_path):
    mask = write_volume(tmp_path / "mask.nii.gz", ball(), AFFINE)
    check = check_case("sub-01", [image], {mask: None})
    assert (check.verdict, check.findings) == (Verdict.OK, ())


@pytest.mark.parametrize(("millimetres", "verdict"), [(0.04, None), (0.06, Verdict.HEADER_COPY)])
def test_the_tolerance_is_a_tenth_of_the_smallest_voxel(millimetres, verdict, image, tmp_path):
    mask = write_volume(tmp_path / "mask.nii.gz", ball(), moved(millimetres))
    findings = check_mask(mask, read_header(image))
    assert [finding.verdict for finding in findings] == ([] if verdict is None else [verdict])


def test_the_same_voxels_elsewhere_are_fixable_by_header_copy(image, tmp_path):
    mask = write_volume(tmp_path / "mask.nii.gz", ball(), moved(41))
    finding = only_finding(mask, image)
    assert finding.verdict is Verdict.HEADER_COPY
    assert (
        "has the voxels of image.nii.gz, but its header puts them up to 41.0 mm (82.0 voxels) away" in finding.problem
    )
    assert "copy_headers=true" in finding.mend
    assert str(finding).startswith(f"{mask}: fixable by header copy: ")

    fixed = with_header_of(read_mask(mask), read_header(image))
    np.testing.assert_array_equal(fixed.data, ball())
    np.testing.assert_allclose(fixed.affine, AFFINE, atol=1e-6)
    saved = write_volume(tmp_path / "fixed.nii.gz", fixed.data, fixed.affine, like=fixed.header)
    assert check_mask(saved, read_header(image)) == []


def test_a_header_is_not_copied_to_another_shape(image, tmp_path):
    other = read_volume(write_volume(tmp_path / "other.nii.gz", counting((3, 4, 5)), AFFINE))
    with pytest.raises(GeometryError, match=r"other\.nii\.gz: has 3×4×5 voxels and cannot take the header of image"):
        with_header_of(other, read_header(image))


def test_flipped_axes_in_the_same_place_need_resampling_and_never_a_header_copy(image, tmp_path):
    """A header copy would swap left and right."""
    data, affine = reorient(ball(), AFFINE, "PSL")
    mask = write_volume(tmp_path / "mask.nii.gz", data, affine)
    finding = only_finding(mask, image)
    assert finding.verdict is Verdict.RESAMPLE
    assert "covers the field of view of image.nii.gz" in finding.problem
    assert "(PSL) instead of" in finding.problem
    assert "resample_masks=true" in finding.mend
    np.testing.assert_array_equal(on_grid_of(read_mask(mask), read_header(image)).data, ball())


def test_permuted_axes_and_other_spacings_need_resampling(image, tmp_path):
    data, affine = reorient(ball(), AFFINE, "RAS")
    permuted = write_volume(tmp_path / "permuted.nii.gz", data, affine)
    assert only_finding(permuted, image).verdict is Verdict.RESAMPLE
    np.testing.assert_array_equal(on_grid_of(read_mask(permuted), read_header(image)).data, ball())

    shape, fine = resampled_grid(SHAPE, AFFINE, (0.3, 0.3, 0.7))
    finer = write_volume(tmp_path / "fine.nii.gz", resample(ball(), AFFINE, shape, fine, order=0), fine)
    assert only_finding(finer, image).verdict is Verdict.RESAMPLE
    back = on_grid_of(read_mask(finer), read_header(image)).data
    assert 2 * (back & ball()).sum() / (back.sum() + ball().sum()) > 0.9


def test_a_mask_cut_out_of_the_grid_needs_resampling(image, tmp_path):
    corner = np.eye(4)
    corner[:3, 3] = (1, 2, 1)
    mask = write_volume(tmp_path / "mask.nii.gz", ball()[1:9, 2:12, 1:8], AFFINE @ corner)
    finding = only_finding(mask, image)
    assert finding.verdict is Verdict.RESAMPLE
    assert "is cut out of the grid of image.nii.gz: 8×10×7 voxels" in finding.problem
    np.testing.assert_array_equal(on_grid_of(read_mask(mask), read_header(image)).data, ball())


@pytest.mark.parametrize("start", [(-3, 2, 1), (15, 2, 1), (1.5, 2, 1)])
def test_another_field_of_view_is_a_different_scan(start, image, tmp_path):
    corner = np.eye(4)
    corner[:3, 3] = start
    mask = write_volume(tmp_path / "mask.nii.gz", ball()[:8, :10, :7], AFFINE @ corner)
    finding = only_finding(mask, image)
    assert finding.verdict is Verdict.DIFFERENT
    assert "covers another field of view than image.nii.gz: 8×10×7 voxels" in finding.problem
    assert finding.mend == "find the file that was drawn on this scan"


@for_all("scan", ["monkey1010", "monkey1380"])
def test_real_labels_with_another_header_are_found(scan, shared_data):
    folder = shared_data / "super_resolution"
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    check = check_case(scan, [folder / f"{scan}_t1.nii.gz"], {folder / f"{scan}_seg.nii.gz": (1, 3, 4)})
    assert check.verdict is Verdict.HEADER_COPY
    assert [finding.problem.split(" up to ")[0] for finding in check.findings] == [
        f"has the voxels of {scan}_t1.nii.gz, but its header puts them"
    ]
    distance = float(check.findings[0].problem.split(" up to ")[1].split()[0])
    assert 10 < distance < 60
    header = read_header(folder / f"{scan}_t1.nii.gz")
    fixed = with_header_of(read_volume(folder / f"{scan}_seg.nii.gz"), header)
    assert same_grid(header.shape, header.affine, fixed.data.shape, fixed.affine)
    assert before == {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_an_unreadable_file_leaves_the_others_checked(image, tmp_path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(image.read_bytes()[:-30])
    mask = write_volume(tmp_path / "mask.nii.gz", ball(), moved(5))
    check = check_case("sub-01", [broken], {mask: None, tmp_path / "none.nii.gz": None})
    assert check.verdict is Verdict.UNREADABLE
    assert [(finding.file.name, finding.problem) for finding in check.findings if finding.verdict > "p"] == [
        ("broken.nii.gz", "is truncated: its compressed data end early"),
        ("none.nii.gz", "does not exist"),
    ]
    assert all(finding.mend for finding in check.findings)


def test_channels_are_checked_against_the_first(image, tmp_path):
    second = write_volume(tmp_path / "second.nii.gz", counting(SHAPE), moved(3))
    check = check_case("sub-01", [image, second], {})
    assert check.verdict is Verdict.HEADER_COPY
    assert check.findings[0].file == second


def test_the_verdict_of_a_case_is_the_worst(image, tmp_path):
    near = write_volume(tmp_path / "near.nii.gz", ball(), moved(3))
    other = write_volume(tmp_path / "other.nii.gz", np.ones((2, 2, 2), np.uint8), moved(500))
    assert check_case("sub-01", [image], {near: None, other: None}).verdict is Verdict.DIFFERENT


def test_an_image_of_one_value_is_no_image(tmp_path):
    flat = write_volume(tmp_path / "flat.nii.gz", np.full(SHAPE, 7, np.int16), AFFINE)
    assert [finding.problem for finding in check_image(flat)] == ["all its voxels hold the value 7"]


def header_of(tmp_path, **options):
    picture = nib.Nifti1Image(counting(SHAPE), None if options.get("nowhere") else AFFINE)
    if not options.get("nowhere"):
        picture.set_sform(AFFINE, 1)
        picture.set_qform(options.get("qform", AFFINE), 1)
    picture.header.set_xyzt_units(options.get("unit", "mm"))
    nib.save(picture, tmp_path / "image.nii")
    return check_image(tmp_path / "image.nii")


def test_two_affines_that_disagree_are_a_remark_naming_the_one_used(tmp_path):
    (finding,) = header_of(tmp_path, qform=moved(12))
    assert finding.verdict is Verdict.OK
    assert finding.problem == "its qform and sform put voxels up to 12.0 mm apart; the sform is used"
    np.testing.assert_allclose(read_header(tmp_path / "image.nii").affine, AFFINE, atol=1e-6)


def test_a_missing_unit_and_a_missing_place_are_remarks(tmp_path):
    (finding,) = header_of(tmp_path, unit="unknown")
    assert finding.problem == "names no unit of length, mm are assumed"
    assert finding.mend == "correct its header unless its voxels are 0.5 × 0.75 × 2 mm"
    (finding,) = header_of(tmp_path, nowhere=True)
    assert "does not say how it lies" in finding.problem
    assert axis_codes(read_header(tmp_path / "image.nii").affine) in finding.problem


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("top", [1, 255])
def test_masks_of_any_type_and_of_0_and_255_are_masks(dtype, top, image, tmp_path):
    path = write_volume(tmp_path / "mask.nii.gz", (ball() * top).astype(dtype), AFFINE)
    mask = read_mask(path)
    assert mask.data.dtype == bool
    np.testing.assert_array_equal(mask.data, ball())
    assert check_mask(path, read_header(image)) == []


def test_an_empty_mask_is_allowed_and_remarked(image, tmp_path):
    path = write_volume(tmp_path / "mask.nii.gz", np.zeros(SHAPE, np.uint8), AFFINE)
    assert not read_mask(path).data.any()
    finding = only_finding(path, image)
    assert (finding.verdict, finding.problem) == (Verdict.OK, "is empty")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1, 3), "is not a mask of 0 and 1: it holds the values 0, 1, 3; make it 0 and 1, or use it as a label map"),
        ((-1, 0, 1), "it holds the values -1, 0, 1; make it 0 and 1"),
        ((0, 0.5, 1), "it holds the values 0, 0.5, 1; cut it at a threshold"),
        (range(20), r"it holds the values 0, 1, 2, 3, 4, 5, 6, 7, … \(20 values\); make it"),
    ],
)
def test_other_values_are_listed(values, message, image, tmp_path):
    data = np.resize(np.array(list(values), np.float32), SHAPE)
    path = write_volume(tmp_path / "mask.nii.gz", data, AFFINE)
    with pytest.raises(FileError, match=rf"mask\.nii\.gz: .*{message}"):
        read_mask(path)
    assert only_finding(path, image).verdict is Verdict.UNREADABLE


def test_a_structure_is_taken_out_of_a_label_map(image, tmp_path):
    path = write_volume(tmp_path / "labels.nii.gz", ball() * 3 + 1, AFFINE)
    np.testing.assert_array_equal(read_mask(path, value=4).data, ball())
    assert not read_mask(path, value=9).data.any()
    assert check_mask(path, read_header(image), values=(1, 4)) == []
    finding = only_finding(path, image, values=(1, 9))
    assert (finding.verdict, finding.problem) == (Verdict.OK, "has no voxel of the value 9; it holds 1, 4")


def test_a_label_map_with_fractions_is_refused(image, tmp_path):
    path = write_volume(tmp_path / "labels.nii.gz", ball() * 1.5, AFFINE)
    finding = only_finding(path, image, values=(1,))
    assert (finding.verdict, finding.problem) == (
        Verdict.UNREADABLE,
        "is not a label map: it holds fractions (0, 1.5)",
    )
