"""Small checkpoints, bundles and scans that tests of bundles share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation
from small_models import prepared_by

from ankleseg.cohorts import Case
from ankleseg.inference import VolumeInferer, build_network, description, load_model, predict_case
from ankleseg.inference.model import DESCRIPTION
from ankleseg.labels import Labels
from ankleseg.volumes import write_volume

SHAPE = (36, 30, 20)


def checkpoint(
    path: Path,
    node: dict[str, Any],
    labels: Labels,
    *overrides: str,
    channels: tuple[str, ...] = ("image",),
    window: tuple[int, ...] = (16, 16),
    postprocessing: dict[str, Any] | None = None,
    planes: tuple[str, ...] = (),
) -> Path:
    """A checkpoint as training writes it, of random weights that give every structure some voxels."""
    torch.manual_seed(1)
    network = build_network(node)
    if hasattr(network, "head"):
        with torch.no_grad():  # outputs that vary around 0, so that every structure has some voxels
            outputs = network.eval()(torch.randn(1, len(channels), *window)).flatten(2)[0]
            head = network.head
            head.bias.sub_(outputs.mean(1)).div_(outputs.std(1))
            head.weight.div_(outputs.std(1).view(-1, *[1] * (head.weight.ndim - 1)))
    else:
        torch.nn.init.normal_(network.last.weight)
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    described = description(
        network=node,
        preparation=prepared_by(*overrides),
        labels=labels,
        channels=channels,
        window=window,
        postprocessing=postprocessing,
        planes=planes,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state, DESCRIPTION: described}, path)
    return path


def scan(path: Path, seed: int = 0) -> Path:
    """A textured body in air, obliquely scanned."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"), -1)
    body = (grid**2).sum(-1) < 0.6
    texture = gaussian_filter(rng.normal(size=SHAPE), 1.5)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [80, 10, -95], degrees=True).as_matrix() * [0.9, 0.9, 1.6]
    affine[:3, 3] = (-40, 30, 12)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_volume(path, (body * (300 + 90 * texture / texture.std())).clip(0).astype(np.int16), affine)


def predicted(model: Path, images: list[Path], inferer: VolumeInferer | None = None) -> tuple[np.ndarray, ...]:
    """Label map, images and affine as ``python -m ankleseg.predict`` gives them."""
    loaded = load_model(model)
    channels = dict(zip(loaded.channels, images, strict=True))
    given = predict_case(
        Case("s", "s", channels), [loaded], inferer or VolumeInferer(loaded.window), loaded.postprocessing
    )
    return loaded.labels.written(loaded.labels.label_map(given.masks)), given.images, given.affine


def run_by_monai(bundle: Path, out: Path, **settings: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Voxels and affine of what MONAI's bundle runner writes, by name."""
    from monai.bundle import run

    config = next(file for file in (bundle / "configs").iterdir() if file.stem == "inference")
    run(config_file=str(config), bundle_root=str(bundle), output_dir=str(out), logging_file=False, **settings)
    written = {file.name.rsplit("_", 1)[-1].partition(".")[0]: nib.load(file) for file in out.rglob("*.nii.gz")}
    return {name: (np.asarray(image.dataobj), image.affine) for name, image in written.items()}
