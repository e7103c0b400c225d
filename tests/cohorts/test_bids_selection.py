"""Which of several images of a session is taken, and how one is told to choose."""

from __future__ import annotations

import re

import pytest
from bids_names import scans, taken

from ankleseg.cohorts import load_cohort
from ankleseg.errors import CohortError


class TestSelection:
    @pytest.mark.parametrize(
        ("key", "values"),
        [
            ("run", "1 2"),
            ("echo", "1 2"),
            ("part", "mag phase"),
            ("ce", "gad none"),
            ("rec", "a b"),
            ("chunk", "01 02"),
        ],
    )
    def test_the_entity_that_differs_is_named_and_chosen(self, touch, key, values) -> None:
        names = {value: f"sub-01_{key}-{value}_T1w" if value != "none" else "sub-01_T1w" for value in values.split()}
        root = scans(touch, *names.values())
        shown = "|".join((f"{key} \\({', '.join(order)}\\)") for order in (list(names), list(names)[::-1]))
        with pytest.raises(CohortError, match=f"holds 2 T1w images.*; they differ in ({shown})") as caught:
            load_cohort(root, prefix="")
        setting = re.search(rf"by select\.{key}=(\w+)$", str(caught.value))
        assert setting is not None and taken(root, select={key: setting[1]}) == [names[setting[1]]]
        for value, name in names.items():
            assert taken(root, select={key: int(value) if value.isdecimal() else value}) == [name]

    def test_several_entities_are_chosen_together(self, touch) -> None:
        root = scans(touch, *(f"sub-01_echo-{e}_part-{p}_MEGRE" for e in (1, 2) for p in ("mag", "phase")))
        with pytest.raises(CohortError, match=r"by cohort\.select\.echo=1 cohort\.select\.part=mag$"):
            load_cohort(root)
        assert taken(root, select={"echo": 1, "part": "phase"}) == ["sub-01_echo-1_part-phase_MEGRE"]

    def test_contrasts_are_chosen_by_their_suffix(self, touch) -> None:
        root = scans(touch, "sub-01_T2w", "sub-01_PDw")
        with pytest.raises(
            CohortError, match=r"differ in contrast \(PDw, T2w\); choose one, e\.g\. by cohort\.suffix=PDw"
        ):
            load_cohort(root)

    def test_an_acquisition_may_be_a_number(self, touch) -> None:
        root = scans(touch, "sub-01_T1w", "sub-01_acq-1_T1w")
        assert taken(root, acquisition=1) == taken(root, select={"acquisition": "1"}) == ["sub-01_acq-1_T1w"]
        with pytest.raises(CohortError, match=r"acquisition=1 and select\.acq=2 contradict each other"):
            load_cohort(root, acquisition=1, select={"acq": 2})

    def test_what_is_not_there_is_answered_with_what_is(self, touch) -> None:
        root = scans(touch, "sub-01_run-1_T1w")
        with pytest.raises(
            CohortError, match=r"holds no run-3 T1w image, but .*take what is there by cohort\.select\.run=1,"
        ):
            load_cohort(root, select={"run": 3})

    def test_the_only_scan_needs_no_number_of_a_run(self, touch) -> None:
        root = scans(touch, "sub-01_T1w", "sub-02_run-1_T1w", "sub-02_run-2_T1w")
        assert taken(root, select={"run": 2}) == ["sub-01_T1w", "sub-02_run-2_T1w"]


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ("run-2", "invalid select=run-2: expected an entity and its value; e.g. cohort.select.run=2"),
        ({"run": [1, 2]}, "select.run is given several values; give one, e.g. cohort.select.run=2"),
        ({"run": 3}, "holds no run-3 T1w image, but sub-01_run-1_T1w.nii.gz"),
        ({"run": "none"}, "holds no T1w image without run, but sub-01_run-1_T1w.nii.gz"),
    ],
)
def test_what_select_cannot_mean_is_told(touch, select, said) -> None:
    root = scans(touch, "sub-01_run-1_T1w", "sub-01_run-2_T1w")
    with pytest.raises(CohortError) as caught:
        load_cohort(root, select=select)
    assert said in str(caught.value)
