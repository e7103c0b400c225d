"""A study of two feet in motion."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_studies import write_study


@pytest.fixture(scope="session")
def whole_study(phantom_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A right and a left foot, each with a dynamic sequence, in order; to be read only."""
    return write_study(phantom_cohort, tmp_path_factory.mktemp("whole") / "study")
