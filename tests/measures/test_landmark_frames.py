"""Anatomical axes from landmarks, and the file that holds them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ankleseg.errors import FileError, GeometryError
from ankleseg.measures.landmark_frames import LANDMARKS, frames_from_landmarks
from ankleseg.volumes.landmarks import read_landmarks
from ankleseg.volumes.poses import exp_pose, is_rigid, transform

# A right foot along the axes of the world: x lateral, y anterior, z superior, in mm.
RIGHT = {
    "calcaneus": {
        "posterior_inferior": (0, -60, -40),
        "anterior_inferior": (0, 10, -40),
        "posterior_lateral": (14, -45, -40),
        "long_plantar_ligament": (0, -40, -40),
    },
    "talus": {
        "sinus": (0, 5, -10),
        "anterior_superior": (0, 25, 0),
        "anterior_inferior": (0, 25, -20),
        "dome_lowest": (0, 0, 15),
        "dome_medial": (-12, 0, 18),
        "dome_lateral": (12, 0, 18),
    },
    "tibia": {
        "anterior_edge_inferior": (-2, 15, 25),
        "anterior_edge_superior": (-2, 15, 90),
        "lateral": (20, 0, 20),
        "medial": (-20, 0, 20),
    },
}
ORIGINS = {"calcaneus": (0, -40, -40), "talus": (0, 0, 15), "tibia": (0, 0, 20)}


def landmarks(matrix: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    return {
        bone: {name: matrix[:3, :3] @ point + matrix[:3, 3] for name, point in points.items()}
        for bone, points in RIGHT.items()
    }


def test_the_axes_point_right_forwards_and_up_on_both_sides():
    for side, matrix in (("right", np.eye(4)), ("left", np.diag([-1.0, 1, 1, 1]))):
        for bone, frame in frames_from_landmarks(landmarks(matrix), side).items():
            np.testing.assert_allclose(frame[:3, :3], np.eye(3), atol=1e-12)
            np.testing.assert_allclose(frame[:3, 3], ORIGINS[bone], atol=1e-12)


def test_they_move_with_the_landmarks():
    pose = exp_pose(np.array([0.3, -0.6, 0.9, 20.0, 30.0, -50.0]))
    for bone, frame in frames_from_landmarks(landmarks(pose), "right").items():
        assert is_rigid(frame, 1e-9)
        np.testing.assert_allclose(frame[:3, :3], pose[:3, :3], atol=1e-12)
        np.testing.assert_allclose(frame[:3, 3], transform(pose, np.array(ORIGINS[bone], float)), atol=1e-9)


def test_landmarks_are_read_from_a_file(tmp_path):
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps({bone: dict(points) for bone, points in RIGHT.items()}))
    frames = frames_from_landmarks(read_landmarks(path), "right", file=path)
    assert set(frames) == set(LANDMARKS)
    np.testing.assert_allclose(frames["tibia"][:3, :3], np.eye(3), atol=1e-12)


def test_one_bone_is_enough():
    assert set(frames_from_landmarks({"talus": landmarks(np.eye(4))["talus"]}, "left")) == {"talus"}


def test_wrong_landmarks_are_told_in_one_line(tmp_path):
    path = tmp_path / "marks.json"
    with pytest.raises(GeometryError, match="marks.json: the tibia's anterior edge lies behind it for a left foot"):
        frames_from_landmarks(landmarks(np.eye(4)), "left", file=path)
    few = {"talus": {name: np.zeros(3) for name in LANDMARKS["talus"][:-1]}}
    with pytest.raises(GeometryError, match="talus lacks dome_lateral; give sinus, "):
        frames_from_landmarks(few, "left")
    more = {"tibia": {**landmarks(np.eye(4))["tibia"], "knee": np.zeros(3)}}
    with pytest.raises(GeometryError, match="tibia has the unknown landmark knee"):
        frames_from_landmarks(more, "left")
    with pytest.raises(GeometryError, match="invalid bone 'fibula': expected calcaneus, talus, tibia"):
        frames_from_landmarks({"fibula": {}}, "left")
    for text, message in {
        "{": "is not a JSON file",
        "[1]": "does not list points by bone",
        '{"talus": {"sinus": [1, 2]}}': "talus.sinus is not three numbers; give x, y and z in RAS\\+ mm",
        '{"talus": {"sinus": [1, 2, NaN]}}': "talus.sinus is not three numbers",
        '{"talus": {"sinus": [1, 2, true]}}': "talus.sinus is not three numbers",
    }.items():
        path.write_text(text)
        with pytest.raises(FileError, match=f"marks.json: {message}"):
            read_landmarks(path)
    with pytest.raises(FileError, match="cannot be read"):
        read_landmarks(tmp_path / "none.json")
