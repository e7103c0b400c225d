"""Anatomical axes found from shapes: where they should lie, on both sides, whatever the grid."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_bones import BONES, bone_masks, grid_around, neutral_axes

from ankleseg.errors import GeometryError
from ankleseg.measures.anatomical_frames import anatomical_frames, common_axes
from ankleseg.measures.bone_surfaces import bone_surface
from ankleseg.measures.kinematics import joint_angles
from ankleseg.phantoms import Ankle, draw_ankle
from ankleseg.phantoms.bones import TALOCRURAL_AXIS
from ankleseg.volumes import reorient
from ankleseg.volumes.poses import exp_pose, is_rigid

MIRROR = np.diag([-1.0, 1, 1, 1])


@pytest.fixture(scope="module")
def ankles() -> list[tuple[Ankle, dict[str, np.ndarray], np.ndarray]]:
    """Two right and two left ankles, one of each with equinus, with the masks of their bones."""
    drawn = [
        draw_ankle(np.random.default_rng(seed), group=group, side=side)
        for seed, (group, side) in enumerate((g, s) for s in ("right", "left") for g in ("control", "equinus"))
    ]
    grids = [grid_around(ankle) for ankle in drawn]
    return [(ankle, bone_masks(ankle, grid), grid.affine) for ankle, grid in zip(drawn, grids, strict=True)]


def as_right(rotation: np.ndarray, side: str) -> np.ndarray:
    return MIRROR[:3, :3] @ rotation @ MIRROR[:3, :3] if side == "left" else rotation


def test_a_frame_is_a_rotation_with_x_to_the_right_y_forwards_and_z_up(ankles):
    for ankle, masks, affine in ankles:
        frames = anatomical_frames(masks, affine, ankle.side)
        assert set(frames) == set(BONES)
        for frame in frames.values():
            assert is_rigid(frame, tolerance=1e-9)
            assert (np.diag(frame[:3, :3]) > 0.3).all()  # the scans lie almost along the axes of the world


def test_the_tibial_axes_are_those_in_which_the_ankle_was_drawn(ankles):
    errors = []
    for ankle, masks, affine in ankles:
        found = anatomical_frames(masks, affine, ankle.side)["tibia"][:3, :3]
        errors.append(joint_angles(as_right(neutral_axes(ankle).T @ found, ankle.side)))
    assert np.abs(errors).max() < 6
    assert np.sqrt(np.mean(np.square(errors))) < 3


def test_the_talar_axis_is_the_one_about_which_the_talus_was_drawn(ankles):
    for ankle, masks, affine in ankles:
        frame = anatomical_frames(masks, affine, ankle.side)["talus"]
        axis = ankle.pose.world_from_talus[:3, :3] @ TALOCRURAL_AXIS
        lateral = frame[:3, 0] * (1 if ankle.side == "right" else -1)
        assert lateral @ axis / np.linalg.norm(axis) > np.cos(np.radians(6))
        # the centre of the arc of the dome is the origin of the frame in which the ankle is drawn
        beside = frame[:3, 3] - ankle.pose.world_from_talus[:3, 3]
        assert np.linalg.norm(beside) < 4


def test_a_mirrored_foot_has_mirrored_axes(ankles):
    _, masks, affine = ankles[0]
    right, left = anatomical_frames(masks, affine, "right"), anatomical_frames(masks, MIRROR @ affine, "left")
    for bone in BONES:
        np.testing.assert_allclose(left[bone], MIRROR @ right[bone] @ MIRROR, atol=1e-6)


def test_axes_move_with_the_foot_and_do_not_depend_on_the_order_of_the_voxels(ankles):
    ankle, masks, affine = ankles[2]
    pose = exp_pose(np.array([0.2, -0.1, 0.3, 20.0, -10.0, 5.0]))
    first = anatomical_frames(masks, affine, ankle.side)
    moved = anatomical_frames(masks, pose @ affine, ankle.side)
    turned = {bone: reorient(mask, affine, "LAI") for bone, mask in masks.items()}
    other = anatomical_frames({bone: data for bone, (data, _) in turned.items()}, turned["talus"][1], ankle.side)
    for bone in BONES:
        np.testing.assert_allclose(moved[bone], pose @ first[bone], atol=1e-3)
        assert np.abs(other[bone] - first[bone])[:3, :3].max() < 0.02
        assert np.abs(other[bone] - first[bone])[:3, 3].max() < 0.5


def test_a_short_piece_of_the_tibia_gives_nearly_the_same_axes(ankles):
    ankle, masks, affine = ankles[1]
    whole = anatomical_frames(masks, affine, ankle.side)["tibia"]
    heights = (np.argwhere(masks["tibia"]) @ affine[:3, :3].T + affine[:3, 3] - whole[:3, 3]) @ whole[:3, 2]
    turn = []
    for top in (45, 30):
        short = masks["tibia"].copy()
        short[tuple(np.argwhere(masks["tibia"])[heights > top].T)] = False
        if top == 45:
            found = anatomical_frames({**masks, "tibia": short}, affine, ankle.side)["tibia"]
            turn = joint_angles(whole[:3, :3].T @ found[:3, :3])
        else:
            with pytest.raises(GeometryError, match="shows the tibia only to .* mm above the joint; include"):
                anatomical_frames({**masks, "tibia": short}, affine, ankle.side)
    assert np.abs(turn).max() < 7


def test_common_axes_keep_the_origins(ankles):
    ankle, masks, affine = ankles[0]
    frames = anatomical_frames(masks, affine, ankle.side)
    common = common_axes(frames)
    for bone in BONES:
        np.testing.assert_array_equal(common[bone][:3, :3], frames["tibia"][:3, :3])
        np.testing.assert_array_equal(common[bone][:3, 3], frames[bone][:3, 3])


def test_what_is_missing_is_said(ankles):
    _, masks, affine = ankles[0]
    with pytest.raises(GeometryError, match="no mask of talus is given; give tibia, talus, calcaneus, or landmarks"):
        anatomical_frames({bone: masks[bone] for bone in ("tibia", "calcaneus")}, affine, "left")
    with pytest.raises(GeometryError, match="invalid side 'l': expected left or right"):
        anatomical_frames(masks, affine, "l")
    with pytest.raises(GeometryError, match="holds no voxel of the bone"):
        anatomical_frames({**masks, "talus": np.zeros_like(masks["talus"])}, affine, "left")
    apart = {**masks, "talus": np.roll(masks["calcaneus"], -30, axis=1)}
    with pytest.raises(GeometryError, match="talus and tibia do not face each other"):
        anatomical_frames(apart, affine, "right")


def test_the_surface_of_a_ball_lies_where_it_is():
    spacing = np.array([0.4, 0.6, 1.5])
    affine = np.diag([*(spacing * [-1, 1, 1]), 1.0])
    voxels = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in (45, 30, 12)), indexing="ij"), -1)
    affine[:3, 3] = -affine[:3, :3] @ [45, 30, 12]
    surface = bone_surface(np.linalg.norm(voxels * spacing, axis=-1) < 15, affine)
    np.testing.assert_allclose(surface.centroid, 0, atol=0.05)
    assert surface.areas.sum() == pytest.approx(4 * np.pi * 15**2, rel=0.02)
    assert surface.shares.sum() * surface.cell_volume == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.01)
    radial = surface.points / np.linalg.norm(surface.points, axis=1, keepdims=True)
    assert np.einsum("ni,ni->n", radial, surface.normals).min() > 0.9
    np.testing.assert_allclose(np.linalg.norm(surface.points, axis=1), 15, atol=0.8)
    mirrored = surface.mirrored()
    np.testing.assert_allclose(mirrored.centroid, surface.centroid * [-1, 1, 1])
    assert np.einsum("ni,ni->n", mirrored.points, mirrored.normals).min() > 0
