"""Finding ``conf/`` and composing a configuration as the command line would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from ankleseg.config.overrides import as_typed
from ankleseg.config.resolvers import register_resolvers
from ankleseg.errors import ConfigError


def conf_dir() -> Path:
    """Folder of the configuration: inside the installed package, or beside it in the source tree."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if folder.is_dir():
            return folder
    raise ConfigError("the configuration folder is missing", file=package / "conf", mend="reinstall ankleseg")


def compose(config_name: str = "train", overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a configuration as the command line would, for notebooks and tests.

    Args:
        config_name: a file of ``conf/`` without its ending: ``train``, ``predict``, …
        overrides: what a user would type, e.g. ``["+experiment=ankle_static_unet", "bone=talus"]``; paths need no
            quotes.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    register_resolvers()
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        return hydra_compose(config_name, overrides=as_typed(overrides, config_name))
