"""COCO documents with RLE masks, read and written safely.

Source: the COCO format as in ``pycocotools`` 2.0.11 (``mask.py``, ``maskApi.c``). That library
reads uninitialised memory for short runs, hangs or crashes on malformed ones, and takes a mask of
0 and 255 for something else; so runs are decoded and summed here, and only its encoder is called,
with what it expects.

Conventions
-----------
Masks are (R, C) bool. A run-length code counts columns first (Fortran order), zeros first. A box
is ``(x, y, width, height)`` with (x, y) the outer corner of the first pixel's index, as in COCO:
a single pixel in column 3 has x = 3 and width = 1. An empty mask has the box (0, 0, 0, 0).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pydantic import Field, TypeAdapter

from sam3_angio.acquisition import SpacingSource
from sam3_angio.anatomy import Artery
from sam3_angio.errors import DataError, Fault
from sam3_angio.files import write_json
from sam3_angio.strict_json import read_json

MAX_DOCUMENT_BYTES = 2**31
MAX_SIDE_PX = 2**15

_Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
_Id = Annotated[int, Field(ge=1, lt=2**53)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Length = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Name = Annotated[str, Field(pattern=r"^[^/\\\x00]{1,255}$")]

#: x, y, width, height; see the module's conventions.
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rle:
    """A mask as COCO's compressed run-length code.

    Attributes
    ----------
    size : tuple of int
        Rows, columns.
    counts : str
        Runs, five bits a character.
    """

    size: tuple[_Side, _Side]
    counts: Annotated[str, Field(pattern=r"^[0-o]*$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """What an annotation can be: the vessel tree (1), or a segment by its CASS number."""

    id: _Id
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntry:
    """One frame; lengths in pixels, angles in DICOM's signs, spacing None where unknown.

    `spacing_source` says how far the spacing can be trusted. It is None, and left out of the file,
    where the spacing is that of a simulator: the truth.
    """

    id: _Id
    file_name: _Name
    width: _Side
    height: _Side
    frame_id: str
    patient: str
    artery: Artery
    cass_segment: int
    primary_deg: _Finite
    secondary_deg: _Finite
    spacing_row_mm: _Finite | None
    spacing_column_mm: _Finite | None
    spacing_source: SpacingSource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One mask of one frame; see the module's conventions for the box."""

    id: _Id
    image_id: _Id
    category_id: _Id
    segmentation: Rle
    bbox: tuple[_Length, _Length, _Length, _Length]
    area: _Length
    iscrowd: Literal[0] = 0
    noun_phrase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A COCO document of one task."""

    images: tuple[ImageEntry, ...]
    annotations: tuple[Annotation, ...]
    categories: tuple[Category, ...]


_SCHEMA = TypeAdapter(Document)


def encode_mask(mask: NDArray[np.bool_]) -> Rle:
    """Return the run-length code of a mask.

    Parameters
    ----------
    mask : (R, C) ndarray
        Anything above zero counts.

    Raises
    ------
    ValueError
        The array is not two-dimensional, empty, or too large.
    """
    if mask.ndim != 2 or not 1 <= min(mask.shape) <= max(mask.shape) <= MAX_SIDE_PX:
        raise ValueError(f"a mask has two sides of 1 to {MAX_SIDE_PX} pixels, not {mask.shape}")
    code = coco_mask.encode(np.asfortranarray((mask > 0).astype(np.uint8)))
    rows, columns = (int(side) for side in mask.shape)
    return Rle(size=(rows, columns), counts=code["counts"].decode("ascii"))


def decode_mask(rle: Rle) -> NDArray[np.bool_]:
    """Return the mask of a run-length code.

    Returns
    -------
    (R, C) ndarray of bool

    Raises
    ------
    ValueError
        The code is malformed, or its runs do not add up to the number of pixels.
    """
    runs = _checked_runs(rle)
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(rle.size, order="F")


def measure_rle(rle: Rle) -> tuple[int, Box]:
    """Return a mask's area in pixels and its box from the runs alone, without the mask.

    Raises
    ------
    ValueError
        The code is malformed, or its runs do not add up to the number of pixels.
    """
    runs = _checked_runs(rle)
    ends = np.cumsum(runs)[1::2]
    lengths = runs[1::2]
    first, last = (ends - lengths)[lengths > 0], ends[lengths > 0] - 1
    if not len(first):
        return 0, (0.0, 0.0, 0.0, 0.0)
    rows = rle.size[0]
    left, right = int(first[0] // rows), int(last[-1] // rows)
    # A run that goes on into the next column holds a column's last row and the next one's first.
    whole = (first // rows != last // rows).any()
    top = 0 if whole else int((first % rows).min())
    bottom = rows - 1 if whole else int((last % rows).max())
    box = (float(left), float(top), float(right - left + 1), float(bottom - top + 1))
    return int(lengths.sum()), box


def _checked_runs(rle: Rle) -> NDArray[np.int64]:
    runs = _runs(rle.counts)
    rows, columns = rle.size
    if not (1 <= rows <= MAX_SIDE_PX and 1 <= columns <= MAX_SIDE_PX):
        raise ValueError("a side of the mask is out of range")
    if (runs < 0).any() or (runs > rows * columns).any() or runs.sum() != rows * columns:
        raise ValueError("the runs do not add up to the number of pixels")
    return runs


def _runs(counts: str) -> NDArray[np.int64]:
    """Decode COCO's variable-length numbers: 5 bits a character, low bits first, 0x20 goes on.

    From the fourth on, a number is the difference to the run before the previous one.
    """
    code = np.frombuffer(counts.encode("utf-8"), dtype=np.uint8).astype(np.int64) - 48
    if not len(code) or code.min() < 0 or code.max() > 63 or code[-1] & 0x20:
        raise ValueError("the run-length code is malformed")
    last = np.flatnonzero((code & 0x20) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    if (last - first).max() > 6:
        raise ValueError("a run is too long")
    place = np.arange(len(code)) - np.repeat(first, last - first + 1)
    runs = np.add.reduceat((code & 0x1F) << (5 * place), first)
    runs -= np.where(code[last] & 0x10, 1 << (5 * (last - first + 1)), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return np.asarray(runs)


def mask_box(mask: NDArray[np.bool_]) -> Box:
    """Return the box of a mask, ``(x, y, width, height)`` in pixels; zeros for an empty mask."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return (0.0, 0.0, 0.0, 0.0)
    x, y = int(columns[0]), int(rows[0])
    return (float(x), float(y), float(columns[-1] - x + 1), float(rows[-1] - y + 1))


