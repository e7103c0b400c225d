"""Laws of the preparation and of the way back."""

from __future__ import annotations

import itertools
import logging

import nibabel as nib
import numpy as np
import pytest

from ankleseg.cohorts import Case
from ankleseg.errors import ConfigError, FileError, GeometryError
from ankleseg.transforms import Otsu, Percentile, Preparation, Threshold, WholeImage, ZScore
from ankleseg.volumes import Volume, axis_codes, reorient, spacing, write_volume

ORIENTATIONS = [
    "".join(letters[i] for i, letters in zip(signs, order, strict=True))
    for order in itertools.permutations([("L", "R"), ("P", "A"), ("I", "S")])
    for signs in itertools.product((0, 1), repeat=3)
]
OBLIQUE = np.array([[0.36, -0.48, 0.8], [0.8, 0.6, 0], [-0.48, 0.64, 0.6]])  # a rotation by about 60 degrees


def plain(**settings) -> Preparation:
    return Preparation(**({"foreground": WholeImage(), "scaling": ZScore()} | settings))


def scan_in(orientation: str, turn: np.ndarray | None = None) -> Volume:
    data = np.random.default_rng(5).normal(500, 100, (7, 6, 5)).astype(np.float32)
    affine = np.diag([0.8, 1.1, 2.5, 1.0])
    affine[:3, 3] = [3, -20, 11]
    data, affine = reorient(data, affine, orientation)
    if turn is not None:
        affine = np.block([[turn, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]]) @ affine
    return Volume(np.ascontiguousarray(data), affine)


def test_there_are_48_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("turn", [None, OBLIQUE], ids=["straight", "oblique"])
def test_the_way_back_is_exact_from_every_orientation(turn: np.ndarray | None, side: str) -> None:
    preparation = plain(bring_to_side="right")
    for orientation in ORIENTATIONS:
        scan = scan_in(orientation, turn)
        prepared = preparation([scan], side)
        assert axis_codes(prepared.affine) == "PSR"
        placement = prepared.placement
        there = placement.image_to_prepared(scan.data)
        back = placement.restore(np.stack([there, 2 * there]))
        assert np.array_equal(back[0], scan.data) and np.array_equal(back[1], 2 * scan.data)
        labels = (scan.data > 500).astype(np.uint8)
        assert np.array_equal(placement.restore(placement.label_to_prepared(labels)[None], order=0)[0], labels)


def test_the_same_foot_in_any_storage_order_is_prepared_to_the_same_array() -> None:
    expected = plain()([scan_in("RAS")])
    for orientation in ORIENTATIONS:
        prepared = plain()([scan_in(orientation)])
        assert np.array_equal(prepared.image, expected.image)
        assert np.allclose(prepared.affine, expected.affine)


def test_preparing_twice_is_preparing_once(foot, affine) -> None:
    preparation = Preparation(foreground=Otsu(), scaling=ZScore(), bring_to_side="right")
    once = preparation([Volume(foot["image"], affine)], "left")
    twice = preparation([Volume(once.image[0], once.affine)], "right")
    assert np.array_equal(once.foreground, twice.foreground)
    assert np.allclose(once.image, twice.image, atol=1e-5)
    assert np.array_equal(once.affine, twice.affine)


def test_a_left_foot_becomes_the_right_foot_that_is_its_mirror_image(foot, affine) -> None:
    preparation = Preparation(foreground=Threshold(value=250), scaling=ZScore(), bring_to_side="right")
    right = Volume(foot["image"], affine)
    left = Volume(foot["image"][:, :, ::-1], affine)  # the last axis points right
    assert np.array_equal(preparation([left], "left").image, preparation([right], "right").image)
    assert not np.array_equal(preparation([left], "right").image, preparation([right], "right").image)
    mirrored = preparation([left], "left")
    assert mirrored.placement.mirrored
    assert np.array_equal(mirrored.placement.restore(mirrored.image), preparation([left], "right").image)


