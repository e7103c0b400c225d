"""Laws of the preparation and of the way back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Invertd
from omegaconf import OmegaConf
from preparations import VOLUMES, in_memory, preparation

from ankleseg.config import compose, conf_dir, to_plain
from ankleseg.errors import ConfigError, FileError
from ankleseg.transforms import MirrorToSided, Preparation, ResampleToSpacingd, SlicesLastd, scales_of
from ankleseg.volumes.geometry import axis_codes, reorient, spacing

ORIENTATIONS = ["".join(codes) for order in permutations(("LR", "PA", "IS")) for codes in product(*order)]
OBLIQUE = np.array([[0.36, -0.48, 0.8], [0.8, 0.6, 0], [-0.48, 0.64, 0.6]])  # a rotation by about 60 degrees
WHOLE = {"rule": "whole_image"}
COMPOSE = {"_target_": "monai.transforms.Compose"}


def scan_in(orientation: str, side: str = "", turn: np.ndarray | None = None) -> dict[str, Any]:
    data = np.random.default_rng(5).normal(500, 100, (7, 6, 5)).astype(np.float32)
    affine = np.diag([0.8, 1.1, 2.5, 1.0])
    affine[:3, 3] = [3, -20, 11]
    data, affine = reorient(data, affine, orientation)
    if turn is not None:
        affine[:3] = turn @ affine[:3]
    return in_memory(data, affine, side, label=(data > 500).astype(np.uint8))


def test_there_are_48_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


def test_from_every_orientation_to_one_array_and_exactly_back() -> None:
    """By `restore`, by the inverse of MONAI's ``Compose`` and by its ``Invertd``; images and masks."""
    whole = preparation(side="right", foreground=WHOLE)
    back = Invertd("mask", whole, orig_keys="image", nearest_interp=True, to_tensor=False)
    first = whole(scan_in("RAS", "left"))["image"]
    straight = [(codes, "left", None) for codes in ORIENTATIONS]
    oblique = [(codes, ("left", "right")[number % 2], OBLIQUE) for number, codes in enumerate(ORIENTATIONS)]
    for codes, side, turn in (*straight, *oblique):
        scan = scan_in(codes, side, turn)
        prepared = whole(scan)
        image, label = prepared["image"], prepared["label"]
        assert axis_codes(image.affine.numpy()) == "PSR"
        assert np.allclose(whole.oriented(scan["image"].affine.numpy())[:3, :3], image.affine[:3, :3])
        if turn is None:
            assert torch.equal(image.as_tensor(), first.as_tensor()) and np.allclose(image.affine, first.affine)

        scaled = scales_of(prepared)[0].applied(scan["image"].as_tensor())
        restored = whole.restore(torch.cat([image.as_tensor(), 2 * image.as_tensor()]), image)
        assert torch.equal(restored.as_tensor(), torch.cat([scaled, 2 * scaled])), codes
        masks = whole.restore(label.as_tensor(), image, nearest=True)
        predicted = back(prepared | {"mask": MetaTensor(label.as_tensor(), meta=dict(image.meta))})["mask"]
        undone = whole.inverse(prepared)
        for found in (masks, predicted, undone["label"]):
            assert torch.equal(torch.as_tensor(found), scan["label"].as_tensor()), codes
        assert torch.allclose(undone["image"].as_tensor(), scan["image"].as_tensor(), atol=1e-3)
        for found in (restored, masks, predicted, undone["image"], undone["label"]):
            assert np.allclose(found.affine, scan["image"].affine, atol=1e-6)


def test_label_maps_keep_their_numbers_and_lie_where_scans_would() -> None:
    whole = preparation(spacing=(0.7, 1.5, None), foreground=WHOLE)
    scan = scan_in("RAS")
    tissues = scan | {"image": MetaTensor(scan["label"].float() * 7, affine=scan["image"].affine)}
    moved, prepared = whole.of_label_maps()(tissues), whole(scan)
    assert torch.equal(moved["image"].as_tensor(), 7.0 * moved["label"].as_tensor())
    assert torch.equal(moved["label"].as_tensor(), prepared["label"].as_tensor()) and "foreground" not in moved
    assert np.allclose(moved["image"].affine, prepared["image"].affine)


