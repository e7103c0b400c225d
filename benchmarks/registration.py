"""Deformable registration beside greedy, dipy and ANTs: Dice, folding and time of each on the same pairs, in one run.

    python benchmarks/registration.py PAIRS OUT [--peers PYTHON] [--threads 2] [--ways descent greedy ants dipy]

PAIRS is a folder with a folder for each pair: ``fixed.nii.gz``, ``moving.nii.gz`` and, where both have labels,
``fixed_labels.nii.gz`` and ``moving_labels.nii.gz``. ``--make DATA`` fills it from the shared scans:

- ``oasis``: OASIS a on b, without labels: local correlation, folding and time alone;
- ``made``: the VoxelMorph test scan on a scan made from another person's label map: each label has its mean intensity
  in the test scan, blurred, with smooth and white noise. Real anatomy on both sides, but the fixed image is drawn, and
  flatter within structures than a real one;
- ``back``: the same the other way.

Times are by the clock and of the processors; on a machine with other work the second are to be compared.
Every way starts from one affine transform, ours, whose time is given by itself, and its field is applied to the labels
by one program. The peers run in an environment of theirs (``registration_peers``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PEERS = Path(__file__).with_name("registration_peers.py")
OWN = ("descent", "bspline")
CROPPED = (48, 31, 3)  # voxels that the VoxelMorph test scan lacks of 256³ at its beginning


def main() -> None:
    """Run every way on every pair and print a table."""
    arguments = parsed()
    for name in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = str(arguments.threads)
    if arguments.make:
        make_pairs(arguments.make, arguments.pairs)
    rows = []
    for pair in sorted(path.parent for path in arguments.pairs.glob("*/fixed.nii.gz")):
        work = arguments.out / pair.name
        work.mkdir(parents=True, exist_ok=True)
        rows.append(
            {"pair": pair.name, "way": "affine", **align(pair, work)} | scores(pair, work / "affine_field.nii.gz")
        )
        for way in arguments.ways:
            took = ours(way, pair, work) if way in OWN else theirs(way, work, arguments)
            rows.append({"pair": pair.name, "way": way, **took})
            if took["seconds"] is not None:
                rows[-1] |= scores(pair, work / f"{way}_field.nii.gz")
            print(json.dumps(rows[-1]), flush=True)
    (arguments.out / "registration.json").write_text(json.dumps(rows, indent=2))
    print(table(rows))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--make", type=Path, help="folder of the shared scans")
    parser.add_argument("--peers", help="python of an environment with the other programs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ways", nargs="+", default=["descent", "greedy", "ants", "dipy"])
    return parser.parse_args()


def align(pair: Path, work: Path) -> dict[str, float | None]:
    """Find the affine map that all ways start from, and write the aligned moving scan and the map's own field."""
    from ankleseg.deformable import Mapping, align, as_scan
    from ankleseg.rigid.warping import warp
    from ankleseg.volumes import read_volume, write_volume
    from ankleseg.volumes.displacement_fields import write_displacement_field

    fixed, moving = read_volume(pair / "fixed.nii.gz"), read_volume(pair / "moving.nii.gz")
    began, worked = time.perf_counter(), time.process_time()
    found = align(as_scan(fixed), as_scan(moving))
    took = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - worked}
    field = Mapping(found.moving_from_fixed).on_grid(fixed.data.shape, fixed.affine)
    write_displacement_field(work / "affine_field.nii.gz", field, fixed.affine)
    write_volume(work / "fixed.nii.gz", fixed.data, fixed.affine)
    write_volume(work / "aligned.nii.gz", warp(moving.data, moving.affine, field, fixed.affine), fixed.affine)
    np.save(work / "affine.npy", found.moving_from_fixed)
    return took


def ours(way: str, pair: Path, work: Path) -> dict[str, float | None]:
    """Register the aligned scan; its field with the affine map is written."""
    from ankleseg.deformable import Settings, register
    from ankleseg.volumes import read_volume
    from ankleseg.volumes.displacement_fields import write_displacement_field

    fixed, aligned = read_volume(work / "fixed.nii.gz"), read_volume(work / "aligned.nii.gz")
    settings = Settings(method=way, alignment="none")
    worked = time.process_time()
    found = register(fixed, aligned, settings)
    worked = time.process_time() - worked
    write_displacement_field(
        work / f"{way}_bent.nii.gz", found.mapping.on_grid(fixed.data.shape, fixed.affine), fixed.affine
    )
    join(way, work)
    return {"seconds": found.seconds, "processor_seconds": worked}


