"""What a trained phase predicted: ``predictions/phase…/queries.json`` and ``results.json``.

Conventions
-----------
A query is one phrase asked of one frame. Its instances are the detector's best-scored masks, best
first, without a threshold; its semantic mask is that of the semantic head, where the model has one.
Masks are run-length encoded at the frame's own size (``docs/reference/files.md``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from sam3_angio.coco import Rle, measure_rle
from sam3_angio.errors import DataError, Fault
from sam3_angio.strict_json import read_json

Probability = Annotated[float, Field(ge=0, le=1)]

#: A thousand frames with fourteen phrases stay far below.
MAX_FILE_BYTES = 2**31

#: So many faults of one file are shown; the rest is counted.
_SHOWN_FAULTS = 20
_FIX = "Run the training stage again; it writes this file."


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryEntry:
    """One entry of ``queries.json``."""

    query_id: int
    image_id: int
    frame_id: str
    category_id: int
    phrase: str
    presence: Probability


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultEntry:
    """One entry of ``results.json``."""

    query_id: int
    image_id: int
    category_id: int
    score: Probability
    segmentation: Rle
    bbox: tuple[float, float, float, float]
    kind: Literal["instance", "semantic"]


_QUERIES = TypeAdapter(list[QueryEntry])
_RESULTS = TypeAdapter(list[ResultEntry])


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One mask of the detector.

    Attributes
    ----------
    score : float
        Presence times the query's own score, 0 to 1.
    mask : Rle
        At the frame's size.
    bbox : tuple of float
        x, y, width, height in pixels.
    """

    score: float
    mask: Rle
    bbox: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One phrase asked of one frame, and the answer.

    Attributes
    ----------
    query_id : int
        Number within the file.
    frame_id : str
        Which frame.
    category_id : int
        What the phrase names.
    phrase : str
        As the model was asked.
    presence : float
        Probability that it is in the picture.
    instances : tuple of Instance
        Best first.
    semantic : Rle or None
        Mask of the semantic head; None where the model has none.
    """

    query_id: int
    frame_id: str
    category_id: int
    phrase: str
    presence: float
    instances: tuple[Instance, ...]
    semantic: Rle | None


def read_predictions(folder: Path) -> tuple[Query, ...]:
    """Read the predictions of a phase.

    Parameters
    ----------
    folder : Path
        Holds ``queries.json`` and ``results.json``.

    Raises
    ------
    DataError
        With the faults of both files: wrong fields, results of no query, a query asked twice.
    """
    queries = read_json(folder / "queries.json", _QUERIES, MAX_FILE_BYTES)
    results = read_json(folder / "results.json", _RESULTS, MAX_FILE_BYTES)
    faults = [*_query_faults(queries), *_result_faults(queries, results)]
    if faults:
        raise DataError("The predictions are not consistent:", _shown(faults))
    by_query: defaultdict[int, list[ResultEntry]] = defaultdict(list)
    for result in results:
        by_query[result.query_id].append(result)
    return tuple(_query(entry, by_query[entry.query_id]) for entry in queries)


def coco_result(instance: Instance, image_id: int, category_id: int) -> dict[str, Any]:
    """Return an instance as COCO's evaluators take it, of a picture and a category."""
    return {
        "image_id": image_id,
        "category_id": category_id,
        "score": instance.score,
        "segmentation": {"size": list(instance.mask.size), "counts": instance.mask.counts},
        "bbox": list(instance.bbox),
    }


def _query_faults(queries: Sequence[QueryEntry]) -> Iterable[Fault]:
    numbers = Counter(entry.query_id for entry in queries)
    pairs = Counter((entry.frame_id, entry.phrase) for entry in queries)
    for number, times in numbers.items():
        if times > 1:
            yield _fault("queries.json", number, f"{times} entries have this number.")
    for entry in queries:
        if pairs[entry.frame_id, entry.phrase] > 1:
            yield _fault("queries.json", entry.query_id, "the same phrase is asked twice.")


def _result_faults(
    queries: Sequence[QueryEntry], results: Sequence[ResultEntry]
) -> Iterable[Fault]:
    asked = {entry.query_id: entry for entry in queries}
    semantic = Counter(entry.query_id for entry in results if entry.kind == "semantic")
    for number, times in semantic.items():
        if times > 1:
            yield _fault("results.json", number, f"{times} semantic masks, expected one.")
    for result in results:
        query = asked.get(result.query_id)
        if query is None:
            yield _fault("results.json", result.query_id, "no such query in queries.json.")
        elif (query.image_id, query.category_id) != (result.image_id, result.category_id):
            yield _fault("results.json", result.query_id, "another image or category than asked.")
        message = _mask_fault(result.segmentation)
        if message:
            yield _fault("results.json", result.query_id, message)


def _mask_fault(rle: Rle) -> str:
    try:
        measure_rle(rle)
    except ValueError as error:
        return f"{error}."
    return ""


def _fault(file: str, query_id: int, message: str) -> Fault:
    return Fault(file=file, field="query_id", message=f"{query_id}: {message}", fix=_FIX)


def _shown(faults: Sequence[Fault]) -> list[Fault]:
    rest = len(faults) - _SHOWN_FAULTS
    if rest <= 0:
        return list(faults)
    more = Fault(file=faults[-1].file, message=f"{rest} more faults.")
    return [*faults[:_SHOWN_FAULTS], more]


def _query(entry: QueryEntry, results: Sequence[ResultEntry]) -> Query:
    instances = sorted(
        (result for result in results if result.kind == "instance"),
        key=lambda result: -result.score,
    )
    semantic = [result.segmentation for result in results if result.kind == "semantic"]
    return Query(
        query_id=entry.query_id,
        frame_id=entry.frame_id,
        category_id=entry.category_id,
        phrase=entry.phrase,
        presence=entry.presence,
        instances=tuple(
            Instance(score=result.score, mask=result.segmentation, bbox=result.bbox)
            for result in instances
        ),
        semantic=semantic[0] if semantic else None,
    )
