"""Evaluate one or several prediction folders, and write what came out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from ankleseg import __version__
from ankleseg.cohorts import Case, Cohort, is_dynamic, load_dynamic
from ankleseg.cohorts.names import listed
from ankleseg.errors import AnklesegError, ConfigError
from ankleseg.evaluate.evaluation import Evaluation
from ankleseg.evaluate.predictions import (
    PredictedCase,
    Predictions,
    case_named,
    find_protocols,
    input_suffix,
    read_predictions,
)
from ankleseg.evaluate.references import load_references
from ankleseg.evaluate.scores import FINDINGS, SCORED, MaskPair, Score, patch_overlaps, read_pair, score
from ankleseg.evaluate.tables import (
    PROTOCOL_COLUMNS,
    ProtocolScore,
    compare_protocols,
    score_columns,
    summarise,
    write_csv,
    write_json,
)
from ankleseg.files import replace_file

log = logging.getLogger(__name__)
T = TypeVar("T")

RESULTS = ("metrics.csv", "metrics.json", "protocols.csv", "report.html")
DEFINITIONS = {
    "dice": "2|P∩R| / (|P|+|R|); 0 when exactly one of the masks is empty; not applicable when both are",
    "hd95_mm": "the larger of the two directed 95th percentiles of the distances between the surfaces; the diagonal of "
    "the image when exactly one of the masks is empty",
    "assd_mm": "the mean distance over the voxels of both surfaces; the same diagonal",
    "std": "of the sample (divided by n - 1)",
}


def evaluate(
    predictions: str | Path | Mapping[str, str | Path],
    references: str | Path | Cohort,
    out: str | Path,
    *,
    structures: Sequence[str] | None = None,
    resampled: bool = False,
    suffix: str | Sequence[str] | None = None,
    acquisition: str | int | None = None,
    select: Mapping[str, object] | None = None,
    date: str | None = None,
) -> Evaluation:
    """Score predictions against references, and write tables and a report.

    These are ``metrics.csv``, ``metrics.json``, ``protocols.csv`` and ``report.html``. A case that cannot be scored
    gets a row that says why, and the others go on. Results of an earlier evaluation in ``out`` are removed first, so
    that none is taken for the new one.

    Args:
        predictions: a folder written by ``ankleseg.predict``, several by name to be compared, or a folder with the
            sub-folders ``tiles``, ``slices``, ``patches``. The first is the main one, which all tables but that of the
            protocols describe.
        references: a cohort or where it is (see `load_cohort`); a folder of registered sequences is one of frames (see
            `load_dynamic`).
        out: folder that receives the results.
        structures: those to score; None takes all that the main predictions hold.
        resampled: bring predicted masks on other grids to those of the references, instead of not scoring them.
        suffix: of the images in a BIDS folder of references with several, such as ``T2w``; None takes that of the
            inputs.
        acquisition, select: further choices among them, see `load_cohort`.
        date: printed on the report; None takes the present minute.

    Raises:
        AnklesegError: the predictions or the cohort cannot be read, or a structure is unknown.
    """
    evaluation = opened(
        {name: read_predictions(folder) for name, folder in find_protocols(predictions).items()},
        references,
        out,
        structures=structures,
        resampled=resampled,
        suffix=suffix,
        acquisition=acquisition,
        select=select,
        date=date,
    )
    scores, compared = _scored(emptied(evaluation, RESULTS))
    evaluation = replace(evaluation, scores=tuple(scores), protocol_scores=tuple(compared))
    _write(evaluation)
    return evaluation


def opened(
    protocols: Mapping[str, Predictions],
    references: str | Path | Cohort,
    out: str | Path,
    *,
    structures: Sequence[str] | None = None,
    resampled: bool = False,
    suffix: str | Sequence[str] | None = None,
    acquisition: str | int | None = None,
    select: Mapping[str, object] | None = None,
    date: str | None = None,
) -> Evaluation:
    """Match predictions with references, and log what has no partner; nothing is scored yet. See `evaluate`."""
    suffix = suffix or input_suffix(next(iter(protocols.values())))
    cohort = _dynamic(references) or load_references(references, suffix, acquisition, select)
    protocols = {name: _named_as(cohort, folder) for name, folder in protocols.items()}
    main = next(iter(protocols.values()))
    chosen = _chosen(structures, main, cohort)
    for remark in [*_unmatched(main, cohort, chosen), *_other_images(main, cohort)]:
        log.warning(remark)
    asked = {predicted.name for predicted in _asked(main, cohort)}
    return Evaluation(
        out=Path(out),
        references=cohort,
        protocols=protocols,
        structures=chosen,
        scores=(),
        protocol_scores=(),
        not_predicted=tuple(name for name in _usable(cohort) if name not in asked),
        date=date or time.strftime("%Y-%m-%d %H:%M"),
        resampled=resampled,
    )


def asked_cases(evaluation: Evaluation, name: str) -> Iterator[tuple[PredictedCase, Case | None]]:
    """Each case to score of one of the predictions, with its reference, under a progress bar."""
    cases = {case.name: case for case in evaluation.references.cases}
    with tqdm(_asked(evaluation.protocols[name], evaluation.references), unit="case") as bar:
        for predicted in bar:
            bar.set_description(f"scoring {name}: {predicted.name}")
            yield predicted, cases.get(predicted.name)


def emptied(evaluation: Evaluation, results: Iterable[str]) -> Evaluation:
    """Remove the results of an earlier evaluation, so that none is taken for the new one."""
    for name in results:
        (evaluation.out / name).unlink(missing_ok=True)
    return evaluation


def scored_cases(
    evaluation: Evaluation, score: Callable[[str, PredictedCase, Case | None], T]
) -> tuple[list[T], list[T]]:
    """What ``score`` says of each case of each of the predictions: of the main ones, and of all."""
    found = [
        (name, score(name, predicted, case))
        for name in evaluation.protocols
        for predicted, case in asked_cases(evaluation, name)
    ]
    main = next(iter(evaluation.protocols))
    return [said for name, said in found if name == main], [said for _, said in found]


def _scored(evaluation: Evaluation) -> tuple[list[Score], list[ProtocolScore]]:
    """The scores of the main predictions, which are the first, and those that compare the protocols."""
    scores: list[Score] = []
    compared: list[ProtocolScore] = []
    main = evaluation.main
    for name, folder in evaluation.protocols.items():
        for predicted, case in asked_cases(evaluation, name):
            for structure in evaluation.structures:
                pair = read_pair(predicted, case, structure, resampled=evaluation.resampled)
                row = score(pair, predicted, case, structure, surfaces=folder is main)
                compared.append(_protocol_score(name, folder.mode, row, pair, predicted))
                if folder is main:
                    scores.append(row)
    return scores, compared


def _dynamic(references: str | Path | Cohort) -> Cohort | None:
    """The frames and static scans of a folder of registered sequences, None where it is another cohort."""
    if isinstance(references, Cohort) or not is_dynamic(references):
        return None
    return load_dynamic(references, with_static=True)


def _named_as(cohort: Cohort, folder: Predictions) -> Predictions:
    """Give predicted cases that are named after the image of a reference the name of its case."""
    names = {case.name for case in folder.cases}
    found = [(predicted, case_named(predicted.name, cohort)) for predicted in folder.cases]
    cases = [
        predicted if case is None or case.name in names else replace(predicted, name=case.name)
        for predicted, case in found
    ]
    return replace(folder, cases=tuple(cases))


def _chosen(structures: Sequence[str] | None, main: Predictions, cohort: Cohort) -> tuple[str, ...]:
    """The structures to score: of files of another tool only those that the references have, if they have any."""
    shared = tuple(name for name in main.structures if main.complete or name in cohort.structures)
    chosen = tuple(structures or shared or main.structures)
    unknown = [name for name in chosen if name not in main.structures]
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)} was not predicted",
            file=main.folder,
            mend=f"choose among {', '.join(main.structures)}",
        )
    return chosen


def _unmatched(main: Predictions, cohort: Cohort, structures: Sequence[str]) -> list[str]:
    """What was predicted and cannot be compared, because the references have no case or structure of that name."""
    known = [case.name for case in cohort.cases]
    names = [case.name for case in main.cases if case.name not in known]
    others = [name for name in main.structures if name not in structures and name not in cohort.structures]
    remarks = []
    if names:
        remarks.append(
            f"{main.folder}: the references have no case {listed(names)}; name predictions as their cases, "
            f"which are {listed(known)}"
        )
    if others:
        remarks.append(f"{main.folder}: the references have no structure {listed(others)}: not scored; add its masks")
    return remarks


def _other_images(main: Predictions, cohort: Cohort) -> list[str]:
    """What was predicted from another image of a BIDS session than the one whose masks it is compared with."""
    others = []
    for predicted in main.cases:
        case = case_named(predicted.name, cohort)
        if case and case.images and predicted.image and predicted.image.name.startswith("sub-"):
            images = [image.name for image in case.images]
            if images[0].startswith("sub-") and predicted.image.name not in images:
                others.append(f"{predicted.image.name} with {images[0]}")
    if not others:
        return []
    return [f"{main.folder}: compares {listed(others)}; choose by suffix and select if that is not meant"]


def _asked(predictions: Predictions, references: Cohort) -> list[PredictedCase]:
    """Cases to score: those listed; a folder without a list was asked for every case of the references."""
    cases = list(predictions.cases)
    if not predictions.complete:
        known = {case.name for case in cases}
        cases += [PredictedCase(name, {}) for name in _usable(references) if name not in known]
    return cases


def _usable(references: Cohort) -> list[str]:
    return [case.name for case in references.cases if case.problem is None or case.references]


def _protocol_score(name: str, mode: str, row: Score, pair: MaskPair, predicted: PredictedCase) -> ProtocolScore:
    """What a protocol makes of a row: its Dice, or the Dice inside every patch."""
    plain = ProtocolScore(name, mode, row.case, row.structure, row.group, row.status, row.message)
    if row.status != SCORED:
        return plain
    if mode != "patches":
        return replace(plain, dice=(row.dice,), findings=(row.finding,))
    try:
        inside = patch_overlaps(pair, predicted.patches)
    except AnklesegError as error:
        return replace(plain, status="unreadable", message=str(error))
    dice, findings = (shared.dice for shared in inside), (FINDINGS[shared.status] for shared in inside)
    return replace(plain, dice=tuple(dice), findings=tuple(findings))


def about(evaluation: Evaluation) -> dict[str, Any]:
    """What a JSON file of results begins with."""
    return {
        "ankleseg": __version__,
        "date": evaluation.date,
        "predictions": {name: folder.folder.resolve().name for name, folder in evaluation.protocols.items()},
        "references": evaluation.references.root.name,
    }


def _write(evaluation: Evaluation) -> None:
    from ankleseg.report import render_page

    rows, protocols = evaluation.rows, compare_protocols(evaluation.protocol_scores)
    write_csv(evaluation.out / "metrics.csv", rows, score_columns())
    write_csv(evaluation.out / "protocols.csv", protocols, PROTOCOL_COLUMNS)
    write_json(
        evaluation.out / "metrics.json",
        {
            **about(evaluation),
            "structures": evaluation.structures,
            "definitions": DEFINITIONS,
            "rows": rows,
            "summary": summarise(evaluation.scores),
            "protocols": protocols,
            "protocol_problems": [
                {name: getattr(row, name) for name in ("protocol", "case", "structure", "status", "message")}
                for row in evaluation.protocol_scores
                if row.status != SCORED
            ],
            "not_predicted": evaluation.not_predicted,
        },
    )
    from ankleseg.evaluate.page import build_page

    page = render_page(build_page(evaluation))
    with replace_file(evaluation.out / "report.html") as part:
        part.write_text(page, encoding="utf-8")
