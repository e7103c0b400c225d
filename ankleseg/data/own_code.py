"""Where the classes and functions of a user are written, which a configuration names."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ankleseg.config.building import ALLOWED_PACKAGES


def own_code(configuration: Any) -> list[Path]:
    """Source files, sorted, of what a configuration names outside ankleseg, MONAI and PyTorch.

    These are the files that classes, with their bases, and functions are written in, not what these import. What has
    no source file is left out.

    Args:
        configuration: plain types that name by ``_target_`` what has been built.
    """
    return sorted({file for target in _targets(configuration) for file in _files_of(target)})


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            yield from _targets(value)


def _files_of(target: str) -> Iterator[Path]:
    module, _, name = target.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)  # imported when it was built
    for part in inspect.getmro(found) if inspect.isclass(found) else [found]:
        home = str(getattr(part, "__module__", ""))
        file = getattr(sys.modules.get(home), "__file__", None)
        if file is not None and file.endswith(".py") and home.split(".")[0] not in ALLOWED_PACKAGES:
            yield Path(file)
