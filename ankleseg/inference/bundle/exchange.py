"""A network as ONNX and as TorchScript, each compared with PyTorch before it is kept."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ankleseg import keys
from ankleseg.errors import CheckpointError, ConfigError
from ankleseg.networks import required_divisor

WORST = 1e-3  # of the range of the outputs: a file that differs by more is not kept
INPUTS = (keys.IMAGE, keys.SLICE_THICKNESS)
OUTPUT = "pred"  # as MONAI calls it

Answer = Callable[[tuple[Tensor, ...]], np.ndarray]


def write_onnx(network: nn.Module, path: Path, channels: int, window: Sequence[int]) -> dict[str, Any]:
    """Write a network as ONNX, with a dynamic batch and dynamic spatial axes where it can be traced so.

    Args:
        network: in eval mode, on the CPU.
        path: the file.
        channels: of its input.
        window: sides of a tile.

    Returns:
        ``difference``, the largest one from PyTorch, ``range`` of the outputs, and what is ``dynamic``: batch, sides.

    Raises:
        ConfigError: a package is missing.
        CheckpointError: the network cannot be traced, or ONNX Runtime gives another answer than PyTorch.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  of the exporter
    except ImportError as error:
        raise ConfigError(
            f"onnx=true needs the package {error.name}", mend='install "ankleseg[bundle]", or leave onnx=true out'
        ) from error

    def answer(inputs: tuple[Tensor, ...]) -> np.ndarray:
        names = [given.name for given in session.get_inputs()]
        feed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return np.asarray(session.run(None, feed)[0])

    failure: Exception | None = None
    for batch, axes in _axes(network, len(window)):
        inputs = examples(network, channels, window, batch)
        try:
            with _quiet():
                program = torch.onnx.export(
                    network,
                    inputs,
                    dynamo=True,
                    dynamic_shapes=axes,
                    input_names=list(INPUTS[: len(inputs)]),
                    output_names=[OUTPUT],
                    verbose=False,
                )
                assert program is not None
                program.save(str(path))
        except Exception as error:  # the exporter raises whatever the network did
            failure = error
            continue
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        try:
            return _compared(network, answer, channels, window, path)
        except CheckpointError:
            raise
        except Exception as error:  # the exporter fixed the batch of the example
            failure = error
    raise CheckpointError(
        f"the network cannot be written as ONNX ({_first_line(failure)})", mend="leave onnx=true out"
    ) from failure


def write_torchscript(network: nn.Module, path: Path, channels: int, window: Sequence[int]) -> dict[str, Any]:
    """Write a network as TorchScript, for ``torch.jit.load``; arguments, result and errors as in `write_onnx`."""
    inputs = examples(network, channels, window, batch=1)
    try:
        with _quiet(), torch.no_grad():
            torch.jit.trace(network, inputs, check_trace=False).save(str(path))
            loaded = torch.jit.load(str(path))
    except Exception as error:  # tracing raises whatever the network did
        raise CheckpointError(
            f"the network cannot be written as TorchScript ({_first_line(error)})", mend="leave torchscript=true out"
        ) from error

    def answer(inputs: tuple[Tensor, ...]) -> np.ndarray:
        with _quiet(), torch.no_grad():
            return loaded(*inputs).numpy()

    return _compared(network, answer, channels, window, path)


def examples(network: nn.Module, channels: int, window: Sequence[int], batch: int) -> tuple[Tensor, ...]:
    """Random inputs of a network, the same each time."""
    divisor = required_divisor(network)
    sides = [-(-side // divisor) * divisor for side in window]
    image = torch.randn((batch, channels, *sides), generator=torch.Generator().manual_seed(0))
    return (image, torch.full((batch,), 3.0)) if getattr(network, "conditional", False) else (image,)


def _axes(network: nn.Module, dimensions: int) -> Iterator[tuple[int, tuple[dict[int, Any], ...] | None]]:
    """Tiles of an example and what may vary, tried one after the other: batch and sides, sides, nothing."""
    from torch.export import Dim

    divisor, conditional = required_divisor(network), bool(getattr(network, "conditional", False))
    sides = {axis: divisor * Dim(f"side{axis - 2}", min=1, max=4096 // divisor) for axis in range(2, 2 + dimensions)}
    batch = {0: Dim("batch", min=1, max=4096)}
    yield 2, (batch | sides, *((batch,) if conditional else ()))
    yield 1, (sides, *(({},) if conditional else ()))
    yield 1, None


def _compared(network: nn.Module, answer: Answer, channels: int, window: Sequence[int], path: Path) -> dict[str, Any]:
    """Compare answers on one tile, and find out whether two of them, and one with longer sides, are taken too."""
    found = [_difference(network, answer, examples(network, channels, window, batch=1), path)]
    longer = [side + 1 for side in window]
    varies = {}
    for name, batch, sides in (("batch", 2, window), ("sides", 1, longer)):
        try:
            found.append(_difference(network, answer, examples(network, channels, sides, batch), path))
            varies[name] = True
        except CheckpointError:
            raise
        except Exception:  # the runtime says in its own way what it does not take
            varies[name] = False
    difference, extent = max(found, key=lambda pair: pair[0] / pair[1])
    return {"difference": difference, "range": extent, "dynamic": varies}


def taken(check: Mapping[str, Any]) -> str:
    """What tiles a file takes, in words."""
    number = "any number of tiles" if check["dynamic"]["batch"] else "one tile"
    return f"{number} of {'any size' if check['dynamic']['sides'] else 'the size of training'}"


def _difference(network: nn.Module, answer: Answer, inputs: tuple[Tensor, ...], path: Path) -> tuple[float, float]:
    with torch.no_grad():
        expected = network(*inputs).numpy()
    given = answer(inputs)
    difference = float(np.abs(given - expected).max()) if given.shape == expected.shape else np.inf
    extent = max(float(np.ptp(expected)), 1e-12)
    if not difference <= WORST * extent:
        path.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path.name} differs from PyTorch by {difference:.2g}, of a range of {extent:.2g}",
            mend="leave this format out, and report the network",
        )
    return difference, extent


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporters tell their developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first_line(error: BaseException | None) -> str:
    """What the first of a chain of errors says."""
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    said = str(error).strip()
    return f"{type(error).__name__}: {said.splitlines()[0][:200]}" if said else type(error).__name__
