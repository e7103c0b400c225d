"""A thousand damaged files: cut, bytes of the header changed, fields swapped; and what became of them.

    python benchmarks/damaged_files.py [FILES] [SEED]

FILES (1000) are shared among NIfTI, NRRD, MetaImage, pairs, DICOM series with one damaged slice, tables, sidecars and
dataset.json. Printed for each: how many were refused in one line, how many were read, the slowest, and what was wrong:
a traceback, more than five seconds, more than twice the declared voxels of memory, or a geometry that changed without
a word. The damages and the good files are those of ``tests/volumes``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "volumes"))
from damage import KINDS, VOXELS, damage, damage_text, read_text, silent_change, write_good, write_good_texts
from dicom_exports import voxels, write_classic

from ankleseg.volumes import read_header

SLOWEST = 5.0  # seconds
SPARE = 20e6  # bytes for headers, libraries and messages


def main(files: int = 1000, seed: int = 0) -> None:
    """Damage and read, kind by kind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = write_good_texts(folder / "texts")
        each = files // (len(KINDS) + 1 + len(texts))
        for kind in KINDS:
            path = write_good(folder, kind)
            header = read_header(path)
            tried(
                kind,
                [path],
                each,
                seed,
                lambda n, p=path, k=kind: damage(p, k, n),
                lambda p=path, h=header: silent_change(p, h),
            )
        series = folder / "series"
        slices = write_classic(series, voxels())
        header = read_header(series)
        tried(
            "DICOM",
            slices,
            each,
            seed,
            lambda n: damage(slices[n % len(slices)], "dicom", n),
            lambda: silent_change(series, header),
        )
        for path in texts:
            tried(path.name, [path], each, seed, lambda n, p=path: damage_text(p, n), lambda p=path: read_text(p))


def tried(
    kind: str, files: list[Path], count: int, seed: int, harm: Callable[[int], str], look: Callable[[], str | None]
) -> None:
    """Damage one of the good files ``count`` times, read it each time, and print what was seen."""
    with tempfile.TemporaryDirectory() as kept:
        for file in files:
            shutil.copy(file, kept)
        slowest, wrong = 0.0, []
        for number in range(seed, seed + count):
            how = harm(number)
            tracemalloc.start()
            began = time.perf_counter()
            try:
                problem = look()
            except Exception as error:  # what must not happen
                problem = f"traceback: {error!r}"
            seconds = time.perf_counter() - began
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            slowest = max(slowest, seconds)
            if problem is None and seconds > SLOWEST:
                problem = f"took {seconds:.1f} s"
            if problem is None and peak > 2 * VOXELS.nbytes * np.dtype(float).itemsize + SPARE:
                problem = f"took {peak / 1e6:.0f} MB"
            if problem is not None:
                wrong.append(f"{how}: {problem}")
            for file in files:
                shutil.copy(Path(kept) / file.name, file)
    print(
        f"{kind:>40}: {count} files, slowest {slowest:.2f} s, {len(wrong)} wrong", *wrong[:5], sep="\n    ", flush=True
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
