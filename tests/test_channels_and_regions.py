"""Several channels by name, regions inside each other, and a prepared cohort: trained, predicted and evaluated."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ankleseg.config import compose
from ankleseg.errors import CohortError, ConfigError
from ankleseg.evaluate import evaluate
from ankleseg.inference import VolumeInferer, cases_of, load_model, predict_cases
from ankleseg.prepare import main as prepare
from ankleseg.train import main as train
from ankleseg.volumes import read_volume, write_volume

SHAPE, AFFINE = (40, 36, 6), np.diag([1.0, 1.1, 4.0, 1.0])
SHORT = [
    *("trainer.accelerator=cpu", "~callbacks.progress", "+trainer.enable_progress_bar=false", "network.widths=[8,16]"),
    *("patches.sampler.size=[32,32]", "patches.sampler.min_foreground=0.2", "optimizer.lr=2e-2", "augment=none"),
    *("trainer.max_epochs=1", "patches.steps_per_epoch=100", "patches.batch_size=4", "cohort/split=explicit"),
    *("cohort.split.train=[s0,s1]", "cohort.split.validation=[]", "cohort.split.test=[s2]"),
]


def write_scan(folder: Path, name: str, seed: int) -> None:
    """A body with a lump and its core: the lump is bright in one channel, the core in the other."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1).astype(float)
    centre = np.array([19, 17, 2.5]) + rng.uniform(-4, 4, 3) * [1, 1, 0.1]
    body = (((grid - [19.5, 17.5, 2.5]) / [18, 16, 9]) ** 2).sum(-1) < 1
    lump, core = ((((grid - centre) / [side, side, 9]) ** 2).sum(-1) < 1 for side in (9, 5))
    for channel, inside in (("flair", lump), ("t1ce", core)):
        image = 200 * body + 500 * inside + rng.normal(0, 15, SHAPE)
        write_volume(folder / f"{name}_{channel}.nii.gz", np.abs(image).astype(np.float32), AFFINE)
    write_volume(folder / f"{name}_labels.nii.gz", (lump.astype(np.uint8) + core).astype(np.uint8), AFFINE)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scans of two channels with a lump (1 and 2) and its core (2)."""
    folder = tmp_path_factory.mktemp("study")
    rows = ["subject,side,image_flair,image_t1ce,labels,value_lump,value_core"]
    for seed in range(3):
        write_scan(folder, f"s{seed}", seed)
        rows.append(f"s{seed},right,s{seed}_flair.nii.gz,s{seed}_t1ce.nii.gz,s{seed}_labels.nii.gz,1+2,2")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return folder


def trained(study: Path, run: Path, *words: str) -> Path:
    asked = ["+experiment=ankle_static_unet", f"cohort.root={study}", "structures=[lump,core]", "prepare=cord"]
    asked += [*SHORT, *words]
    train(compose("train", [*asked, f"run_dir={run}"]))
    return run


@pytest.fixture(scope="module")
def run(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of two channels, trained on regions."""
    return trained(study / "table.csv", tmp_path_factory.mktemp("run") / "run")


def dice_of(file: Path) -> dict[str, float]:
    return {row["structure"]: float(row["dice"]) for row in csv.DictReader(file.open())}


def test_two_channels_and_regions_are_trained_predicted_and_evaluated(run: Path, study: Path) -> None:
    model = load_model(run)
    assert model.channels == ("flair", "t1ce") and model.labels.regions and model.network(*model_input(2)).shape[1] == 2
    scores = dice_of(run / "test/metrics.csv")
    assert scores["lump"] > 0.8 and scores["core"] > 0.8, scores
    case = json.loads((run / "test/predictions/predictions.json").read_text())["cases"][0]
    lump, core, labels = (
        read_volume(run / "test/predictions" / file, dtype=None).data
        for file in (case["masks"]["lump"], case["masks"]["core"], case["labels"])
    )
    assert (lump & core).sum() > 0.7 * core.sum(), "a core lies in its lump, in both masks"
    assert np.array_equal(labels == 2, core == 1), "in the label map the inner one is on top"


def model_input(channels: int):
    import torch

    return [torch.zeros(1, channels, 32, 32)]


def test_the_order_of_channels_never_matters_and_others_are_refused_by_name(
    run: Path, study: Path, tmp_path: Path
) -> None:
    model = load_model(run)
    rows = (study / "table.csv").read_text().splitlines()[1:]
    cells = [row.split(",") for row in rows]

    def table(name: str, header: str, rows: Sequence[str]) -> Path:
        (study / name).write_text("\n".join([header, *rows]) + "\n")
        return study / name

    turned = table("turned.csv", "subject,image_T1CE,image_flair", [f"{c[0]},{c[3]},{c[2]}" for c in cells])
    missing = table("missing.csv", "subject,image_flair", [f"{c[0]},{c[2]}" for c in cells])
    extra = table(
        "extra.csv", "subject,image_flair,image_t1ce,image_t2", [f"{c[0]},{c[2]},{c[3]},{c[3]}" for c in cells]
    )
    found = {}
    for file in (study / "table.csv", turned, missing, extra):
        out = tmp_path / file.stem
        cases = cases_of(file, subjects="s2")
        (found[file.stem],) = predict_cases(cases, [model], out, inferer=VolumeInferer(model.window))
    masks = [
        read_volume(tmp_path / name / found[name]["masks"]["lump"], dtype=None).data for name in ("table", "turned")
    ]
    assert np.array_equal(*masks)
    assert "missing t1ce" in found["missing"]["message"] and found["missing"]["status"] == "failed"
    assert "unexpected t2" in found["extra"]["message"] and "\n" not in found["extra"]["message"]
    with pytest.raises(CohortError, match="missing t1ce"):
        trained(missing, tmp_path / "none", "channels=[flair,t1ce]", "structures=[]", "images=[x]")


def test_a_prepared_cohort_is_trained_on_as_it_is_and_raw_scans_are_predicted(study: Path, tmp_path: Path) -> None:
    words = [f"cohort.root={study / 'table.csv'}", "prepare=cord", f"out={tmp_path / 'prepared'}"]
    prepare(compose("prepare", words))
    with pytest.raises(ConfigError, match="was prepared already; add prepare=as_is"):
        trained(tmp_path / "prepared", tmp_path / "twice", "prepare=cord")
    run = trained(tmp_path / "prepared", tmp_path / "run", "prepare=as_is")
    scores = dice_of(run / "test/metrics.csv")
    assert scores["lump"] > 0.8 and scores["core"] > 0.8, scores
    model = load_model(run)
    assert model.channels == ("flair", "t1ce") and model.preparation.nodes, "raw scans need what made the prepared ones"
    cases = cases_of(study / "table.csv", subjects="s2")
    predict_cases(cases, [model], tmp_path / "p", inferer=VolumeInferer(model.window))
    raw = {row.structure: row.dice for row in evaluate(tmp_path / "p", study / "table.csv", tmp_path / "e").scores}
    assert raw["lump"] > 0.8 and raw["core"] > 0.8
