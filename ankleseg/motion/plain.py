"""Settings of a preparation as plain values: the same however they were given, so that they can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


def plain_settings(settings: Any) -> Any:
    """Return dataclasses as dictionaries that name their class, sequences as lists and numbers as floats."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        parts = {field.name: plain_settings(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
        return {"class": type(settings).__name__, **parts}
    if isinstance(settings, Mapping):
        return {str(key): plain_settings(value) for key, value in sorted(settings.items())}
    if isinstance(settings, (list, tuple)):
        return [plain_settings(value) for value in settings]
    if settings is None or isinstance(settings, (bool, str)):
        return settings
    return float(settings) if isinstance(settings, (int, float)) else repr(settings)
