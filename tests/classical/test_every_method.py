"""Every classical method finds a bright lump in a brain, whatever the axes and units, and refuses what is no brain."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from laws import for_all
from scipy.ndimage import gaussian_filter

from ankleseg.classical import REGIONS, Edges, FuzzyCMeans, scaled, tumour_masks
from ankleseg.classical.fuzzy_c_means import fuzzy_centres
from ankleseg.classical.split_and_merge import merged, split
from ankleseg.config import build, compose, to_plain
from ankleseg.config.usage import names_of
from ankleseg.errors import ConfigError, FileError
from ankleseg.inference import Postprocessing, cases_of, segment_cases, shipped
from ankleseg.measures import overlap
from ankleseg.predict import main
from ankleseg.volumes import read_mask, write_volume

METHODS = [name for name in names_of("classical") if name != "snakes"]  # which is for cords
SHAPE, MM = (48, 44, 30), (2.0, 2.0, 3.0)
CLEAN = Postprocessing()


def ball(centre: tuple[float, ...], radius: float) -> np.ndarray:
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1) * MM
    return ((grid - np.multiply(centre, MM)) ** 2).sum(-1) < radius**2


BRAIN, LUMP, RIM, NECROSIS = (ball((24, 22, 15), 42), *(ball((28, 26, 15), radius) for radius in (18, 15, 4)))


def scan(bright: np.ndarray, seed: int = 0) -> np.ndarray:
    """A brain with fluid, two tissues and something bright; 0 outside."""
    noise = np.random.default_rng(seed)
    tissue = gaussian_filter(noise.normal(size=SHAPE), 3) > 0
    clean = 300 + 60 * tissue - 200 * ball((14, 20, 15), 9) + 300 * bright
    return (np.clip(gaussian_filter(clean.astype(float), 0.6) + noise.normal(0, 12, SHAPE), 1, None) * BRAIN).astype(
        np.float32
    )


FLAIR, T1CE = scan(LUMP), scan(RIM & ~NECROSIS, seed=1)


def clean(mask: np.ndarray) -> np.ndarray:
    return CLEAN(mask[None], regions=True)[0]


def method(name: str, *settings: str):
    return build(to_plain(compose("predict", [f"method={name}", *settings]).method))


ALL = [(name, ()) for name in METHODS] + [("edges", (f"method.filter={name}",)) for name in ("sobel", "log")]


@for_all(("name", "settings"), ALL)
def test_a_bright_lump_is_found(name: str, settings: tuple[str, ...]):
    found = tumour_masks(method(name, *settings), {"flair": FLAIR}, MM, clean)
    assert found.shape == (1, *SHAPE)
    assert (overlap(found[0], LUMP).dice or 0) > 0.7


@for_all("name", METHODS)
def test_units_and_offsets_of_intensities_do_not_count(name: str):
    asked = method(name)
    other = np.where(BRAIN, FLAIR * np.float32(0.01) - 7, 0).astype(np.float32)
    one, two = (tumour_masks(asked, {"flair": image}, MM, clean)[0] for image in (FLAIR, other))
    assert (overlap(one, two).dice or 0) > 0.99


def test_regions_lie_inside_each_other_and_the_core_has_no_hole():
    whole, core, enhancing = tumour_masks(method("fuzzy_c_means"), {"flair": FLAIR, "t1ce": T1CE}, MM, clean)
    assert not (core & ~whole).any() and not (enhancing & ~core).any()
    assert (overlap(core, RIM).dice or 0) > 0.75
    assert (overlap(enhancing, RIM & ~NECROSIS).dice or 0) > 0.85
    assert not enhancing[28, 26, 15] and core[28, 26, 15]


def test_what_is_no_brain_without_skull_is_refused():
    with pytest.raises(FileError, match=r"is 0 in 0 % of its voxels: expected a brain without skull, 0 outside; strip"):
        tumour_masks(method("threshold"), {"flair": FLAIR + 1}, MM)
    with pytest.raises(FileError, match="is \\(almost\\) constant in the brain"):
        tumour_masks(method("threshold"), {"flair": BRAIN.astype(np.float32)}, MM)
    with pytest.raises(ConfigError, match="invalid method.filter 'prewitt': expected canny, sobel, log"):
        Edges(filter="prewitt")
    with pytest.raises(ConfigError, match="invalid method.fuzziness 1: expected more than 1"):
        FuzzyCMeans(fuzziness=1)


def test_the_blur_takes_nothing_from_outside():
    flat = np.where(BRAIN, np.where(ball((24, 22, 15), 10), 600, 300), 0).astype(np.float32)
    image = scaled(flat, BRAIN, MM)
    far = BRAIN & ~ball((24, 22, 15), 20)
    assert np.abs(image[far] - image[far].mean()).max() < 1e-4
    assert not image[~BRAIN].any()


def test_fuzzy_centres_are_those_of_the_clusters_and_weights_are_repetitions():
    values = np.array([0.0, 0.1, 0.5, 0.6, 0.9])
    weights = np.array([3, 1, 2, 2, 4])
    one = fuzzy_centres(values, weights, 3, 2.0)
    repeated = fuzzy_centres(np.repeat(values, weights), np.ones(weights.sum()), 3, 2.0)
    assert one == pytest.approx(repeated, abs=1e-4)
    distance = (values - one[:, None]) ** 2 + 1e-15
    belongs = (1 / distance / (1 / distance).sum(axis=0)) ** 2 * weights  # the condition of an optimum (Bezdek)
    assert one == pytest.approx((belongs * values).sum(axis=1) / belongs.sum(axis=1), abs=1e-4)
    assert fuzzy_centres(values, weights, 3, 1.05) == pytest.approx([0.025, 0.55, 0.9], abs=5e-3), "k-means"


def test_blocks_are_uniform_and_merged_regions_are_the_pieces():
    image = np.zeros((32, 16, 16))
    image[5:20, 3:11, 4:14] = 1.0
    inside = np.ones(image.shape, dtype=bool)
    blocks = split(image, inside, 0.01)
    assert (blocks > 0).all() and all(np.ptp(image[blocks == number]) == 0 for number in np.unique(blocks[20:]))
    regions = merged(blocks, image, 0.01)
    pure = {number for number in np.unique(regions) if np.ptp(image[regions == number]) == 0}
    assert len({number for number in pure if image[regions == number].max() == 1}) == 1, "one bright region"
    assert np.isin(regions[8:18, 4:10, 4:14], list(pure)).all()


def write_case(folder: Path, codes: tuple[int, int, int]) -> np.ndarray:
    """Flair and T1ce with the axes in another order; the affine that belongs to it."""
    affine = np.zeros((4, 4))
    affine[codes, range(3)] = [MM[axis] for axis in codes]
    affine[3, 3] = 1
    for name, image in (("flair", FLAIR), ("t1ce", T1CE)):
        write_volume(folder / f"{name}.nii.gz", image.transpose(codes), affine)
    (folder / "table.csv").write_text("case,image_flair,image_t1ce\np1,flair.nii.gz,t1ce.nii.gz\n")
    return affine


@for_all("codes", [(0, 1, 2), (2, 0, 1)])
def test_files_are_those_of_a_network_on_the_grid_of_the_scan(codes: tuple[int, int, int], tmp_path: Path):
    affine = write_case(tmp_path, codes)
    node = {"_target_": "ankleseg.classical.Edges", "filter": "canny"}
    row = segment_cases(cases_of(tmp_path / "table.csv"), node, tmp_path / "out", postprocessing=CLEAN)[0]
    told = json.loads((tmp_path / "out/predictions.json").read_text())
    assert row["status"] == "ok", row["message"]
    assert (told["mode"], told["method"]["filter"], told["structures"]) == ("Edges", "canny", list(REGIONS))
    mask = read_mask(tmp_path / "out" / row["masks"]["whole_tumour"])
    assert np.allclose(mask.affine, affine)
    expected = tumour_masks(Edges(), {"flair": FLAIR, "t1ce": T1CE}, MM, clean)[0]
    assert np.array_equal(mask.data, expected.transpose(codes)), "slices are found from the affine"


def test_the_command_takes_one_scan_and_refuses_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    write_volume(tmp_path / "x_flair.nii.gz", FLAIR, np.diag([*MM, 1]))
    asked = ["method=kmeans", f"input={tmp_path / 'x_flair.nii.gz'}", f"out={tmp_path / 'out'}"]
    main(compose("predict", asked))
    assert capsys.readouterr().out == f"1 case, 0 failed: {tmp_path / 'out'}\n"
    assert (tmp_path / "out/x_flair/x_flair_label-whole_tumour_mask.nii.gz").exists()
    head = tmp_path / "head_flair.nii.gz"
    write_volume(head, FLAIR + 1, np.diag([*MM, 1]))
    row = segment_cases(cases_of(head), {"_target_": "ankleseg.classical.KMeans"}, tmp_path / "out")[0]
    assert row["message"].startswith(f"{head}: is 0 in 0 % of its voxels: expected a brain without skull")
    with pytest.raises(
        ConfigError, match="invalid method: a checkpoint is given too; leave out method=… or checkpoint"
    ):
        main(compose("predict", [*asked, "checkpoint=run"]))
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "none")
    with pytest.raises(ConfigError, match="checkpoint is missing; add checkpoint=…, or a method=… without a network"):
        main(compose("predict", asked[1:]))


def test_a_case_without_flair_fails_by_name(tmp_path: Path):
    write_case(tmp_path, (0, 1, 2))
    (tmp_path / "table.csv").write_text("case,image_t2,image_t1ce\np1,flair.nii.gz,t1ce.nii.gz\n")
    row = segment_cases(cases_of(tmp_path / "table.csv"), {"_target_": "ankleseg.classical.KMeans"}, tmp_path / "out")[
        0
    ]
    assert row["status"] == "failed"
    assert "case p1 has the channels t2, t1ce: expected flair, maybe t1ce" in row["message"]
    assert row["message"].endswith("; name the file in a table with the column image_flair")
    for file, name in (("t1ce", "P-00001-000-t1c"), ("flair", "P-00001-000-t2w")):
        (tmp_path / f"{file}.nii.gz").rename(tmp_path / f"{name}.nii.gz")
    (tmp_path / "table.csv").unlink()
    row = segment_cases(cases_of(tmp_path), {"_target_": "ankleseg.classical.KMeans"}, tmp_path / "out")[0]
    assert "; add P-00001-000-t2f.nii.gz to its folder, or name the file in a table" in row["message"]


def test_methods_are_light():
    code = "import ankleseg.classical, sys; print(*{'torch', 'monai', 'sklearn', 'skimage'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