def test_preparing_twice_is_preparing_once(foot, affine) -> None:
    otsu = preparation(side="right")
    once = otsu(in_memory(foot["image"], affine, "left"))
    twice = otsu(in_memory(once["image"][0].numpy(), once["image"].affine.numpy(), "right"))
    assert torch.equal(once["foreground"].as_tensor(), twice["foreground"].as_tensor())
    assert torch.allclose(once["image"].as_tensor(), twice["image"].as_tensor(), atol=1e-5)
    assert np.array_equal(once["image"].affine, twice["image"].affine)


def test_a_left_foot_becomes_the_right_foot_that_is_its_mirror_image(foot, affine) -> None:
    def image(array: np.ndarray, side: str) -> MetaTensor:
        return preparation(side="right", foreground={"threshold": 250})(in_memory(array, affine, side))["image"]

    mirror = foot["image"][:, :, ::-1]  # the last axis points right
    left, right = image(mirror, "left"), image(foot["image"], "right")
    assert torch.equal(left.as_tensor(), right.as_tensor())
    assert not torch.equal(image(mirror, "right").as_tensor(), right.as_tensor())
    assert torch.equal(image(mirror, "").as_tensor(), image(mirror, "right").as_tensor()), "an unknown side is left"


def test_arrays_without_an_affine_of_their_own_lie_where_their_sample_says(foot, affine) -> None:
    scan = in_memory(foot["image"], affine, side="left")
    plain = scan | {"image": scan["image"].as_tensor(), "affine": scan["image"].affine}
    for moving in (MirrorToSided("image"), ResampleToSpacingd("image", (2, 2, 2)), SlicesLastd("image")):
        told, found = moving(scan)["image"], moving(plain)["image"]
        assert torch.equal(told.as_tensor(), found.as_tensor()) and torch.allclose(told.affine, found.affine)


def test_without_an_affine_of_their_own_arrays_are_mirrored_by_that_of_the_sample(foot, affine) -> None:
    mirroring, scan = MirrorToSided("image"), in_memory(foot["image"], affine, side="left")
    expected = mirroring(scan)["image"].as_tensor()
    plain = {"image": scan["image"].as_tensor(), "side": "left"}
    mirrored = mirroring(plain | {"affine": scan["image"].affine})
    assert torch.equal(torch.as_tensor(mirrored["image"]), expected)
    assert torch.equal(torch.as_tensor(mirroring.inverse(mirrored)["image"]), plain["image"])
    with pytest.raises(ConfigError, match="missing key 'affine': expected the affine of the volume"):
        mirroring(plain)
    with pytest.raises(ConfigError, match="invalid side 'Left' of a sample: expected left or right"):
        mirroring(scan | {"side": "Left"})


def test_slices_last_keeps_the_slices_of_the_scan_and_the_way_back() -> None:
    for across, expected in [("PSR", "PSR"), ("LIA", "RSA"), ("LPS", "RAS"), ("SRA", "RSA"), ("RAI", "RAS")]:
        _, affine = reorient(np.zeros((4, 4, 4)), np.eye(4), across)
        scan = in_memory(np.random.default_rng(0).random((5, 6, 3)), affine @ np.diag([0.5, 0.5, 4.0, 1.0]))
        whole = preparation(axcodes=None, foreground=WHOLE)
        prepared = whole(scan)
        assert axis_codes(prepared["image"].affine.numpy()) == expected
        assert np.allclose(spacing(prepared["image"].affine.numpy()), [0.5, 0.5, 4.0])
        assert torch.allclose(whole.inverse(prepared)["image"].as_tensor(), scan["image"].as_tensor(), atol=1e-5)


