"""The phantom in motion: bones move rigidly and as told, soft tissue follows, slices are what the settings say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from laws import for_all
from scipy.ndimage import affine_transform, binary_erosion

from ankleseg.errors import ConfigError
from ankleseg.phantoms import AnkleLabels, DynamicSettings, Grid, ankle_sequence, draw_ankle, moving_ankle
from ankleseg.phantoms import dynamic_protocol as dynamic
from ankleseg.phantoms.cycle import RIGID_PARTS, Cycle, draw_joint_range
from ankleseg.phantoms.dynamic_scan import profile_weights, sample_frame
from ankleseg.phantoms.model_angles import flexion_angles, model_angles
from ankleseg.phantoms.moving_anatomy import OUTSIDE, MovingAnatomy, RigidPart
from ankleseg.phantoms.protocol import PROTOCOLS, Protocol
from ankleseg.volumes.geometry import axis_codes, spacing
from ankleseg.volumes.poses import invert_pose, is_rigid, rotation_about, transform, translation

BONES = ("calcaneus", "talus", "tibia")
QUIET = DynamicSettings(frames=2, snr=1e8, bias=0.0)


@pytest.fixture(scope="module", autouse=True)
def coarse():
    """Static scans and sequences of few voxels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS, "demo", Protocol((84, 84, 30), (1.92, 1.92, 2.4), 1))
        patch.setitem(
            dynamic.DYNAMIC_PROTOCOLS, "demo", dynamic.DynamicProtocol(96, 1.68, (2.4, 2.4, 2.4), (1.0, 1.0, 1.0))
        )
        patch.setattr(AnkleLabels.__init__, "__defaults__", (2.0,))
        yield


@pytest.fixture(scope="module")
def subject():
    """A control."""
    return moving_ankle("sub-C01", seed=2)


@pytest.fixture(scope="module")
def moving(subject):
    """A control's ankle, its static scan and five frames."""
    return subject.ankle, subject.scan, subject.sequence("active", DynamicSettings(frames=5))


def test_a_sequence_is_sagittal_and_of_thick_slices(moving):
    _, static, sequence = moving
    assert sequence.frames.dtype == np.int16 and sequence.frames.shape[:2] == (96, 96)
    assert sequence.frames.shape[2] in (10, 11, 12) and sequence.frames.shape[3] == 5
    np.testing.assert_allclose(spacing(sequence.affine), (1.68, 1.68, 8.0), atol=1e-6)
    assert axis_codes(sequence.affine) == axis_codes(static.affine) == "PSR"
    assert sequence.seconds == pytest.approx(18 / 5)


def test_bones_move_rigidly_and_each_by_itself(moving):
    poses = moving[2].poses
    assert all(is_rigid(pose, 1e-9) for stack in poses.values() for pose in stack)
    for first, second in ((0, 1), (1, 2)):
        relative = invert_pose(poses[BONES[first]]) @ poses[BONES[second]]
        assert np.abs(relative - relative[0]).max() > 0.02


def test_the_mask_of_a_frame_is_the_static_mask_moved(moving):
    _, static, sequence = moving
    parts = np.array([2, 2, 8])
    fine = np.diag([*(1 / parts), 1.0])
    fine[:3, 3] = 0.5 / parts - 0.5
    shape = tuple(int(side) for side in np.array(sequence.frames.shape[:3]) * parts)
    for bone, frame in (("calcaneus", 1), ("talus", 2), ("tibia", 4)):
        back = np.linalg.inv(static.affine) @ invert_pose(sequence.poses[bone][frame]) @ sequence.affine @ fine
        moved = affine_transform(static.masks[bone].astype(np.float32), back[:3, :3], back[:3, 3], shape, order=1)
        blocks = np.stack([sequence.frames.shape[:3], parts], 1).ravel()
        share = moved.reshape(blocks).mean((1, 3, 5))
        expected, found = share >= 0.5, sequence.masks[bone][..., frame] == 1
        assert 2 * (expected & found).sum() / (expected.sum() + found.sum()) > 0.96, bone


