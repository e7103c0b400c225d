"""What a file that travels may have built: fewer classes than a configuration that its user wrote."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ankleseg.config import resolve_target
from ankleseg.errors import CheckpointError

ROOMS = (
    "ankleseg.inference.postprocessing",
    "ankleseg.networks",
    "ankleseg.transforms",
    "monai.inferers",
    "monai.networks",
    "monai.transforms",
    "torch.nn",
)
NOT = ("monai.transforms.io",)  # they call what their arguments name, whatever it is
OPEN = ("ankleseg", "monai", "torch", "pytorch_lightning")  # of which a part only; all of what the user trusts


def require_allowed(node: Any) -> None:
    """Refuse a node of a checkpoint or bundle that names anything but networks, transforms and inferers.

    The allowlist of `ankleseg.config.build` has all classes of MONAI and PyTorch, some of which import and call what
    an argument names (``LoadImaged(reader="os.system")``), and functions of ankleseg that write files. A user's own
    configuration may have them, a file from somebody else may not.

    Raises:
        ConfigError: a name is not allowed anywhere, or is not there.
        CheckpointError: it is not allowed in a file.
    """
    if isinstance(node, Mapping):
        if "_target_" in node:
            _require(str(node["_target_"]))
        for value in node.values():
            require_allowed(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            require_allowed(value)


def _require(target: str) -> None:
    found = resolve_target(target)
    home = str(getattr(found, "__module__", ""))
    if not _is_in(home, OPEN):
        return  # of a package that the user trusts
    if not inspect.isclass(found) or not _is_in(home, ROOMS) or _is_in(home, NOT):
        raise CheckpointError(
            f"_target_ {target!r} is refused in a file: it is no network, transform or inferer",
            mend="do not trust it",
        )


def _is_in(name: str, packages: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)
