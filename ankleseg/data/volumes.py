"""Prepared cases, in memory or memory-mapped from a folder, by MONAI's cached datasets."""

from __future__ import annotations

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
from ankleseg.data.reading import item_of
from ankleseg.errors import ConfigError, own_errors
from ankleseg.files import replace_file
from ankleseg.labels import Labels
from ankleseg.transforms import Preparation
from ankleseg.volumes import available_memory, without_selection
from ankleseg.volumes.frames import read_grid
from ankleseg.volumes.geometry import spacing
from ankleseg.volumes.memory import readable_size

FORMAT = 4

log = logging.getLogger(__name__)

Sample = dict[Hashable, Any]


class FolderCache(PersistentDataset):
    """Samples kept in a folder, memory-mapped, so that they are prepared once and need not fit in memory.

    MONAI's `PersistentDataset` keys an entry by the names of files, loads all of it whenever a sample is asked for, and
    does not see that it is damaged. Here the name of an entry hashes the bytes of the files and the configuration of
    the transforms: what changes one of them makes a new entry. Files are written beside and renamed; an entry whose
    checksums do not fit is made again. Entries are never removed; the folder may be deleted between runs.

    Args:
        cases: what is prepared.
        transform: from an item to a sample of plain tensors.
        described: plain types that say what the transform does.
        cache_dir: is made when needed.
    """

    def __init__(
        self, cases: Sequence[Case], transform: Compose, described: Mapping[str, Any], cache_dir: str | Path
    ) -> None:
        self._cases = cases
        self._described = json.dumps(described, sort_keys=True, default=str)
        super().__init__([item_of(case) for case in cases], transform, cache_dir=Path(cache_dir))
        self._mapped: dict[int, Sample] = {}

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        """The sample of a case; writing to its tensors does not reach the file.

        Raises:
            AnklesegError: the case cannot be prepared.
            OSError: the folder cannot be written.
        """
        if index not in self._mapped:
            path = self._path(self._cases[index])
            sample = _mapped(path)
            if sample is None:
                with own_errors():
                    made = self._pre_transform(dict(self.data[index]))
                with replace_file(path) as part:
                    torch.save({name: _plain(value) for name, value in made.items()}, part)
                sample = _mapped(path)
                if sample is None:
                    path.unlink()
                    raise ConfigError(
                        f"case {self._cases[index].name} cannot be kept in {self.cache_dir}: "
                        "a transform adds more than tensors and plain types",
                        mend="leave that out of prepare.transforms, or set patches.cache=null",
                    )
            self._mapped[index] = sample
        return dict(self._mapped[index])

    def _path(self, case: Case) -> Path:
        content = {
            "format": FORMAT,
            "transforms": self._described,
            "side": case.side,
            "frame": case.frame,
            "unknown": sorted(case.unknown),
            "images": [_sha256(path) for path in (*case.images, *filter(None, [case.foreground]))],
            "references": {
                name: [_sha256(reference.path), str(reference)] for name, reference in case.references.items()
            },
        }
        digest = hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:16]
        assert self.cache_dir is not None
        return self.cache_dir / f"{case.name}_{digest}.pt"


def prepared_samples(
    cases: Sequence[Case],
    transform: Compose,
    *,
    described: Mapping[str, Any],
    cache: str | Path | None = None,
) -> list[Sample]:
    """Prepare cases, several at once.

    Args:
        cases: what is prepared.
        transform: from an item to a sample of plain tensors.
        described: plain types that say what the transform does.
        cache: None keeps samples in memory; a folder keeps them there for this and later runs.

    Raises:
        AnklesegError: a case cannot be prepared.
    """
    if not cases:
        return []
    workers = min(len(cases), os.cpu_count() or 1)
    if cache is not None:
        dataset: Dataset = FolderCache(cases, transform, described, cache)
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


def _mapped(path: Path) -> Sample | None:
    """An entry with memory-mapped tensors, None where there is none or it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        return torch.load(path, mmap=True, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError):
        return None


def _plain(value: Any) -> Any:
    return value.contiguous() if isinstance(value, torch.Tensor) and value.ndim != 4 else value


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    chosen = str(path).removeprefix(str(without_selection(path)))  # another echo or series of one folder
    digest.update(chosen.encode("utf-8", "surrogateescape"))
    for file in files_at(path):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()
