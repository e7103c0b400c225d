"""Checking a cohort and writing its prepared cases; a case that cannot be used does not stop the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg import __version__, keys
from ankleseg.cohorts import Case, Cohort, spare_inputs
from ankleseg.cohorts.prepared import MANIFEST
from ankleseg.config import require_folder
from ankleseg.data.reading import prepared
from ankleseg.data.tables import write_csv
from ankleseg.errors import AnklesegError, told
from ankleseg.files import replace_file
from ankleseg.labels import Labels
from ankleseg.transforms import Preparation
from ankleseg.transforms.metadata import affine_of
from ankleseg.transforms.mirror_to_side import is_mirrored
from ankleseg.volumes import Verdict, check_case, told_in_a_table, without_selection, write_volume

COLUMNS = ("case", "file", "verdict", "problem", "mend", "status")
USABLE, REFUSED = "prepared", "failed"
RESULTS = ("prepared", "channel-*_prepared", "foreground", "labels", "label-*_mask")


def prepare_cohort(
    cohort: Cohort,
    preparation: Preparation,
    labels: Labels,
    out: str | Path,
    *,
    copy_headers: bool = False,
    resample_masks: bool = False,
) -> list[dict[str, str]]:
    """Check and prepare every case.

    Writes ``preflight.csv`` (a row for each finding, and one for each case without any), ``manifest.json``, and for
    each usable case a folder with its scaled image (one file a channel), foreground and labels on the prepared grid.
    The files of an earlier run are removed where a case cannot be used any more.

    Args:
        cohort: what to prepare.
        preparation: what is done to the scans.
        labels: the structures.
        out: folder for the results.
        copy_headers, resample_masks: mends of masks (see `LoadReferencesd`).

    Returns:
        The rows of ``preflight.csv``.

    Raises:
        ConfigError: ``out`` cannot be written, or a result of an earlier run there is an input now.
    """
    from tqdm import tqdm

    require_folder(out)
    out = Path(out)
    earlier = {case.name: _earlier(out / case.name, case.name) for case in cohort.cases}
    spare_inputs(cohort.cases, [path for paths in earlier.values() for path in paths])
    mends = {"copy_headers": copy_headers, "resample_masks": resample_masks}
    rows: list[dict[str, str]] = []
    written: dict[str, Any] = {}
    with told_in_a_table(), tqdm(cohort.cases, unit="case") as bar:
        for case in bar:
            bar.set_description(f"preparing {case.name}")
            findings, files = _prepared(out / case.name, case, earlier[case.name], preparation, labels, mends)
            if files is not None:
                written[case.name] = files
            status = REFUSED if files is None else USABLE
            rows += [{"case": case.name, **finding, "status": status} for finding in findings]
    _write_tables(out, rows, cohort, preparation, labels, written)
    return rows


def _prepared(
    folder: Path,
    case: Case,
    earlier: Sequence[Path],
    preparation: Preparation,
    labels: Labels,
    mends: Mapping[str, bool],
) -> tuple[list[dict[str, str]], dict[str, Any] | None]:
    """Check and prepare one case: its findings, at least one, and what was written; None where it cannot be used."""
    findings: list[dict[str, str]] = []
    written = None
    wanted = {name: case.references[name] for name in labels.structures if name in case.references}
    try:
        for old in earlier:
            old.unlink(missing_ok=True)
        findings = _findings(replace(case, references=wanted), mends)
        if case.problem is not None:
            raise case.problem
        written = _write(folder, case, prepared(case, preparation, labels, **mends), labels)
    except AnklesegError as error:
        if not any(finding["problem"] and finding["problem"] in error.problem for finding in findings):
            findings.append(_row(error.file or _main_file(case), "cannot be prepared", error.problem, error.mend))
    except Exception as error:  # of one case; the others go on
        findings.append(_row(_main_file(case), "cannot be prepared", told(error)))
    return findings or [_row(_main_file(case), Verdict.OK)], written


def describe(rows: Sequence[dict[str, str]]) -> str:
    """Return the rows as a text table: case, status, verdict, and the problem of a file with its mend."""
    lines = []
    width = max((len(row["case"]) for row in rows), default=0)
    for row in rows:
        told = f"{Path(row['file']).name}: {row['problem']}; {row['mend']}" if row["problem"] else ""
        lines.append(f"{row['case']:<{width}}  {row['status']:<8}  {row['verdict']:<22}  {told}".rstrip())
    return "\n".join(lines)


def _findings(case: Case, mends: Mapping[str, bool]) -> list[dict[str, str]]:
    if not case.images:
        return []
    mended = {Verdict.HEADER_COPY: "copy_headers", Verdict.RESAMPLE: "resample_masks"}
    rows = []
    for finding in check_case(case.name, case.images, case.masks).findings:
        switch = mended.get(finding.verdict) if finding.file in case.masks else None
        mend = f"mended by {switch}=true" if switch is not None and mends[switch] else finding.mend
        rows.append(_row(finding.file, finding.verdict, finding.problem, mend))
    return rows


def _earlier(folder: Path, name: str) -> list[Path]:
    """What an earlier run wrote for a case: nothing else is removed, for ``out`` may be where the scans are."""
    return [path for kind in RESULTS for path in folder.glob(f"{escape(name)}_{kind}.nii.gz")]


def _main_file(case: Case) -> str | Path:
    return case.images[0] if case.images else case.name


def _row(file: str | Path, verdict: str, problem: str = "", mend: str | None = None) -> dict[str, str]:
    return {"file": str(file), "verdict": str(verdict), "problem": problem, "mend": mend or ""}


def _write(folder: Path, case: Case, sample: Mapping[Any, Any], labels: Labels) -> dict[str, Any]:
    image = sample[keys.IMAGE]

    def save(what: str, data: np.ndarray) -> str:
        return f"{case.name}/{write_volume(folder / f'{case.name}_{what}.nii.gz', data, affine_of(image)).name}"

    channels = list(case.channels)
    names = ["prepared"] if len(channels) == 1 else [f"channel-{channel}_prepared" for channel in channels]
    label = np.asarray(sample[keys.LABEL])
    known = sample.get(keys.KNOWN)
    references = (
        {"labels": save("labels", label[0])}
        if not labels.regions
        else {"masks": {name: save(f"label-{name}_mask", mask) for name, mask in labels.named(label)}}
    )
    inputs = case.images if case.sequence is None else (case.sequence,)
    return {
        "subject": case.subject,
        "group": case.group,
        "inputs": [str(without_selection(path).resolve()) for path in inputs],
        "side": case.side,
        "frame": case.frame,  # of the sequence that is the first of the inputs
        "mirrored": is_mirrored(image),  # the image then shows the other side of the body in its own place
        "images": {
            channel: save(name, np.asarray(voxels))
            for channel, name, voxels in zip(channels, names, image, strict=True)
        },
        "foreground": save("foreground", np.asarray(sample[keys.FOREGROUND][0])),
        "unknown": [] if known is None else [name for name, is_known in labels.named(known) if not is_known],
        **references,
    }


def _write_tables(
    out: Path,
    rows: Sequence[dict[str, str]],
    cohort: Cohort,
    preparation: Preparation,
    labels: Labels,
    written: dict[str, Any],
) -> None:
    write_csv(out / "preflight.csv", rows, COLUMNS)
    manifest = {
        "ankleseg": __version__,
        "cohort": str(cohort.root.resolve()),
        "structures": {name: value for value, name in enumerate(labels.structures, start=1)},
        "regions": labels.regions,
        "preparation": preparation.nodes,
        "cases": written,
    }
    with replace_file(out / MANIFEST) as part:
        part.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
