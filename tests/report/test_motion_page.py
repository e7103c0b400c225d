"""The pages of bones in motion load nothing from outside, escape what they are given, and hold what they mark."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ankleseg.measures.motion_groups import compare_groups
from ankleseg.report.motion import MotionCohort, MotionSequence, MotionSubject, PoseStatus, SubjectSummary
from ankleseg.report.motion_page import render_motion_cohort, render_motion_subject
from ankleseg.volumes import Finding, Verdict

VOID = {"meta", "link", "img", "br", "input"}
SHAPE, FRAMES = (5, 40, 36), 4
AFFINE = np.diag([8.0, 2.0, 2.0, 1.0])
MEASURES = ("dorsiflexion_deg", "inversion_deg", "internal_rotation_deg")


class Reader(HTMLParser):
    """Collects what a page loads or leads to, and tags that are closed in another order than they were opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.crossed: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.links += [
            (tag, value) for name, value in attrs if name in ("src", "href", "srcset", "data", "action", "xlink:href")
        ]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            self.crossed.append(tag)


def sequence(name: str = "sub-1_task-active", **change) -> MotionSequence:
    frames = np.random.default_rng(0).uniform(0, 100, (*SHAPE, FRAMES))
    masks = {bone: np.zeros(frames.shape, bool) for bone in ("calcaneus", "talus")}
    masks["calcaneus"][2, 4:14, 4:14] = True
    masks["talus"][2, 12:22, 18:28] = True
    foot = {bone: np.roll(mask, shift, axis=1) for (bone, mask), shift in zip(masks.items(), (1, 5), strict=True)}
    rows = [
        PoseStatus(frame, bone, "ok", 0.9 - 0.01 * frame, 1.0, 0.02, 0.03, 1.0, 2.0)
        for frame in range(FRAMES)
        for bone in ("global", "calcaneus", "talus")
    ]
    angles = [
        {"frame": k, "joint": "subtalar", **dict.fromkeys(MEASURES, float(k)), "status": "ok"} for k in range(FRAMES)
    ]
    ranges = [
        {"joint": "subtalar", "measure": measure, "least": 0.0, "greatest": 3.0, "range": 3.0, "frames": FRAMES}
        for measure in MEASURES
    ]
    return replace(MotionSequence(name, frames, AFFINE, masks, foot, rows, angles, ranges, 0.5), **change)


def subject(*sequences: MotionSequence, **change) -> MotionSubject:
    scan = np.random.default_rng(1).uniform(0, 100, SHAPE)
    masks = {bone: mask[..., 0] for bone, mask in sequence().masks.items()}
    findings = [Finding(Path("dyn/<a>.nii"), Verdict.SUSPECT, "has 14 <frames>", "look & see")]
    given = MotionSubject(
        "sub-1",
        "control",
        "left",
        [("Program", "<b>1</b>")],
        findings,
        scan,
        AFFINE,
        masks,
        sequences,
        "partly",
        "../r.html",
    )
    return replace(given, **change)


def with_row(index: int, **change) -> MotionSequence:
    rows = list(sequence().rows)
    rows[index] = replace(rows[index], **change)
    return sequence(rows=rows)


def script_data(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])


@pytest.fixture(scope="module")
def cohort() -> MotionCohort:
    people = [(f"sub-{group[0]}{n}", group) for group in ("control", "equinus") for n in range(3)]
    rows = [
        {
            **row,
            "subject": name,
            "group": group,
            "sequence": f"{name}_task-active",
            "range": 3.0 + n + 2 * (group > "d"),
        }
        for n, (name, group) in enumerate(people)
        for row in sequence().ranges
    ]
    angles = [
        {**row, "subject": name, "group": group, "sequence": f"{name}_task-active"}
        for name, group in people
        for row in sequence().angles
    ]
    subjects = [
        SubjectSummary(name, group, "left", "usable", "", {"ok": 9, "suspect": n, "failed": 1}, f"{name}/report.html")
        for n, (name, group) in enumerate(people)
    ]
    subjects.append(SubjectSummary("sub-<x>", "equinus", None, "excluded", "T1w.nii: <cut> short; copy it again"))
    return MotionCohort(
        "Ankles & more", subjects, [("Date", "2025")], angles, rows, {"task-active": compare_groups(rows)}
    )


def test_pages_are_well_formed_and_load_nothing_from_outside(cohort: MotionCohort):
    pages = (
        render_motion_subject(subject(sequence(), sequence("sub-1_task-passive"))),
        render_motion_subject(subject(static=None, verdict="excluded")),
        render_motion_cohort(cohort),
        render_motion_cohort(MotionCohort("empty", [])),
    )
    for html in pages:
        reader = Reader(html)
        assert html.startswith("<!DOCTYPE html>") and not reader.open and not reader.crossed
        led = [link for tag, link in reader.links if tag == "a"]
        assert all(link.startswith("data:") for tag, link in reader.links if tag != "a")
        assert all(re.fullmatch(r"#[\w-]+|[\w./-]+\.html", link) for link in led)
        assert not re.search(r"https?://|@import|url\(", html)
        assert "default-src 'none'" in html


def test_texts_are_escaped_in_markup_and_in_the_data_of_the_script():
    nasty = '</script><script>alert("x")</script>'
    html = render_motion_subject(subject(with_row(1, status="suspect", reason=nasty), name="sub-<1>"))
    assert nasty not in html and "<b>1</b>" not in html and "<frames>" not in html
    assert "has 14 &lt;frames&gt;" in html and "<title>sub-&lt;1&gt; in motion</title>" in html
    assert script_data(html)["sequences"][0]["rows"][1]["reason"] == nasty


