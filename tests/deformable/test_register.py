"""Laws of registration: a copy is found again whatever its grid, a known field is found, files agree with ITK."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import itk
import numpy as np
import pytest
from heads import AFFINE, SHAPE, drawn_head
from scipy.spatial.transform import Rotation

from ankleseg.config import compose
from ankleseg.deformable import (
    Descent,
    Settings,
    carry_labels,
    files,
    itk_registration,
    judge,
    prealignment,
    register,
    register_files,
)
from ankleseg.deformable.scans import Scan, as_scan
from ankleseg.errors import AnklesegError, ConfigError, FileError
from ankleseg.register import main, settings_asked_for
from ankleseg.volumes import Volume, read_label_map, read_volume, reorient, resample, write_volume
from ankleseg.volumes.displacement_fields import read_displacement_field
from ankleseg.volumes.poses import transform, translation

QUICK = Settings(descent=Descent(iterations=(40, 30)))
STILL = Settings(alignment="none", descent=Descent(iterations=(0, 0)))


def turned(degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    pose[:3, 3] = shift
    return pose


def errors_mm(field: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return np.linalg.norm(field[inside], axis=-1)


def test_a_copy_on_another_grid_is_found_where_it_is():
    """Reoriented, and on an oblique grid of anisotropic voxels: the headers are right, nothing has to move."""
    image, _ = drawn_head(noise=5)
    middle = AFFINE @ [*(np.array(SHAPE) / 2), 1]
    grid, voxel = turned((9, -14, 6), (0, 0, 0)), [1.2, 1.8, 2.5]
    grid[:3, :3] *= voxel
    shape = [int(1.25 * side * 1.5 / size) for side, size in zip(SHAPE, voxel, strict=True)]
    grid[:3, 3] = middle[:3] - grid[:3, :3] @ (np.array(shape) / 2)
    copy, place = reorient(resample(image, AFFINE, shape, grid, order=3), grid, "PIR")
    found = register(Volume(image, AFFINE), Volume(copy, place), QUICK)
    error = errors_mm(found.mapping.on_grid(SHAPE, AFFINE), image > 100)
    assert np.mean(error) < 0.2 and np.percentile(error, 95) < 0.6
    assert found.folded == 0 and found.alignment.degrees < 0.3


@pytest.mark.parametrize("pose", [turned((0, 0, 90), (0, 0, 0)), turned((170, 10, 0), (40, 900, -300))])
def test_a_turned_or_far_away_scan_is_not_lost(pose: np.ndarray):
    image, _ = drawn_head(noise=5)
    found = register(Volume(image, AFFINE), Volume(image, pose @ AFFINE), Settings(method="rigid"))
    points = np.argwhere(image > 100)[::50] @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    there = points @ found.mapping.moving_from_fixed[:3, :3].T + found.mapping.moving_from_fixed[:3, 3]
    assert np.linalg.norm(there - (points @ pose[:3, :3].T + pose[:3, 3]), axis=1).max() < 0.3
    assert not found.alignment.from_headers


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head, the same bent by a smooth field and turned, labels and a second channel, registered by the command."""
    folder = tmp_path_factory.mktemp("registration")
    image, labels = drawn_head(noise=5)
    places = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1).astype(float)
    waves = [np.sin(places[..., (axis + 1) % 3] / 11) * np.sin(places[..., axis] / 13 + axis) for axis in range(3)]
    bent, bent_labels = drawn_head(places + 2.5 * np.stack(waves, -1), noise=5)
    pose = turned((4, -6, 8), (7, -5, 9))
    flipped, place = reorient(bent, pose @ AFFINE, "LSP")
    write_volume(folder / "fixed.nii.gz", image, AFFINE)
    write_volume(folder / "moving.nii.gz", flipped, place)
    write_volume(folder / "moving_t2.nii.gz", 1000 - bent, pose @ AFFINE)
    write_volume(folder / "moving_labels.nii.gz", bent_labels, pose @ AFFINE)
    write_volume(folder / "fixed_labels.nii.gz", labels, AFFINE)
    overrides = [f"{name}={folder / file}.nii.gz" for name, file in (("fixed", "fixed"), ("moving", "moving"))]
    overrides += [f"labels={folder}/moving_labels.nii.gz", f"others=[{folder}/moving_t2.nii.gz]", f"out={folder}/out"]
    main(compose("register", [*overrides, "device=cpu"]))
    return folder


def test_the_bent_scan_and_its_labels_are_brought_back(study: Path):
    fixed, labels = read_volume(study / "fixed.nii.gz"), read_label_map(study / "fixed_labels.nii.gz")
    moved, carried = read_volume(study / "out/moved.nii.gz"), read_label_map(study / "out/moved_labels.nii.gz")
    content = json.loads((study / "out/registration.json").read_text())
    assert content["status"] == "ok" and content["folded"] == 0
    similarity = content["local_correlation"]
    assert similarity["before"] < similarity["aligned"] < similarity["after"] and similarity["after"] > 0.8
    for label in range(1, 7):
        mine, true = carried.data == label, labels.data == label
        assert 2 * (mine & true).sum() / (mine.sum() + true.sum()) > 0.9
    other = read_volume(study / "out/moved_moving_t2.nii.gz")
    inside = (fixed.data > 100) & (moved.data > 0)
    np.testing.assert_allclose(other.data[inside], 1000 - moved.data[inside], atol=1)
    assert np.allclose(moved.affine, AFFINE) and moved.data.shape == SHAPE