def test_spacing_is_changed_where_it_is_asked_for() -> None:
    scan = scan_in("RAS")  # 0.8 × 1.1 × 2.5 mm, 7 × 6 × 5
    for asked, shape, found in [
        ((1.6, None, 1.25), (4, 6, 10), (1.6, 1.1, 1.25)),
        ((0.81, 1.1, 2.48), (7, 6, 5), (0.8, 1.1, 2.5)),  # below two per cent
    ]:
        coarse = preparation(axcodes="RAS", spacing=asked, foreground=WHOLE)
        prepared = coarse(scan)
        assert coarse.spacing == asked
        for key in ("image", "label", "foreground"):
            assert prepared[key].shape == (1, *shape)
            assert np.allclose(spacing(prepared[key].affine.numpy()), found)
        assert coarse.restore(prepared["image"].as_tensor(), prepared["image"]).shape == (1, 7, 6, 5)
    assert torch.equal(
        prepared["image"].as_tensor(),
        preparation(axcodes="RAS", foreground=WHOLE)(scan)["image"].as_tensor(),
    )
    kept = coarse.with_spacing((0.4, 0.5, None))
    assert kept.spacing == (0.4, 0.5, None) and kept.at_own_spacing().spacing is None


def test_at_the_prepared_spacing_values_are_turned_back_alone() -> None:
    for codes in ORIENTATIONS[::5]:
        scan = scan_in(codes, "left")
        fine = preparation(spacing=(0.55, 1.25, 0.4), side="right", foreground=WHOLE)
        prepared = fine(scan)
        found = fine.restore(prepared["image"].as_tensor(), prepared["image"], resample=False)
        there = prepared["image"].as_tensor().flip(3)  # PSR: left–right is the last axis
        expected, affine = reorient(there[0].numpy(), prepared["image"].affine.numpy(), codes)
        assert np.array_equal(found[0], expected) and np.allclose(found.affine, affine)


def test_resampling_to_a_third_and_back_is_the_identity(foot, affine) -> None:
    scan = in_memory(foot["image"], affine, "left", label=foot["heel"].astype(np.uint8))
    fine = preparation(spacing=(0.3, 0.7 / 3, 1.0), side="right", foreground=WHOLE)
    prepared = fine(scan)
    label = prepared["label"]
    assert label.dtype == torch.uint8 and label.sum() == 27 * foot["heel"].sum()
    assert np.array_equal(fine.restore(label.as_tensor(), prepared["image"], nearest=True)[0], foot["heel"])
    assert torch.equal(fine.inverse(prepared)["label"].as_tensor(), scan["label"].as_tensor())
    assert torch.allclose(fine.inverse(prepared)["image"].as_tensor(), scan["image"].as_tensor(), atol=0.05)


def test_resampling_keeps_things_where_they_are_and_what_is_certain_certain(foot, affine) -> None:
    for asked in ((0.5, 1.2, 2.0), (2.0, 2.0, 5.0), (0.3, 0.3, 1.0)):
        resample = ResampleToSpacingd("image", asked)
        moved = resample(in_memory(foot["shin"], affine))["image"]
        weights = moved[0].numpy()
        index = np.stack(np.meshgrid(*(np.arange(n) for n in weights.shape), indexing="ij"), -1)
        there = np.average(index.reshape(-1, 3), axis=0, weights=weights.ravel())
        centre = np.argwhere(foot["shin"]).mean(0)
        assert np.linalg.norm(moved.affine.numpy() @ [*there, 1] - affine @ [*centre, 1]) < 0.25
        moved[:] = 1
        assert np.allclose(resample.inverse({"image": moved})["image"], 1), "up to the border"


def test_larger_voxels_average_the_smaller_ones() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (48, 48, 48))
    coarse = ResampleToSpacingd("image", (4, 4, 4))(in_memory(noise, np.eye(4)))["image"]
    assert coarse[0, 2:-2, 2:-2, 2:-2].std() < 0.2


