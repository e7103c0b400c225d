"""From a checkpoint to a MONAI bundle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ankleseg.config import require_folder
from ankleseg.errors import ConfigError
from ankleseg.files import replace_file
from ankleseg.inference.bundle.card import LICENSE, card
from ankleseg.inference.bundle.configs import inference_config
from ankleseg.inference.bundle.exchange import taken, write_onnx, write_torchscript
from ankleseg.inference.bundle.files import OURS, is_ours
from ankleseg.inference.bundle.half import difference_of, in_half
from ankleseg.inference.bundle.metadata import metadata
from ankleseg.inference.bundle.run_facts import run_facts
from ankleseg.inference.loading import find_checkpoint
from ankleseg.inference.model import build_network, model_of, network_in, refuse_registration

FORMATS = {"model.onnx": write_onnx, "model.ts": write_torchscript}


def export_bundle(
    checkpoint: str | Path,
    out: str | Path,
    *,
    onnx: bool = False,
    torchscript: bool = False,
    half: bool = False,
    authors: str | None = None,
    license: str | Path | None = None,
) -> list[str]:
    """Write a trained network as a MONAI bundle, beside and renamed; a bundle of ours that is there is replaced.

    Args:
        checkpoint: a checkpoint, a run folder or a folder of runs.
        out: the folder, whose name is that of the bundle.
        onnx: also write ``models/model.onnx``.
        torchscript: also write ``models/model.ts``.
        half: write the weights in half precision, in all formats.
        authors: of the weights.
        license: text file of the licence of the weights.

    Returns:
        A line on each further format: how far it is from PyTorch, and one on weights in half precision.

    Raises:
        ConfigError: ``out`` is something else than a bundle of ours, or cannot be written.
        CheckpointError: the checkpoint cannot be used, or a format does not give what PyTorch gives.
    """
    out = Path(out)
    require_folder(out)
    if out.exists() and any(out.iterdir()) and not is_ours(out):
        raise ConfigError("is a folder of other files, and would be replaced", file=out, mend="choose another out")
    terms = LICENSE if license is None else _text(Path(license))
    path = find_checkpoint(checkpoint)
    described, weights = network_in(path)
    model = model_of(described, weights, path)
    refuse_registration(model, "become a bundle")
    network = build_network(described["network"])
    network.load_state_dict(in_half(weights) if half else weights)
    network.eval()
    rounding = [difference_of(network, model.network, len(model.channels), model.window, path)] if half else []
    facts, name = run_facts(path), out.resolve().name
    config = inference_config(described, network, model.preparation, model.labels)
    about = metadata(described, network, model.labels, name=name, source=facts.describe(), authors=authors)
    with replace_folder(out) as part:
        for folder in ("configs", "models", "docs"):
            (part / folder).mkdir()
        torch.save((in_half if half else dict)(network.state_dict()), part / "models/model.pt")
        wanted = [file for file, asked in zip(FORMATS, (onnx, torchscript), strict=True) if asked]
        checks = {
            file: FORMATS[file](network, part / "models" / file, len(model.channels), model.window) for file in wanted
        }
        about[OURS]["formats"] = checks
        _write_json(part / "configs/inference.json", config)
        _write_json(part / "configs/metadata.json", about)
        (part / "LICENSE").write_text(terms, encoding="utf-8")
        text = card(name, described, model.preparation, model.labels, facts, checks)
        (part / "docs/README.md").write_text(text, encoding="utf-8")
    return rounding + [_described(file, check) for file, check in checks.items()]


def _described(file: str, check: Mapping[str, Any]) -> str:
    said = f"models/{file}: takes {taken(check)}; differs from PyTorch by {check['difference']:.1e} at most"
    return f"{said}, of a range of {check['range']:.3g}"


@contextmanager
def replace_folder(out: Path) -> Iterator[Path]:
    """Give an empty folder beside ``out`` that takes its place when the block ends well.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    part = out.with_name(f".{out.name}.part-{os.getpid()}")
    before = out.with_name(f".{out.name}.old-{os.getpid()}")
    try:
        part.mkdir(parents=True)
        yield part
        if out.exists():
            out.rename(before)
        part.rename(out)
    except OSError as error:
        if before.exists() and not out.exists():
            before.rename(out)
        raise ConfigError(
            f"cannot be written ({error.strerror or error})", file=out, mend="choose another out, or make room"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def _write_json(path: Path, content: object) -> None:
    with replace_file(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot be read as text ({error})", file=path, mend="give a text file as license, or leave it out"
        ) from error
