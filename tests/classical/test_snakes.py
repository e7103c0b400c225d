"""Active contours find a cord around its centreline, bright or dark, however it is stored, and no further."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from laws import for_all
from scipy.ndimage import gaussian_filter

from ankleseg.classical import Snakes
from ankleseg.classical.snakes import STEEPEST, best_contours
from ankleseg.config import compose
from ankleseg.errors import ConfigError, GeometryError
from ankleseg.inference import cases_of, segment_cases
from ankleseg.measures import centreline_of_mask, cord_shape, overlap
from ankleseg.predict import main
from ankleseg.volumes import read_mask, read_volume, write_volume
from ankleseg.volumes.geometry import reorient

AFFINE = np.diag([0.8, 0.8, 2.0, 1.0])
SHAPE = (50, 50, 30)
HEIGHTS = 2.0 * np.arange(SHAPE[2])
AXIS = np.column_stack([20 + 0 * HEIGHTS, 20 + 5 * np.sin(HEIGHTS / 25), HEIGHTS])  # world mm
NODE = {"_target_": "ankleseg.classical.Snakes"}


def tube(wide: float, deep: float) -> np.ndarray:
    x, y = np.meshgrid(0.8 * np.arange(SHAPE[0]), 0.8 * np.arange(SHAPE[1]), indexing="ij")
    across = (x[..., None] - AXIS[:, 0]) / wide, (y[..., None] - AXIS[:, 1]) / deep
    return across[0] ** 2 + across[1] ** 2 <= 1


CORD, SAC = tube(6.0, 4.2), tube(9.0, 7.5)


def scan(*, bright: bool = True, seed: int = 0) -> np.ndarray:
    """A cord in its fluid, heard less from below and through noise."""
    fluid = 900.0 if bright else 100.0
    clean = np.where(CORD, 350.0, np.where(SAC, fluid, 450.0 if bright else 250.0)) * np.linspace(0.3, 1, SHAPE[2])
    noise = np.random.default_rng(seed).normal(0, 25, SHAPE)
    return (gaussian_filter(clean, (0.5, 0.5, 0)) + noise).astype(np.float32)


@for_all("bright", [True, False])
def test_the_cord_is_found_in_brighter_and_in_darker_fluid(bright: bool):
    found = Snakes(bright_outside=bright)(scan(bright=bright), AFFINE, AXIS)
    assert overlap(found, CORD).dice > 0.94
    assert np.median(cord_shape(found, AFFINE).area_mm2) == pytest.approx(np.pi * 6.0 * 4.2, rel=0.05)
    assert overlap(Snakes(bright_outside=not bright)(scan(bright=bright), AFFINE, AXIS), CORD).dice < 0.8


def test_a_centreline_that_is_a_little_wrong_gives_the_same_cord():
    moved = Snakes()(scan(), AFFINE, AXIS + np.array([1.5, -1.0, 0]))
    assert overlap(moved, Snakes()(scan(), AFFINE, AXIS)).dice > 0.97


def test_the_order_and_directions_of_the_axes_change_nothing():
    expected = Snakes()(scan(), AFFINE, AXIS)
    for codes in ("LPS", "PSR", "IAL", "ASR"):
        image, affine = reorient(scan(), AFFINE, codes)
        found, _ = reorient(Snakes()(image, affine, AXIS), affine, "RAS")
        assert overlap(found, expected).dice > 0.995, codes  # rays begin elsewhere


def test_nothing_is_segmented_beyond_the_centreline_or_without_one():
    found = Snakes()(scan(), AFFINE, AXIS[5:12])
    assert np.flatnonzero(found.any(axis=(0, 1))).tolist() == list(range(5, 12))
    with pytest.raises(GeometryError, match="the centreline does not cross the image; give the one of this scan"):
        Snakes()(scan(), AFFINE, AXIS + np.array([500.0, 0, 0]))


def test_no_closed_contour_is_better_than_the_one_found():
    random, stiffness, angles, radii = np.random.default_rng(1), 0.2, 6, 3
    edges = random.random((30, angles, radii))
    found = best_contours(edges, stiffness)

    def gain(contour: np.ndarray, of: np.ndarray) -> float:
        steps = np.diff(contour, append=contour[0])
        assert (np.abs(steps) <= STEEPEST).all()
        return float(of[np.arange(angles), contour].sum() - stiffness * (steps**2).sum())

    every = [np.array(contour) for contour in product(range(radii), repeat=angles)]
    best = [max(gain(contour, of) for contour in every) for of in edges]
    gains = [gain(contour, of) for contour, of in zip(found, edges, strict=True)]
    assert np.mean(np.isclose(gains, best)) > 0.9 and (np.array(gains) > np.array(best) - 1).all()


def test_the_command_writes_the_cord_and_its_centreline(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("s1", "s2"):
        write_volume(tmp_path / f"scans/{name}.nii.gz", *reorient(scan(), AFFINE, "PSR"))
    lines = ["x,y,z", *(",".join(f"{value:.3f}" for value in point) for point in AXIS)]
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines/s1_centreline.csv").write_text("\n".join(lines))
    asked = ["method=snakes", f"input={tmp_path / 'scans'}", f"out={tmp_path / 'out'}"]
    with pytest.raises(SystemExit):
        main(compose("predict", [*asked, f"centreline={tmp_path / 'lines'}"]))
    assert capsys.readouterr().out.endswith(f"\n2 cases, 1 failed: {tmp_path / 'out'}\n")
    told = json.loads((tmp_path / "out/predictions.json").read_text())
    one, two = told["cases"]
    assert told["structures"] == ["cord"] and one["status"] == "ok" and (tmp_path / "out" / one["centreline"]).exists()
    assert "holds no centreline of s2" in two["message"]
    mask = read_mask(tmp_path / "out" / one["masks"]["cord"])
    assert overlap(reorient(mask.data, mask.affine, "RAS")[0], CORD).dice > 0.94
    with pytest.raises(ConfigError, match="Snakes segments along the centreline of the cord; add centreline=FILE"):
        main(compose("predict", asked))
    with pytest.raises(ConfigError, match="a centreline is given, and KMeans needs none; leave it out"):
        main(compose("predict", ["method=kmeans", *asked[1:], f"centreline={tmp_path / 'lines'}"]))


def test_a_scan_of_several_channels_is_refused(tmp_path: Path):
    for name in ("t1", "t2"):
        write_volume(tmp_path / f"{name}.nii.gz", scan(), AFFINE)
    (tmp_path / "table.csv").write_text("case,image_t1,image_t2\np1,t1.nii.gz,t2.nii.gz\n")
    (row,) = segment_cases(cases_of(tmp_path / "table.csv"), NODE, tmp_path / "out", centreline=lambda _: None)  # type: ignore
    assert row["status"] == "failed" and "case p1 has the channels t1, t2: expected one" in row["message"]


def test_real_necks_are_segmented_along_the_centreline_of_their_masks(shared_data: Path):
    for name in ("sct11", "sct18", "sct21"):
        image, mask = (read_volume(shared_data / f"cord/{name}_t2{part}.nii.gz") for part in ("", "_cord"))
        reference = np.asarray(mask.data) > 0.5
        found = Snakes()(image.data, image.affine, centreline_of_mask(reference, mask.affine).points)
        assert overlap(found, reference).dice > 0.88
