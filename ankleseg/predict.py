"""``python -m ankleseg.predict [checkpoint=RUN|NAME|method=NAME] input=FILE|FOLDER|TABLE out=DIR``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ankleseg.cohorts.names import counted
from ankleseg.config import build, names_in, resolve_target, run_command, to_plain
from ankleseg.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ankleseg.cohorts import Case
    from ankleseg.inference import Model, Postprocessing, VolumeInferer
    from ankleseg.inference.centrelines import GetCentreline


def main(config: DictConfig) -> None:
    """Predict every case of the input in every mode asked for; exit with 1 when a case failed."""
    if config.models:
        return list_models()
    from ankleseg.inference import cases_of, predict_cases
    from ankleseg.inference.flips import checked_flips

    models, finders, centreline = models_asked_for(config)
    cases = cases_of(
        config.input,
        group=names_in(config.group),
        subjects=names_in(config.subjects),
        suffix=config.suffix,
        acquisition=config.acquisition,
        select=to_plain(config.select),
        side=config.side,
        channels=models[0].channels if models else None,
    )
    if config.method is not None:
        return _by_method(config, cases, centreline)
    confidence = build(config.predict.confidence)
    settings = to_plain(config.predict)
    del settings["confidence"]
    modes, finer = settings.pop("mode"), checked_spacing(settings.pop("spacing"))
    patch_foreground = settings.pop("patch_foreground")
    flips, planes = checked_flips(settings.pop("flips"), models[0].labels), settings.pop("planes")
    settings = tiles_asked_for(blending_asked_for(settings, models[0]), models[0].window)
    postprocessing = postprocessing_asked_for(to_plain(config.postprocessing), models[0].postprocessing)
    failed = 0
    for mode in [modes] if isinstance(modes, str) else modes:
        out = Path(config.out) if isinstance(modes, str) else Path(config.out) / mode
        rows = predict_cases(
            cases,
            models,
            out,
            inferer=inferer_asked_for(mode, **settings),
            postprocessing=postprocessing,
            save_probabilities=config.save_probabilities,
            spacing=finer,
            patch_foreground=patch_foreground,
            flips=flips,
            planes=planes,
            centreline=centreline,
            finders=finders,
            cuts=to_plain(config.cuts) or (),
            confidence=confidence,
        )
        wrong = sum(row["status"] != "ok" for row in rows)
        failed += wrong
        print(f"{counted(len(rows), 'case')} ({mode}), {wrong} failed: {out}")
    if failed:
        raise SystemExit(1)


def list_models() -> None:
    """Print the networks that come with the package: what they segment, their size, where their cards are."""
    from ankleseg.inference import shipped_models

    found = shipped_models()
    print("\n".join(model.describe() for model in found) or "no network comes with this version")


def models_asked_for(config: DictConfig) -> tuple[list[Model], list[Model], GetCentreline | None]:
    """The models that segment, those that find the centreline for them, and the centreline that is given instead.

    Raises:
        CheckpointError: one cannot be loaded, or there is no centreline for those that need one.
        ConfigError: there is no checkpoint, nor a method; or a centreline that nothing needs.
    """
    from ankleseg.classical import Snakes
    from ankleseg.inference import finding_centrelines, load_model
    from ankleseg.inference.centrelines import by_role, given_centreline, require_centreline

    given = None if config.centreline is None else given_centreline(config.centreline, config.out)
    along = config.method is not None and resolve_target(config.method["_target_"]) is Snakes
    if config.method is not None and not (along and given is None and config.checkpoint is not None):
        return [], [], given
    device = device_asked_for(config.device)
    models = [load_model(path, device=device) for path in names_in(config.checkpoint) or by_default()]
    if along:
        return [], [], finding_centrelines(models, models[0].labels)
    models, finders = by_role(models)
    require_centreline(models, finders, config.centreline)
    return models, finders, given


def by_default() -> list[str]:
    """The name of the network that is taken where none is given; a line is printed on it.

    Raises:
        ConfigError: none comes with the package.
    """
    from ankleseg.inference import default_model

    model = default_model()
    if model is None:
        raise ConfigError("checkpoint is missing", mend="add checkpoint=…, or a method=… without a network")
    print(f"no checkpoint is given: {model.segments()}")
    return [str(model.folder)]


def _by_method(config: DictConfig, cases: Sequence[Case], centreline: GetCentreline | None) -> None:
    """Segment every case by a classical method; exit with 1 when a case failed.

    Raises:
        ConfigError: there is a checkpoint too, and it is not that of the centreline.
    """
    from ankleseg.inference import Postprocessing, segment_cases

    if config.checkpoint is not None and (centreline is None or config.centreline is not None):
        raise ConfigError("invalid method: a checkpoint is given too", mend="leave out method=… or checkpoint=…")
    postprocessing = postprocessing_asked_for(to_plain(config.postprocessing), Postprocessing())
    rows = segment_cases(
        cases, to_plain(config.method), config.out, postprocessing=postprocessing, centreline=centreline
    )
    failed = sum(row["status"] != "ok" for row in rows)
    print(f"{counted(len(rows), 'case')}, {failed} failed: {config.out}")
    if failed:
        raise SystemExit(1)


def device_asked_for(asked: str) -> str:
    """Where networks run: ``auto`` is a CUDA device where there is one, else the processor.

    Raises:
        ConfigError: PyTorch knows no such device, or it is not there.
    """
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=asked)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={asked} cannot be used here", mend="choose auto, or cpu") from error
    return asked


def blending_asked_for(settings: dict[str, Any], model: Model) -> dict[str, Any]:
    """Overlap and weights of tiles: as given, as a bundle of somebody else says, or smooth with half a side."""
    from ankleseg.inference.volume import BLENDS

    own = {"overlap": 0.5, "blend": "smooth"}
    if model.blending is not None:
        words = {mode: word for word, mode in BLENDS.items()}
        own = {"overlap": model.blending.overlap, "blend": words.get(model.blending.mode, model.blending.mode)}
        settings = settings | {"padding_mode": model.blending.padding_mode}
    return settings | {name: value for name, value in own.items() if settings[name] is None}


def tiles_asked_for(settings: dict[str, Any], trained: Sequence[int]) -> dict[str, Any]:
    """Window and overlap: as given, by the side of a patch and its step, or as in training.

    Raises:
        ConfigError: a side is too short or one is missing, or the step is longer than the patch, or one step is given
            for sides that differ.
    """
    from ankleseg.inference.tiles import check_window

    patch, step = settings.pop("patch"), settings.pop("step")
    if isinstance(settings["window"], int):
        settings["window"] = [settings["window"]] * len(trained)
    window = settings["window"] or (list(trained) if patch is None else [patch] * len(trained))
    check_window(window, [len(trained)], mend="set predict.patch or predict.window")
    if step is not None:
        if len(set(window)) > 1:
            raise ConfigError(
                f"invalid predict.step {step}: a window of {window} has sides that differ",
                mend="set predict.overlap, a fraction of each side",
            )
        if not 0 < step <= min(window):
            raise ConfigError(
                f"invalid predict.step {step}: expected 1 to {min(window)}, the side of a patch in voxels",
            )
        settings["overlap"] = 1 - step / min(window)
    return settings | {"window": window}


def inferer_asked_for(
    mode: str,
    *,
    window: Sequence[int],
    overlap: float,
    blend: str,
    batch: int,
    memory_gb: float | None,
    padding_mode: str = "replicate",
) -> VolumeInferer:
    """The inferer that the settings under ``predict`` say, in MONAI's words.

    Raises:
        ConfigError: a setting is outside its menu or range.
    """
    from ankleseg.inference import VolumeInferer
    from ankleseg.inference.volume import BLENDS

    if blend not in BLENDS:
        raise ConfigError(f"invalid predict.blend {blend!r}", mend=f"choose {' or '.join(BLENDS)}")
    return VolumeInferer(
        window, batch, overlap, BLENDS[blend], padding_mode=padding_mode, tiling=mode, memory_gb=memory_gb
    )


def checked_spacing(asked: Any) -> list[float | None] | None:
    """The spacing of the results, where one is asked for.

    Raises:
        ConfigError: it is not three positive numbers, or null for an axis.
    """
    if asked is None:
        return None
    if not isinstance(asked, list) or len(asked) != 3 or not all(map(_is_spacing, asked)):
        raise ConfigError(
            f"invalid predict.spacing {asked}: expected three positive numbers in mm", mend="e.g. [0.5,0.5,0.5]"
        )
    return asked


def _is_spacing(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and value > 0)


def postprocessing_asked_for(asked: dict[str, Any] | None, trained: Postprocessing | None) -> Postprocessing | None:
    """What is done to masks: nothing, or as training says where nothing else is asked for."""
    from ankleseg.inference import Postprocessing

    if asked is None:
        return None
    start = trained or Postprocessing(largest_component=False, fill_holes=False)
    return replace(start, **{name: value for name, value in asked.items() if value is not None})


if __name__ == "__main__":
    run_command("predict", main)
