"""Parts of a network that are begun anew."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from ankleseg.errors import ConfigError

INITIALISATIONS = ("glorot", "own")


def begin_anew(modules: Iterable[nn.Module], initialisation: str = "glorot") -> None:
    """Begin the weights of modules anew.

    Args:
        modules: of a network; those inside them are not entered.
        initialisation: ``glorot``, as published for fine-tuning of deepseg_sc: weights of convolutions and linear
            layers uniform by Glorot and Bengio 2010, biases 0, norms 1 and 0 with fresh statistics. ``own`` leaves them
            as the network was built.

    Raises:
        ConfigError: there is no such initialisation.
    """
    if initialisation not in INITIALISATIONS:
        raise ConfigError(
            f"invalid init.initialisation {initialisation!r}: expected one of {', '.join(INITIALISATIONS)}",
            mend="correct it",
        )
    if initialisation == "glorot":
        for module in modules:
            _glorot(module)


def _glorot(module: nn.Module) -> None:
    weight, bias = (getattr(module, name, None) for name in ("weight", "bias"))
    if not isinstance(weight, nn.Parameter):
        return
    reset = getattr(module, "reset_parameters", None)
    if weight.ndim > 1:
        nn.init.xavier_uniform_(weight)
    elif reset is not None:  # of norms and activations
        reset()
        return
    elif isinstance(bias, nn.Parameter):  # of a norm
        nn.init.ones_(weight)
    if isinstance(bias, nn.Parameter):
        nn.init.zeros_(bias)
