"""A contact sheet of what a training sees: patches as its augmentation makes them, with the outlines of their labels.

    python benchmarks/training_images.py OUT.jpg +experiment=ankle_bones cohort.root=feet/feet.csv \\
        'cohort.split.train=[L_01,R_01]' [any other setting of ankleseg.train]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ROWS, COLUMNS = 5, 10
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")


def main() -> None:
    """Draw the first fifty patches of a training, the middle plane of each across one axis after the other."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    patches = patches_of(sys.argv[2:])
    figure, axes = plt.subplots(ROWS, COLUMNS, figsize=(1.3 * COLUMNS, 1.3 * ROWS))
    for number, axis in enumerate(axes.flat):
        sample = patches[number]
        image, label = (np.asarray(sample[key][0]) for key in ("image", "label"))
        if image.ndim == 3:
            across = number % 3
            image, label = (array.take(array.shape[across] // 2, across) for array in (image, label))
        axis.imshow(image.T, cmap="gray", origin="lower")
        for value in range(1, int(label.max()) + 1):
            if (label == value).any():
                axis.contour(value == label.T, [0.5], colors=COLOURS[(value - 1) % len(COLOURS)], linewidths=0.8)
        axis.axis("off")
    figure.subplots_adjust(0, 0, 1, 1, 0.02, 0.02)
    figure.savefig(sys.argv[1], dpi=100, pil_kwargs={"quality": 80})


def patches_of(overrides: list[str]):
    """The patches of the training that is asked for."""
    from ankleseg import runs
    from ankleseg.config import build, to_plain
    from ankleseg.config.composing import compose

    config = compose("train", [*overrides, "run_dir=."])
    cohort = build(config.cohort.load, config.cohort.root, structures=to_plain(config.structures))
    split = build(config.cohort.split)(cohort)
    labels = runs.labels_of(config, cohort)
    preparation = runs.prepared_by(config, cohort.select(split.train), labels)
    return runs.data_of(
        config, cohort=cohort, split=split, preparation=preparation, labels=labels, seed=config.seed
    ).patches()


if __name__ == "__main__":
    main()
