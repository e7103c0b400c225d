"""A preparation learns of the training cohort, once, and what it learnt is in its configuration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ankleseg.cohorts import load_cohort
from ankleseg.data import as_learnt_before, learns, learnt_from, prepared
from ankleseg.labels import Labels
from ankleseg.transforms import Preparation

LABELS = Labels(structures=["ball"])
NODES = [
    {"_target_": "ankleseg.transforms.ForegroundMaskd", "keys": ["image"], "rule": "whole_image"},
    {"_target_": "ankleseg.transforms.NyulStandardized", "keys": ["image"]},
    {"_target_": "ankleseg.transforms.NormalizeByCohortd", "keys": ["image"]},
]


def test_each_step_learns_of_what_those_before_it_make(tiny_table: Path):
    cohort = load_cohort(tiny_table, structures=["ball"])
    learnt = learnt_from(Preparation(NODES), cohort.cases[:2], LABELS)
    assert Preparation(learnt.nodes).nodes == learnt.nodes, "it travels as plain types"
    assert learnt.nodes[1]["landmarks"][-1] == 1 and learnt.nodes[2]["std"][0] > 0
    assert learnt_from(learnt, cohort.cases[2:], LABELS) is learnt
    images = [np.asarray(prepared(case, learnt)["image"]) for case in cohort.cases[:2]]
    assert abs(np.mean(images)) < 1e-3 and abs(np.std(images) - 1) < 1e-3


def test_a_network_that_goes_on_keeps_the_scale_that_it_was_trained_on(tiny_table: Path):
    cohort = load_cohort(tiny_table, structures=["ball"])
    source = learnt_from(Preparation(NODES), cohort.cases[:1], LABELS)
    fresh = Preparation(NODES)
    kept = as_learnt_before(fresh, source.nodes)
    assert learns(fresh) and not learns(kept) and kept.nodes == source.nodes
    assert learnt_from(kept, cohort.cases[1:], LABELS) is kept, "nothing is learnt of the new cohort"
    assert as_learnt_before(fresh, []).nodes == as_learnt_before(fresh, NODES).nodes == fresh.nodes
    given = Preparation([*NODES[:2], {**NODES[2], "mean": 1.0, "std": 2.0}])
    assert as_learnt_before(given, source.nodes).nodes[2] == given.nodes[2], "what is given stays"
