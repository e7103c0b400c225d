"""A law that holds for many cases is one test: it tells the case in which it fails."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any


def for_all(names: str | tuple[str, ...], cases: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Ask a test for each of many cases, as ``pytest.mark.parametrize`` does, but in one test.

    Each case has a ``tmp_path`` of its own; other fixtures are made once, so that they must not be changed.

    Args:
        names: of the arguments that a case gives.
        cases: a value for one name, a tuple for several.
    """
    wanted = (names,) if isinstance(names, str) else names
    cases = list(cases)
    assert cases, "a law without cases holds always"

    def law_of(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def law(**fixtures: Any) -> None:
            folder = fixtures.get("tmp_path")
            for number, case in enumerate(cases):
                given = dict(zip(wanted, (case,) if isinstance(names, str) else case, strict=True))
                if folder is not None:
                    fixtures["tmp_path"] = folder / str(number)
                    fixtures["tmp_path"].mkdir()
                try:
                    test(**fixtures, **given)
                except BaseException as failure:
                    failure.add_note(
                        "in the case " + ", ".join(f"{name}={value!r:.200}" for name, value in given.items())
                    )
                    raise

        signature = inspect.signature(test)
        kept = [parameter for name, parameter in signature.parameters.items() if name not in wanted]
        law.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
        return law

    return law_of
