"""A segmentation study and an image study: their references, their predictions, and no time lost on drawing."""

from __future__ import annotations

from pathlib import Path

import image_study
import pytest
import segmentation_study


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """A BIDS cohort of two controls and two equinus, with two block-shaped bones."""
    return segmentation_study.write_references(tmp_path / "cohort")


@pytest.fixture
def folder(tmp_path: Path) -> segmentation_study.Folder:
    return segmentation_study.Folder(tmp_path / "tiles")


@pytest.fixture
def fine(tmp_path: Path) -> Path:
    """A BIDS cohort of two fine scans with their cortex."""
    return image_study.write_references(tmp_path / "fine")


@pytest.fixture
def restored(tmp_path: Path) -> image_study.Folder:
    return image_study.Folder(tmp_path / "predictions")


@pytest.fixture
def drawn() -> None:
    """Asked for by the tests of the report: its pictures are drawn."""


@pytest.fixture
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the other tests of segmentation the time of drawing."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("ankleseg.evaluate.page.mosaic", lambda *_: b"")
        monkeypatch.setattr("ankleseg.evaluate.page._figures", lambda _: [])


@pytest.fixture
def quick_images(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the other tests of image quality the time of drawing."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("ankleseg.evaluate.quality_picture.image_comparison", lambda *_, **__: b"")
