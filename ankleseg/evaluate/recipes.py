"""The recipes of ``python -m ankleseg.evaluate``: what is compared, and what is printed of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ankleseg.config import names_in
from ankleseg.errors import AnklesegError, ConfigError

Folders = str | Mapping[str, str]


def segmentation(
    predictions: Folders, references: str | None, out: str, *, structures: Any = None, **chosen: Any
) -> None:
    """Score predicted masks against references.

    Args:
        predictions: folders written by ``ankleseg.predict``, one, or several by name.
        references: a cohort with masks.
        out: folder of tables and report.
        structures: only these; None: all.
        chosen: ``suffix``, ``acquisition`` and ``select`` of the references, where a session has several images.

    Raises:
        ConfigError: there are no references.
        AnklesegError: predictions or references cannot be read, or nothing could be scored.
    """
    from ankleseg.evaluate import evaluate

    result = evaluate(predictions, _required(references), out, structures=names_in(structures), **chosen)
    print(result.describe())
    if not result.scored:
        first = result.scores[0].message if result.scores else "no case was predicted"
        raise _nothing("scored", first, result.out / "metrics.csv")


def motion(predictions: Folders, references: str | None, out: str) -> None:
    """Score registered bones against the truth of a phantom; arguments and errors as in `segmentation`."""
    from ankleseg.evaluate.motion import evaluate_motion

    result = evaluate_motion(_one_folder(predictions, "motion", "prepare"), _required(references), out)
    print(result.describe())
    if not result.scored:
        raise AnklesegError(
            "nothing could be scored: no pose was estimated", file=result.out / "motion.csv", mend="see its messages"
        )


def registration(predictions: Folders, references: str | None, out: str) -> None:
    """Score registrations against label maps and true fields; arguments and errors as in `segmentation`."""
    from ankleseg.evaluate.registration import evaluate_registration

    folder = _one_folder(predictions, "registration", "ankleseg.register")
    result = evaluate_registration(folder, _required(references), out)
    print(result.describe())
    if not result.scored:
        raise _nothing("scored", result.registrations[0].message, result.out / "registrations.csv")


def quality(predictions: Folders, references: str | None, out: str, **chosen: Any) -> None:
    """Score predicted images against scans of higher quality; arguments and errors as in `segmentation`."""
    from ankleseg.evaluate.quality import evaluate_quality

    folder = _one_folder(predictions, "quality", "ankleseg.predict")
    result = evaluate_quality(folder, _required(references), out, **chosen)
    print(result.describe())
    if not result.scored:
        first = result.images[0].message if result.images else "no case was predicted"
        raise _nothing("scored", first, result.out / "quality.csv")


def tumour(
    predictions: Folders,
    references: str | None,
    out: str,
    *,
    structures: Any = None,
    dilation: int = 3,
    least_mm3: float = 50.0,
    **chosen: Any,
) -> None:
    """Score nested regions of tumours against references, voxel by voxel and lesion by lesion.

    Args:
        predictions: of ``ankleseg.predict``, of other tools, or BraTS label maps: one folder, or several by name.
        references, out, structures, chosen: as in `segmentation`.
        dilation: steps after which pieces of the reference are one lesion.
        least_mm3: the largest volume of lesions that are left out.

    Raises:
        AnklesegError: predictions or references cannot be read, or nothing could be scored.
    """
    from ankleseg.evaluate.tumour import evaluate_tumour

    rules: dict[str, Any] = {"structures": names_in(structures), "dilation": dilation, "least_mm3": least_mm3}
    result = evaluate_tumour(predictions, _required(references), out, **rules, **chosen)
    print(result.describe())
    if not result.scored:
        first = result.tumour[0].message if result.tumour else "no case was predicted"
        raise _nothing("scored", first, result.out / "tumour.csv")


def cord(predictions: Folders, references: str | None, out: str, *, structures: Any = None, **chosen: Any) -> None:
    """Score masks of the spinal cord, its ends, centreline and areas; arguments and errors as in `segmentation`."""
    from ankleseg.evaluate.cord import evaluate_cord

    result = evaluate_cord(predictions, _required(references), out, structures=names_in(structures), **chosen)
    print(result.describe())
    if not result.scored:
        first = result.cord[0].message if result.cord else "no case was predicted"
        raise _nothing("scored", first, result.out / "cord.csv")


def volumetry(
    predictions: Folders,
    references: str | None,
    out: str,
    *,
    intracranial: str = "intracranial",
    structures: Any = None,
    **chosen: Any,
) -> None:
    """Compare predicted volumes over subjects and acquisitions.

    Args:
        predictions, references, out, structures, chosen: as in `segmentation`, but the references may be left out.
        intracranial: the structure that volumes are divided by.

    Raises:
        AnklesegError: predictions or references cannot be read, or nothing could be measured.
    """
    from ankleseg.evaluate.volumetry import evaluate_volumetry

    result = evaluate_volumetry(
        predictions,
        out,
        references=references,
        intracranial=intracranial,
        structures=names_in(structures),
        **chosen,
    )
    print(result.describe())
    if not result.measured:
        first = result.volumes[0].message if result.volumes else "no case was predicted"
        raise _nothing("measured", first, result.out / "volumetry.csv")


def sweep(predictions: Folders, references: str | None, out: str) -> None:
    """Gather the runs of a sweep.

    Args:
        predictions: the folder of the sweep, whose runs were tested as they ended.
        references: none.
        out: folder of table and figure.

    Raises:
        ConfigError: there are references, which the tests of the runs had.
        AnklesegError: there is no run.
    """
    from ankleseg.evaluate.sweep import evaluate_sweep

    if references is not None:
        raise ConfigError("invalid references: the runs of a sweep were tested already", mend="leave references out")
    print(evaluate_sweep(_one_folder(predictions, "sweep", "ankleseg.train -m"), out).describe())


def _required(references: str | None) -> str:
    if references is None:
        raise ConfigError("references is missing", mend="add references=…")
    return references


def _one_folder(predictions: Folders, recipe: str, command: str) -> str:
    if not isinstance(predictions, str):
        raise ConfigError(
            f"invalid predictions: recipe={recipe} expects one folder", mend=f"give the out= of {command}"
        )
    return predictions


def _nothing(done: str, why: str, table: Any) -> AnklesegError:
    return AnklesegError(f"nothing could be {done}: {why}", file=table, mend="see its column message")