def test_a_side_that_is_unknown_is_left_alone_and_told(foot, affine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        prepared = plain(bring_to_side="right")([Volume(foot["image"], affine)])
    assert not prepared.placement.mirrored
    assert "its side is unknown and is taken as right" in caplog.text


def test_what_is_told_of_a_file_is_told_once_however_many_frames_it_has(foot, affine, tmp_path, caplog) -> None:
    path = write_volume(tmp_path / "a.nii.gz", np.stack([foot["image"]] * 2, axis=-1), affine)
    image = nib.load(path)
    moved = affine.copy()
    moved[0, 3] += 9
    image.set_qform(moved, 1)
    nib.save(image, path)
    for frame in (0, 1):
        plain(bring_to_side="right")(Case(name="a", subject="a", channels={"image": path}, frame=frame))
    assert caplog.text.count("its side is unknown") == 1
    assert caplog.text.count("its qform and sform put voxels up to 9.0 mm apart") == 1


@pytest.mark.parametrize(
    ("across", "expected"), [("PSR", "PSR"), ("LIA", "RSA"), ("LPS", "RAS"), ("SRA", "RSA"), ("RAI", "RAS")]
)
def test_slices_last_keeps_the_slices_of_the_scan(across: str, expected: str) -> None:
    affine = np.eye(4)
    _, affine = reorient(np.zeros((4, 4, 4)), affine, across)
    affine = affine @ np.diag([0.5, 0.5, 4.0, 1.0])
    prepared = plain(orientation="slices last")([Volume(np.random.default_rng(0).random((5, 6, 3)), affine)])
    assert axis_codes(prepared.affine) == expected
    assert np.allclose(spacing(prepared.affine), [0.5, 0.5, 4.0])


def test_spacing_is_changed_where_it_is_asked_for() -> None:
    scan = scan_in("RAS")  # 0.8 × 1.1 × 2.5 mm, 7 × 6 × 5
    prepared = plain(orientation="RAS", spacing=(1.6, None, 1.25))([scan])
    assert np.allclose(spacing(prepared.affine), [1.6, 1.1, 1.25])
    assert prepared.image.shape == (1, 4, 6, 10)
    assert prepared.placement.restore(prepared.image).shape == (1, *scan.data.shape)


def test_a_difference_in_spacing_below_two_per_cent_is_left_alone() -> None:
    scan = scan_in("RAS")
    prepared = plain(orientation="RAS", spacing=(0.81, 1.1, 2.48))([scan])
    assert not prepared.placement.resampled
    assert np.array_equal(prepared.image[0], ZScore()(scan.data, np.ones(scan.data.shape, dtype=bool)))


@pytest.mark.parametrize("side", ["right", "left"])
def test_resampling_to_a_third_and_back_is_the_identity(foot, affine, side: str) -> None:
    preparation = plain(spacing=(0.3, 0.7 / 3, 1.0), bring_to_side="right")
    placement = preparation([Volume(foot["image"], affine)], side).placement
    labels = placement.label_to_prepared(foot["heel"])
    assert labels.dtype == bool and labels.sum() == 27 * foot["heel"].sum()
    assert np.array_equal(placement.restore(labels[None], order=0)[0], foot["heel"])
    image = placement.image_to_prepared(foot["image"])
    assert np.allclose(placement.restore(image[None])[0], foot["image"], atol=0.01)


def test_resampling_keeps_things_where_they_are_in_the_world(foot, affine) -> None:
    placement = plain(spacing=(0.5, 1.2, 2.0)).place(foot["image"].shape, affine)
    weights = placement.image_to_prepared(foot["shin"].astype(np.float32))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in weights.shape), indexing="ij"), -1)
    moved = np.average(index.reshape(-1, 3), axis=0, weights=weights.ravel())
    centre = np.argwhere(foot["shin"]).mean(0)
    assert np.linalg.norm(placement.affine @ [*moved, 1] - affine @ [*centre, 1]) < 0.1


@pytest.mark.parametrize("new_spacing", [(2.0, 2.0, 5.0), (0.3, 0.3, 1.0)])
def test_a_certain_probability_stays_certain_up_to_the_border(affine, new_spacing) -> None:
    image = np.random.default_rng(0).random((20, 18, 6)).astype(np.float32)
    placement = plain(spacing=new_spacing)([Volume(image, affine)]).placement
    assert np.allclose(placement.restore(np.ones((1, *placement.shape), dtype=np.float32)), 1)


def test_larger_voxels_average_the_smaller_ones() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (48, 48, 48)).astype(np.float32)
    placement = plain(orientation="RAS", spacing=(4.0, 4.0, 4.0)).place(noise.shape, np.eye(4))
    assert placement.image_to_prepared(noise)[2:-2, 2:-2, 2:-2].std() < 0.2


