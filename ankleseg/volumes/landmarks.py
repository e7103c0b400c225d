"""Landmarks of bones in a JSON file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ankleseg.errors import FileError


def read_landmarks(path: str | Path) -> dict[str, dict[str, Float[np.ndarray, "3"]]]:
    """Read landmarks as {bone: {name: point}}, world RAS+ mm of the static scan.

    The file holds ``{"talus": {"dome_lowest": [12.5, -3.0, 40.1], …}, …}``.

    Raises:
        FileError: not JSON, or a point that is not three finite numbers.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(
            f"cannot be read ({error.strerror or error})", file=path, mend="check the file and its disk"
        ) from None
    except ValueError as error:
        raise FileError(f"is not a JSON file ({error})", file=path, mend="correct it") from None
    if not isinstance(content, dict) or not all(isinstance(points, dict) for points in content.values()):
        raise FileError("does not list points by bone", file=path, mend='write {"talus": {"dome_lowest": [x, y, z]}}')
    return {
        bone: {name: _point(path, f"{bone}.{name}", value) for name, value in points.items()}
        for bone, points in content.items()
    }


def _point(path: Path, name: str, value: object) -> np.ndarray:
    numbers = isinstance(value, list) and len(value) == 3 and all(type(part) in (int, float) for part in value)
    if not numbers or not np.isfinite(value).all():  # type: ignore[call-overload]
        raise FileError(f"{name} is not three numbers", file=path, mend="give x, y and z in RAS+ mm")
    return np.array(value, float)
