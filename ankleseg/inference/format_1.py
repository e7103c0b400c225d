"""Checkpoints of format 1, from before preparations were lists of MONAI transforms, in the words of format 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

IMAGES = ["image", "label", "target"]
RULES = {"Otsu": "otsu", "NonZero": "nonzero", "WholeImage": "whole_image", "Threshold": "otsu"}
SLICES_LAST = "slices last"


def in_format_2(described: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a checkpoint of format 1 as one of format 2."""
    postprocessing = described.get("postprocessing", {"largest_component": True, "fill_holes": True})
    if postprocessing is not None:
        postprocessing = {**postprocessing, "_target_": "ankleseg.inference.Postprocessing"}
    channels = int(described["network"]["in_channels"])
    return {
        "format": 2,
        "network": described["network"],
        "preparation": _preparation(described["preparation"]),
        "labels": {"structures": described["structures"], "images": described.get("images", [])},
        "channels": ["image"] if channels == 1 else [str(number) for number in range(1, channels + 1)],
        "window": described["window"],
        "postprocessing": postprocessing,
        "slice_axis": described.get("slice_axis", 2),
        "slice_spacing": described.get("slice_spacing"),
    }


def _preparation(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    turn = {"_target_": "monai.transforms.Orientationd", "axcodes": node["orientation"], "labels": None}
    if node["orientation"] == SLICES_LAST:
        turn = {"_target_": "ankleseg.transforms.SlicesLastd"}
    volumes = {"keys": IMAGES, "allow_missing_keys": True}
    order = node.get("order", 1)
    return [
        {"_target_": "ankleseg.transforms.ClipSpikesd", "keys": ["image"]},
        turn | volumes,
        {"_target_": "ankleseg.transforms.ResampleToSpacingd", "pixdim": node["spacing"], "mode": [order, 0, order]}
        | volumes,
        {"_target_": "ankleseg.transforms.MirrorToSided", "side": node["bring_to_side"]} | volumes,
        _foreground(node["foreground"]),
        _scaling(node["scaling"]),
    ]


def _foreground(node: Mapping[str, Any]) -> dict[str, Any]:
    name = str(node["_target_"]).rsplit(".", 1)[-1]
    changed = {"_target_": "ankleseg.transforms.ForegroundMaskd", "keys": ["image"], "rule": RULES.get(name, name)}
    changed |= {key: node[key] for key in ("largest", "fill_holes") if key in node}
    return changed | ({"threshold": node["value"]} if name == "Threshold" else {})


def _scaling(node: Mapping[str, Any]) -> dict[str, Any]:
    name = str(node["_target_"]).rsplit(".", 1)[-1]
    if name == "ZScore":
        return {"_target_": "ankleseg.transforms.NormalizeInForegroundd", "keys": ["image"]}
    lower, upper, clip = {
        "Percentile": (node.get("low", 0.5), node.get("high", 99.5), True),
        "MinMax": (0, 100, True),
        "BrightEnd": (None, node.get("percentile", 99.5), False),
    }.get(name, (name, name, True))
    return {
        "_target_": "ankleseg.transforms.ScaleInForegroundd",
        "keys": ["image"],
        "lower": lower,
        "upper": upper,
        "clip": clip,
    }
