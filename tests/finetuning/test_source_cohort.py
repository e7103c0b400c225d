"""A fine-tuned run: what it says of the cohort that its weights are from, and what it rehearses of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ankleseg.config import compose
from ankleseg.data import RehearsedPatches
from ankleseg.errors import CohortError, ConfigError
from ankleseg.inference import load_model
from ankleseg.train import main

NEW = ["network.widths=[4,8]", "prepare.orientation=RAS", "prepare.bring_to_side=null"]
SHORT = [
    "structures=[ball]",
    *("patches.sampler.size=[16,16]", "patches.sampler.min_foreground=0.3", "patches.steps_per_epoch=2"),
    *("patches.batch_size=4", "cohort/split=explicit", "cohort.split.test=[]", "trainer.max_epochs=2"),
    *("trainer.accelerator=cpu", "~callbacks.progress", "+trainer.enable_progress_bar=false"),
]


@pytest.fixture(scope="module")
def source(tiny_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on s0, validated on s1."""
    run = tmp_path_factory.mktemp("source") / "run"
    split = ["cohort.split.train=[s0]", "cohort.split.validation=[s1]"]
    main(
        compose(
            "train",
            ["+experiment=ankle_static_unet", f"cohort.root={tiny_table}", *SHORT, *NEW, *split, f"run_dir={run}"],
        )
    )
    return run


def overrides(table: Path, source: Path, run: Path, *more: str) -> list[str]:
    split = ["cohort.split.train=[s2]", "cohort.split.validation=[]", f"init.checkpoint={source}"]
    return ["+experiment=ankle_finetune", f"cohort.root={table}", *SHORT, *split, f"run_dir={run}", *more]


def test_a_run_reports_what_it_forgot_of_subjects_that_no_training_saw(
    tiny_table: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    more = [f"init.source_cohort={tiny_table}", f"rehearsal.root={tiny_table}", "rehearsal.share=0.5"]
    more += ["freeze=[{epoch: 0, train: [head]}, {epoch: 1, train: [expansion], rate: 1e-3}]"]
    more += ["task.penalty={_target_: ankleseg.losses.L2SP, alpha: 0.1}"]
    main(compose("train", overrides(tiny_table, source, run, *more)))
    said = capsys.readouterr().out
    assert "weights at the start, in tensors (and values):" in said
    assert "from epoch 0: trains head, 5 values\nfrom epoch 1: trains expansion at 0.001, " in said
    rows = list(csv.DictReader((run / "metrics/forgetting.csv").open()))
    assert [(row["case"], row["structure"]) for row in rows] == [("s2", "ball"), ("s3", "ball"), ("mean", "")]
    for row in rows:
        assert float(row["change"]) == pytest.approx(float(row["after"]) - float(row["before"]), abs=2e-4)
    stored, trained = (OmegaConf.load(folder / "config.yaml") for folder in (run, source))
    assert stored.network == trained.network and "spacing" not in stored.prepare, "of the source, and not asked for"
    assert load_model(run).preparation.nodes == load_model(source).preparation.nodes
    assert stored.rehearsal.subjects == ["s0"], "whom the source was trained on"
    assert stored.init.checkpoint == str(source / "checkpoints/best.ckpt")
    assert str(source / "checkpoints/best.ckpt") in json.loads((run / "manifest.json").read_text())["inputs"]
    rates = [float(row["lr"]) for row in csv.DictReader((run / "metrics.csv").open())]
    assert rates == pytest.approx([1e-4, 1e-3])
    (source / "checkpoints").rename(source / "elsewhere")  # a prediction never needs the source
    try:
        assert load_model(run).labels.structures == ("ball",)
    finally:
        (source / "elsewhere").rename(source / "checkpoints")


def test_a_source_that_cannot_be_used_is_refused_before_training(tiny_table: Path, source: Path, tmp_path: Path):
    few = tmp_path / "few.csv"
    scan = tiny_table.parent / "0"
    few.write_text(f"subject,image,mask_ball\ns0,{scan}.nii.gz,{scan}_ball.nii.gz\n")
    manifest = json.loads((source / "manifest.json").read_text())
    refused: list[tuple[list[str], type[Exception], str]] = [
        (["init.checkpoint=???"], ConfigError, "init.checkpoint is missing; add init.checkpoint=RUN"),
        (["init.surgery=[encoder]"], ConfigError, "invalid init.surgery 'encoder'"),
        (["freeze=[{epoch: 0, train: [encoder]}]"], ConfigError, "invalid freeze.train 'encoder'"),
        (["freeze=contraction"], ConfigError, "invalid freeze 'contraction': expected a list of steps"),
        (
            [f"rehearsal.root={tiny_table}", "rehearsal.share=1"],
            ConfigError,
            "invalid rehearsal.share 1.0",
        ),
        (["init.checkpoint=null"], ConfigError, "init.checkpoint is missing; .* or network=NAME prepare=NAME"),
        (
            ["init.checkpoint=null", "network=unet", "prepare=ankle", f"init.source_cohort={few}"],
            ConfigError,
            "needs a segmentation that begins from",
        ),
        ([f"init.source_cohort={few}"], CohortError, "few.csv: has no subject that was not trained on"),
    ]
    (source / "manifest.json").write_text(json.dumps(manifest | {"cohort": str(few)}))
    try:
        for number, (words, kind, said) in enumerate(refused):
            run = tmp_path / str(number)
            with pytest.raises(kind, match=said):
                main(compose("train", overrides(tiny_table, source, run, *words)))
            assert not run.exists()
    finally:
        (source / "manifest.json").write_text(json.dumps(manifest))


def test_every_batch_has_its_share_of_rehearsed_patches():
    own, source = ([{"from": name}] * 12 for name in ("own", "source"))
    patches = RehearsedPatches(own, source, 0.25)
    for batch in range(3):
        assert [patches[4 * batch + n] for n in range(4)].count({"from": "source"}) == 1
    halves = RehearsedPatches(own, source, 1 / 3)
    assert [halves[n] for n in range(12)].count({"from": "source"}) == 4