def test_the_dark_cortex_lies_within_the_outline_of_the_mask(moving):
    _, _, sequence = moving
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)[:, :, None]
    for frame in range(5):
        image, mask = sequence.frames[..., frame].astype(float), sequence.masks["talus"][..., frame] == 1

        def rim(mask: np.ndarray, image: np.ndarray = image) -> float:
            core = binary_erosion(mask, cross)
            return image[mask & ~core].mean() / image[core].mean()

        assert rim(mask) < 0.85 * min(rim(np.roll(mask, step, axis)) for axis in (0, 1) for step in (-4, 4))


def test_masks_of_a_frame_are_binary_and_disjoint(moving):
    masks = list(moving[2].masks.values())
    assert all(mask.dtype == np.uint8 and mask.max() == 1 for mask in masks)
    assert sum(mask.astype(int) for mask in masks).max() == 1


def test_a_seed_repeats_itself_and_another_task_does_not(subject, moving):
    _, static, first = moving
    _, again, second = ankle_sequence("sub-C01", seed=2, frames=5)
    assert np.array_equal(static.image, again.image) and np.array_equal(first.frames, second.frames)
    assert all(np.array_equal(first.poses[bone], second.poses[bone]) for bone in BONES)
    passive = subject.sequence("passive", DynamicSettings(frames=2))
    assert not np.allclose(passive.poses["tibia"][0], first.poses["tibia"][0], atol=0.5)


def cycle_of(group: str, seed: int, side: str | None = None, task: str = "active", largest: float = 25.0) -> Cycle:
    rng = np.random.default_rng(seed)
    ankle = draw_ankle(rng, group=group, side=side)
    return Cycle(ankle, draw_joint_range(ankle, rng), DynamicSettings(range=largest), task, rng)


def angles_of(cycle: Cycle) -> dict[str, np.ndarray]:
    return model_angles(cycle.poses(np.arange(15)), cycle.ankle.pose.world_from_shin)


def test_the_foot_goes_up_and_down_by_at_most_the_range():
    for seed in range(4):
        for task in ("active", "passive"):
            flexion = angles_of(cycle_of("control", seed, task=task, largest=20))["talocrural"][:, 0]
            assert 13 < flexion.max() < 20.5 and -20.5 < flexion.min() < -12


def test_equinus_limits_dorsiflexion_from_where_the_foot_hangs_already():
    for seed in range(4):
        highest = {}
        for group in ("control", "equinus"):
            cycle = cycle_of(group, seed)
            highest[group] = angles_of(cycle)["talocrural"][:, 0].max() - cycle.ankle.pose.plantar_flexion
        assert highest["equinus"] < 0 and highest["equinus"] < highest["control"] - 12


def test_the_subtalar_joint_takes_part():
    angles = angles_of(cycle_of("control", 3))
    assert 1 < np.ptp(angles["subtalar"][:, 1]) < 12
    assert np.ptp(angles["tibiocalcaneal"][:, 0]) > np.ptp(angles["subtalar"][:, 0])


def test_left_and_right_have_the_same_angles_and_mirrored_motion():
    left, right = (cycle_of("control", 4, side=side) for side in ("left", "right"))
    for joint, angles in angles_of(left).items():
        np.testing.assert_allclose(angles, angles_of(right)[joint], atol=1e-8)
    # The talus in the tibia; where the leg lies in the scanner is drawn alike, not mirrored.
    motions = []
    for cycle in (left, right):
        poses = cycle.poses(np.array([7.0]))
        motions.append((invert_pose(poses["tibia"]) @ poses["talus"])[0])
    mirror = np.diag([-1.0, 1, 1, 1])
    np.testing.assert_allclose(mirror @ motions[0] @ mirror, motions[1], atol=1e-8)


@for_all(("axis", "index", "point", "goes"), [(0, 0, 1, 2), (1, 1, 2, 0), (2, 2, 0, 1)])
def test_angles_have_the_signs_of_the_clinic(axis, index, point, goes):
    """Toes up, sole to medial (as the back of the foot is to lateral), toes to medial (as lateral goes forwards)."""
    turn = rotation_about(np.eye(3)[axis], 10.0)
    angles = flexion_angles(turn[:3, :3])
    assert angles[index] == pytest.approx(10) and np.delete(angles, index) == pytest.approx(0, abs=1e-9)
    assert (turn[:3, :3] @ np.eye(3)[point])[goes] > 0.1


