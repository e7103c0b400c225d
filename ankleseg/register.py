"""``python -m ankleseg.register fixed=FILE moving=FILE out=DIR``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from ankleseg.config import names_in, run_command, to_plain
from ankleseg.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ankleseg.deformable import Predict, Settings


def main(config: DictConfig) -> None:
    """Register a scan to another, carry labels and other images along, and write all of it with a page."""
    from ankleseg.deformable import register_files

    settings = settings_asked_for(config)
    outcome = register_files(
        config.fixed,
        config.moving,
        config.out,
        settings,
        predict=network_asked_for(config.checkpoint, settings),
        labels=config.labels,
        others=names_in(config.others) or (),
        label_interpolation=_one_of("label_interpolation", config.label_interpolation, ("linear", "nearest")),
    )
    print(outcome.describe())
    if outcome.status == "failed":
        raise SystemExit(1)


def settings_asked_for(config: DictConfig) -> Settings:
    """The settings of a registration that the configuration says.

    Raises:
        ConfigError: a setting is outside its menu or range.
    """
    from dataclasses import replace

    from ankleseg.deformable import Descent, Method, Settings
    from ankleseg.predict import device_asked_for

    asked = config.method or ("descent" if config.checkpoint is None else "voxelmorph")
    descent = Descent()
    if config.refine is not None:
        descent = replace(descent, iterations=_iterations(to_plain(config.refine), len(descent.iterations)))
    if config.voxel_mm is not None and not config.voxel_mm > 0:
        raise ConfigError(f"invalid voxel_mm {config.voxel_mm}: expected a positive number of mm")
    return Settings(
        method=_one_of("method", asked, get_args(Method)),
        alignment=_one_of("alignment", config.alignment, ("affine", "rigid", "none")),
        voxel_mm=config.voxel_mm,
        descent=descent,
        device=device_asked_for(config.device),
    )


def network_asked_for(checkpoint: str | None, settings: Settings) -> Predict | None:
    """What a trained network predicts of a pair, None for the methods that need none.

    Raises:
        ConfigError: the method needs a checkpoint, or a checkpoint another method.
        CheckpointError: the network cannot be read, registers no pairs or scans of several channels, or was trained on
            voxels of no known size.
    """
    if settings.method == "voxelmorph" and checkpoint is None:
        raise ConfigError("method=voxelmorph needs a trained network", mend="add checkpoint=…")
    if settings.method != "voxelmorph" and checkpoint is not None:
        raise ConfigError(f"method={settings.method} takes no checkpoint", mend="leave out one of them")
    if checkpoint is None:
        return None
    from ankleseg.deformable import predictor
    from ankleseg.errors import CheckpointError
    from ankleseg.inference import load_model

    model = load_model(checkpoint, device=settings.device)
    if not hasattr(model.network, "displacement"):
        raise CheckpointError("holds a network that registers no pairs", file=model.path, mend="use ankleseg.predict")
    if len(model.channels) != 1:
        raise CheckpointError(
            f"registers scans of the channels {', '.join(model.channels)}: expected one channel",
            file=model.path,
            mend="train with one, as cohort.channels=[t1]",
        )
    try:
        return predictor(model.network, model.preparation)
    except ConfigError as error:
        raise CheckpointError(error.problem, file=model.path, mend=error.mend) from None


def _iterations(asked: Any, levels: int) -> tuple[int, ...]:
    counts = [asked] * levels if isinstance(asked, int) else asked
    if not isinstance(counts, list) or not counts or not all(isinstance(n, int) and n >= 0 for n in counts):
        raise ConfigError(f"invalid refine {asked}: expected numbers of iterations", mend="e.g. 50 or [100,60,20]")
    return tuple(counts)


def _one_of(key: str, asked: str, menu: tuple[str, ...]) -> Any:
    if asked not in menu:
        raise ConfigError(f"invalid {key} {asked!r}", mend=f"choose {', '.join(menu[:-1])} or {menu[-1]}")
    return asked


if __name__ == "__main__":
    run_command("register", main)
