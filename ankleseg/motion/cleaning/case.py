"""One case cleaned: what of it can be used, and why the rest cannot. Files are read, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Shaped

from ankleseg.cohorts import Case
from ankleseg.cohorts.case import Side
from ankleseg.errors import AnklesegError, FileError
from ankleseg.measures.foreground import foreground_mask
from ankleseg.motion.cleaning.agreement import Masks, check_bones
from ankleseg.motion.cleaning.anatomy import bone_points, foot_of
from ankleseg.motion.cleaning.masks import read_bone
from ankleseg.motion.cleaning.place import check_place, surroundings
from ankleseg.motion.cleaning.sequences import CleanedSequence, check_slices, compact, read_sequence
from ankleseg.motion.cleaning.sides import check_lie, flipped_axis, judge_side, lies_elsewhere
from ankleseg.volumes import Finding, Verdict, Volume, header_remarks, missing_file, read_volume

BONES = ("calcaneus", "talus", "tibia")
DRAWN = "drawn"
FRAMES = 15  # of a published sequence (Coupeau 2020)

Status = Literal["usable", "partly", "excluded"]


@dataclass(frozen=True, kw_only=True)
class CleaningRules:
    """What a case is cleaned by.

    Args:
        bones: that each case should have masks of.
        frames: that each sequence should have (published: 15); another number is told and used. None: any number.
        threshold: voxels brighter than this raw intensity are foot; None: than Otsu's threshold.
        copy_headers: take a file whose voxels fit and whose header does not as lying where the static scan lies.
        resample_masks: bring a mask on another grid of the same field of view to the static scan.
        mend_flipped: mirror a static scan and its masks that show the other foot than the table says, and sequences
            that then look more like it when mirrored. Without it such a case is excluded.
    """

    bones: Sequence[str] = BONES
    frames: int | None = FRAMES
    threshold: float | None = None
    copy_headers: bool = True
    resample_masks: bool = True
    mend_flipped: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Cleaned:
    """A case after cleaning.

    Attributes:
        name, subject, group: of the case.
        side: of the table, else as the bones show it.
        static: the scan on its own grid, int16 or float32; None in an excluded case, which has no voxels at all.
        foot: where the foot is on the grid of the static scan.
        masks: the bones that can be used, on the grid of the static scan.
        networks: the name of the network that made a mask, of those that no person drew.
        doubts: why a mask is suspect, of those that are.
        sequences: the dynamic sequences that can be used.
        findings: all that is to be said about the files.
        status: ``usable`` (all that was given), ``partly`` (something was left out) or ``excluded``.
    """

    name: str
    subject: str
    group: str | None = None
    side: Side | None = None
    static: Volume | None = None
    foot: Bool[np.ndarray, "x y z"] | None = None
    masks: Mapping[str, Bool[np.ndarray, "x y z"]] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    doubts: Mapping[str, str] = field(default_factory=dict)
    sequences: Mapping[str, CleanedSequence] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    status: Status = "excluded"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the case is not simply in order, one line each: ``file: verdict: problem; mend``."""
        return tuple(str(finding) for finding in self.findings if finding.verdict is not Verdict.OK)

    @property
    def origin(self) -> str:
        """Where its masks come from: ``drawn``, or ``network NAME`` with the bones; empty where it has none."""
        made: dict[str, list[str]] = {}
        for bone in self.masks:
            made.setdefault(f"network {self.networks[bone]}" if bone in self.networks else DRAWN, []).append(bone)
        told = [by if len(made) == 1 else f"{by} ({', '.join(bones)})" for by, bones in made.items()]
        return "; ".join(told)


def clean_case(case: Case, rules: CleaningRules | None = None) -> Cleaned:
    """Read a case, judge every file of it, mend what the rules allow, and leave out what cannot be used.

    Nothing is raised for what is wrong with a case: it is told in its findings.

    Args:
        case: as a cohort loaded with ``strict=False`` gives it; the static scan is its first image.
        rules: None takes the published ones.
    """
    rules = rules or CleaningRules()
    findings: list[Finding] = []

    def result(**content: Any) -> Cleaned:
        about = {"name": case.name, "subject": case.subject, "group": case.group, "side": case.side}
        return Cleaned(**{**about, **content}, findings=tuple(findings))

    if case.problem is not None:
        findings.append(Finding.of(case.problem, Verdict.MISSING, case.problem.file or case.name))
        return result()
    flat = {name: found for name, path in case.sequences.items() if (found := check_slices(path))}
    findings += [finding for found in flat.values() for finding in found]
    file = case.images[0]
    static, foot, found = _read_static(file, rules)
    findings += found
    if static is None or foot is None:
        return result()
    masks, found, doubts = _read_bones(case, static, foot, rules)
    findings += found
    if not masks:
        findings.append(Finding(file, Verdict.MISSING, "has no bone mask that can be used", "see its masks"))
        return result()

    sequences, found = _read_sequences({name: path for name, path in case.sequences.items() if name not in flat}, rules)
    findings += found
    points = bone_points(masks, static.affine)
    shown = foot_of(points)
    elsewhere = lies_elsewhere(np.concatenate(list(points.values())), [s.volume for s in sequences.values()])
    side, flipped, found = judge_side(file, case.side, shown, elsewhere=elsewhere, mend_flipped=rules.mend_flipped)
    findings += found + check_lie(file, shown)
    if flipped and (elsewhere or not rules.mend_flipped):
        return result()
    if flipped and shown is not None:
        axis = flipped_axis(shown, static.affine)
        static = replace(static, data=np.flip(static.data, axis))
        foot = np.flip(foot, axis)
        masks = {bone: np.flip(mask, axis) for bone, mask in masks.items()}

    placed, found = _placed(sequences, static, foot, rules)
    findings += found
    whole = (
        len(masks) == len(rules.bones)
        and len(placed) == len(case.sequences)
        and not any(sequence.unusable for sequence in placed.values())
    )
    status = "usable" if whole else "partly"
    made = {bone: network for bone in masks if (network := case.references[bone].network)}
    about = {"networks": made, "doubts": doubts, "status": status}
    return result(side=side, static=static, foot=foot, masks=masks, sequences=placed, **about)


