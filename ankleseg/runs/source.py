"""What a run knows of the cohort that its weights were trained on: rehearsal of it, and how far it is forgotten."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from ankleseg.cohorts import Cohort, Split
from ankleseg.config import build, to_plain
from ankleseg.data import PatchData
from ankleseg.data.tables import write_csv
from ankleseg.errors import CohortError, ConfigError
from ankleseg.finetuning import find_source
from ankleseg.runs.testing import predict_known

Dice = Mapping[tuple[str, str], float]  # by case and structure

COLUMNS = ("case", "structure", "before", "after", "change")


def data_of(config: DictConfig, **made: Any) -> PatchData:
    """The data of a run; where ``rehearsal`` names a cohort, a share of its patches are of that one.

    Rehearsed are the subjects that are named, else those that the source was trained on, else all.

    Args:
        config: of the run.
        made: what a `PatchData` needs beside its settings.

    Raises:
        AnklesegError: a cohort cannot be used, or the share is none.
    """
    data: PatchData = build(config.patches, **made)
    rehearsal = to_plain(config.get("rehearsal")) or {}
    if not rehearsal.get("root"):
        return data
    cohort = source_cohort(config, rehearsal["root"])
    chosen = rehearsal["subjects"] or _split_of(config, cohort).get("train") or cohort.subjects
    config.rehearsal.subjects = list(chosen)  # a resumed run takes the same
    others = {"cohort": cohort, "split": Split(train=tuple(chosen)), "seed": int(made["seed"]) + 1}
    data.rehearse(build(config.patches, **(made | others)), float(rehearsal["share"]))
    return data


def source_cohort(config: DictConfig, root: str | Path) -> Cohort:
    """The cohort that was trained on before, read as that of the run is."""
    return build(config.cohort.load, root, structures=to_plain(config.structures))


def report_forgetting(run: Path, config: DictConfig, device: str = "cpu") -> None:
    """Write how well the cohort of ``init.source_cohort`` was segmented before the run, and is after it.

    ``metrics/forgetting.csv`` has the Dice of each case and structure, before, after and their difference; the two
    evaluations are beside it. A network that segments along a centreline gets that of the reference. Subjects that
    the source was trained or validated on are left out, where its run is known.

    Raises:
        AnklesegError: a model cannot be used, or no subject of the cohort is left.
    """
    init = to_plain(config.get("init")) or {}
    if not init.get("source_cohort"):
        return
    from ankleseg.evaluate import evaluate
    from ankleseg.inference import load_model

    cohort = _unseen(config, source_cohort(config, init["source_cohort"]))
    dice: list[dict[tuple[str, str], float]] = []
    for name, checkpoint in (("before", init["checkpoint"]), ("after", run)):
        out = run / "metrics" / name
        predict_known(cohort.cases, load_model(checkpoint, device=device), out / "predictions")
        found = evaluate(out / "predictions", cohort, out, structures=to_plain(config.structures))
        rows = [asdict(score) for score in found.scores]
        dice.append({(row["case"], row["structure"]): row["dice"] for row in rows if row["dice"] is not None})
    _write_forgetting(run / "metrics/forgetting.csv", *dice)


def _write_forgetting(path: Path, before: Dice, after: Dice) -> None:
    """Write the Dice by case and structure; blank where a mask was neither predicted nor there, or a case failed."""
    both = before.keys() & after.keys()
    if not both:
        raise CohortError("no case has a Dice before and after", file=path.parent, mend="look at the reports there")
    first, last = (float(np.mean([dice[key] for key in both])) for dice in (before, after))
    rows = [(*key, before.get(key), after.get(key)) for key in sorted(before.keys() | after.keys())]
    rows.append(("mean", "", first, last))
    table = []
    for case, structure, old, new in rows:
        change = None if old is None or new is None else new - old
        numbers = ["" if value is None else f"{value:.4f}" for value in (old, new, change)]
        table.append(dict(zip(COLUMNS, (case, structure, *numbers), strict=True)))
    write_csv(path, table, COLUMNS)
    alone = len(before.keys() ^ after.keys())
    more = f", {alone} more with one alone" if alone else ""
    print(f"source cohort: Dice {first:.3f} before, {last:.3f} after, over {len(both)}{more}; {path}")


def check_source_cohort(config: DictConfig) -> None:
    """Refuse, before training, a source cohort whose forgetting could not be measured at its end.

    Raises:
        ConfigError: the run does not segment, or begins from no model that predicts.
        AnklesegError: the model or the cohort cannot be read, or no subject of it is left.
    """
    init = to_plain(config.get("init")) or {}
    if not init.get("source_cohort"):
        return
    from ankleseg.inference import load_model

    if not init["checkpoint"] or not config.structures or config.get("images"):
        raise ConfigError(
            "init.source_cohort needs a segmentation that begins from init.checkpoint", mend="leave it out"
        )
    model = load_model(init["checkpoint"])
    if missing := [name for name in to_plain(config.structures) if name not in model.labels.structures]:
        raise ConfigError(
            f"{missing[0]} is none of the structures that {init['checkpoint']} segments",
            mend="leave init.source_cohort out",
        )
    _unseen(config, source_cohort(config, init["source_cohort"]))


def _unseen(config: DictConfig, cohort: Cohort) -> Cohort:
    """The subjects of a source cohort that neither its training saw nor this one."""
    split = _split_of(config, cohort)
    seen = {*split.get("train", ()), *split.get("validation", ())}
    rehearsal = to_plain(config.get("rehearsal")) or {}
    if rehearsal.get("root") and _same(rehearsal["root"], cohort.root):
        seen |= set(rehearsal["subjects"] or ())
    left = [subject for subject in cohort.subjects if subject not in seen]
    if not left:
        problem = "has no subject that was not trained on"
        raise CohortError(problem, file=cohort.root, mend="give test subjects of the source as init.source_cohort")
    return cohort.select(left)


def _split_of(config: DictConfig, cohort: Cohort) -> dict[str, list[str]]:
    """Who was in which part of the training of the source, if that was on this cohort and its run is there."""
    checkpoint = OmegaConf.select(config, "init.checkpoint")
    if not checkpoint or not Path(checkpoint).exists():
        return {}
    manifest = find_source(checkpoint).parent.parent / "manifest.json"
    if not manifest.is_file():
        return {}
    content = json.loads(manifest.read_text(encoding="utf-8"))
    return dict(content.get("split") or {}) if _same(content.get("cohort"), cohort.root) else {}


def _same(first: Any, second: Any) -> bool:
    return Path(str(first)).resolve() == Path(str(second)).resolve()
