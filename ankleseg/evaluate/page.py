"""What the report of an evaluation shows, worst cases first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ankleseg.cohorts import Case
from ankleseg.cohorts.names import counted
from ankleseg.evaluate.evaluation import Evaluation
from ankleseg.evaluate.page_facts import checkpoint_facts, versions
from ankleseg.evaluate.page_facts import without_folders as _without_folders
from ankleseg.evaluate.predictions import PredictedCase, Predictions
from ankleseg.evaluate.scores import SCORED, Score, read_pair
from ankleseg.evaluate.tables import DESCRIBED, NO_GROUP, compare_protocols, summarise
from ankleseg.report import (
    CaseBlock,
    Column,
    Page,
    Picture,
    Section,
    Table,
    agreement,
    distribution,
    mosaic,
)
from ankleseg.volumes import Volume, read_volume, same_grid, without_selection
from ankleseg.volumes.files import read_frame

MOSAIC_CASES = 24  # the worst ones; every case is in the tables
FLAIR = ("flair", "t2f")  # shows most of a tumour
BAD = 0.8  # Dice below which a prediction should have been called suspect
NAMED = 8  # of the cases that were not predicted
NOT_THE_PREDICTION = ("no reference",)  # says nothing about how well a case was predicted

READING = (
    "Dice, IoU, precision and recall compare voxels: 1 is perfect, 0 means that nothing is shared. HD95 is the larger "
    "of the two directed 95th percentiles of the distances between the surfaces, ASSD their mean over both surfaces, "
    "both in mm.",
    "A structure that is in the reference but was not predicted (missed), or that was predicted but is not in the "
    "reference (invented), counts with Dice 0 and with the diagonal of the image as its distance. Where both are empty "
    "no measure applies; such cases are counted, and in no mean. Cases that could not be scored are counted beside the "
    "means too.",
    "In the pictures the filled area is the prediction and the line is the reference: fill outside the line is too "
    "much, an empty line is too little. The number in a slice is its voxel index in the file, from 0.",
)


def build_page(
    evaluation: Evaluation,
    *,
    title: str = "Segmentation report",
    first: Sequence[Section] = (),
    last: Sequence[Section] = (),
) -> Page:
    """Put together the page: summary, protocols, figures, cases from the worst to the best, and the full table.

    Args:
        evaluation: what was found.
        title: of the page.
        first: sections in the place of summary and protocols.
        last: sections at the end.
    """
    order = worst_first(evaluation)
    sections = list(first)
    if not sections:
        notes = [*unscored_notes(evaluation), *confidence_notes(evaluation.scores)]
        sections.append(Section("Summary", notes, [_summary_table(evaluation)]))
        if evaluation.protocol_scores:
            sections.append(_protocol_section(evaluation))
    figures = _figures(evaluation.scores)
    if figures:
        sections.append(Section("Distribution and volumes", (), figures))
    sections.append(Section("How to read it", READING))
    shown = f"The {MOSAIC_CASES} worst of {len(order)} cases are shown." if len(order) > MOSAIC_CASES else ""
    blocks = _case_blocks(evaluation, order[:MOSAIC_CASES])
    sections.append(Section("Cases, worst first", (shown,) if shown else (), blocks))
    sections.append(Section("All scores", ("Click on a heading to sort.",), [_full_table(evaluation.scores)]))
    count = f"{len(order)} case" + ("" if len(order) == 1 else "s")
    lead = f"{', '.join(evaluation.structures)} in {count} of {evaluation.references.root.name}"
    return Page(title, lead, _facts(evaluation), [*sections, *last])


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    folders = {name: folder.folder.resolve().name for name, folder in evaluation.protocols.items()}
    predictions = [name if name == folder else f"{name} (folder {folder})" for name, folder in folders.items()]
    by_name = {name: _protocol(folder) for name, folder in evaluation.protocols.items()}
    same = len(set(by_name.values())) == 1
    named = by_name.values() if same else [f"{name}: {said}" for name, said in by_name.items()]
    return [
        ("Date", evaluation.date),
        ("Predictions", ", ".join(predictions)),
        ("References", evaluation.references.root.name),
        ("Protocol", ", ".join(dict.fromkeys(named))),
        *_checkpoints(evaluation),
        ("Versions", versions("numpy", "scipy")),
    ]


def _protocol(folder: Predictions) -> str:
    return f"{folder.mode} of {' × '.join(map(str, folder.window))}" if folder.window else folder.mode


def _checkpoints(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Those of each of the predictions, under its name where they differ."""
    facts = {name: checkpoint_facts(folder.checkpoints) for name, folder in evaluation.protocols.items()}
    if all(found == facts[next(iter(facts))] for found in facts.values()):
        return facts[next(iter(facts))]
    return [(f"{heading} of {name}", said) for name, found in facts.items() for heading, said in found]


