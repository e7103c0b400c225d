"""Networks that come with the package, used by their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ankleseg.inference.bundle.files import METADATA, OURS, WEIGHTS, description_in, is_bundle, read_config

FOLDER = Path(__file__).resolve().parents[1] / "models"  # a MONAI bundle each, as `export_bundle` writes it
DEFAULT = "ankle_bones"


@dataclass(frozen=True)
class ShippedModel:
    """A network that comes with the package.

    Attributes:
        folder: its MONAI bundle, whose name is that of the network.
        structures: that it segments.
        parameters: their number.
        megabytes: of its weights.
    """

    folder: Path
    structures: tuple[str, ...]
    parameters: int
    megabytes: float

    @property
    def name(self) -> str:
        """By which it is used, as in ``checkpoint=ankle_bones``."""
        return self.folder.name

    @property
    def card(self) -> Path:
        """Its card: what it was trained on, what was measured, what it must not be used for."""
        return self.folder / "docs" / "README.md"

    def segments(self) -> str:
        """One clause to print: its name and structures, and that it is not for diagnosis."""
        return f"{self.name} segments {', '.join(self.structures)}; not for diagnosis"

    def describe(self) -> str:
        """Two lines to print: `segments`, its size, and where its card is."""
        return f"{self.segments()}; {self.parameters:,} parameters, {self.megabytes:.1f} MB\n    card: {self.card}"


def shipped_models() -> tuple[ShippedModel, ...]:
    """The networks that come with the package, the default one first.

    Raises:
        CheckpointError: one is damaged.
    """
    folders = [folder for folder in FOLDER.glob("*") if is_bundle(folder)]
    return tuple(_model(folder) for folder in sorted(folders, key=lambda folder: (folder.name != DEFAULT, folder.name)))


def shipped_folder(name: str | Path) -> Path | None:
    """The bundle of a network that comes with the package, None where none has this name."""
    folder = FOLDER / name
    return folder if folder.name == str(name) and is_bundle(folder) else None


def default_model() -> ShippedModel | None:
    """The network that prediction takes where none is named, None where it does not come with the package."""
    folder = shipped_folder(DEFAULT)
    return None if folder is None else _model(folder)


def _model(folder: Path) -> ShippedModel:
    about = read_config(folder / METADATA)
    described = description_in(about) or {}
    return ShippedModel(
        folder,
        tuple(described.get("labels", {}).get("structures", ())),
        int(about.get(OURS, {}).get("parameters", 0)),
        (folder / WEIGHTS).stat().st_size / 1e6,
    )
