"""Good files and what may happen to them: cut, bytes of the header changed, fields swapped.

What nothing can tell is left out: a digit in a text header that is another digit, and two lengths of axes swapped.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.random import Generator

from ankleseg.cohorts import load_cohort, read_sidecar
from ankleseg.errors import AnklesegError
from ankleseg.volumes import Header, header_remarks, read_volume, same_grid, write_volume

SHAPE = (16, 14, 10)
AFFINE = np.array([[-1.0, 0.1, 0, 16], [0.1, 1.0, 0, -18], [0, 0, 1.5, -15], [0, 0, 0, 1]])
AFFINE[:3, :2] /= np.linalg.norm(AFFINE[:3, :2], axis=0)
VOXELS = np.random.default_rng(0).integers(0, 400, SHAPE).astype(np.int16)
NIFTI_HEADER, TEXT_HEADER = 352, 400
NUMERIC_BYTES = b"0123456789+-.,eE() \t\n\r"
KINDS = ("nii", "nii.gz", "nrrd", "mha", "img")


def write_good(folder: Path, kind: str) -> Path:
    """Write the scan in a format; the first of several files is the one that is damaged."""
    path = folder / f"scan.{kind}"
    if kind.startswith("nii"):
        return write_volume(path, VOXELS, AFFINE)
    if kind == "img":
        nib.save(nib.Nifti1Pair(VOXELS, AFFINE), path)
        return folder / "scan.hdr"
    import itk

    image = itk.image_from_array(np.ascontiguousarray(VOXELS.T))
    size, lps = np.linalg.norm(AFFINE[:3, :3], axis=0), np.diag([-1.0, -1, 1])
    image.SetSpacing(size.tolist())
    image.SetDirection(itk.matrix_from_array(lps @ AFFINE[:3, :3] / size))
    image.SetOrigin((lps @ AFFINE[:3, 3]).tolist())
    itk.imwrite(image, str(path))
    return path


def cut(data: bytearray, random: Generator, kind: str) -> bytes:
    """Lose the end of a file."""
    return bytes(data[: int(random.integers(1, len(data)))])


def flip(data: bytearray, random: Generator, kind: str) -> bytes:
    """Change one to four bytes of the header; in a text, to what is no part of a number."""
    text = kind in ("nrrd", "mha")
    header = {"dicom": len(data)}.get(kind, TEXT_HEADER if text else NIFTI_HEADER)
    for place in random.integers(0, min(header, len(data)), int(random.integers(1, 5))):
        byte = int(random.integers(0, 256))
        while text and byte in NUMERIC_BYTES:
            byte = int(random.integers(0, 256))
        data[place] = byte
    return bytes(data)


def swap(data: bytearray, random: Generator, kind: str) -> bytes:
    """Exchange two fields: neighbours of four bytes beyond the lengths of axes, or two lines of a text."""
    if kind in ("nrrd", "mha"):
        lines = bytes(data).split(b"\n")
        first, second = random.choice(min(10, len(lines) - 1), 2, replace=False)
        lines[first], lines[second] = lines[second], lines[first]
        return b"\n".join(lines)
    fields = np.arange(33, len(data) // 4) if kind == "dicom" else np.arange(14, 86)
    first, second = (4 * int(place) for place in random.choice(fields, 2, replace=False))
    data[first : first + 4], data[second : second + 4] = data[second : second + 4], data[first : first + 4]
    return bytes(data)


DAMAGES: tuple[Callable[[bytearray, Generator, str], bytes], ...] = (cut, flip, flip, swap)


def damage(path: Path, kind: str, seed: int) -> str:
    """Damage a good file in its place, and say how."""
    random = np.random.default_rng(seed)
    packed = kind == "nii.gz"
    content = path.read_bytes()
    if packed and random.random() < 0.7:  # of the content, under a checksum that is right
        how = DAMAGES[int(random.integers(len(DAMAGES)))]
        path.write_bytes(gzip.compress(how(bytearray(gzip.decompress(content)), random, kind)))
    else:
        how = DAMAGES[int(random.integers(len(DAMAGES)))]
        path.write_bytes(how(bytearray(content), random, kind))
    return f"{kind}, seed {seed}: {how.__name__}"


def silent_change(path: Path, good: Header) -> str | None:
    """Return what is wrong with how a damaged file is read: a geometry that changed without a word; None if nothing."""
    try:
        volume = read_volume(path, dtype=None, finite=False)
    except AnklesegError as error:
        line = str(error)
        return None if "\n" not in line and line.startswith(str(path.parent)) else f"says {line!r}"
    assert volume.header is not None
    if same_grid(good.shape, good.affine, volume.data.shape, volume.affine) or header_remarks(volume.header):
        return None
    return f"is read as {volume.data.shape} at {volume.affine.tolist()} without a word"


def write_good_texts(folder: Path) -> list[Path]:
    """Write what says something of scans: a table, a BIDS folder with its table and sidecar, a dataset.json."""
    folder.mkdir(parents=True, exist_ok=True)
    scan = write_volume(folder / "scan.nii.gz", VOXELS, AFFINE)
    mask = write_volume(folder / "mask.nii.gz", (VOXELS > 200).astype(np.uint8), AFFINE)
    table = folder / "table.csv"
    table.write_text("subject,image,mask_talus,group,side\na,scan.nii.gz,mask.nii.gz,control,left\n")
    for number in (1, 2):
        name = f"sub-0{number}"
        for source, place in ((scan, f"anat/{name}_T1w.nii.gz"), (scan, f"dyn/{name}_task-walk_dynamic.nii.gz")):
            (folder / "bids" / name / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / "bids" / name / place).write_bytes(source.read_bytes())
        (folder / "bids" / name / "dyn" / f"{name}_task-walk_dynamic.json").write_text(
            '{"SliceThickness": 1.5, "SpacingBetweenSlices": 1.5, "RepetitionTime": 0.4}'
        )
    people = folder / "bids" / "participants.tsv"
    people.write_text("participant_id\tgroup\tside\nsub-01\tcontrol\tleft\nsub-02\tequinus\tright\n")
    for source, place in ((scan, "imagesTr/a_0000.nii.gz"), (mask, "labelsTr/a.nii.gz")):
        (folder / "nn" / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / "nn" / place).write_bytes(source.read_bytes())
    described = folder / "nn" / "dataset.json"
    described.write_text(
        '{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "talus": 1}, "file_ending": ".nii.gz"}'
    )
    return [table, people, folder / "bids" / "sub-01" / "dyn" / "sub-01_task-walk_dynamic.json", described]


def damage_text(path: Path, seed: int) -> str:
    """Cut a text, change some of its bytes to any, or swap two of its cells or values; and say how."""
    random = np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    way = int(random.integers(3))
    if way == 0:
        content = content[: int(random.integers(0, len(content)))]
    elif way == 1:
        for place in random.integers(0, len(content), int(random.integers(1, 5))):
            content[place] = int(random.integers(256))
    else:
        separator = {".csv": b",", ".tsv": b"\t"}.get(path.suffix, b" ")
        cells = bytes(content).split(separator)
        first, second = random.choice(len(cells), 2, replace=False)
        cells[first], cells[second] = cells[second], cells[first]
        content = bytearray(separator.join(cells))
    path.write_bytes(bytes(content))
    return f"{path.name}, seed {seed}, way {way}"


def read_text(path: Path) -> str | None:
    """Load the cohort that a damaged text belongs to, both ways; return what is wrong with how a refusal is told."""
    root = {".csv": path, ".tsv": path.parent, ".json": path.parent}[path.suffix]
    sequence = path.with_suffix(".nii.gz")
    try:
        if sequence.exists():
            read_sidecar(sequence)
            return None
        for strict in (True, False):
            load_cohort(root, strict=strict)
    except AnklesegError as error:
        line = str(error)
        return None if "\n" not in line and str(path.parent) in line else f"says {line!r}"
    return None
