"""Cleaning a whole cohort on disk: every case gets its verdict, what is whole is not done again."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from ankleseg import __version__
from ankleseg.cohorts import Case, Cohort, read_sidecar, spare_inputs
from ankleseg.cohorts.files import digest_of
from ankleseg.cohorts.sequences import KEYS, sidecar_of, sidecars_of
from ankleseg.errors import ConfigError
from ankleseg.files import replace_file
from ankleseg.motion.cleaning.case import Cleaned, CleaningRules, clean_case
from ankleseg.motion.cleaning.sequences import CleanedSequence
from ankleseg.motion.plain import plain_settings
from ankleseg.volumes import Finding, Verdict, read_mask, read_volume, write_volume

COLUMNS = ("subject", "file", "verdict", "problem", "mend", "status", "masks")
TABLE = "cleaning.tsv"
RECORD = ".clean.json"
CONTENT = {"inputs", "status", "side", "group", "networks", "doubts", "files", "rows"}  # of a record
DESCRIPTION, GENERATOR = "dataset_description.json", "ankleseg.prepare"
FOOT = "foot"
UNUSABLE_FRAMES = "UnusableFrames"
WRITTEN = ("anat/*_T1w.nii.gz", "anat/*_label-*_mask.nii.gz", "dyn/*_dynamic.nii.gz", "dyn/*_dynamic.json")


def clean_cohort(cohort: Cohort, out: str | Path, rules: CleaningRules | None = None) -> list[dict[str, str]]:
    """Clean every case into a BIDS derivative; a case that cannot be used does not stop the others.

    Writes ``cleaning.tsv`` (a row for each finding, and one for each case without any), ``participants.tsv``,
    ``dataset_description.json`` and, for each case, what `write_cleaned` writes. A case whose inputs and rules are
    those of an earlier run is taken from it.

    Args:
        cohort: loaded with ``strict=False``, so that missing files become verdicts.
        out: folder of the derivative.
        rules: None takes the published ones.

    Returns:
        The rows of ``cleaning.tsv``.

    Raises:
        ConfigError: as in `spare_data`.
    """
    from tqdm import tqdm

    out = Path(out)
    spare_data(cohort, out)
    rows: list[dict[str, str]] = []
    with tqdm(cohort.cases, unit="case") as bar:
        for case in bar:
            bar.set_description(f"cleaning {case.name}")
            rows += clean_into(case, out, rules or CleaningRules())
    write_descriptions(cohort, out)
    write_rows(rows, out)
    return rows


def spare_data(cohort: Cohort, out: Path) -> None:
    """Make sure that a derivative takes the place of nobody's scans.

    Raises:
        ConfigError: ``out`` is the cohort, another dataset, or where files of the cases lie; nothing was written yet.
    """
    description = out / DESCRIPTION
    is_other = description.is_file() and GENERATOR not in description.read_text(encoding="utf-8", errors="replace")
    if (is_cohort := out.resolve() == cohort.root.resolve()) or is_other:
        what = "the cohort" if is_cohort else "another dataset"
        raise ConfigError(f"is {what}, whose files would be replaced", file=out, mend="choose another out")
    folders = [out / derivative_name(case.name) for case in cohort.cases]
    spare_inputs(cohort.cases, [file for folder in folders for kind in WRITTEN for file in folder.glob(kind)])


def clean_into(case: Case, out: Path, rules: CleaningRules) -> list[dict[str, str]]:
    """Clean one case into a derivative, unless it is there already, and return its rows of ``cleaning.tsv``."""
    folder = out / derivative_name(case.name)
    inputs = _fingerprint(case, rules)
    record = _read_record(folder)
    if record is not None and record["inputs"] == inputs and all((folder / file).is_file() for file in record["files"]):
        return list(record["rows"])
    cleaned = clean_case(case, rules)
    _remove(folder)
    files = write_cleaned(cleaned, out) if cleaned.status != "excluded" else []
    rows = rows_of(cleaned)
    record = {
        "inputs": inputs,
        "status": cleaned.status,
        "side": cleaned.side,
        "group": cleaned.group,
        "networks": dict(cleaned.networks),
        "doubts": dict(cleaned.doubts),
        "files": [file.relative_to(folder).as_posix() for file in files],
        "rows": rows,
    }
    with replace_file(folder / RECORD) as part:
        part.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
    return rows


def write_cleaned(cleaned: Cleaned, out: Path) -> list[Path]:
    """Write static scan, foot mask, bone masks and sequences of a case, and return the files.

    The files are ``<out>/<case>/anat/<case>_T1w.nii.gz``, ``<case>_label-<foot or bone>_mask.nii.gz`` and
    ``<out>/<case>/dyn/<sequence>_dynamic.nii.gz`` with its ``.json``, which also names the frames that cannot be used.
    """
    name = derivative_name(cleaned.name)
    anat, dyn = out / name / "anat", out / name / "dyn"
    static = cleaned.static
    assert static is not None and cleaned.foot is not None, "an excluded case has nothing to write"
    files = [write_volume(anat / f"{name}_T1w.nii.gz", static.data, static.affine, like=static.header)]
    for label, mask in {FOOT: cleaned.foot, **cleaned.masks}.items():
        path = anat / f"{name}_label-{label}_mask.nii.gz"
        files.append(write_volume(path, mask, static.affine, like=static.header))
    for sequence in cleaned.sequences.values():
        volume = sequence.volume
        path = dyn / f"{sequence.name}_dynamic.nii.gz"
        files.append(write_volume(path, volume.data, volume.affine, like=volume.header))
        told = {key: getattr(sequence.sidecar, field) for field, key in KEYS.items()}
        content: dict[str, Any] = {key: value for key, value in told.items() if value is not None}
        content[UNUSABLE_FRAMES] = {str(frame): why for frame, why in sequence.unusable.items()}
        with replace_file(sidecar_of(path)) as part:
            part.write_text(json.dumps(content, indent=1) + "\n")
        files.append(sidecar_of(path))
    return files


def read_cleaned(case: Case, out: Path) -> Cleaned | None:
    """Read back what `clean_into` wrote of a case; None where it is not there or not whole.

    Raises:
        FileError: a file was damaged since.
    """
    name = derivative_name(case.name)
    folder = out / name
    record = _read_record(folder)
    if record is None or not all((folder / file).is_file() for file in record["files"]):
        return None
    findings = tuple(
        Finding(Path(row["file"]), Verdict(row["verdict"]), row["problem"], row["mend"])
        for row in record["rows"]
        if row["problem"]
    )
    about = {"name": case.name, "subject": case.subject, "side": record["side"], "group": record["group"]}
    if not record["files"]:
        return Cleaned(**about, findings=findings, status=record["status"])
    masks = {}
    for file in record["files"]:
        if file.endswith("_mask.nii.gz"):
            masks[file.rpartition("_label-")[2].removesuffix("_mask.nii.gz")] = read_mask(folder / file).data
    sequences = {}
    for file in record["files"]:
        if file.endswith("_dynamic.nii.gz"):
            sequence = _read_sequence(folder / file)
            sequences[sequence.name] = sequence
    return Cleaned(
        **about,
        static=read_volume(folder / "anat" / f"{name}_T1w.nii.gz", dtype=None),
        foot=masks.pop(FOOT),
        masks=masks,
        networks=record["networks"],
        doubts=record["doubts"],
        sequences=sequences,
        findings=findings,
        status=record["status"],
    )


def derivative_name(case: str) -> str:
    """Return the name of a case in a BIDS derivative, where all names begin with ``sub-``."""
    return f"sub-{case[4:]}" if case.lower().startswith("sub-") else f"sub-{case}"


def rows_of(cleaned: Cleaned) -> list[dict[str, str]]:
    """Return the rows of a case in ``cleaning.tsv``: one a finding, one in all where there is none."""
    told = [
        {"file": str(f.file), "verdict": str(f.verdict), "problem": f.problem, "mend": f.mend} for f in cleaned.findings
    ] or [{"file": str(cleaned.static and cleaned.static.path), "verdict": str(Verdict.OK), "problem": "", "mend": ""}]
    about = {"status": cleaned.status, "masks": cleaned.origin}
    return [{"subject": cleaned.name, **row, **about} for row in told]


def write_rows(rows: Sequence[Mapping[str, str]], out: Path) -> None:
    """Write ``cleaning.tsv``."""
    with replace_file(out / TABLE) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def write_descriptions(cohort: Cohort, out: Path) -> None:
    """Write ``participants.tsv`` and ``dataset_description.json``.

    The table is that of the cohort, where it has one and no tables of sessions; else it has a row a case, with its
    group, side and subject.
    """
    source = cohort.root / "participants.tsv"
    with replace_file(out / "participants.tsv") as part:
        if source.is_file() and not any(cohort.root.glob("sub-*/sub-*_sessions.tsv")):
            shutil.copyfile(source, part)
        else:
            columns = {"participant_id": [derivative_name(c.name) for c in cohort.cases]}
            columns["group"] = [c.group or "n/a" for c in cohort.cases]
            columns["side"] = [c.side or "n/a" for c in cohort.cases]
            if (subjects := [derivative_name(c.subject) for c in cohort.cases]) != columns["participant_id"]:
                columns["subject"] = subjects
            lines = sorted({"\t".join(row) for row in zip(*columns.values(), strict=True)})
            part.write_text("\n".join(["\t".join(columns), *lines]) + "\n", encoding="utf-8")
    description = {
        "Name": "ankleseg cleaned and registered scans",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": GENERATOR, "Version": __version__}],
    }
    with replace_file(out / DESCRIPTION) as part:
        part.write_text(json.dumps(description, indent=1) + "\n")


def _read_sequence(path: Path) -> CleanedSequence:
    content = json.loads(sidecar_of(path).read_text())
    unusable = {int(frame): why for frame, why in content.get(UNUSABLE_FRAMES, {}).items()}
    volume = read_volume(path, dtype=None, dimensions=4)
    return CleanedSequence(path.name.removesuffix("_dynamic.nii.gz"), volume, read_sidecar(path), unusable)


def _read_record(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return record if record.keys() >= CONTENT else None
    except (OSError, ValueError, AttributeError):
        return None


def _remove(folder: Path) -> None:
    """Remove what an earlier run wrote of a case, its record first, so that nothing stale looks new."""
    (folder / RECORD).unlink(missing_ok=True)
    for pattern in WRITTEN:
        for file in folder.glob(pattern):
            file.unlink()


def _fingerprint(case: Case, rules: CleaningRules) -> str:
    """Hash what a cleaned case depends on: rules, version, what the cohort says of the case, contents of its files."""
    references = sorted(case.references.items())
    files = [*case.images, *(reference.path for _, reference in references), *case.sequences.values()]
    files += [sidecar for path in case.sequences.values() for sidecar in sidecars_of(path)]
    told = {
        "ankleseg": __version__,
        "rules": plain_settings(rules),
        "case": [case.name, case.subject, case.side, case.group, str(case.problem)],
        "images": [str(path) for path in case.images],
        "references": [[bone, *map(str, astuple(reference))] for bone, reference in references],
        "sequences": [[name, str(path)] for name, path in sorted(case.sequences.items())],
        "contents": {str(path): digest_of(path) for path in dict.fromkeys(files)},
    }
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