def test_itk_applies_the_field_to_the_same_image(study: Path):
    field = itk.imread(str(study / "out/field.nii.gz"), itk.Vector[itk.F, 3])
    fixed, moving = (itk.imread(str(study / f"{name}.nii.gz"), itk.F) for name in ("fixed", "moving"))
    theirs = itk.warp_image_filter(
        moving,
        displacement_field=field,
        output_spacing=fixed.GetSpacing(),
        output_origin=fixed.GetOrigin(),
        output_direction=fixed.GetDirection(),
        output_size=fixed.GetLargestPossibleRegion().GetSize(),
    )
    ours = read_volume(study / "out/moved.nii.gz").data
    inside = read_volume(study / "fixed.nii.gz").data > 100
    assert np.abs(itk.array_from_image(theirs).T - ours)[inside].max() < 1


def test_itk_reads_the_affine_part(study: Path):
    (affine,) = itk.transformread(str(study / "out/affine.tfm"))
    content = json.loads((study / "out/registration.json").read_text())
    matrix = np.array(content["alignment"]["moving_from_fixed"])
    point = np.array([3.0, -8, 5])
    moved = np.array(affine.TransformPoint((point * [-1, -1, 1]).tolist())) * [-1, -1, 1]
    np.testing.assert_allclose(moved, matrix[:3, :3] @ point + matrix[:3, 3], atol=1e-6)


def test_the_inverse_field_leads_back(study: Path):
    there, back = (read_displacement_field(study / f"out/{name}.nii.gz") for name in ("field", "inverse_field"))
    voxels = np.argwhere(read_volume(study / "fixed.nii.gz").data > 200)[::37]
    points = voxels @ AFFINE[:3, :3].T + AFFINE[:3, 3] + there.data[tuple(voxels.T)]
    from scipy.ndimage import map_coordinates

    places = np.linalg.inv(back.affine) @ np.c_[points, np.ones(len(points))].T
    steps = np.stack([map_coordinates(back.data[..., axis], places[:3], order=1) for axis in range(3)], -1)
    missed = np.linalg.norm(points + steps - (voxels @ AFFINE[:3, :3].T + AFFINE[:3, 3]), axis=1)
    assert np.percentile(missed, 99) < 0.2


def test_the_page_shows_the_registration(study: Path):
    page = (study / "out/report.html").read_text()
    assert "moving.nii.gz brought to fixed.nii.gz" in page and page.count("data:image/png") == 6


def test_twice_the_same_is_equal(study: Path):
    fixed, moving = (read_volume(study / f"{name}.nii.gz") for name in ("fixed", "moving"))
    again = register(fixed, moving, settings_asked_for(compose("register", ["fixed=a", "moving=b", "out=c"]))).mapping
    matrix = json.loads((study / "out/registration.json").read_text())["alignment"]["moving_from_fixed"]
    assert again.moving_from_fixed.tolist() == matrix
    before = read_displacement_field(study / "out/field.nii.gz").data
    assert np.array_equal(again.on_grid(SHAPE, fixed.affine), before)


def test_b_splines_bring_the_scans_together():
    image, _ = drawn_head()
    places = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1).astype(float)
    bent, _ = drawn_head(places + 3 * np.sin(places[..., [1, 2, 0]] / 13))
    found = register(Volume(image, AFFINE), Volume(bent, AFFINE), Settings(method="bspline", alignment="none"))
    assert found.after > found.aligned + 0.1 and found.folded < 0.001


def test_labels_are_carried_by_weight():
    labels = np.zeros((4, 4, 4), np.int16)
    labels[2:] = 7
    labels[3] = 9
    shift = np.zeros((4, 4, 4, 3), np.float32)
    shift[..., 0] = 0.6
    assert carry_labels(labels, np.eye(4), shift, np.eye(4))[:, 1, 1].tolist() == [0, 7, 9, 0]
    shift[..., 0] = 0.4
    assert carry_labels(labels, np.eye(4), shift, np.eye(4))[:, 1, 1].tolist() == [0, 0, 7, 9]
    assert carry_labels(labels, np.eye(4), shift, np.eye(4), "nearest")[:, 1, 1].tolist() == [0, 0, 7, 9]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["method=magic"], "invalid method 'magic'; choose descent, voxelmorph, bspline, affine or rigid"),
        (["refine=-1"], "invalid refine -1: expected numbers of iterations; e.g. 50 or [100,60,20]"),
        (["voxel_mm=0"], "invalid voxel_mm 0: expected a positive number of mm"),
        (["alignment=half"], "invalid alignment 'half'; choose affine, rigid or none"),
    ],
)
def test_bad_settings_are_refused(overrides: list[str], said: str):
    with pytest.raises(ConfigError) as error:
        settings_asked_for(compose("register", ["fixed=a", "moving=b", "out=c", *overrides]))
    assert str(error.value) == said


