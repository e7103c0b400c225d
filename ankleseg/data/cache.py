"""Prepared cases on disk, memory-mapped, so that they are prepared once and need not fit in memory."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.cohorts import Case
from ankleseg.cohorts.files import files_at
from ankleseg.files import replace_file
from ankleseg.transforms import Preparation, PreparedCase, prepare_case
from ankleseg.transforms.scaling import Scale
from ankleseg.volumes import without_selection
from ankleseg.volumes.frames import read_grid

FORMAT = 3
ARRAYS = ("image", "foreground", "label")


class CaseCache:
    """A folder of prepared cases.

    The name of an entry hashes the bytes of the files, the preparation and the structures: what changes one of them
    makes a new entry. Files are written beside and renamed, the description last; an entry whose checksums do not
    fit is made again. Entries are never removed; the folder may be deleted between runs.

    Args:
        folder: is made when needed.
        preparation: what is done to images and masks.
        structures: names of the masks, in the order of the labels.
        mends: further arguments of `prepare_case`.
    """

    def __init__(self, folder: str | Path, preparation: Preparation, structures: Sequence[str], **mends: bool) -> None:
        self._folder = Path(folder)
        self._preparation = preparation
        self._structures = tuple(structures)
        self._mends = mends

    def __call__(self, case: Case) -> PreparedCase:
        """Return a prepared case with memory-mapped arrays; writing to them does not reach the files.

        Raises:
            AnklesegError: the case cannot be prepared, or the folder cannot be written.
        """
        entry = f"{case.name}_{self._key(case)}"
        found = self._read(entry, case)
        if found is None:
            self._write(entry, prepare_case(case, self._preparation, self._structures, **self._mends))
            found = self._read(entry, case)
        assert found is not None
        return found

    def _key(self, case: Case) -> str:
        references = {structure: case.references.get(structure) for structure in self._structures}
        described = {
            "format": FORMAT,
            "preparation": self._preparation.to_node(),
            "side": case.side,
            "frame": case.frame,
            "unknown": sorted(set(case.unknown) & set(self._structures)),
            "mends": self._mends,
            "images": [_sha256(path) for path in case.images],
            "references": {
                structure: None if reference is None else [_sha256(reference.path), reference.value]
                for structure, reference in references.items()
            },
        }
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]

    def _path(self, entry: str, array: str) -> Path:
        return self._folder / f"{entry}_{array}.npy"

    def _read(self, entry: str, case: Case) -> PreparedCase | None:
        try:
            checksums = json.loads((self._folder / f"{entry}.json").read_text())
            known = checksums["known"]
            scales = tuple(Scale(**scale) for scale in checksums["scales"])
            arrays: dict[str, Any] = {}
            for name in ARRAYS:
                # copy on write: tensors made of the array must be writable
                arrays[name] = np.load(self._path(entry, name), mmap_mode="c")
                if _checksum(arrays[name]) != checksums[name]:
                    return None
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return None
        header = read_grid(case.images[0])
        placement = self._preparation.place(header.shape, header.affine, case.side)
        return PreparedCase(
            name=case.name,
            affine=placement.affine,
            placement=placement,
            known=None if known is None else tuple(known),
            sequence=None if case.frame is None else case.images[0],
            scales=scales,
            **arrays,
        )

    def _write(self, entry: str, prepared: PreparedCase) -> None:
        checksums: dict[str, Any] = {"known": prepared.known, "scales": [asdict(scale) for scale in prepared.scales]}
        for name in ARRAYS:
            array = getattr(prepared, name)
            with replace_file(self._path(entry, name)) as part, part.open("wb") as file:
                np.save(file, array)
            checksums[name] = _checksum(array)
        with replace_file(self._folder / f"{entry}.json") as part:
            part.write_text(json.dumps(checksums))


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(array.ravel(order="K").view(np.uint8).data)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    chosen = str(path).removeprefix(str(without_selection(path)))  # another echo or series of one folder
    digest.update(chosen.encode())
    for file in files_at(path):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
