"""Every notebook runs from top to bottom in an empty folder, and is kept without its outputs."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("**/*.ipynb"))

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_notebooks_were_found():
    assert NOTEBOOKS


def test_outputs_are_stripped():
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs") and cell.get("execution_count") is None, path


@pytest.mark.slow
@each_notebook
def test_it_runs(path: Path, tmp_path: Path):
    """Every cell as it is written, but for the steps of a training, of which one an epoch tells whether it works."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    trains = False
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source, shortened = re.subn(r"\bsteps_per_epoch=\d+", "steps_per_epoch=1", cell.source)
            trains |= shortened > 0
    assert trains == any("ankleseg.train" in cell.source for cell in notebook.cells if cell.cell_type == "code")
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
