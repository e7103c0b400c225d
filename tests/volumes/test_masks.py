"""One rule for masks and label maps, whoever saved them."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from laws import for_all
from volume_grids import affine_of

from ankleseg.errors import FileError
from ankleseg.volumes import Verdict, check_mask, read_label_map, read_mask, read_volume, write_volume

SHAPE = (6, 5, 4)
ONES = np.zeros(SHAPE, bool)
ONES[1:4, 2, 1:3] = True
TWOS = np.zeros(SHAPE, bool)
TWOS[4:, 4, :] = True
LABELS = ONES + 2 * TWOS


def saved(path: Path, data: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return path


def scaled(path: Path, data: np.ndarray) -> Path:
    """As nibabel saves floats under an integer header: 1 reads as 1.00000006 or 0.99999998."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    nib.save(nib.Nifti1Image(data.astype(float), np.eye(4), header), path)
    assert not np.array_equal(read_volume(path, dtype=None).data, data)
    return path


@for_all("top", [1, 3, 100])
def test_a_mask_saved_through_a_scale_is_that_mask(top, tmp_path):
    data = ONES * float(top)
    data[0, 0, 0] = top / 3 if top == 3 else 0  # a third value gives another scale
    path = scaled(tmp_path / "a.nii.gz", data * 0.7 if top == 100 else data) if top != 1 else None
    if path is None:
        path = saved(tmp_path / "a.nii.gz", np.where(ONES, np.float32(1.00000006), 0).astype(np.float32))
        np.testing.assert_array_equal(read_mask(path).data, ONES)
    elif top == 3:
        np.testing.assert_array_equal(read_mask(path, value=3).data, ONES)
        assert read_mask(path, value=1).data.sum() == 1
    else:
        np.testing.assert_array_equal(read_mask(path).data, ONES)


@for_all("value", [1, 2, 14, 1005, 2035, 15_000])
@for_all("error", [-1e-5, 6e-8, 9e-6])
def test_a_label_within_rounding_of_a_whole_number_is_that_number(value, error, tmp_path):
    data = np.where(ONES, value + error, 0.0)
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "a.nii", data), value=value).data, ONES)


@for_all(
    ("data", "remark"),
    [
        (ONES.astype(np.uint8), ""),
        (ONES.astype(np.float64) * 255, ""),
        (ONES.astype(np.uint8) * 100, "holds the values 0, 100 where a mask holds 0 and 1; 100 is taken"),
        (ONES.astype(np.uint32) * 1_000_001, "holds the values 0, 1000001 where"),
        (ONES.astype(np.float32) * 0.3, "holds the values 0, 0.3"),
        (np.where(ONES, 1, np.nan).astype(np.float32), "holds 114 NaN voxels, taken as background"),
        (ONES[..., None].astype(np.uint8), ""),
        (np.where(ONES, 2, 1).astype(np.uint8), "holds the values 1, 2"),
        (np.where(ONES, 1, -1).astype(np.int16), "holds the values -1, 1"),
    ],
)
def test_two_values_are_a_mask_with_a_remark(data, remark, tmp_path):
    path = saved(tmp_path / "a.nii.gz", data)
    np.testing.assert_array_equal(read_mask(path).data, ONES)
    told = [finding.problem for finding in check_mask(path, None) if "unit" not in finding.problem]
    assert [text.startswith(remark) for text in told] == [True] if remark else told == []


@for_all(
    ("data", "message"),
    [
        (LABELS.astype(np.uint8), "is not a mask of 0 and 1: it holds the values 0, 1, 2; make it 0 and 1, or use"),
        (np.where(TWOS, -1, ONES).astype(np.int8), "it holds the values -1, 0, 1"),
        ((ONES + 0.3 * TWOS).astype(np.float32), r"it holds the values 0, 0\.30\d*, 1; cut it at a threshold"),
        (np.where(ONES, np.inf, 0).astype(np.float32), "holds infinite voxels"),
        ((ONES + 1.1e-5 * TWOS), "it holds the values 0, 1.1e-05, 1"),
    ],
)
def test_other_values_are_refused_by_name(data, message, tmp_path):
    path = saved(tmp_path / "a.nii.gz", data)
    with pytest.raises(FileError, match=f"a.nii.gz: .*{message}"):
        read_mask(path)
    assert check_mask(path, None)[-1].verdict is Verdict.UNREADABLE


def test_label_maps_of_the_whole_range_of_their_type_are_counted(tmp_path):
    data = np.where(ONES, 32_000, np.where(TWOS, -32_000, 0)).astype(np.int16)
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "a.nii", data), value=32_000).data, ONES)


def test_a_full_mask_is_suspect_and_an_empty_one_remarked(tmp_path):
    full, empty = (saved(tmp_path / f"{n}.nii", np.full(SHAPE, n, np.uint8)) for n in (1, 0))
    assert read_mask(full).data.all() and not read_mask(empty).data.any()
    assert check_mask(full, None)[0].verdict is Verdict.SUSPECT
    assert check_mask(empty, None)[0].problem == "is empty"