def unscored_notes(evaluation: Evaluation) -> list[str]:
    """Say what of the main predictions could not be scored, and which cases were not predicted."""
    notes = []
    statuses = [row.status for row in evaluation.scores]
    unscored = {name: statuses.count(name) for name in dict.fromkeys(statuses) if name != SCORED}
    if unscored:
        said = ", ".join(f"{count} {name}" for name, count in unscored.items())
        notes.append(f"{sum(unscored.values())} of {len(statuses)} rows could not be scored: {said}.")
    if evaluation.not_predicted:
        count, names = len(evaluation.not_predicted), ", ".join(evaluation.not_predicted[:NAMED])
        names += f" and {count - NAMED} more" if count > NAMED else ""
        notes.append(f"The references hold {count} more cases that were not predicted: {names}.")
    return notes


def confidence_notes(scores: Sequence[Score]) -> list[str]:
    """Say how many structures the predictions themselves called suspect or failed, bad ones and others."""
    known = [row for row in scores if row.confidence and row.dice is not None]
    if not known:
        return []
    bad = [row for row in known if (row.dice or 0.0) < BAD]
    called = {True: 0, False: 0}
    for row in known:
        called[row in bad] += row.confidence != "ok"
    return [
        f"Confidence, which knows no reference: of {counted(len(bad), 'structure')} with a Dice below {BAD:g} it "
        f"called {called[True]} suspect or failed, of the {len(known) - len(bad)} others {called[False]}."
    ]


def _summary_table(evaluation: Evaluation) -> Table:
    columns = [
        Column("group"),
        Column("structure"),
        *(Column(name, 3, band="Dice") for name in ("mean", "SD", "median", "min", "max")),
        Column("HD95 mm", 2, "larger of the two directed 95th percentiles", "mean"),
        Column("ASSD mm", 2, "average symmetric surface distance", "mean"),
        Column("volume error %", 1, "predicted minus reference, in per cent of the reference", "mean"),
        Column("scored", None, "with a prediction and a reference", "cases"),
        Column("missed", None, "only the reference has voxels: Dice 0", "cases"),
        Column("invented", None, "only the prediction has voxels: Dice 0", "cases"),
        Column("both empty", None, "not applicable, in no mean", "cases"),
        Column("not scored", None, "failed, missing, unreadable or on another grid: in no mean", "cases"),
    ]
    rows = [
        (
            entry["group"],
            entry["structure"],
            *(entry["dice"][name] for name in DESCRIBED),
            entry["hd95_mm"]["mean"],
            entry["assd_mm"]["mean"],
            entry["volume_error_percent"]["mean"],
            entry["scored"],
            entry["missed"],
            entry["invented"],
            entry["both_empty"],
            entry["not_scored"],
        )
        for entry in summarise(evaluation.scores)
    ]
    return Table(columns, rows)


def _protocol_section(evaluation: Evaluation) -> Section:
    """The protocols side by side: a row a group and structure, a band of columns a protocol."""
    table = compare_protocols(evaluation.protocol_scores)
    columns = [Column("group"), Column("structure")]
    for entry in {entry["protocol"]: entry for entry in table}.values():
        band = f"{entry['protocol']}: one Dice a {entry['unit']}"
        columns += [
            Column("mean ± SD", None, "not applicable where prediction and reference are both empty", band),
            Column("min–max", None, "", band),
            Column("n", None, "Dice values in the mean, of all that could be there", band),
            Column("zeros", None, "missed or invented, in the mean with Dice 0", band),
        ]
    rows: dict[tuple[str, str], list[str | int]] = {}
    for entry in table:
        rows.setdefault((entry["group"], entry["structure"]), []).extend(_protocol_cells(entry))
    said = (
        "Tiles and slices give one Dice for the whole volume. Patches give one Dice for every single patch; their mean "
        "and standard deviation are over patches, and leave out whatever lies outside the patches."
    )
    missing: dict[str, dict[str, None]] = {}  # what was not scored → by which protocols
    for row in evaluation.protocol_scores:
        if row.status != SCORED:
            missing.setdefault(f"{row.case} ({row.status})", {})[row.protocol] = None
    notes = [f"Not scored and in no mean of {', '.join(protocols)}: {case}." for case, protocols in missing.items()]
    return Section("Protocols", (said, *notes), [Table(columns, [(*key, *cells) for key, cells in rows.items()])])


