"""The frames of Phase 1 that are scored: prediction, pseudo-label and, where known, the truth.

Conventions
-----------
The frames are the images of the validation document (``dataset/val/vessel_tree``): frames with a
pseudo-label, of patients that training never saw. The truth is joined by ``frame_id``; it exists
where ``truth.json`` says so, and then for every frame, else for none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from sam3_angio.acquisition import ViewAngle
from sam3_angio.anatomy import TREE_PHRASE, Artery
from sam3_angio.coco import Annotation, Document, ImageEntry, Rle, load_document
from sam3_angio.errors import DataError, Fault
from sam3_angio.scoring.predictions import Query, read_predictions
from sam3_angio.strict_json import read_json

_MAX_TRUTH_BYTES = 2**20

#: The whole vessel tree in COCO documents.
TREE_CATEGORY = 1

#: What a prediction is compared with: the clean mask, or the label that training learned from.
Reference = Literal["truth", "pseudo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Truth:
    """``truth.json``: whether the whole truth is known."""

    kind: Literal["phantom", "none"]


_TRUTH = TypeAdapter(_Truth)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeCase:
    """One frame with all masks of its vessel tree.

    Attributes
    ----------
    frame_id, patient : str
        Pseudonyms.
    artery : {"RCA", "LCA"}
        Which artery was injected.
    view : str
        Name of the view, such as ``RAO cranial``.
    shape_px : tuple of int
        Rows and columns.
    spacing_mm : tuple of float
        Distance between rows and between columns at the object; NaN where unknown.
    query : Query
        What the model answered.
    references : mapping
        Annotation by reference, the truth first; None where the mask is empty.
    """

    frame_id: str
    patient: str
    artery: Artery
    view: str
    shape_px: tuple[int, int]
    spacing_mm: tuple[float, float]
    query: Query
    references: Mapping[Reference, Annotation | None]


def read_cases(dataset: Path, truth: Path, predictions: Path) -> tuple[TreeCase, ...]:
    """Join what is known of each validation frame's vessel tree.

    Parameters
    ----------
    dataset : Path
        Written by ``split``.
    truth : Path
        ``data/truth``.
    predictions : Path
        Written by ``train_phase1``.

    Returns
    -------
    tuple of TreeCase
        Sorted by frame.

    Raises
    ------
    DataError
        A file is not valid; a frame has no prediction or no truth, or masks of another size; with
        every fault.
    """
    labels = load_document(dataset / "val" / "vessel_tree" / "annotations.json")
    masks: dict[Reference, dict[str, Annotation | None]] = {}
    if truth_is_known(truth):
        masks["truth"] = _marks_by_frame(load_document(truth / "vessel_tree.json"))
    masks["pseudo"] = _marks_by_frame(labels)
    queries = {
        query.frame_id: query
        for query in read_predictions(predictions)
        if query.phrase == TREE_PHRASE
    }
    faults = list(_faults(labels.images, masks, queries))
    if faults:
        raise DataError("The validation frames cannot be scored:", faults)
    return tuple(
        _case(
            image, queries[image.frame_id], {name: of[image.frame_id] for name, of in masks.items()}
        )
        for image in sorted(labels.images, key=lambda image: image.frame_id)
    )


def truth_is_known(truth: Path) -> bool:
    """Return whether ``data/truth`` holds the whole truth of its frames.

    Raises
    ------
    DataError
        ``truth.json`` is missing or not valid.
    """
    return read_json(truth / "truth.json", _TRUTH, _MAX_TRUTH_BYTES).kind != "none"


def _marks_by_frame(document: Document) -> dict[str, Annotation | None]:
    marks = {
        mark.image_id: mark for mark in document.annotations if mark.category_id == TREE_CATEGORY
    }
    return {image.frame_id: marks.get(image.id) for image in document.images}


def _faults(
    images: Sequence[ImageEntry],
    masks: Mapping[Reference, Mapping[str, Annotation | None]],
    queries: Mapping[str, Query],
) -> Iterable[Fault]:
    if not images:
        yield Fault(
            file="annotations.json",
            message="no validation frame has a pseudo-label.",
            fix="Raise split.val_fraction, or import more patients.",
        )
    for image in images:
        query = queries.get(image.frame_id)
        if query is None:
            message = f"{image.frame_id} was not asked for '{TREE_PHRASE}'."
            yield Fault(file="queries.json", message=message, fix="Run its training again.")
        else:
            answers = [instance.mask for instance in query.instances]
            yield from _size_faults("results.json", image, [*answers, query.semantic])
        for name, of_frame in masks.items():
            if image.frame_id not in of_frame:
                yield Fault(file="vessel_tree.json", message=f"{image.frame_id} has no {name}.")
            else:
                mark = of_frame[image.frame_id]
                yield from _size_faults(
                    "vessel_tree.json", image, [] if mark is None else [mark.segmentation]
                )


def _size_faults(file: str, image: ImageEntry, masks: Sequence[Rle | None]) -> Iterable[Fault]:
    expected = (image.height, image.width)
    sizes = Counter(mask.size for mask in masks if mask is not None)
    for size in sizes.keys() - {expected}:
        message = f"{image.frame_id} has a mask of {size}, expected {expected} rows and columns."
        yield Fault(file=file, message=message)


def _case(
    image: ImageEntry, query: Query, references: Mapping[Reference, Annotation | None]
) -> TreeCase:
    spacing_mm = tuple(
        math.nan if value is None else value
        for value in (image.spacing_row_mm, image.spacing_column_mm)
    )
    view = ViewAngle(primary_deg=image.primary_deg, secondary_deg=image.secondary_deg)
    return TreeCase(
        frame_id=image.frame_id,
        patient=image.patient,
        artery=image.artery,
        view=view.name,
        shape_px=(image.height, image.width),
        spacing_mm=(spacing_mm[0], spacing_mm[1]),
        query=query,
        references=references,
    )