def theirs(way: str, work: Path, arguments: argparse.Namespace) -> dict[str, float | None]:
    """Let another program register the aligned scan."""
    if not arguments.peers:
        return {"seconds": None}
    command = [arguments.peers, str(PEERS), way, str(work), str(arguments.threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return {"seconds": None}
    join(way, work)
    wall, work_seconds = map(float, done.stdout.strip().splitlines()[-1].split())
    return {"seconds": wall, "processor_seconds": work_seconds}


def join(way: str, work: Path) -> None:
    """Put the affine map after the field of a way: p ↦ A (p + u(p))."""
    from ankleseg.volumes.displacement_fields import read_displacement_field, write_displacement_field

    bent = read_displacement_field(work / f"{way}_bent.nii.gz")
    matrix = np.load(work / "affine.npy")
    points = np.stack(np.meshgrid(*(np.arange(n) for n in bent.data.shape[:3]), indexing="ij"), -1)
    places = points @ bent.affine[:3, :3].T + bent.affine[:3, 3]
    joined = (places + bent.data) @ matrix[:3, :3].T + matrix[:3, 3] - places
    write_displacement_field(work / f"{way}_field.nii.gz", joined.astype(np.float32), bent.affine)


def scores(pair: Path, field: Path) -> dict[str, float | None]:
    """Dice of the labels, local correlation in the brain, and share of folded voxels."""
    import torch

    from ankleseg.deformable import as_scan, carry_labels
    from ankleseg.losses import LocalCorrelation
    from ankleseg.measures import overlap
    from ankleseg.measures.deformation import folded_share, jacobian_determinant
    from ankleseg.rigid.warping import warp
    from ankleseg.volumes import read_label_map, read_volume
    from ankleseg.volumes.displacement_fields import read_displacement_field

    fixed, moving = read_volume(pair / "fixed.nii.gz"), read_volume(pair / "moving.nii.gz")
    shift = read_displacement_field(field)
    inside = as_scan(fixed).foreground()
    moved = warp(moving.data, moving.affine, shift.data, fixed.affine)
    images = [torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None] for image in (moved, fixed.data)]
    similarity = -float(LocalCorrelation()(*images, torch.from_numpy(inside)[None, None]))
    folded = folded_share(jacobian_determinant(np.moveaxis(shift.data, -1, 0), fixed.affine), inside)
    found = {"dice": None, "local_correlation": similarity, "folded": folded}
    if (pair / "fixed_labels.nii.gz").exists():
        true, labels = (read_label_map(pair / f"{name}_labels.nii.gz") for name in ("fixed", "moving"))
        carried = carry_labels(labels.data, labels.affine, shift.data, fixed.affine)
        names = [name for name in np.intersect1d(true.data, labels.data) if name]
        found["dice"] = float(np.mean([overlap(carried == name, true.data == name).dice for name in names]))
    return found


def make_pairs(data: Path, pairs: Path) -> None:
    """Fill a folder of pairs from the shared scans."""
    from scipy.ndimage import gaussian_filter

    from ankleseg.volumes import read_label_map, read_volume, write_volume

    for name, file in (("fixed", "b"), ("moving", "a")):
        scan = read_volume(data / "brain" / f"oasis_{file}_t1.nii.gz")
        write_volume(pairs / "oasis" / f"{name}.nii.gz", scan.data, scan.affine)
    stored = np.load(data / "brain" / "vxm_test_scan.npz")
    scan, labels = stored["vol"].astype(np.float32), stored["seg"].astype(np.int32)
    other = read_label_map(data / "brain" / "labels_01.nii.gz")
    affine = other.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ CROPPED
    shared = np.setdiff1d(np.intersect1d(labels, other.data), [0])
    theirs = np.where(np.isin(other.data, shared), other.data, 0)
    generator = np.random.default_rng(0)
    drawn = np.zeros(theirs.shape, np.float32)
    for label in shared:
        drawn[theirs == label] = scan[labels == label].mean()
    texture = 0.06 * gaussian_filter(generator.normal(size=drawn.shape), 1) + 0.02 * generator.normal(size=drawn.shape)
    drawn = np.clip(gaussian_filter(drawn, 0.6) + texture * (theirs > 0), 0, None).astype(np.float32)
    sides = {
        "vxm": (scan, np.where(np.isin(labels, shared), labels, 0), affine),
        "drawn": (drawn, theirs, other.affine),
    }
    for pair, fixed, moving in (("made", "drawn", "vxm"), ("back", "vxm", "drawn")):
        for name, side in (("fixed", fixed), ("moving", moving)):
            image, values, place = sides[side]
            write_volume(pairs / pair / f"{name}.nii.gz", image, place)
            write_volume(pairs / pair / f"{name}_labels.nii.gz", values.astype(np.int16), place)


def table(rows: list[dict]) -> str:
    """The rows as text; times of the processors also as ratios to greedy's."""
    lines = [f"{'pair':8} {'way':10} {'s':>7} {'cpu s':>7} {'of greedy':>9} {'Dice':>7} {'correl.':>8} {'folded %':>9}"]
    for row in rows:
        if row["seconds"] is None:
            lines.append(f"{row['pair']:8} {row['way']:10} did not run")
            continue
        same = (r for r in rows if r["pair"] == row["pair"] and r["way"] == "greedy")
        greedy = next((r.get("processor_seconds") for r in same), None)
        ratio = f"{row['processor_seconds'] / greedy:9.2f}" if greedy else f"{'':9}"
        dice = f"{row['dice']:7.3f}" if row["dice"] is not None else f"{'':7}"
        lines.append(
            f"{row['pair']:8} {row['way']:10} {row['seconds']:7.1f} {row['processor_seconds']:7.1f} {ratio} {dice} "
            f"{row['local_correlation']:8.3f} {100 * row['folded']:9.4f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