def _protocol_cells(entry: Mapping[str, Any]) -> list[str | int]:
    if entry["n"]:
        spread = "" if entry["dice_std"] is None else f" ± {entry['dice_std']:.3f}"
        shown = [f"{entry['dice_mean']:.3f}{spread}", f"{entry['dice_min']:.3f}–{entry['dice_max']:.3f}"]
    else:
        shown = ["–", "–"]
    count = f"{entry['n']} of {entry['n'] + entry['not_applicable']}"
    return [*shown, count, entry["missed"] + entry["invented"]]


def _figures(scores: Sequence[Score]) -> list[Picture]:
    scored = [row for row in scores if row.dice is not None]
    if not scored:
        return []
    structure = [row.structure for row in scored]
    unnamed = NO_GROUP if any(row.group for row in scored) else "all cases"
    group = [row.group or unnamed for row in scored]
    dice = distribution(structure, group, [row.dice or 0.0 for row in scored], label="Dice")
    volumes = agreement(
        structure, group, [row.reference_ml or 0.0 for row in scored], [row.volume_ml or 0.0 for row in scored]
    )
    return [
        Picture(
            dice, "Dice of every case by structure and group", "Dice of every case; line: median, band: quartiles."
        ),
        Picture(
            volumes,
            "Predicted against reference volumes",
            "Left: predicted against reference volume, with the line of identity. Right: their difference in per cent "
            "of their mean, with the mean difference and the limits of agreement (Bland and Altman 1986); missed and "
            "invented structures have no agreement and are on the left only.",
        ),
    ]


def worst_first(evaluation: Evaluation) -> list[str]:
    """Names of the cases: those that could not be scored, then by their lowest Dice, then those without any."""
    rows_of: dict[str, list[Score]] = {}
    for row in evaluation.scores:
        rows_of.setdefault(row.case, []).append(row)

    def badness(name: str) -> tuple[int, float]:
        rows = rows_of[name]
        if any(row.status not in (SCORED, *NOT_THE_PREDICTION) for row in rows):
            return 0, 0.0
        known = [row.dice for row in rows if row.dice is not None]
        return (1, min(known)) if known else (2, 0.0)

    return sorted(rows_of, key=badness)


def _case_blocks(evaluation: Evaluation, names: Sequence[str]) -> list[CaseBlock]:
    main = evaluation.main
    predicted = {case.name: case for case in main.cases}
    cases = {case.name: case for case in evaluation.references.cases}
    blocks = []
    for name in tqdm(names, desc="drawing cases", unit="case"):
        rows = [row for row in evaluation.scores if row.case == name]
        problems = list(dict.fromkeys(row.status for row in rows if row.status != SCORED))
        findings = list(dict.fromkeys(row.finding for row in rows if row.finding in ("missed", "invented")))
        blocks.append(
            CaseBlock(
                name=name,
                kind=", ".join(str(part) for part in (rows[0].group, rows[0].side) if part),
                status=", ".join([*problems, *findings]) or "scored",
                good=not (problems or findings),
                message=" · ".join(dict.fromkeys(_without_folders(row.message) for row in rows if row.message)),
                picture=_picture(predicted.get(name), cases.get(name), evaluation),
                table=_case_table(rows),
            )
        )
    return blocks


