"""Rigid bone registration on thick-slice frames against elastix and greedy: a level contest, in one run.

    python benchmarks/rigid.py [FOLDER] [SEEDS] [size=full|demo] [frames=15] [peer_frames=2] [threads=N]

SEEDS (``101,102``) draw subjects, and for each an active run imaged through a box profile and a passive one through a
Gaussian, with thickness, noise and coil of their own. FOLDER keeps phantoms and the peers' environment, into which the
first call installs itk-elastix and picsl-greedy by pip.

Level means: one static scan, cut alike; one weight for each bone; every bone starts from the same pose, which is
`register_sequence`'s of the whole foot; as many threads; no files are read and no images built while the clock runs.
The peers also get the static scan blurred with the true slice profile along the slice normal of the start. Their time
is that of a bone alone; ours is that of the whole sequence, the foot and the preparation of the static scan included,
divided by bones and frames. The peers see ``peer_frames`` frames of each sequence, spread over the cycle, and ratios
are taken on these.

What is not level: `register_sequence` also tries the start turned by some angles, and the poses of neighbouring frames;
the peers start once. The row ``the start`` tells how far off it was.

Before the contest every way must find a known pose on a noiseless frame within 1.5 mm, so that none loses by a
mistaken conversion.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from rigid_exam import BONES, RUNS, phantoms, read, score, seen, write_job

PEERS = Path(__file__).with_name("rigid_peers.py")
PACKAGES = ("itk-elastix", "picsl-greedy", "numpy")
WAYS = tuple(way + blurred for way in ("elastix NCC", "elastix MI", "greedy NCC") for blurred in ("", ", blurred"))
OURS = "ankleseg"
WITHIN = 1.5  # mm, of the self-test; a mistaken conversion is off by the 2.5 mm and 7° of its pose, or more


def main() -> None:
    """Print the table."""
    options = {"size": "full", "frames": "15", "peer_frames": "2", "threads": str(os.cpu_count() or 1)}
    options |= dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    plain = [word for word in sys.argv[1:] if "=" not in word]
    folder = Path(plain[0] if plain else tempfile.mkdtemp())
    seeds = [int(seed) for seed in (plain[1] if len(plain) > 1 else "101").split(",")]
    frames, peer_frames, threads = (int(options[key]) for key in ("frames", "peer_frames", "threads"))
    python = environment(folder)
    tested, rows = False, []
    print(
        f"{threads} threads for every tool; {options['size']} size, {frames} frames, {peer_frames} of them by the peers"
    )
    for path in [path for seed in seeds for path in phantoms(folder, seed, options["size"], frames)]:
        if not tested:
            self_test(folder, path, python, threads)
            tested = True
        rows += contest(path, python, threads, peer_frames)
        (folder / "scores.json").write_text(json.dumps(rows))  # a run cut short has not been for nothing
    print(table(rows))


def environment(folder: Path) -> Path:
    """Python of the peers' environment, which is made where the folder does not hold it."""
    home = folder / "peers"
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (home / "whole").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        (home / "whole").touch()
    return python


def self_test(folder: Path, path: Path, python: Path, threads: int) -> None:
    """Stop where a way does not find a known pose on a noiseless frame."""
    from ankleseg.volumes.poses import rotation_about, translation

    exam = read(path)
    middle = exam.affine[:3, :3] @ np.argwhere(exam.masks["talus"]).mean(0) + exam.affine[:3, 3]
    truth = translation((2.0, -1.5, 2.5)) @ rotation_about((0.5, -0.4, 0.8), 7.0, middle)
    frame = seen(exam.static, exam.affine, truth, exam.frames.shape[:3], exam.frames_affine, exam.profile())
    test = folder / "self-test.npz"
    exam = replace(exam, frames=frame[..., None], poses=dict.fromkeys(BONES, truth[None]))
    exam.save(test)
    found, _ = ours(test, threads)
    errors = {OURS: score(exam, "talus", 0, found["talus"][0])["mm"]}
    with tempfile.TemporaryDirectory() as jobs:
        write_job(Path(jobs), exam, "talus", exam.weights()["talus"], 0, np.eye(4))
        for row in by_peers(Path(jobs), python, threads):
            errors[row["way"]] = score(exam, "talus", 0, row["frame_from_static"])["mm"]
    print("self-test, mm from a known pose: " + ", ".join(f"{way} {error:.2f}" for way, error in errors.items()))
    wrong = [way for way, error in errors.items() if not error <= WITHIN]
    if wrong:
        sys.exit(f"self-test: {', '.join(wrong)} did not find a known pose within {WITHIN} mm")