def test_every_row_is_in_the_table_the_sheet_and_the_data():
    html = render_motion_subject(subject(sequence()))
    data = script_data(html)
    assert data["subject"] == "sub-1" and data["statuses"] == ["ok", "suspect", "failed"]
    rows = {(row["bone"], row["frame"]) for row in data["sequences"][0]["rows"]}
    assert len(rows) == 3 * FRAMES
    for tag in ("tr", r'button type="button" class="thumb[ a-z]*"'):
        found = re.findall(rf'<{tag} data-bone="(\w+)" data-frame="(\d+)"', html)
        assert {(bone, int(frame)) for bone, frame in found} == rows
    assert f"frame 1/{FRAMES}" in html


def test_a_person_s_word_keeps_what_the_program_said():
    html = render_motion_subject(subject(with_row(1, status="ok", judged="failed", note="seen")))
    row = script_data(html)["sequences"][0]["rows"][1]
    assert (row["status"], row["judged"], row["note"]) == ("ok", "failed", "seen")


def test_the_examples_are_the_surest_row_and_the_worst_one():
    html = render_motion_subject(subject(with_row(8, status="suspect", reason="leaps")))  # talus, frame 3 of 4
    good, bad = re.findall(
        r'data-bone="(\w+)" data-frame="(\d)" data-placed="(\w+)"></canvas>\n.*?<strong>(.*?)</', html
    )
    assert good[1:] == ("0", "own", "A good one.")
    assert bad == ("talus", "2", "own", "A bad one.")


def test_where_all_is_well_the_bad_example_is_the_bone_that_moved_most_against_the_foot():
    html = render_motion_subject(subject(sequence()))
    _, bad = re.findall(r'data-bone="(\w+)" data-frame="\d" data-placed="(\w+)"></canvas>', html)
    assert bad == ("talus", "foot")  # moved by five voxels, the calcaneus by one


def test_an_excluded_subject_has_a_page_that_says_why():
    html = render_motion_subject(subject(static=None, static_affine=None, verdict="excluded"))
    assert "No dynamic sequence of this subject could be used." in html
    assert "look &amp; see" in html and "<script" not in html


def test_the_cohort_page_counts_links_and_compares(cohort: MotionCohort):
    html = render_motion_cohort(cohort)
    assert '<a href="sub-c0/report.html">sub-c0</a>' in html and "7 subjects: 6 usable, 1 excluded." in html
    assert "sub-&lt;x&gt;" in html and "&lt;cut&gt; short" in html
    table = html[html.index("Bones on frames by status") :]
    totals = re.search(r"<td>all</td>(.*?)</tr>", table)[1]
    assert re.findall(r">([^<>]+)</td>", totals) == ["7", "54", "15", "6", "72.0 %"]
    one = cohort.differences["task-active"][0]
    assert f"{one.difference:.1f}" in html and f"{one.hedges_g:.2f}" in html
    assert html.count('class="band"') > 3 and "task-active: equinus against control" in html


def test_a_group_too_small_to_compare_is_shown_without_numbers(cohort: MotionCohort):
    few = [row for row in cohort.ranges if row["subject"] in ("sub-c0", "sub-e0")]
    html = render_motion_cohort(replace(cohort, differences={"task-active": compare_groups(few)}))
    assert "– to –" in html


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium to press keys in")
def test_rows_are_marked_by_keyboard_and_exported(tmp_path: Path):
    marked_before = with_row(1, status="ok", judged="suspect", note="seen")
    page = tmp_path / "page.html"
    press = """
    let table = "";
    URL.createObjectURL = blob => { blob.text().then(text => { table = text; }); return "data:,"; };
    HTMLAnchorElement.prototype.click = () => {};
    const ready = setInterval(() => {
      if (document.body.dataset.ready !== "true") return;
      clearInterval(ready);
      const section = document.getElementById("sequence-0"), told = [];
      const key = name => section.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true}));
      const text = selector => section.querySelector(selector).textContent;
      const say = () => told.push(text(".said") + " " + text("output"));
      section.querySelector('.thumb[data-bone="talus"][data-frame="3"]').click();
      key("f"); say();
      key("ArrowRight"); key("s"); say();
      const note = section.querySelector(".note");
      note.value = 'a "quoted"\\tnote';
      note.dispatchEvent(new Event("input", {bubbles: true}));
      key("ArrowUp"); key("f"); key("o"); say();
      document.getElementById("export").click();
      setTimeout(() => { document.body.textContent = told.join("|") + "§" + table; }, 200);
    }, 20);
    """
    html = render_motion_subject(subject(marked_before))
    page.write_text(html.replace("</main>", f"<script>{press}</script></main>"), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    run = subprocess.run(
        [*command, "--virtual-time-budget=5000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    told, table = re.search(r"<body[^>]*>(.*)§(.*)</body>", run.stdout, re.DOTALL).groups()
    assert told.split("|") == [
        "talus, frame 4 of 4: failed (the program said ok) frame 4/4",
        "talus, frame 1 of 4: suspect (the program said ok) frame 1/4",
        "calcaneus, frame 1 of 4: ok (the program said suspect) frame 1/4",
    ]
    assert [line.split("\t") for line in table.rstrip("\n").split("\n")] == [
        ["subject", "sequence", "frame", "bone", "status", "note"],
        ["sub-1", "sub-1_task-active", "0", "calcaneus", "ok", "seen"],
        ["sub-1", "sub-1_task-active", "0", "talus", "suspect", "a 'quoted' note"],
        ["sub-1", "sub-1_task-active", "3", "talus", "failed", ""],
    ]
