"""A whole cohort in motion: subjects one after the other, in several processes, or on a dask cluster."""

from __future__ import annotations

import json
import logging
import multiprocessing
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

from ankleseg import __version__
from ankleseg.cohorts import Case, Cohort, load_cohort
from ankleseg.cohorts.names import known_name
from ankleseg.errors import ConfigError
from ankleseg.files import replace_file
from ankleseg.motion.cleaning.cohort import spare_data, write_descriptions, write_rows
from ankleseg.motion.files import QUALITY, write_table
from ankleseg.motion.overrule import TABLE, Overrules, read_overrules, without_registration
from ankleseg.motion.plain import plain_settings
from ankleseg.motion.result import SubjectResult
from ankleseg.motion.settings import MotionSettings
from ankleseg.motion.subject import process_subject

log = logging.getLogger(__name__)


def prepare_motion_cohort(
    cohort: Cohort | str | Path,
    out: str | Path,
    settings: MotionSettings | None = None,
    *,
    subjects: Sequence[str] | None = None,
    bones: Sequence[str] | None = None,
    workers: int = 1,
    dask: str | None = None,
) -> list[SubjectResult]:
    """Clean a cohort, follow the bones of every subject through every sequence, and write tables and reports.

    Subjects that are whole already are taken as they are. The result does not depend on how the work was shared.

    Args:
        cohort: loaded with ``strict=False``, or where it is.
        out: folder of the derivative.
        settings: of the application; None takes the defaults.
        subjects: only these.
        bones: only these; None takes those of the settings.
        workers: subjects done at once, each in a process of its own.
        dask: address of a dask scheduler that shares the work instead.

    Returns:
        A result a subject, in the order of the cohort.

    Raises:
        ConfigError: no worker, dask is not installed, or results would replace scans (see `spare_data`).
        CohortError: an unknown subject or bone, or an ``overrule.tsv`` that cannot be understood.
    """
    settings = settings or MotionSettings()
    if not isinstance(cohort, Cohort):
        cohort = load_cohort(cohort, strict=False)
    if subjects is not None:
        cohort = cohort.select(subjects)
    if bones is not None:
        known = cohort.structures or settings.cleaning.bones
        bones = [known_name(bone, known, "bone", cohort.root) for bone in bones]
        settings = replace(settings, cleaning=replace(settings.cleaning, bones=tuple(bones)))
    if workers < 1:
        raise ConfigError(f"invalid number of workers {workers}: expected at least 1")
    out = Path(out)
    spare_data(cohort, out)
    out.mkdir(parents=True, exist_ok=True)
    overrules = read_overrules(out)
    write_descriptions(cohort, out)
    found: dict[str, SubjectResult] = {}
    for result in _progress(_work(cohort.cases, out, settings, overrules, workers, dask), len(cohort.cases)):
        found[result.case] = result
    results = [found[case.name] for case in cohort.cases]
    write_cohort_tables(cohort, out, settings, results)
    rows = [row for result in results for row in result.quality]
    done = {row["sequence"] for row in rows}
    for sequence, frame, bone in without_registration(overrules, rows):
        if (subjects is None or sequence in done) and (bones is None or bone in bones):
            log.warning("%s: %s has no %s on frame %d; the row is ignored", out / TABLE, sequence, bone, frame)
    return results


def describe(results: Sequence[SubjectResult]) -> str:
    """Return a line a subject, one for each thing found in its files, and one for all bones and frames."""
    lines = []
    for result in results:
        counts = Counter(row["status"] for row in result.quality)
        told = ", ".join(f"{counts[status]} {status}" for status in ("ok", "suspect", "failed") if counts[status])
        lines.append("  ".join(part for part in (result.name, result.status, told, result.problem) if part))
        if not result.problem:
            lines += [
                f"    {row['verdict']}: {Path(row['file']).name}: {row['problem']}"
                + (f"; {row['mend']}" if row["mend"] else "")
                for row in result.cleaning
                if row["problem"]
            ]
    total = Counter(row["status"] for result in results for row in result.quality)
    bones = sum(total.values())
    lines.append(f"{bones} bones on frames: {total['ok']} ok, {total['suspect']} suspect, {total['failed']} failed")
    return "\n".join(lines)


def write_cohort_tables(cohort: Cohort, out: Path, settings: MotionSettings, results: Sequence[SubjectResult]) -> None:
    """Write ``cleaning.tsv``, ``status.tsv``, ``manifest.json`` and ``report.html``."""
    from ankleseg.motion.page import cohort_page

    write_rows([row for result in results for row in result.cleaning], out)
    write_table(out / "status.tsv", [row for result in results for row in result.quality], QUALITY)
    manifest: dict[str, Any] = {
        "ankleseg": __version__,
        "python": platform.python_version(),
        "cohort": str(cohort.root.resolve()),
        "settings": plain_settings(settings),
        "subjects": {result.name: {"status": result.status, "problem": result.problem} for result in results},
    }
    with replace_file(out / "manifest.json") as part:
        part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    page = cohort_page(f"Bones in motion: {cohort.root.resolve().name}", results, settings)
    with replace_file(out / "report.html") as part:
        part.write_text(page, encoding="utf-8")


def _work(
    cases: Sequence[Case], out: Path, settings: MotionSettings, overrules: Overrules, workers: int, dask: str | None
) -> Iterator[SubjectResult]:
    if dask is not None:
        yield from _by_dask(cases, out, settings, overrules, dask)
    elif workers == 1:
        for case in cases:
            yield process_subject(case, out, settings, overrules)
    else:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            tasks = [pool.submit(process_subject, case, out, settings, overrules) for case in cases]
            try:
                for task in as_completed(tasks):
                    yield task.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _by_dask(
    cases: Sequence[Case], out: Path, settings: MotionSettings, overrules: Overrules, address: str
) -> Iterator[SubjectResult]:
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise ConfigError("dask is not installed", mend="pip install 'ankleseg[cluster]'") from None
    with Client(address, timeout="30s") as client:
        # Subjects are never repeated by the scheduler: the folder of a subject belongs to one process.
        tasks = [
            client.submit(process_subject, case, out.resolve(), settings, overrules, pure=False, retries=0)
            for case in cases
        ]
        for task in as_completed(tasks):
            yield task.result()


def _progress(results: Iterator[SubjectResult], count: int) -> Iterator[SubjectResult]:
    from tqdm import tqdm

    with tqdm(total=count, desc="following bones", unit="subject") as bar:
        for result in results:
            bar.set_postfix_str(result.name)
            bar.update()
            yield result


def prepared_in_motion(cohort: str | Path, out: str | Path) -> Path:
    """Prepare the sequences of a cohort, unless they are, and return the folder: what a training on frames starts from.

    Args:
        cohort: folder of static scans with masks and dynamic sequences.
        out: folder of the prepared sequences.

    Raises:
        AnklesegError: as in `prepare_motion_cohort`.
    """
    prepare_motion_cohort(cohort, out, MotionSettings(highres=False))
    return Path(out)