def _picture(predicted: PredictedCase | None, case: Case | None, evaluation: Evaluation) -> Picture | None:
    """The mosaic of a case, or None where there is no predicted mask to show."""
    if predicted is None:
        return None
    pairs = {name: read_pair(predicted, case, name, resampled=evaluation.resampled) for name in evaluation.structures}
    volumes = {name: pair.prediction for name, pair in pairs.items() if pair.prediction is not None}
    if not volumes:
        return None
    first = next(iter(volumes.values()))
    prediction = {name: mask.data for name, mask in volumes.items() if alike(mask, first)}
    references = {name: pair.reference for name, pair in pairs.items() if pair.reference is not None}
    reference = {name: mask.data for name, mask in references.items() if alike(mask, first)}
    channel, image = image_of(predicted, case, first)
    png = mosaic(image, prediction, reference, first.affine)
    caption = f"Channel: {channel}." if channel else ""
    if image is None:
        caption = "The scan could not be shown: missing, unreadable or on another grid."
    return Picture(png, f"Slices of {predicted.name} with prediction and reference", caption)


def _shown_channel(case: Case | None, predicted: PredictedCase) -> tuple[str, Path | None]:
    """Name and file of the channel to draw: FLAIR, else the last one; no name where a case has one channel only."""
    channels = {name: path for name, path in case.channels.items() if without_selection(path).exists()} if case else {}
    if not channels:
        return "", predicted.image
    name = next((name for name in channels if name.casefold() in FLAIR), list(channels)[-1])
    return name if case and len(case.channels) > 1 else "", channels[name]


def image_of(predicted: PredictedCase, case: Case | None, mask: Volume) -> tuple[str, np.ndarray | None]:
    """The scan to draw a mask on: the name of its channel where there are several, and the scan, None where it is
    missing, unreadable or on another grid."""
    channel, path = _shown_channel(case, predicted)
    frame = case.frame_in_files if case else None
    try:
        if path is None or not without_selection(path).exists():
            return channel, None
        volume = read_volume(path) if frame is None else read_frame(path, frame)
    except Exception:  # the score of the case says why
        return channel, None
    return channel, volume.data if alike(volume, mask) else None


def alike(one: Volume, other: Volume) -> bool:
    """Whether two volumes lie on one grid."""
    return same_grid(one.data.shape, one.affine, other.data.shape, other.affine)


SCORE_COLUMNS: dict[str, Column] = {
    "dice": Column("Dice", 3),
    "iou": Column("IoU", 3),
    "precision": Column("precision", 3),
    "recall": Column("recall", 3),
    "hd95_mm": Column("HD95 mm", 2),
    "assd_mm": Column("ASSD mm", 2),
    "volume_ml": Column("volume ml", 2),
    "reference_ml": Column("reference ml", 2),
    "volume_error_percent": Column("volume error %", 1),
}


CONFIDENCE_COLUMNS = (
    Column("confidence", None, "what the prediction said of itself"),
    Column("estimated Dice", 2, "by the prediction itself, without the reference"),
    Column("reason"),
)


def _case_table(rows: Sequence[Score]) -> Table:
    more = confidence_columns(rows)
    columns = [Column("structure"), Column("result"), *SCORE_COLUMNS.values(), *more]
    return Table(columns, [(row.structure, _result(row), *_numbers(row), *_confidence(row, more)) for row in rows])


def _full_table(rows: Sequence[Score]) -> Table:
    more = confidence_columns(rows)
    columns = [Column(name) for name in ("case", "group", "side", "structure", "result")]
    cells = [
        (row.case, row.group, row.side, row.structure, _result(row), *_numbers(row), *_confidence(row, more))
        for row in rows
    ]
    return Table([*columns, *SCORE_COLUMNS.values(), *more], cells, sortable=True)


def confidence_columns(rows: Sequence[Score]) -> tuple[Column, ...]:
    """Columns of what predictions say of themselves, none where they say nothing."""
    return CONFIDENCE_COLUMNS if any(row.confidence for row in rows) else ()


def _confidence(row: Score, columns: Sequence[Column]) -> tuple[Any, ...]:
    return (row.confidence or None, row.estimated_dice, row.confidence_reason) if columns else ()


def _result(row: Score) -> str:
    return row.finding if row.status == SCORED else row.status


def _numbers(row: Score) -> list[Any]:
    return [getattr(row, name) for name in SCORE_COLUMNS]