def test_bad_input_is_one_line(tmp_path: Path):
    image, _ = drawn_head()
    write_volume(tmp_path / "a.nii.gz", image, AFFINE)
    write_volume(tmp_path / "flat.nii.gz", np.ones(SHAPE, np.float32), AFFINE)
    with pytest.raises(AnklesegError, match="flat.nii.gz: shows nothing: all voxels have one value; give another scan"):
        register_files(tmp_path / "a.nii.gz", tmp_path / "flat.nii.gz", tmp_path / "out", QUICK)
    with pytest.raises(AnklesegError, match="missing.nii.gz"):
        register_files(tmp_path / "a.nii.gz", tmp_path / "missing.nii.gz", tmp_path / "out", QUICK)
    assert not (tmp_path / "out").exists()


def test_no_result_replaces_an_input(tmp_path: Path):
    image, _ = drawn_head()
    for name in ("a", "moved", "moved_b"):
        write_volume(tmp_path / f"{name}.nii.gz", image, AFFINE)
    (tmp_path / "b.nii.gz").symlink_to("a.nii.gz")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    a, b, moved, moved_b = (tmp_path / f"{name}.nii.gz" for name in ("a", "b", "moved", "moved_b"))
    for fixed, moving, others in [(a, moved, []), (moved, a, []), (a, moved_b, [b])]:
        with pytest.raises(FileError, match=r"moved.*: is an input and would be replaced by a result; choose another"):
            register_files(fixed, moving, tmp_path, QUICK, others=others)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_later_run_leaves_nothing_of_an_earlier_one(tmp_path: Path):
    """Other images and labels are not carried along any more; files of the user's own stay."""
    image, labels = drawn_head()
    a, t2, own = (tmp_path / f"{name}.nii.gz" for name in ("a", "t2", "out/moved_by_hand"))
    write_volume(a, image, AFFINE)
    write_volume(t2, 1000 - image, AFFINE)
    write_volume(own, labels, AFFINE)
    write_volume(tmp_path / "labels.nii.gz", labels, AFFINE)
    register_files(a, a, tmp_path / "out", STILL, others=[t2], labels=tmp_path / "labels.nii.gz")
    first = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"moved_t2.nii.gz", "moved_labels.nii.gz"} < first and not any(name.startswith(".") for name in first)
    register_files(a, a, tmp_path / "out", STILL)
    files = {path.name for path in (tmp_path / "out").iterdir()}
    listed = set(json.loads((tmp_path / "out/registration.json").read_text())["files"])
    assert first - files == {"moved_t2.nii.gz", "moved_labels.nii.gz"}
    assert files == listed | {"registration.json", "report.html", own.name}


def test_a_run_that_fails_leaves_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    image, _ = drawn_head()
    write_volume(tmp_path / "a.nii.gz", image, AFFINE)
    monkeypatch.setattr(files, "write_itk_affine", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        register_files(*[tmp_path / "a.nii.gz"] * 2, tmp_path / "out", STILL)
    assert not list((tmp_path / "out").iterdir())


def test_a_step_of_the_affine_descent_is_no_longer_than_asked(monkeypatch: pytest.MonkeyPatch):
    """Also where shifts have converged and scaling alone is left: a step counted in parameters crossed the head."""
    image, _ = drawn_head()
    first = as_scan(Volume(image, AFFINE))
    middle = translation(first.points().mean(0))
    larger = middle @ np.diag([1.1, 1.1, 1.1, 1]) @ np.linalg.inv(middle)
    monkeypatch.setattr(itk_registration, "ITERATIONS", 1)
    second = Scan(first.data, larger @ first.affine)
    found = itk_registration.descend_affine(first, second, np.eye(4), "affine", step=0.5)
    moved = np.linalg.norm(transform(found, first.points()) - first.points(), axis=1)
    assert 0.2 < np.sqrt((moved**2).mean()) < 0.51
    assert np.linalg.det(found[:3, :3]) > 1.005


def test_a_descent_that_leads_away_is_not_followed(monkeypatch: pytest.MonkeyPatch):
    image, _ = drawn_head()

    def astray(fixed: Scan, moving: Scan, start: np.ndarray, kind: str, *, step: float) -> np.ndarray:
        return start if kind == "rigid" else start @ np.diag([0.36, 0.8, 0.65, 1])

    monkeypatch.setattr(prealignment, "descend_affine", astray)
    found = prealignment.align(as_scan(Volume(image, AFFINE)), as_scan(Volume(image, AFFINE)))
    np.testing.assert_allclose(found.moving_from_fixed, np.eye(4), atol=0.02)


def test_scans_that_have_nothing_in_common_are_not_ok():
    image, _ = drawn_head()
    noise = np.random.default_rng(1).normal(100, 20, SHAPE).astype(np.float32)
    status, reason = judge(register(Volume(image, AFFINE), Volume(noise, AFFINE), replace(QUICK, alignment="none")))
    assert status == "failed" and "the scans are hardly alike" in reason
