"""A preparation learns of the training cohort, once, and what it learnt is in its configuration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ankleseg.cohorts import load_cohort
from ankleseg.data import learnt_from, prepared
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
