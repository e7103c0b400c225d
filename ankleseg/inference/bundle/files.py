"""The files of a MONAI bundle, read as text: nothing in them is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ankleseg.errors import CheckpointError

OURS = "ankleseg"  # key of what MONAI's specification has no words for
MODEL = "model"  # and in it of all that a checkpoint says of its network
METADATA = "configs/metadata.json"
WEIGHTS = "models/model.pt"
CONFIGS = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")


def is_bundle(folder: Path) -> bool:
    """Tell whether a folder is a MONAI bundle."""
    return (folder / METADATA).is_file()


def is_ours(folder: Path) -> bool:
    """Tell whether a folder is a bundle that `export_bundle` wrote."""
    try:
        return is_bundle(folder) and description_in(read_config(folder / METADATA)) is not None
    except CheckpointError:
        return False


def description_in(metadata: dict[str, Any]) -> dict[str, Any] | None:
    """What a bundle of ours says of its network (see `ankleseg.inference.description`), None of any other bundle."""
    ours = metadata.get(OURS)
    described = ours.get(MODEL) if isinstance(ours, dict) else None
    return described if isinstance(described, dict) else None


def find_config(folder: Path) -> Path:
    """The configuration for inference of a bundle.

    Raises:
        CheckpointError: there is none.
    """
    for name in CONFIGS:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(
        "is a MONAI bundle without configs/inference.json or .yaml", file=folder, mend="give a bundle for inference"
    )


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON or YAML file as plain types.

    Raises:
        CheckpointError: it cannot be read, or is no mapping.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise CheckpointError(f"cannot be read ({said})", file=path, mend="get the bundle again") from error
    if not isinstance(content, dict):
        raise CheckpointError("is no configuration of a bundle", file=path, mend="get the bundle again")
    return content
