"""COCO documents that other tools wrote: polygons of several parts, or either run-length code.

Source: the COCO format (cocodataset.org/#format-data) as ``pycocotools`` reads it.

Conventions
-----------
COCO's polygons have (0, 0) at the outer corner of the first pixel; masks are (R, C) bool. The parts
of an annotation are united. ``iscrowd`` is ignored: CVAT sets it on every mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter

from sam3_angio.coco import MAX_DOCUMENT_BYTES, MAX_SIDE_PX, Rle, decode_mask
from sam3_angio.errors import DataError, Fault
from sam3_angio.label_mask import Mask
from sam3_angio.medis import polygon_mask
from sam3_angio.strict_json import read_json

_Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
_Coordinate = Annotated[float, Field(allow_inf_nan=False)]
_Part = Annotated[tuple[_Coordinate, ...], Field(min_length=6)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignImage:
    """One picture; the name may hold folders."""

    id: int
    file_name: str
    width: _Side
    height: _Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """An uncompressed run-length code: runs by columns, zeros first."""

    size: tuple[_Side, _Side]
    counts: tuple[Annotated[int, Field(ge=0)], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignMark:
    """One annotation."""

    id: int
    image_id: int
    category_id: int
    segmentation: Annotated[tuple[_Part, ...], Field(min_length=1)] | Rle | Runs
    iscrowd: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignCategory:
    """What an annotation can be."""

    id: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignDocument:
    """A COCO document."""

    images: tuple[ForeignImage, ...]
    annotations: tuple[ForeignMark, ...]
    categories: tuple[ForeignCategory, ...]


_SCHEMA = TypeAdapter(ForeignDocument)


def read_foreign(path: Path) -> ForeignDocument:
    """Read a COCO document and check that its parts belong together.

    Raises
    ------
    DataError
        With every fault: wrong types, doubled ids, references to nothing, a mask that is malformed
        or of another size than its picture.
    """
    document = read_json(path, _SCHEMA, MAX_DOCUMENT_BYTES)
    images = {image.id: image for image in document.images}
    categories = {category.id for category in document.categories}
    faults = [
        Fault(file=path.name, field=f"annotations[id={mark.id}]", message=message)
        for mark in document.annotations
        if (message := _wrong(mark, images.get(mark.image_id), categories))
    ]
    for field, count, ids in (
        ("images", len(document.images), set(images)),
        ("images", len(document.images), {image.file_name for image in document.images}),
        ("categories", len(document.categories), categories),
    ):
        if len(ids) != count:
            faults.append(Fault(file=path.name, field=field, message="an id or name occurs twice."))
    if faults:
        raise DataError(f"{path.name} is not valid:", faults)
    return document


def mark_mask(mark: ForeignMark, image: ForeignImage) -> Mask:
    """Return the mask of an annotation: what is inside any of its parts.

    Returns
    -------
    (R, C) ndarray of bool
    """
    shape = (image.height, image.width)
    match mark.segmentation:
        case Rle() as code:
            return decode_mask(code)
        case Runs(counts=counts):
            values = np.arange(len(counts)) % 2 == 1
            return np.repeat(values, counts).reshape(shape, order="F")
        case parts:
            return parts_mask(parts, shape)


def parts_mask(parts: Iterable[Sequence[float]], shape: tuple[int, int]) -> Mask:
    """Return what is inside any of several polygons.

    Parameters
    ----------
    parts : iterable of sequence of float
        ``x, y, x, y, …``, (0, 0) the outer corner of the first pixel.
    shape : tuple of int
        Rows and columns.
    """
    mask: Mask = np.zeros(shape, dtype=bool)
    for part in parts:
        mask |= polygon_mask(np.asarray(part, dtype=float).reshape(-1, 2) - 0.5, shape)
    return mask


def _wrong(mark: ForeignMark, image: ForeignImage | None, categories: set[int]) -> str:
    if image is None:
        return "its image is not in the document."
    if mark.category_id not in categories:
        return "its category is not in the document."
    return _wrong_mask(mark.segmentation, (image.height, image.width))


def _wrong_mask(mask: tuple[_Part, ...] | Rle | Runs, shape: tuple[int, int]) -> str:
    if isinstance(mask, tuple):
        odd = any(len(part) % 2 for part in mask)
        return "a polygon has an odd number of coordinates." if odd else ""
    if mask.size != shape:
        return "the mask has another size than its image."
    if isinstance(mask, Runs):
        return "" if sum(mask.counts) == shape[0] * shape[1] else "the runs do not add up."
    try:
        decode_mask(mask)
    except ValueError as error:
        return f"{error}."
    return ""
