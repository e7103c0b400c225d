"""Prepared cases, in memory or memory-mapped from a folder, by MONAI's cached datasets."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import os
import pickle
import zipfile
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, PersistentDataset
from monai.transforms import Compose
from torch.utils.data import Dataset
from tqdm import tqdm

from ankleseg.cohorts import Case
from ankleseg.cohorts.files import files_at
from ankleseg.data.own_code import own_code
from ankleseg.data.reading import item_of
from ankleseg.errors import ConfigError, own_errors
from ankleseg.files import replace_file
from ankleseg.labels import Labels
from ankleseg.transforms import Preparation
from ankleseg.volumes import available_memory, without_selection
from ankleseg.volumes.files import read_grid
from ankleseg.volumes.geometry import spacing
from ankleseg.volumes.memory import readable_size

FORMAT = 5

log = logging.getLogger(__name__)

Sample = dict[Hashable, Any]
Kept = Sample | list[Sample]


class FolderCache(PersistentDataset):
    """Samples kept in a folder, memory-mapped, so that they are prepared once and need not fit in memory.

    MONAI's `PersistentDataset` keys an entry by the names of files, loads all of it whenever a sample is asked for, and
    does not see that it is damaged. Here the name of an entry hashes the bytes of the files and the configuration of
    the transforms, with the source files of those that are the user's own: what changes one of them makes a new entry.
    Files are written beside and renamed; an entry whose checksums do not fit is made again. Entries are never removed;
    the folder may be deleted between runs.

    Args:
        cases: what is prepared.
        transform: from an item to a sample of plain tensors, or to a list of such.
        configuration: plain types that say what the transform does.
        cache_dir: is made when needed.
    """

    def __init__(
        self, cases: Sequence[Case], transform: Compose, configuration: Mapping[str, Any], cache_dir: str | Path
    ) -> None:
        self._cases = cases
        self._configuration = json.dumps(configuration, sort_keys=True, default=str)
        self._code = [_sha256([file]) for file in own_code(configuration)]
        super().__init__([item_of(case) for case in cases], transform, cache_dir=Path(cache_dir))
        files = list(dict.fromkeys(path for case in cases for path in _files(case) if path is not None))
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # once each, however many frames a file has
            self._content = dict(zip(files, pool.map(_content, files), strict=True))
        self._mapped: dict[int, Kept] = {}

    def __getitem__(self, index: int) -> Kept:  # type: ignore[override]
        """What was made of a case; writing to its tensors does not reach the file.

        Raises:
            AnklesegError: the case cannot be prepared.
            OSError: the folder cannot be written.
        """
        if index not in self._mapped:
            path = self._path(self._cases[index])
            kept = _mapped(path)
            if kept is None:
                with own_errors():
                    made = self._pre_transform(dict(self.data[index]))
                with replace_file(path) as part:
                    torch.save(_plain(made), part)
                kept = _mapped(path)
                if kept is None:
                    path.unlink()
                    raise ConfigError(
                        f"case {self._cases[index].name} cannot be kept in {self.cache_dir}: "
                        "a transform adds more than tensors and plain types",
                        mend="leave that out of prepare.transforms, or set patches.cache=null",
                    )
            self._mapped[index] = kept
        return copy.copy(self._mapped[index])

    def _path(self, case: Case) -> Path:
        content = {
            "format": FORMAT,
            "transforms": self._configuration,
            "code": self._code,
            "side": case.side,
            "frame": [case.frame, case.sequence and str(case.sequence)],
            "unknown": sorted(case.unknown),
            "files": [None if path is None else self._content[path] for path in _files(case)],
            "references": {name: reference.value for name, reference in case.references.items()},
        }
        digest = hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:16]
        assert self.cache_dir is not None
        return self.cache_dir / f"{case.name}_{digest}.pt"


def prepared_samples(
    cases: Sequence[Case],
    transform: Compose,
    *,
    configuration: Mapping[str, Any],
    cache: str | Path | None = None,
) -> list[Sample]:
    """Prepare cases, several at once.

    Args:
        cases: what is prepared.
        transform: from an item to a sample of plain tensors.
        configuration: plain types that say what the transform does.
        cache: None keeps samples in memory; a folder keeps them there for this and later runs.

    Raises:
        AnklesegError: a case cannot be prepared.
    """
    if not cases:
        return []
    workers = min(len(cases), os.cpu_count() or 1)
    if cache is not None:
        dataset: Dataset = FolderCache(cases, transform, configuration, cache)
        with ThreadPoolExecutor(workers) as pool:
            return list(tqdm(pool.map(dataset.__getitem__, range(len(cases))), total=len(cases), leave=False))
    items = [item_of(case) for case in cases]
    with own_errors():
        memory = CacheDataset(
            items,
            transform,
            num_workers=workers,
            copy_cache=False,
            as_contiguous=False,  # slices stay together
        )
    return [dict(memory[index]) for index in range(len(cases))]


def memory_line(
    purpose: str, cases: Sequence[Case], preparation: Preparation, labels: Labels, cache: str | Path | None
) -> str:
    """Say what prepared cases take before they are read."""
    needed = sum(_prepared_bytes(case, preparation, labels) for case in cases)
    count = f"{len(cases)} {'case' if len(cases) == 1 else 'cases'}"
    line = f"{purpose}: {count}, {readable_size(needed)} prepared"
    if cache is not None:
        return f"{line}, memory-mapped in {cache}"
    free = available_memory()
    advice = "; set patches.cache=FOLDER to keep them on disk" if needed > free else ""
    return f"{line}, in memory ({readable_size(free)} free){advice}"


def _prepared_bytes(case: Case, preparation: Preparation, labels: Labels) -> int:
    """Bytes of a prepared case by its header, as far as the spacing decides."""
    header = read_grid(case.images[0])
    own = spacing(preparation.oriented(header.affine))
    asked = [o if n is None else n for o, n in zip(own, preparation.spacing or [None] * 3, strict=True)]
    voxels = math.prod(header.shape) * float(np.prod(own / asked))
    return round(voxels * (4 * len(case.images) + labels.channels + 1))  # float32 channels, label and foreground


def _mapped(path: Path) -> Kept | None:
    """An entry with memory-mapped tensors, None where there is none or it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        return torch.load(path, mmap=True, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError):
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value.contiguous() if isinstance(value, torch.Tensor) and value.ndim != 4 else value


def _files(case: Case) -> list[Path | None]:
    """What a sample may be made of, each in its place."""
    references = [reference.path for reference in case.references.values()]
    return [*case.images, *references, case.foreground, case.static, case.registrations, case.clean]


def _content(path: Path) -> str:
    """A hash of what a path of a case stands for."""
    chosen = str(path).removeprefix(str(without_selection(path)))  # another echo or series of one folder
    return _sha256(files_at(path), chosen)


def _sha256(files: Sequence[Path], beside: str = "") -> str:
    digest = hashlib.sha256(beside.encode("utf-8", "surrogateescape"))
    for file in files:
        if not file.is_file():  # whoever reads it says so
            continue
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()