def test_channels_are_scaled_one_by_one_in_the_foreground_of_the_first(foot, affine) -> None:
    second = (foot["image"] * 5 + 300).astype(np.float32)
    preparation = Preparation(foreground=Threshold(value=250), scaling=ZScore())
    prepared = preparation([Volume(foot["image"], affine), Volume(second, affine)])
    assert prepared.image.shape == (2, *foot["image"].shape) and prepared.image.dtype == np.float32
    assert np.allclose(prepared.image[0], prepared.image[1], atol=1e-4)


def test_a_channel_on_another_grid_is_refused_by_name(write_case, affine, foot) -> None:
    moved = affine.copy()
    moved[0, 3] += 2
    first, second = write_case("a").images[0], write_case("b", affines={"image": moved}).images[0]
    case = write_case("c")
    channels = type(case)(name="c", subject="c", channels={"one": first, "two": second})
    with pytest.raises(
        GeometryError, match=r"b_image.nii.gz: is not on the grid of .*a_image.nii.gz; resample the chan"
    ):
        plain()(channels)


def test_an_error_of_a_rule_names_the_file(write_case) -> None:
    case = write_case()
    with pytest.raises(FileError, match=r"s1_image.nii.gz: its foreground covers 0 % of the image; choose a lower"):
        Preparation(foreground=Threshold(value=30000), scaling=ZScore())(case)


def test_a_case_brings_its_own_side(write_case) -> None:
    preparation = plain(bring_to_side="right")
    assert preparation(write_case(side="left")).placement.mirrored
    assert not preparation(write_case(side="right")).placement.mirrored


@pytest.mark.parametrize(
    "preparation",
    [
        Preparation(foreground=Otsu(largest=False), scaling=ZScore(), bring_to_side="left", spacing=[1, None, 2.5]),
        Preparation(foreground=Threshold(value=250.0), scaling=Percentile(low=1, high=99), orientation="slices last"),
    ],
)
def test_the_node_rebuilds_the_same_preparation_from_plain_types(preparation: Preparation) -> None:
    import json

    node = json.loads(json.dumps(preparation.to_node()))
    assert Preparation.from_node(node) == preparation


def test_a_node_that_names_something_else_is_refused() -> None:
    with pytest.raises(ConfigError, match="'os.system' is refused"):
        Preparation.from_node(plain().to_node() | {"scaling": {"_target_": "os.system", "command": "true"}})
    with pytest.raises(ConfigError, match="the node describes no preparation; its _target_ must be ankleseg"):
        Preparation.from_node(Otsu().__dict__ | {"_target_": "ankleseg.transforms.Otsu"})


def test_a_rule_that_is_no_dataclass_has_no_node() -> None:
    with pytest.raises(ConfigError, match="cannot be written into a checkpoint; write it as a dataclass of ankleseg"):
        plain(foreground=lambda image: image > 0).to_node()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"orientation": "PSX"}, "prepare.orientation 'PSX' is unknown; use letters like PSR, or 'slices last'"),
        ({"orientation": "LRS"}, "prepare.orientation 'LRS' is unknown"),
        (
            {"spacing": (1, 1)},
            r"prepare.spacing \[1.0, 1.0\] is no spacing; give three positive numbers in mm, or null",
        ),
        ({"spacing": (1, 1, 0)}, r"prepare.spacing \[1.0, 1.0, 0.0\] is no spacing"),
        ({"bring_to_side": "Left"}, "side 'Left' is unknown; set prepare.bring_to_side to left, right or null"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plain(**settings)


def test_files_are_left_as_they_were(write_case) -> None:
    case = write_case(side="left")
    before = case.images[0].read_bytes()
    Preparation(foreground=Otsu(), scaling=ZScore(), bring_to_side="right", spacing=(1, 1, 1))(case)
    assert case.images[0].read_bytes() == before


def test_a_volume_in_memory_is_left_as_it_was(foot, affine) -> None:
    image = foot["image"].astype(np.float32)
    before = image.copy()
    Preparation(foreground=Otsu(), scaling=ZScore(), bring_to_side="right")([Volume(image, affine)], "left")
    assert np.array_equal(image, before)


def test_an_image_with_a_time_axis_is_refused(affine) -> None:
    volume = Volume(np.zeros((4, 4, 4, 2), dtype=np.float32), affine)
    with pytest.raises(GeometryError, match="has 4 dimensions; give one volume of three"):
        plain()([volume])
