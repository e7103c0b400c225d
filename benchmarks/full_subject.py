"""The wait for one subject in motion, from files to report, with and without the sequences fused into every frame.

    python benchmarks/full_subject.py [FOLDER] [ROUNDS] [full|demo] [before=CHECKOUT]

A phantom (full: static scan 576×576×90, 15 frames of 288×288 in thick slices) goes through ``recipe=ankle_dynamic``,
each run in a process of its own, Python's start included. FOLDER keeps the phantom between calls. With ``before``, the
code of another checkout takes turns with this one, and the ratios are of one round. Times of a busy machine are upper
bounds; CPU seconds are of all threads.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
MODES = {"plain": False, "fused": True}
PHASES = {
    "cleaning": ("subject", "clean_into"),
    "reading": ("subject", "read_cleaned"),
    "registration": ("registered", "registered"),
    "masks and angles": ("sequence", "move_sequence"),
    "writing": ("files", "write_sequence"),
    "report": ("subject", "_write_report"),
}


def main() -> None:
    """Print seconds, CPU seconds, peak memory and phases of every run, and ratios to the code before."""
    before = next(
        (Path(word.removeprefix("before=")).resolve() for word in sys.argv if word.startswith("before=")), None
    )
    words = [word for word in sys.argv[1:] if not word.startswith("before=")]
    folder = Path(words[0] if words else tempfile.mkdtemp()).resolve()
    rounds = int(words[1]) if len(words) > 1 else 1
    cohort = phantom(folder, words[2] if len(words) > 2 else "full")
    codes = {"now": HERE} if before is None else {"before": before, "now": HERE}
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(rounds):
        for mode in MODES:
            found = {name: measured(code, cohort, mode, folder / f"{name}-{mode}") for name, code in codes.items()}
            for name, row in found.items():
                told = "  ".join(f"{key} {value:.1f}" for key, value in row.items())
                print(f"round {number + 1}: {mode}, {name}: {told}", flush=True)
            if before is not None:
                for key in ("seconds", "cpu"):
                    ratios[mode, key].append(found["now"][key] / found["before"][key])
    for (mode, key), values in ratios.items():
        print(f"{mode}: {statistics.median(values):.2f} of the {key} before")


def phantom(folder: Path, size: str) -> Path:
    """One subject with one sequence, made where the folder does not hold it."""
    from ankleseg.phantoms import write_ankle_cohort

    root = folder / f"cohort-{size}"
    if not (root / "participants.tsv").exists():
        write_ankle_cohort(root, size=size, subjects=1, seed=301, dynamic=True)
    for passive in root.glob("sub-*/dyn/*passive*"):
        passive.unlink()
    return root


def measured(code: Path, cohort: Path, mode: str, out: Path) -> dict[str, float]:
    """Seconds, CPU seconds, peak memory (MB) and phases of one run in a process of its own."""
    subprocess.run(["rm", "-rf", str(out)], check=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(code), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
    }
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "run", str(cohort), mode, str(out)],
        env=environment,
        cwd=code,
        check=True,
        capture_output=True,
        text=True,
    )
    return {"seconds": time.perf_counter() - start, **json.loads(done.stdout.splitlines()[-1])}


def run(cohort: str, mode: str, out: str) -> None:
    """One run, whose phases are timed around the functions that do them."""
    from ankleseg.config import compose
    from ankleseg.prepare import main as prepare

    spent: dict[str, float] = dict.fromkeys(PHASES, 0.0)
    for phase, (module, name) in PHASES.items():
        watch(import_module(f"ankleseg.motion.{module}"), name, phase, spent)
    overrides = ["recipe=ankle_dynamic", f"cohort.root={cohort}", f"out={out}"]
    prepare(compose("prepare", [*overrides, f"motion.highres={str(MODES[mode]).lower()}"]))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    told = {"cpu": usage.ru_utime + usage.ru_stime, "MB": usage.ru_maxrss / 1000, **spent}
    print(json.dumps(told))


def watch(module: Any, name: str, phase: str, spent: dict[str, float]) -> None:
    """Add to a phase what a function of a module takes."""
    function = getattr(module, name)

    def timed(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            spent[phase] += time.perf_counter() - start

    setattr(module, name, timed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(*sys.argv[2:])
    else:
        main()
