"""``python -m ankleseg.predict checkpoint=RUN input=FILE|FOLDER|TABLE out=DIR``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ankleseg.config import build, run_command, to_plain

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Predict every case of the input in every mode asked for; exit with 1 when a case failed."""
    import torch

    from ankleseg.predict import WholeVolume, cases_of, load_model, predict_cases

    cases = cases_of(
        config.input, group=config.group, subjects=to_plain(config.subjects), suffix=config.suffix, side=config.side
    )
    device = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    checkpoints = to_plain(config.checkpoint)
    models = [
        load_model(path, device=device) for path in ([checkpoints] if isinstance(checkpoints, str) else checkpoints)
    ]
    settings = to_plain(config.predict)
    modes = settings.pop("mode")
    settings["window"] = settings["window"] or models[0].window
    first = WholeVolume(**settings)
    failed = 0
    for mode in [modes] if isinstance(modes, str) else modes:
        out = Path(config.out) if isinstance(modes, str) else Path(config.out) / mode
        rows = predict_cases(
            cases,
            models,
            out,
            whole_volume=replace(first, mode=mode),
            postprocessing=build(config.postprocessing),
            save_probabilities=config.save_probabilities,
        )
        failed += sum(row["status"] != "ok" for row in rows)
        print(f"{len(rows)} cases ({mode}), {sum(row['status'] != 'ok' for row in rows)} failed: {out}")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    run_command("predict", main)