def test_the_leg_lies_otherwise_than_in_the_static_scan():
    shifts = []
    for seed in range(8):
        cycle = cycle_of("control", seed)
        ankle = cycle.ankle.pose.world_from_shin[:3, 3]
        shifts.append(np.linalg.norm(transform(cycle.poses(np.zeros(1))["tibia"][0], ankle) - ankle))
    assert 4 < np.mean(shifts) < 18


# A made-up anatomy: one ball as the talus, in grey soft tissue.


def ball_anatomy(centre: np.ndarray, radius: float = 6.0) -> MovingAnatomy:
    side = 33
    affine = translation(centre - side // 4) @ np.diag([0.5, 0.5, 0.5, 1])
    places = np.linalg.norm(np.indices((side,) * 3) / 2 - side // 4, axis=0)
    ball = np.where(places < radius, 1000.0, OUTSIDE).astype(np.float32)
    coarse = np.diag([6.0, 6, 6, 1])
    coarse[:3, 3] = -60
    distances = np.linalg.norm(np.indices((21,) * 3) * 6.0 - 60 - centre.reshape(3, 1, 1, 1), axis=0) - radius
    return MovingAnatomy(
        {"talus": RigidPart(ball, affine)},
        np.full((4, 4, 4), 0.0, np.float32),
        affine,
        np.maximum(distances, 0)[None].astype(np.float32),
        np.ones((21,) * 3, np.float32),
        coarse,
        0.0,
    )


def frame_grid(gap: float = 0.0) -> Grid:
    axes = np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]])
    affine = rotation_about((1, 2, 3), 7.0) @ np.block([[axes, np.zeros((3, 1))], [0, 0, 0, 1]])
    affine[:3, :3] *= (1.5, 1.5, 8.0 + gap)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array((64, 64, 9)) - 1) / 2)
    return Grid((64, 64, 9), affine)


@for_all(("profile", "thickness"), [("box", 8.0), ("gaussian", 8.0), ("gaussian", 6.0)])
def test_a_ball_lies_in_the_world_where_its_pose_puts_it(profile, thickness):
    centre = np.array([2.0, -5.0, 7.0])
    pose = translation((3.3, 4.1, -6.2)) @ rotation_about((1, 1, 0), 25.0)
    settings = DynamicSettings(profile=profile, thickness=thickness)
    anatomy = ball_anatomy(centre)
    image, filled = sample_frame(anatomy, {"talus": pose}, frame_grid(), settings)
    for values in (image, filled["talus"]):
        voxels = np.array([(values * index).sum() / values.sum() for index in np.indices(values.shape)])
        found = transform(frame_grid().affine, voxels)
        np.testing.assert_allclose(found, transform(pose, centre), atol=0.25)
    volume = filled["talus"].sum() * 1.5 * 1.5 * 8
    assert volume == pytest.approx(0.5**3 * (anatomy.parts["talus"].signal >= 0).sum(), rel=0.01)


def test_a_gap_hides_what_lies_in_it():
    axis = frame_grid(8.0).affine[:3, 2] / 16.0
    between, inside = 8.0 * axis, 0.0 * axis
    brightness = [
        sample_frame(ball_anatomy(place, 3.0), {"talus": np.eye(4)}, frame_grid(8.0), DynamicSettings(gap=8.0))[0].sum()
        for place in (between, inside)
    ]
    assert brightness[0] < 1e-3 * brightness[1]


@for_all("profile", ["box", "gaussian"])
@for_all(("thickness", "gap"), [(8.0, 0.0), (6.0, 0.0), (10.0, 0.0), (8.0, 2.0)])
def test_a_profile_has_the_thickness_asked_for(profile, thickness, gap):
    count, margin, distance = 60, 2, 8.0 + gap
    weights = profile_weights(profile, thickness, distance, 5, count, margin)
    places = ((np.arange(weights.shape[1]) + 0.5) / count - margin - 0.5) * distance
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(weights @ places, distance * np.arange(5), atol=1e-3)
    half = places[weights[2] >= 0.5 * weights[2].max()]
    assert np.ptp(half) == pytest.approx(thickness, abs=2.1 * distance / count)


