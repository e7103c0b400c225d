"""The configuration of a MONAI bundle as plain nodes: references are followed, expressions are never run."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ankleseg.errors import CheckpointError

REFERENCE = re.compile(r"@[\w#:]+")
SEPARATORS = re.compile(r"::|#")
ROOMS = ("monai.networks.nets", "monai.transforms", "monai.inferers")  # where MONAI looks for a class without a path
PASSED_OVER = {"_desc_"}
MOST_NODES = 100_000  # of one node with all that it refers to
DEEPEST = 60


@dataclass(frozen=True)
class Expression:
    """Text that MONAI would run as code, or take from another file."""

    text: str


class BundleConfig:
    """A configuration read as plain types.

    Args:
        content: of its file.
        path: the file, for messages.
    """

    def __init__(self, content: Mapping[str, Any], path: Path) -> None:
        self.content = content
        self.path = path

    def __contains__(self, name: str) -> bool:
        return name in self.content

    def get(self, name: str) -> Any:
        """A node with its references followed; what would be run is an `Expression`.

        Raises:
            CheckpointError: it is missing, refers to what is not there or to itself, or is disproportionate.
        """
        if name not in self.content:
            raise CheckpointError(f"has no {name}", file=self.path, mend="give a bundle for inference")
        self._count = 0
        return self._followed(self.content[name], name, 0)

    def plain(self, node: Any, name: str) -> Any:
        """A node of `get` as `ankleseg.config.build` takes it: full names of classes, no expression.

        Raises:
            CheckpointError: it holds an expression, or a word of MONAI's that is not known here.
        """
        if isinstance(node, Expression):
            raise CheckpointError(
                f"{name} is the expression {node.text!r}, and expressions of a bundle are never run",
                file=self.path,
                mend="write its value instead",
            )
        if isinstance(node, list):
            return [self.plain(value, f"{name}#{number}") for number, value in enumerate(node)]
        if not isinstance(node, dict):
            return node
        found = {}
        for key, value in node.items():
            if key in PASSED_OVER or (key == "_disabled_" and value is False):
                continue
            if key == "_target_":
                found[key] = full_name(self.plain(value, f"{name}#{key}"), self.path)
            elif key == "_mode_" and value == "default":
                continue
            elif str(key).startswith("_"):
                raise CheckpointError(
                    f"{name} has {key}, which is not understood here", file=self.path, mend="leave it out"
                )
            else:
                found[key] = self.plain(value, f"{name}#{key}")
        return found

    def _followed(self, node: Any, name: str, depth: int) -> Any:
        self._count += 1
        if depth > DEEPEST or self._count > MOST_NODES:
            raise CheckpointError(f"{name} refers to itself or is too large", file=self.path, mend="get it again")
        if isinstance(node, Mapping):
            return {str(key): self._followed(value, f"{name}#{key}", depth + 1) for key, value in node.items()}
        if isinstance(node, list):
            return [self._followed(value, f"{name}#{number}", depth + 1) for number, value in enumerate(node)]
        if not isinstance(node, str):
            return node
        text = node.removeprefix("$").strip()
        if node.startswith(("$", "@")) and REFERENCE.fullmatch(text):
            return self._followed(self._at(text[1:], name), text[1:], depth + 1)
        if node.startswith("$"):
            try:
                return ast.literal_eval(text)  # numbers, text, lists: no code
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                return Expression(node)
        return Expression(node) if node.startswith(("@", "%")) else node

    def _at(self, reference: str, name: str) -> Any:
        node: Any = self.content
        for part in SEPARATORS.split(reference):
            try:
                node = node[int(part)] if isinstance(node, list) else node[part]
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise CheckpointError(
                    f"{name} refers to {reference}, which is not there", file=self.path, mend="get the bundle again"
                ) from error
        return node


def full_name(target: Any, path: Path) -> str:
    """The dotted name of a class that MONAI knows by its last part.

    Raises:
        CheckpointError: there is none in MONAI's networks, transforms and inferers.
    """
    import importlib

    name = str(target)
    if "." in name:
        return name
    for room in ROOMS:
        if hasattr(importlib.import_module(room), name):
            return f"{room}.{name}"
    raise CheckpointError(
        f"names {name}, which is no network, transform or inferer of MONAI",
        file=path,
        mend="give its full name, and trust=[package] if it is of a package that you trust",
    )


def class_name(node: Any) -> str:
    """The last part of the name of a node's class, empty where it is no node."""
    return str(node.get("_target_", "")).rsplit(".", 1)[-1] if isinstance(node, Mapping) else ""
