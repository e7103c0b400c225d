"""The error family: what is wrong, in which file, how to mend it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)


class AnklesegError(Exception):
    """A problem a user can mend, told in one line: ``file: problem; mend``."""

    def __init__(self, problem: str, *, file: str | Path | None = None, mend: str | None = None) -> None:
        self.problem = problem
        self.file = None if file is None else str(file)
        self.mend = mend
        super().__init__(problem)

    def __str__(self) -> str:
        where = f"{self.file}: " if self.file else ""
        how = f"; {self.mend}" if self.mend else ""
        return " ".join(f"{where}{self.problem}{how}".split())

    def __reduce__(self):  # keyword-only arguments are lost by the default pickling between processes
        return _rebuild, (type(self), self.problem, self.file, self.mend)


def _rebuild(kind: type[AnklesegError], problem: str, file: str | None, mend: str | None) -> AnklesegError:
    return kind(problem, file=file, mend=mend)


class FileError(AnklesegError):
    """A file that cannot be read or written."""


class GeometryError(AnklesegError):
    """Grids, affines or orientations that do not fit together."""


class CohortError(AnklesegError):
    """A cohort, its table or its split is not usable."""


class ConfigError(AnklesegError):
    """A configuration names something unknown, forbidden or contradictory."""


class CheckpointError(AnklesegError):
    """A checkpoint that cannot be trusted, read or used for this input."""


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise the `AnklesegError` that another library wrapped into an error of its own, as MONAI's ``Compose`` does."""
    try:
        yield
    except AnklesegError:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, AnklesegError):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        raise


def told(error: Exception, file: str | Path | None = None) -> str:
    """Return in one line why a case failed; what nobody foresaw goes to the debug log with its traceback.

    Args:
        error: raised while the case was worked on.
        file: of the case, named where the error names none.
    """
    where = f"{file}: " if file is not None else ""
    if isinstance(error, AnklesegError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{where}does not fit into memory"
    if isinstance(error, OSError):
        return f"{where}{error}"
    log.debug("%s", error, exc_info=error)
    said = " ".join(f"{where}unexpected {type(error).__name__}: {error}".split())
    return f"{said}; hydra.verbose=ankleseg shows where, please report it"