def contest(path: Path, python: Path, threads: int, peer_frames: int) -> list[dict]:
    """Scores of all tools on one sequence."""
    exam = read(path)
    found, told = ours(path, threads)
    count = exam.frames.shape[-1]
    print(
        f"{exam.name}: {told['seconds']:.1f} s for {1 + len(BONES)} × {count} registrations, {told['peak_gb']:.1f} GB"
    )
    chosen = sorted({int((i + 0.5) * count / peer_frames) for i in range(peer_frames)})
    each = told["seconds"] / (len(BONES) * count)
    rows = []

    def add(way: str, bone: str, frame: int, seconds: float, pose: np.ndarray | None) -> None:
        held = {"way": way, "job": f"{bone}-{frame}", "exam": exam.name, "shape": exam.shape, "seconds": seconds}
        rows.append({**held, **score(exam, bone, frame, pose)})

    for bone in BONES:
        for frame in range(count):
            add(f"{OURS}, all frames", bone, frame, each, found[bone][frame])
    with tempfile.TemporaryDirectory() as jobs:
        for bone, weight in exam.weights().items():
            for frame in chosen:
                add(OURS, bone, frame, each, found[bone][frame])
                add("the start", bone, frame, 0.0, found["global"][frame])
                add("the truth", bone, frame, 0.0, exam.poses[bone][frame])
                write_job(Path(jobs), exam, bone, weight, frame, found["global"][frame])
        for row in by_peers(Path(jobs), python, threads):
            bone, frame = row["job"].split("-")
            add(row["way"], bone, int(frame), row["seconds"], row["frame_from_static"])
    return rows


def ours(path: Path, threads: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Run `register_sequence` in a process of its own: poses, and seconds and peak memory."""
    command = [sys.executable, __file__, "--ours", str(path)]
    environ = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environ)
    told = json.loads(result.stdout.splitlines()[-1])
    return {name: np.array(poses) for name, poses in told.pop("poses").items()}, told


def run_ours(path: Path) -> None:
    """Register one exam and print what was found."""
    from ankleseg.measures.foreground import foreground_mask
    from ankleseg.rigid.profile import SliceProfile
    from ankleseg.rigid.register import register_sequence

    exam = read(path)
    told = SliceProfile(exam.profile().thickness, "box")  # a header tells the thickness, not the shape
    weights, foot = exam.weights(), foreground_mask(exam.static).astype(np.float32)
    began = time.perf_counter()
    found = register_sequence(
        exam.static, exam.affine, exam.masks, weights, foot, exam.frames, exam.frames_affine, told
    )
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    poses = {name: one.frame_from_static.tolist() for name, one in found.items()}
    print(json.dumps({"seconds": seconds, "peak_gb": peak, "poses": poses}))


def by_peers(jobs: Path, python: Path, threads: int) -> Iterator[dict]:
    """Yield what each tool found in each job; a tool that dies has lost the jobs it did not come to."""
    for tool in ("elastix", "greedy"):
        ways, results = [way for way in WAYS if way.startswith(tool)], jobs / f"{tool}.jsonl"
        results.touch()
        environ = {**os.environ, "OMP_NUM_THREADS": str(threads), "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads)}
        command = [str(python), str(PEERS), str(jobs), str(results), str(threads), *ways]
        subprocess.run(command, stdout=subprocess.DEVNULL, env=environ)
        told = [json.loads(line) for line in results.read_text().splitlines()]
        held = {(row["job"], row["way"]): row for row in told}
        for job in sorted(path.stem for path in jobs.glob("*.npz")):
            for way in ways:
                row = held.get((job, way), {"seconds": np.nan, "static_from_frame": None, "reason": "the tool died"})
                pose = row["static_from_frame"]
                if pose is None:
                    print(f"{way} lost {job}: {row['reason']}")
                yield {
                    **row,
                    "job": job,
                    "way": way,
                    "frame_from_static": None if pose is None else np.linalg.inv(pose),
                }


def table(rows: list[dict]) -> str:
    """One line a way, ours first; ratios to ours on the same frames."""
    heads = ("way", "n", "s a bone", "min–max", "mm", "95 %", "max", "°", "max", "Dice", "≤ 1 mm", "mm box", "mm gauss")
    lines = [" | ".join((f"{heads[0]:34s}", *(f"{head:>9s}" for head in heads[1:]), "   time ×", "  error ×"))]
    reference: tuple[float, float] | None = None
    for way in (OURS, f"{OURS}, all frames", *WAYS, "the start", "the truth"):
        mine = [row for row in rows if row["way"] == way]
        if not mine:
            continue
        seconds, mm, degrees, dice = (
            np.array([row[key] for row in mine]) for key in ("seconds", "mm", "degrees", "dice")
        )
        middle = float(np.nanmedian(seconds)), float(np.median(mm))
        reference = reference or middle
        by_shape = [[row["mm"] for row in mine if row["shape"] == shape] for shape in RUNS.values()]
        cells = [f"{len(mine)}", f"{middle[0]:.2f}", f"{np.nanmin(seconds):.2f}–{np.nanmax(seconds):.2f}"]
        cells += [f"{value:.3f}" for value in (middle[1], np.percentile(mm, 95, method="higher"), mm.max())]
        cells += [
            f"{np.median(degrees):.2f}",
            f"{degrees.max():.2f}",
            f"{np.median(dice):.3f}",
            f"{(mm <= 1).mean():.0%}",
        ]
        cells += [f"{np.median(one):.3f}" if one else "–" for one in by_shape]
        cells += [f"{middle[0] / reference[0]:.1f}", f"{middle[1] / reference[1]:.1f}"]
        lines.append(" | ".join((f"{way:34s}", *(f"{cell:>9s}" for cell in cells))))
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        run_ours(Path(sys.argv[2]))
    else:
        main()
