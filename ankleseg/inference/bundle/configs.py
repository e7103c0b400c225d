"""``configs/inference.json``: how MONAI's bundle runner predicts with a network of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ankleseg import keys
from ankleseg.errors import CheckpointError
from ankleseg.labels import Labels
from ankleseg.transforms import ForegroundMaskd, Preparation, ResampleToSpacingd

PLANES_INFERER = "ankleseg.inference.SeveralPlanesInferer"
PRED = "pred"  # what a network gives, as MONAI calls it
OF_HYDRA = {"_convert_", "_recursive_"}  # how Hydra builds a node; MONAI always builds it so
BATCH, OVERLAP, MODE = 8, 0.5, "gaussian"  # as python -m ankleseg.predict has them


def inference_config(
    described: Mapping[str, Any], network: nn.Module, preparation: Preparation, labels: Labels
) -> dict[str, Any]:
    """The configuration of a bundle.

    What it predicts is what ``python -m ankleseg.predict`` predicts with its defaults: probabilities are blended, air
    is skipped, masks are mended and lie on the grid of the input; images keep the spacing that the network works at.

    Args:
        described: see `ankleseg.inference.description`.
        network: that it describes.
        preparation: that it describes.
        labels: that it describes.

    Raises:
        CheckpointError: a node has what MONAI's runner cannot build.
    """
    images = len(labels.images)
    conditional = bool(getattr(network, "conditional", False))
    told = {keys.FOREGROUND: keys.FOREGROUND} if _finds_foreground(preparation) else {}
    if conditional:
        told[keys.SLICE_THICKNESS] = keys.SLICE_THICKNESS
    return {
        "imports": ["$import functools"],
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "dataset_dir": "$@bundle_root + '/scans'",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": {
            "_target_": "ankleseg.inference.datalist",
            "path": "@dataset_dir",
            "channels": list(described["channels"]),
        },
        "labels": {"_target_": "ankleseg.labels.Labels", **labels.to_plain()},
        "network_def": monai_node(described["network"]),
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [*_reading(images > 0 or conditional), *_prepared(preparation, keeps_spacing=images > 0)],
        },
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": _inferer(described),
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing(described, labels)},
        "handlers": _handlers(),
        "evaluator": _evaluator(images, told),
        "run": ["$@evaluator.run()"],
    }


def _inferer(described: Mapping[str, Any]) -> dict[str, Any]:
    inferer = {
        "_target_": "ankleseg.inference.VolumeInferer",
        "roi_size": list(described["window"]),
        "sw_batch_size": BATCH,
        "overlap": OVERLAP,
        "mode": MODE,
    }
    planes = list(described.get("planes", ()))
    return inferer if not planes else {"_target_": PLANES_INFERER, "inferer": inferer, "planes": planes}


def _handlers() -> list[dict[str, Any]]:
    weights = {"load_path": "$@bundle_root + '/models/model.pt'", "load_dict": {"model": "@network"}}
    return [{"_target_": "CheckpointLoader", **weights}, {"_target_": "StatsHandler", "iteration_log": False}]


def _evaluator(images: int, told: Mapping[str, str]) -> dict[str, Any]:
    evaluator: dict[str, Any] = {
        "_target_": "SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": f"$functools.partial(@inferer, activate=@labels.activate, fill={images})",
        "postprocessing": "@postprocessing",
        "val_handlers": "@handlers",
    }
    if told:
        evaluator["prepare_batch"] = {"_target_": "monai.engines.PrepareBatchExtraInput", "extra_keys": dict(told)}
    return evaluator


def monai_node(node: Any) -> Any:
    """A node as MONAI's config parser builds it.

    Raises:
        CheckpointError: it has a word of Hydra's that MONAI does not know, or text that MONAI would run.
    """
    if isinstance(node, Mapping):
        known = {key: value for key, value in node.items() if key not in OF_HYDRA}
        odd = next((key for key in known if str(key).startswith("_") and key != "_target_"), None)
        if odd is not None:
            raise CheckpointError(
                f"{node.get('_target_')} is configured with {odd}, which MONAI's bundles have not",
                mend="train with a configuration without it",
            )
        return {key: monai_node(value) for key, value in known.items()}
    if isinstance(node, (list, tuple)):
        return [monai_node(value) for value in node]
    if isinstance(node, str) and node.startswith(("$", "@", "%")):
        raise CheckpointError(
            f"the text {node!r} of its configuration would be run by MONAI", mend="train with another one"
        )
    return node


def _reading(remember: bool) -> list[dict[str, Any]]:
    image = {"keys": keys.IMAGE}
    nodes: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", **image, "reader": "ankleseg.volumes.Reader"},
        {"_target_": "EnsureChannelFirstd", **image},
    ]
    return [*nodes, {"_target_": "ankleseg.transforms.RememberScand", **image}] if remember else nodes


def _prepared(preparation: Preparation, *, keeps_spacing: bool) -> list[dict[str, Any]]:
    nodes = []
    for node, transform in zip(preparation.nodes, preparation.transforms, strict=True):
        stays = keeps_spacing and isinstance(transform, ResampleToSpacingd)
        nodes.append(monai_node(node) | ({"restore": False} if stays else {}))
    return nodes


def _finds_foreground(preparation: Preparation) -> bool:
    found = (t for t in preparation.transforms if isinstance(t, ForegroundMaskd))
    return any(transform.mask_key == keys.FOREGROUND for transform in found)


def _postprocessing(described: Mapping[str, Any], labels: Labels) -> list[dict[str, Any]]:
    images: Sequence[str] = labels.images
    restored = {"_target_": "ankleseg.transforms.RestoreIntensitiesd", "keys": PRED, "images": len(images)}
    placed = {
        "_target_": "Invertd",
        "keys": PRED,
        "transform": "@preprocessing",
        "orig_keys": keys.IMAGE,
        "nearest_interp": False,
        "to_tensor": True,
    }
    decoded: dict[str, Any] = {"_target_": "ankleseg.transforms.DecodeLabelsd", "keys": PRED, "labels": "@labels"}
    if described["postprocessing"] is not None:
        decoded["postprocessing"] = monai_node(described["postprocessing"])
    saved = [_saving(name, name, "float32") for name in images]
    if len(labels):
        saved.append(_saving(PRED, "labels", "uint8"))
    return [*([restored] if images else []), placed, decoded, *saved]


def _saving(key: str, postfix: str, kind: str) -> dict[str, Any]:
    return {
        "_target_": "SaveImaged",
        "keys": key,
        "output_dir": "@output_dir",
        "output_postfix": postfix,
        "output_dtype": kind,
        "resample": False,
        "separate_folder": True,
    }