def test_soft_tissue_goes_with_a_bone_that_it_touches_and_blends_between_two():
    anatomy = ball_anatomy(np.zeros(3))
    other = np.linalg.norm(np.indices((21,) * 3) * 6.0 - 60 - np.array([40.0, 0, 0]).reshape(3, 1, 1, 1), axis=0) - 6
    parts = {"talus": anatomy.parts["talus"], "tibia": anatomy.parts["talus"]}
    both = replace(
        anatomy, parts=parts, distances=np.stack([anatomy.distances[0], np.maximum(other, 0).astype(np.float32)])
    )
    still, moved = np.eye(4), translation((0, 0, 4.0))
    points = np.array([[0.0, 0, 0], [20.0, 0, 2], [40.0, 0, 4]])
    back = both.pull_back(points, {"talus": still, "tibia": moved})[0]
    np.testing.assert_allclose(points - back, [[0, 0, 0], [0, 0, 2], [0, 0, 4]], atol=0.05)
    together = both.pull_back(points, {"talus": moved, "tibia": moved})[0]
    np.testing.assert_allclose(together, points - [0, 0, 4], atol=1e-9)


def test_a_cropped_field_of_view_is_the_middle_of_the_whole_one(subject):
    whole, cropped = (subject.sequence("active", replace(QUIET, crop=crop)) for crop in (0.0, 34.0))
    assert cropped.frames.shape[:2] == (56, 56)
    np.testing.assert_allclose(
        transform(cropped.affine, np.zeros(3)), transform(whole.affine, np.array([20.0, 20, 0])), atol=1e-6
    )
    inner = whole.frames[20:-20, 20:-20].astype(int)
    # Soft tissue is interpolated between other nodes.
    assert np.abs(inner - cropped.frames).mean() < 4
    for bone in BONES:
        assert np.array_equal(whole.masks[bone][20:-20, 20:-20], cropped.masks[bone])
        assert np.array_equal(whole.poses[bone], cropped.poses[bone])


def test_a_missing_slice_is_zero_in_every_frame_and_the_truth_stays(subject, moving):
    sequence = subject.sequence("active", DynamicSettings(frames=5, missing_slice=4))
    assert not sequence.frames[:, :, 4].any()
    rest = [index for index in range(sequence.frames.shape[2]) if index != 4]
    assert np.array_equal(sequence.frames[:, :, rest], moving[2].frames[:, :, rest])
    assert np.array_equal(sequence.masks["talus"], moving[2].masks["talus"])


def test_motion_within_a_frame_blurs_the_image_and_not_the_truth(subject):
    sharp, blurred = (subject.sequence("active", replace(QUIET, within_frame=share)) for share in (0.0, 0.8))
    edges = [np.abs(np.diff(sequence.frames[..., 1].astype(float), axis=0)).mean() for sequence in (sharp, blurred)]
    assert edges[1] < 0.9 * edges[0]
    assert np.array_equal(sharp.masks["calcaneus"], blurred.masks["calcaneus"])
    assert np.array_equal(sharp.poses["calcaneus"], blurred.poses["calcaneus"])


def test_noise_is_what_was_asked_for(subject):
    deviations = {}
    for snr in (10.0, 40.0):
        frames = subject.sequence("active", replace(QUIET, snr=snr)).frames[..., 0].astype(float)
        deviations[snr] = frames[:8, -8:].std()  # air, in front of the shin or behind the heel
    assert deviations[10.0] == pytest.approx(4 * deviations[40.0], rel=0.15)


@for_all(
    ("settings", "message"),
    [
        ({"profile": "sinc"}, "invalid motion.profile=sinc: expected box or gaussian"),
        ({"thickness": 0}, "invalid motion.thickness=0: expected 1 to 20"),
        ({"within_frame": 2}, "invalid motion.within_frame=2: expected 0 to 1"),
        ({"missing_slice": 30}, "invalid motion.missing_slice=30: expected 0 to 9"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DynamicSettings(**settings)


def test_an_unknown_task_is_refused(subject):
    with pytest.raises(ConfigError, match="invalid task 'idle': expected active or passive"):
        subject.sequence("idle")


def test_every_bone_belongs_to_one_rigid_part():
    bones = [bone for members in RIGID_PARTS.values() for bone in members]
    assert len(bones) == len(set(bones)) == 14