def test_channels_are_scaled_one_by_one_in_the_foreground_of_the_first(foot, affine) -> None:
    both = np.stack([foot["image"], foot["image"] * 5.0 + 300])
    prepared = preparation(foreground={"threshold": 250})(in_memory(both, affine))
    assert prepared["image"].shape == both.shape and prepared["image"].dtype == torch.float32
    assert torch.allclose(prepared["image"][0], prepared["image"][1], atol=1e-4)


def shipped() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Nodes of every file, those of scans as they are composed."""
    names = [path.stem for path in (conf_dir() / "prepare").glob("*.yaml") if path.stem != "scan"]
    assert {"ankle", "as_is", "brain", "cord", "sharp", "whole_image"} <= set(names)
    for override in (*(f"prepare={name}" for name in names), "prepare/foreground=threshold"):
        yield override, to_plain(compose("train", [override]).prepare.transforms)
    for path in (conf_dir() / "prepare" / "scaling").glob("*.yaml"):
        for other in (conf_dir() / "prepare" / "foreground").glob("*.yaml"):
            yield f"{other.stem} {path.stem}", [to_plain(OmegaConf.load(file)) for file in (other, path)]


def test_every_preparation_that_is_shipped_survives_plain_types_and_undoes_itself(foot, affine) -> None:
    scan = in_memory(foot["image"], affine, "left", label=foot["heel"].astype(np.uint8))
    for name, nodes in shipped():
        for node in nodes:
            if node["_target_"].endswith("NormalizeByCohortd"):
                node.update(mean=1.0, std=2.0)  # what a training cohort teaches
        given = Preparation(nodes)
        rebuilt = Preparation(json.loads(json.dumps(given.nodes)))
        one, other = given(scan), rebuilt(scan)
        assert torch.equal(one["image"].as_tensor(), other["image"].as_tensor()), name
        cuts = any(node["_target_"].endswith(("ResampleToGridd", "CropAlongCentrelined")) for node in nodes)
        if cuts or given.spacing is not None:  # they lose something, and have laws of their own
            continue
        restored = rebuilt.restore(other["image"].as_tensor(), other["image"])
        expected = scales_of(other)[0].applied(scan["image"].as_tensor())
        assert torch.allclose(restored.as_tensor(), expected) and np.allclose(rebuilt.oriented(affine)[3], [0, 0, 0, 1])
        back = rebuilt.inverse(other) if nodes else other
        assert torch.equal(back["label"].as_tensor(), scan["label"].as_tensor()), name
        clips = any(scale.clipped for scale in scales_of(other))
        assert clips or torch.allclose(back["image"].as_tensor(), scan["image"].as_tensor(), atol=1e-2), name
        if name == "prepare/foreground=threshold":  # the published one is one word away
            assert [node["threshold"] for node in nodes if node["_target_"].endswith("ForegroundMaskd")] == [250]


def test_what_is_no_preparation_is_refused() -> None:
    def with_node(target: str, **arguments: Any) -> Preparation:
        return Preparation([{"_target_": target, **arguments}])

    ours = "ankleseg.transforms."
    for target, arguments, message in [
        ("os.system", {"command": "true"}, "'os.system' is refused"),
        ("monai.transforms.RandFlipd", {"keys": "image"}, "RandFlipd is no deterministic transform; random transforms"),
        ("monai.transforms.RandGaussianNoise", {}, "belong into augment.transforms"),
        ("monai.transforms.RandIdentity", {}, "RandIdentity is no deterministic transform"),
        ("monai.losses.DiceLoss", {}, "DiceLoss is no deterministic transform"),
        ("monai.transforms.Orientationd", VOLUMES | {"axcodes": "PSX"}, "invalid prepare.orientation 'PSX': expected"),
        ("monai.transforms.Orientationd", VOLUMES | {"axcodes": "LRS"}, "like PSR; .* prepare=whole_image keeps"),
        (f"{ours}ResampleToSpacingd", VOLUMES | {"pixdim": [1, 1]}, r"invalid spacing \[1.0, 1.0\]: expected three"),
        (f"{ours}ResampleToSpacingd", VOLUMES | {"pixdim": [1, 1, 0]}, r"invalid spacing \[1.0, 1.0, 0.0\]"),
        (f"{ours}ResampleToSpacingd", VOLUMES | {"mode": 7}, "invalid interpolation 7: expected the order of a spline"),
        (f"{ours}MirrorToSided", VOLUMES | {"side": "Left"}, "invalid side 'Left': expected left, right or null"),
        (
            f"{ours}ForegroundMaskd",
            {"keys": "image", "rule": "best"},
            "invalid foreground rule 'best': expected one",
        ),
    ]:
        with pytest.raises(ConfigError, match=message):
            with_node(target, **arguments)
    with pytest.raises(ConfigError, match="preparation has no ankleseg.transforms.ResampleToSpacingd, .* leave "):
        with_node("ankleseg.transforms.SlicesLastd", keys="image").with_spacing((1, 1, 1))


def test_a_list_inside_the_list_is_part_of_it(foot, affine) -> None:
    nodes = preparation(spacing=(0.9, 0.9, None), side="right").nodes
    inner = {"_target_": "monai.transforms.Compose", "transforms": [nodes[1], {**COMPOSE, "transforms": nodes[2:4]}]}
    nested, scan = Preparation([nodes[0], inner, *nodes[4:]]), in_memory(foot["image"], affine, "left")
    assert nested.nodes == nodes and nested.spacing == (0.9, 0.9, None)
    assert torch.equal(nested(scan)["image"].as_tensor(), Preparation(nodes)(scan)["image"].as_tensor())
    with pytest.raises(
        ConfigError, match="a Compose in the list has _target_, transforms, lazy: expected transforms; write its"
    ):
        Preparation([inner | {"lazy": True}])
    with pytest.raises(ConfigError, match="RandFlipd is no deterministic transform"):
        Preparation([{**COMPOSE, "transforms": [{"_target_": "monai.transforms.RandFlipd", "keys": "image"}]}])


def test_a_spacing_that_cannot_be_changed_is_told_by_its_transform() -> None:
    fixed = Preparation([{"_target_": "monai.transforms.Spacingd", "keys": ["image"], "pixdim": [1, 1, 1]}])
    with pytest.raises(ConfigError) as refused:
        fixed.with_spacing((2, 2, 2))
    assert str(refused.value) == (
        "the preparation has Spacingd of MONAI, but no ankleseg.transforms.ResampleToSpacingd, so it cannot be given a "
        "spacing; leave predict.spacing out, or train with one in prepare.transforms"
    )


def test_an_error_inside_is_one_of_ours(foot, affine) -> None:
    with pytest.raises(FileError, match="its foreground covers 0 % of the image"):
        preparation(foreground={"threshold": 30000})(in_memory(foot["image"], affine))


def test_a_preparation_in_a_plane_turns_every_scan_so_and_keeps_all_else() -> None:
    usual = preparation(axcodes="PSR", spacing=(1.0, 1.0, None))
    for plane, codes in (("sagittal", "PSR"), ("coronal", "RSA"), ("axial", "RAS")):
        turned = usual.in_plane(plane)
        assert axis_codes(turned.oriented(np.diag([-1.0, 2.0, 3.0, 1.0]))) == codes
        assert len(turned.nodes) == len(usual.nodes) and turned.spacing == usual.spacing
        changed = [new != old for new, old in zip(turned.nodes, usual.nodes, strict=True)]
        assert sum(changed) == (codes != "PSR")
    with pytest.raises(ConfigError, match="invalid plane 'oblique': expected sagittal, coronal, axial; choose one"):
        usual.in_plane("oblique")
    with pytest.raises(ConfigError, match="the preparation turns no scan; add Orientationd or SlicesLastd to it"):
        Preparation([]).in_plane("axial")
