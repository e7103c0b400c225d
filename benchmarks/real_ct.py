"""How well talus and tibia are segmented in a CT of a person whose bones are known as meshes, with a picture.

    python benchmarks/real_ct.py CT MESHES PREDICTIONS OUT.jpg

CT is ``feet/L_01_ct.nii.gz``, MESHES the folder ``feet``, PREDICTIONS what ``ankleseg.predict input=CT`` wrote. The
tibia is compared up to 3 mm below the end of its mesh. White is the reference; of the calcaneus there is none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

BELOW_END = 3.0  # mm
COLOURS = {"calcaneus": "#E69F00", "talus": "#56B4E9", "tibia": "#00C08B"}


def main() -> None:
    """Print the Dice, and draw slices through the talus."""
    from ankleseg.measures import overlap
    from ankleseg.volumes import read_mask, read_volume

    ct, meshes, predictions, picture = map(Path, sys.argv[1:])
    volume = read_volume(ct)
    [row] = json.loads((predictions / "predictions.json").read_text(encoding="utf-8"))["cases"]
    masks = {bone: read_mask(predictions / row["masks"][bone]).data for bone in COLOURS}
    references = {bone: inside_mesh(meshes / "ankles" / f"L_01_{bone}.npz", volume) for bone in ("talus", "tibia")}
    top = int(np.argwhere(references["tibia"])[:, 2].max() - BELOW_END / volume.spacing[2])
    for bone, reference in references.items():
        part = np.s_[..., :top] if bone == "tibia" else np.s_[...]
        print(
            f"{bone}: Dice {overlap(masks[bone][part], reference[part]).dice:.3f}, {row['confidence'][bone]['status']}"
        )
    draw(volume, masks, references, picture)


def inside_mesh(path: Path, volume) -> np.ndarray:
    """The mask of a closed mesh on the grid of a volume whose third axis goes up."""
    from ankleseg.phantoms.bone_meshes import mask_of_mesh, read_bone_mesh

    shape = mask_of_mesh(read_bone_mesh(path)).shape(np.eye(4))
    rows = np.indices((*volume.data.shape[:2], 1)).reshape(3, -1)
    mask = np.zeros(volume.data.shape, bool)
    for k in range(mask.shape[2]):
        points = volume.affine[:3, :3] @ (rows + np.array([[0], [0], [k]])) + volume.affine[:3, 3:]
        mask[:, :, k] = (shape(points) < 0).reshape(mask.shape[:2])
    return mask


def draw(volume, masks: dict[str, np.ndarray], references: dict[str, np.ndarray], path: Path) -> None:
    """Two sagittal slices, a coronal and an axial one, with the outlines of both."""
    from matplotlib.figure import Figure

    x, y, z = np.argwhere(references["talus"]).mean(0).astype(int)
    figure = Figure(figsize=(18, 5.2), facecolor="black", layout="constrained")
    for axes, (axis, at) in zip(figure.subplots(1, 4), ((0, x), (0, x + 15), (1, y), (2, z - 20)), strict=True):
        axes.imshow(np.take(volume.data, at, axis).T, cmap="gray", origin="lower", vmin=-200, vmax=900)
        for of, width in ((masks, 1.3), (references, 0.7)):
            for bone, mask in of.items():
                colour = COLOURS[bone] if of is masks else "white"
                if (plane := np.take(mask, at, axis).T).any():
                    axes.contour(plane, [0.5], colors=colour, linewidths=width)
        axes.axis("off")
    figure.savefig(path, dpi=60, facecolor="black")


if __name__ == "__main__":
    main()
