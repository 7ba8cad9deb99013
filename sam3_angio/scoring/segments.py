"""The frames whose segments are named: what was asked, what was answered, what is known.

Conventions
-----------
The frames are the images of ``dataset/val/segments``, each with the one segment that was analysed
(the *annotated* one). Where the whole truth is known, every visible segment of a frame is, too.
The model was asked for every analysed segment by its phrase and for phrases that name nothing
(category 0); answers to further phrases are left out.

What a phrase is to a frame:

================  ==================================================================
annotated         the analysed segment
visible           another segment that the truth shows
other artery      a segment of the artery that was not injected
absent            a segment of this artery that the truth does not show
nonsense          a phrase that names no segment
unknown           a segment of this artery that is not annotated, the truth unknown
================  ==================================================================

The first two are there, the next three are wrong, and of the last nobody can say.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sam3_angio.acquisition import ViewAngle
from sam3_angio.anatomy import Artery, analysed_segments, segments
from sam3_angio.coco import Annotation, Document, ImageEntry, Rle, load_document
from sam3_angio.errors import DataError, Fault
from sam3_angio.scoring.cases import truth_is_known
from sam3_angio.scoring.predictions import Query, read_predictions

#: What a phrase is to a frame; see the module's table.
Standing = Literal["annotated", "visible", "other artery", "absent", "nonsense", "unknown"]

#: Phrases that are there, and phrases that are not.
RIGHT: tuple[Standing, ...] = ("annotated", "visible")
WRONG: tuple[Standing, ...] = ("other artery", "absent", "nonsense")

#: Category of the phrases that name nothing.
NO_CATEGORY = 0

#: A result file with a systematic fault has it in every frame; so many are shown.
_SHOWN_FAULTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFrame:
    """One frame with its segments and the model's answers.

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
    segment : int
        CASS number of the analysed segment.
    annotated : Annotation
        Its mask.
    visible : mapping of int to Annotation, or None
        Mask of every visible segment by CASS number; None where the truth is unknown.
    answers : tuple of Query
        To the analysed segments by CASS number, then to the phrases that name nothing.
    """

    frame_id: str
    patient: str
    artery: Artery
    view: str
    shape_px: tuple[int, int]
    spacing_mm: tuple[float, float]
    segment: int
    annotated: Annotation
    visible: Mapping[int, Annotation] | None
    answers: tuple[Query, ...]


def standing(frame: SegmentFrame, category: int) -> Standing:
    """Return what a phrase is to a frame, by the category that it names."""
    if category == NO_CATEGORY:
        return "nonsense"
    if category == frame.segment:
        return "annotated"
    if frame.visible is not None and category in frame.visible:
        return "visible"
    if segments()[category].artery != frame.artery:
        return "other artery"
    return "unknown" if frame.visible is None else "absent"


def read_segment_frames(dataset: Path, truth: Path, predictions: Path) -> tuple[SegmentFrame, ...]:
    """Join labels, truth and predictions of each validation frame with an analysed segment.

    Parameters
    ----------
    dataset : Path
        Written by ``split``.
    truth : Path
        ``data/truth``.
    predictions : Path
        Written by a training stage of Phases 2 to 4.

    Returns
    -------
    tuple of SegmentFrame
        Sorted by frame.

    Raises
    ------
    DataError
        A file is not valid; a frame was not asked for every analysed segment, lacks its label or
        its truth, or has masks of another size; with every fault, twenty at most.
    """
    labels = load_document(dataset / "val" / "segments" / "annotations.json")
    known = None
    if truth_is_known(truth):
        known = _marks_by_frame(load_document(truth / "segments.json"))
    annotated = _marks_by_frame(labels)
    answers = _answers_by_frame(read_predictions(predictions))
    faults = list(_faults(labels.images, annotated, known, answers))
    if faults:
        raise DataError("The segments cannot be scored:", faults[:_SHOWN_FAULTS])
    return tuple(
        _frame(
            image,
            annotated[image.frame_id][image.cass_segment],
            None if known is None else known[image.frame_id],
            answers[image.frame_id],
        )
        for image in sorted(labels.images, key=lambda image: image.frame_id)
    )


def _marks_by_frame(document: Document) -> dict[str, dict[int, Annotation]]:
    marks: defaultdict[int, dict[int, Annotation]] = defaultdict(dict)
    for mark in document.annotations:
        marks[mark.image_id][mark.category_id] = mark
    return {image.frame_id: marks[image.id] for image in document.images}


def _answers_by_frame(queries: Sequence[Query]) -> dict[str, tuple[Query, ...]]:
    order = {number: place for place, number in enumerate((*analysed_segments(), NO_CATEGORY))}
    answers: defaultdict[str, list[Query]] = defaultdict(list)
    for query in queries:
        if query.category_id in order:
            answers[query.frame_id].append(query)
    return {
        frame_id: tuple(sorted(of, key=lambda query: (order[query.category_id], query.phrase)))
        for frame_id, of in answers.items()
    }


def _faults(
    images: Sequence[ImageEntry],
    annotated: Mapping[str, Mapping[int, Annotation]],
    known: Mapping[str, Mapping[int, Annotation]] | None,
    answers: Mapping[str, Sequence[Query]],
) -> Iterator[Fault]:
    if not images:
        yield Fault(
            file="annotations.json",
            message="no validation frame has a labelled segment.",
            fix="Raise split.val_fraction, or import more patients.",
        )
    for image in images:
        frame_id = image.frame_id
        if annotated[frame_id].get(image.cass_segment) is None:
            message = f"{frame_id} has no mask of its analysed segment."
            yield Fault(file="annotations.json", message=message, fix="Run split again.")
        if known is not None and frame_id not in known:
            yield Fault(file="segments.json", message=f"{frame_id} has no truth.")
        yield from _answer_faults(image, answers.get(frame_id, ()))


def _answer_faults(image: ImageEntry, answers: Sequence[Query]) -> Iterator[Fault]:
    fix = "Run the training stage again; it writes this file."
    asked = Counter(query.category_id for query in answers if query.category_id != NO_CATEGORY)
    missing = [segments()[number].phrase for number in analysed_segments() if not asked[number]]
    if missing:
        message = f"{image.frame_id} was not asked for {', '.join(missing)}."
        yield Fault(file="queries.json", message=message, fix=fix)
    for number in (number for number, times in asked.items() if times > 1):
        message = f"{image.frame_id} was asked for {segments()[number].phrase} in two phrases."
        yield Fault(file="queries.json", message=message, fix=fix)
    expected = (image.height, image.width)
    for size in sorted({mask.size for mask in _masks(answers)} - {expected}):
        message = f"{image.frame_id} has a mask of {size}, expected {expected} rows and columns."
        yield Fault(file="results.json", message=message, fix=fix)


def _masks(answers: Iterable[Query]) -> Iterator[Rle]:
    for query in answers:
        yield from (instance.mask for instance in query.instances)
        if query.semantic is not None:
            yield query.semantic


def _frame(
    image: ImageEntry,
    annotated: Annotation,
    visible: Mapping[int, Annotation] | None,
    answers: tuple[Query, ...],
) -> SegmentFrame:
    row_mm, column_mm = (
        math.nan if value is None else value
        for value in (image.spacing_row_mm, image.spacing_column_mm)
    )
    view = ViewAngle(primary_deg=image.primary_deg, secondary_deg=image.secondary_deg)
    return SegmentFrame(
        frame_id=image.frame_id,
        patient=image.patient,
        artery=image.artery,
        view=view.name,
        shape_px=(image.height, image.width),
        spacing_mm=(row_mm, column_mm),
        segment=image.cass_segment,
        annotated=annotated,
        visible=visible,
        answers=answers,
    )