def _read_sequences(
    files: Mapping[str, Path], rules: CleaningRules
) -> tuple[dict[str, CleanedSequence], list[Finding]]:
    sequences, findings = {}, []
    for name, path in files.items():
        sequence, found = read_sequence(name, path, rules.frames)
        findings += found
        if sequence is not None:
            sequences[name] = sequence
    return sequences, findings


def _read_static(
    path: Path, rules: CleaningRules
) -> tuple[Volume | None, Bool[np.ndarray, "x y z"] | None, list[Finding]]:
    if error := missing_file(path):
        return None, None, [Finding.of(error, Verdict.MISSING, path)]
    try:
        volume = read_volume(path, dtype=None)
        findings = header_remarks(volume.header)
        foot = _foot(volume.data, rules)
    except AnklesegError as error:
        return None, None, [Finding.of(error, Verdict.UNREADABLE, error.file or path)]
    return replace(volume, data=compact(volume.data)), foot, findings


def _read_bones(
    case: Case, static: Volume, foot: Bool[np.ndarray, "x y z"], rules: CleaningRules
) -> tuple[Masks, list[Finding], dict[str, str]]:
    assert static.header is not None
    masks, findings = {}, []
    mends = {"copy_headers": rules.copy_headers, "resample_masks": rules.resample_masks}
    for bone in rules.bones:
        if bone not in case.references:
            problem = f"has no mask of the {bone}"
            findings.append(
                Finding(case.images[0], Verdict.MISSING, problem, "draw it, or leave the bone out by bones=")
            )
            continue
        reference = case.references[bone]
        if reference.status == "failed":
            problem = f"has no mask of the {bone}: network {reference.network} failed ({reference.reason})"
            findings.append(
                Finding(case.images[0], Verdict.MISSING, problem, "draw it, or leave the bone out by bones=")
            )
            continue
        mask, found = read_bone(reference, static.header, used=case.masks[reference.path], **mends)
        findings += found
        if mask is not None:
            masks[bone] = mask
    files = {bone: Path(case.references[bone].path) for bone in masks}
    predicted = [bone for bone in masks if case.references[bone].network is not None]
    masks, found, doubts = check_bones(files, static, foot, masks, predicted)
    for bone in masks:
        if case.references[bone].status == "suspect":
            doubts[bone] = "; ".join(filter(None, [case.references[bone].reason, doubts.get(bone)]))
    return masks, [*findings, *found, *_by_networks(case, list(masks))], doubts


def _by_networks(case: Case, bones: Sequence[str]) -> list[Finding]:
    """Say which masks no person drew, and which of them are suspect."""
    findings = []
    made: dict[str, list[str]] = {}
    for bone in bones:
        reference = case.references[bone]
        if reference.network is not None:
            made.setdefault(reference.network, []).append(bone)
        if reference.status == "suspect":
            problem = f"is a suspect mask: {reference.reason}"
            mend = "look at it over the scan, and correct it"
            findings.append(Finding(reference.path, Verdict.SUSPECT, problem, mend))
    for network, of in made.items():
        problem = f"masks of {', '.join(of)} are by the network {network}"
        findings.append(Finding(case.images[0], Verdict.OK, problem, "look at them over the scan"))
    return findings


def _placed(
    sequences: Mapping[str, CleanedSequence], static: Volume, foot: Bool[np.ndarray, "x y z"], rules: CleaningRules
) -> tuple[dict[str, CleanedSequence], list[Finding]]:
    """Keep the sequences that show the foot where the static scan does."""
    if not sequences:
        return {}, []
    there = surroundings(static, foot)
    placed, findings = {}, []
    for name, sequence in sequences.items():
        assert sequence.volume.path is not None
        try:
            mean = sequence.mean
            here = _foot(mean, rules)
        except AnklesegError as error:
            findings.append(Finding.of(error, Verdict.UNREADABLE, error.file or sequence.volume.path))
            continue
        mends = {"copy_headers": rules.copy_headers, "mend_flipped": rules.mend_flipped}
        volume, found = check_place(sequence.volume, mean, here, static, there, **mends)
        findings += found
        if volume is not None:
            placed[name] = replace(sequence, volume=volume)
    return placed, findings


def _foot(image: Shaped[np.ndarray, "x y z"], rules: CleaningRules) -> Bool[np.ndarray, "x y z"]:
    """Find the foot; a scan without one is no scan of a foot."""
    if image.min() == image.max():
        raise FileError(f"all its voxels hold the value {image.flat[0]:g}", mend="export it again")
    try:
        return foreground_mask(image.astype(np.float32), rules.threshold)
    except FileError as error:
        raise FileError(error.problem, mend="check that it is a scan of a foot") from None