def test_a_label_map_without_any_value_that_is_used_is_refused(tmp_path):
    path = saved(tmp_path / "a.nii", np.where(ONES, 3, 7 * TWOS).astype(np.uint8))
    with pytest.raises(FileError, match="holds the labels 3, 7 and none of those asked for .1, 2.; give the values"):
        read_mask(path, value=1, used=(1, 2))
    assert not read_mask(path, value=1, used=(1, 7)).data.any()  # a structure may be absent
    remarks = [finding.problem for finding in check_mask(path, None, values=(1, 7))]
    assert "has no voxel of the value 1; it holds 3, 7" in remarks


def write_nrrd(path: Path, data: np.ndarray, kinds: str, extra: list[str]) -> Path:
    none = "none " if data.ndim == 4 else ""
    lines = [
        "NRRD0004", "type: unsigned char", f"dimension: {data.ndim}", "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, data.shape))}", f"space directions: {none}(-1,0,0) (0,-1,0) (0,0,1.5)",
        f"kinds: {kinds}", "endian: little", "encoding: gzip", "space origin: (16,18,-15)", *extra,
    ]  # fmt: skip
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + gzip.compress(data.tobytes(order="F")))
    return path


def segment(number: int, name: str, layer: int, value: int) -> list[str]:
    fields = {"ID": f"Segment_{number}", "Name": name, "Layer": layer, "LabelValue": value}
    return [f"Segment{number}_{key}:={what}" for key, what in fields.items()]


def test_overlapping_segments_are_read_by_name(tmp_path):
    layers = np.stack([ONES, ONES | TWOS]).astype(np.uint8)
    described = [*segment(0, "talus", 0, 1), *segment(1, "Läsion 2", 1, 1)]
    path = write_nrrd(tmp_path / "a.seg.nrrd", layers, "list domain domain domain", described)
    mask = read_mask(path, value="Talus")
    np.testing.assert_array_equal(mask.data, ONES)
    np.testing.assert_array_equal(read_mask(path, value="Läsion 2").data, ONES | TWOS)
    np.testing.assert_allclose(mask.affine, [[1, 0, 0, -16], [0, 1, 0, -18], [0, 0, 1.5, -15], [0, 0, 0, 1]])
    with pytest.raises(FileError, match=r"has 0 segments called tibia, 1 is needed: it holds talus \(value 1\), Läs"):
        read_mask(path, value="tibia")
    with pytest.raises(FileError, match="has 2 segments, 1 is needed"):
        read_mask(path)


def test_a_flat_segmentation_is_read_by_name_or_value(tmp_path):
    data = np.where(ONES, 7, 3 * TWOS).astype(np.uint8)
    only = write_nrrd(tmp_path / "b.seg.nrrd", ONES.astype(np.uint8), "domain domain domain", segment(0, "S_1", 0, 1))
    np.testing.assert_array_equal(read_mask(only, value="talus").data, ONES)
    assert check_mask(only, None, values=["talus"])[-1].problem == "calls its only segment S_1; it is taken as talus"
    described = [*segment(0, "talus", 0, 7), *segment(1, "calcaneus", 0, 3)]
    path = write_nrrd(tmp_path / "a.seg.nrrd", data, "domain domain domain", described)
    for wanted, expected in (("talus", ONES), ("calcaneus", TWOS), (7, ONES), (3, TWOS)):
        np.testing.assert_array_equal(read_mask(path, value=wanted).data, expected)


def test_a_frame_obeys_the_same_rule(tmp_path):
    frames = np.stack([ONES * 100, TWOS * 100], axis=-1).astype(np.uint8)
    path = write_volume(tmp_path / "a.nii.gz", frames, affine_of("PSR"))
    np.testing.assert_array_equal(read_mask(path, frame=1).data, TWOS)
    path = write_volume(tmp_path / "b.nii.gz", np.stack([LABELS, LABELS], axis=-1).astype(np.uint8), affine_of("PSR"))
    with pytest.raises(FileError, match="is not a mask of 0 and 1: it holds the values 0, 1, 2"):
        read_mask(path, frame=0)


def test_a_label_map_is_whole_numbers_within_rounding(tmp_path):
    labels = read_label_map(saved(tmp_path / "a.nii", np.where(ONES, 2.000009, np.where(TWOS, np.nan, 1009.99999))))
    assert labels.data.dtype == np.int32
    np.testing.assert_array_equal(labels.data, np.where(ONES, 2, np.where(TWOS, 0, 1010)))
    for wrong in (1.5, 3e9):
        with pytest.raises(FileError, match="is not a label map: .* other values than whole numbers to 2147483647"):
            read_label_map(saved(tmp_path / "b.nii", ONES * wrong))


def test_nought_is_never_the_structure(tmp_path):
    volume = read_mask(saved(tmp_path / "a.nii", np.where(ONES, -1, 0).astype(np.int16)))
    np.testing.assert_array_equal(volume.data, ONES)
    (remark,) = (remark for remark in volume.header.remarks if remark.suspect)
    assert remark.problem == "holds the values -1, 0 where a mask holds 0 and 1; -1 is taken as the structure"


def test_values_are_listed_without_a_negative_nought(tmp_path):
    volume = read_mask(saved(tmp_path / "a.nii", np.where(ONES, 100.0, -1e-7)))
    np.testing.assert_array_equal(volume.data, ONES)
    assert "holds the values 0, 100 where" in "".join(remark.problem for remark in volume.header.remarks)