def annotate(
    mask: NDArray[np.bool_], *, annotation_id: int, image_id: int, category_id: int, phrase: str
) -> Annotation:
    """Return the annotation of a mask."""
    return Annotation(
        id=annotation_id,
        image_id=image_id,
        category_id=category_id,
        segmentation=encode_mask(mask),
        bbox=mask_box(mask),
        area=float(np.count_nonzero(mask)),
        noun_phrase=phrase,
    )


def write_document(path: Path, document: Document) -> None:
    """Write a document; it is checked as if it had been read."""
    faults = _inconsistencies(path.name, document)
    if faults:
        raise DataError(f"{path.name} would not be valid:", faults)
    content = asdict(document)
    for image in content["images"]:
        if image["spacing_source"] is None:
            del image["spacing_source"]
    write_json(path, content)


def load_document(path: Path) -> Document:
    """Read and validate a document.

    Raises
    ------
    DataError
        With every fault: wrong types, doubled ids, references to nothing, a mask of another size
        than its frame, runs that do not add up, an area or a box that is not the mask's.
    """
    document = read_json(path, _SCHEMA, MAX_DOCUMENT_BYTES)
    faults = _inconsistencies(path.name, document)
    if faults:
        raise DataError(f"{path.name} is not valid:", faults)
    return document


def of_images(document: Document, image_ids: Iterable[int]) -> Document:
    """Return the document of some of the images, ids unchanged; all categories stay."""
    wanted = frozenset(image_ids)
    return Document(
        images=tuple(image for image in document.images if image.id in wanted),
        annotations=tuple(mark for mark in document.annotations if mark.image_id in wanted),
        categories=document.categories,
    )


def _inconsistencies(name: str, document: Document) -> list[Fault]:
    faults = [
        *_doubled(name, "images", [image.id for image in document.images]),
        *_doubled(name, "images", [image.frame_id for image in document.images]),
        *_doubled(name, "annotations", [mark.id for mark in document.annotations]),
        *_doubled(name, "categories", [category.id for category in document.categories]),
        *(fault for image in document.images for fault in _spacing_faults(name, image)),
    ]
    images = {image.id: image for image in document.images}
    categories = {category.id for category in document.categories}
    for mark in document.annotations:
        message = _wrong_annotation(mark, images.get(mark.image_id), categories)
        if message:
            faults.append(Fault(file=name, field=f"annotations[id={mark.id}]", message=message))
    return faults


def _spacing_faults(name: str, image: ImageEntry) -> list[Fault]:
    is_known = {image.spacing_row_mm is not None, image.spacing_column_mm is not None}
    if image.spacing_source is None or is_known == {image.spacing_source != "none"}:
        return []
    message = f"the spacing's source is '{image.spacing_source}', which its values contradict."
    return [Fault(file=name, field=f"images[id={image.id}]", message=message)]


def _doubled(name: str, field: str, ids: list[int] | list[str]) -> list[Fault]:
    if len(set(ids)) == len(ids):
        return []
    return [Fault(file=name, field=field, message="an id occurs twice.")]


def _wrong_annotation(mark: Annotation, image: ImageEntry | None, categories: set[int]) -> str:
    if image is None:
        return "its image is not in the document."
    if mark.category_id not in categories:
        return "its category is not in the document."
    if mark.segmentation.size != (image.height, image.width):
        return "the mask has another size than its image."
    try:
        measured = measure_rle(mark.segmentation)
    except ValueError as error:
        return f"{error}."
    return "" if (mark.area, mark.bbox) == measured else "area or box are not the mask's."
