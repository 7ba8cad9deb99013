"""What was found in one frame of a run: the record that all outputs are written from.

Conventions
-----------
Masks are ``[row, column]`` at the frame's own size; points are ``(x, y)`` in pixels, (0, 0) the
centre of the first pixel; a frame's index counts from 0 (DICOM's frame number is one more).
Segments go by CASS number. Lengths are millimetres at the object, by :class:`PixelSpacing`, whose
source every output names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from sam3_angio.acquisition import PixelSpacing, ViewAngle
from sam3_angio.anatomy import segments
from sam3_angio.errors import DataError, Fault
from sam3_angio.qca import QcaResult

BoolArray = NDArray[np.bool_]

NOTICE = "Research use only. Not a medical device."
"""Said on every output."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TreeFinding:
    """The whole vessel tree.

    Attributes
    ----------
    mask : (R, C) ndarray of bool
    score : float
        The model's probability that there is one, 0 to 1.
    """

    mask: BoolArray
    score: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentFinding:
    """A named coronary segment.

    Attributes
    ----------
    cass : int
        CASS number.
    mask : (R, C) ndarray of bool
    score : float
        The model's probability that the segment is in the picture, 0 to 1.
    qca : QcaResult or None
        Its measurements with their lesions; None where it could not be measured.
    rivals : tuple of int
        CASS numbers that the model gave the same vessel with less certainty.
    """

    cass: int
    mask: BoolArray
    score: float
    qca: QcaResult | None
    rivals: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LesionFinding:
    """A stenosis that the model outlined, apart from those that the measurement found.

    Attributes
    ----------
    mask : (R, C) ndarray of bool
    score : float
        The model's probability, 0 to 1.
    cass : int or None
        Segment that it lies in; None where no named segment has it.
    """

    mask: BoolArray
    score: float
    cass: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameAnalysis:
    """All that is known of one analysed frame.

    Attributes
    ----------
    name : str
        A pseudonym: titles every output, and is the patient's id in DICOM objects without
        identity.
    source : Dataset
        The run's header (:func:`sam3_angio.results.read_source`); only the DICOM objects use it.
    frame_index : int
        0-based.
    frame_reason : str
        How the frame was chosen, for people.
    picture : (R, C) ndarray of uint8
        The frame as displayed.
    view : ViewAngle or None
    spacing : PixelSpacing
        Its ``source`` is the scale's source; NaN and ``none`` where there is no scale.
    tree : TreeFinding
    segments : tuple of SegmentFinding
    lesions : tuple of LesionFinding
    model : str
        Which model found it: a name and the checkpoint's digest, at most 64 characters.

    Raises
    ------
    DataError
        Parts do not fit together; lists every fault.
    """

    name: str
    source: Dataset
    frame_index: int
    frame_reason: str
    picture: NDArray[np.uint8]
    view: ViewAngle | None
    spacing: PixelSpacing
    tree: TreeFinding
    segments: tuple[SegmentFinding, ...]
    lesions: tuple[LesionFinding, ...]
    model: str

    def __post_init__(self) -> None:
        faults = [
            Fault(file=self.name, field=field, message=message) for field, message in _faults(self)
        ]
        if faults:
            raise DataError("The analysis cannot be written.", faults)

    @property
    def has_scale(self) -> bool:
        """Whether the size of a pixel is known."""
        return self.spacing.source != "none"


def _faults(analysis: FrameAnalysis) -> Iterator[tuple[str, str]]:
    """Yield what does not fit together: field and message."""
    findings: dict[str, TreeFinding | SegmentFinding | LesionFinding] = {"tree": analysis.tree}
    findings |= {f"segment {place}": found for place, found in enumerate(analysis.segments, 1)}
    findings |= {f"lesion {place}": found for place, found in enumerate(analysis.lesions, 1)}
    for field, finding in findings.items():
        if finding.mask.shape != analysis.picture.shape or finding.mask.dtype != np.bool_:
            found = f"{finding.mask.dtype} of shape {finding.mask.shape}"
            yield field, f"its mask is {found}, expected bool of {analysis.picture.shape}."
        elif field != "tree" and not finding.mask.any():
            yield field, "its mask is empty; what is not there is left out."
        if not 0 <= finding.score <= 1:
            yield field, f"its score is {finding.score:g}, expected 0 to 1."
    yield from _segment_faults(analysis)
    if not analysis.name or not 0 < len(analysis.model) <= 64:
        yield "name, model", "a name is missing, or the model's has over 64 characters."


def _segment_faults(analysis: FrameAnalysis) -> Iterator[tuple[str, str]]:
    numbers = [segment.cass for segment in analysis.segments]
    named = {number for segment in analysis.segments for number in (segment.cass, *segment.rivals)}
    named |= {lesion.cass for lesion in analysis.lesions if lesion.cass is not None}
    if unknown := sorted(named - set(segments())):
        yield "cass", f"{unknown} are no CASS numbers (1 to 29)."
    if len(set(numbers)) < len(numbers):
        yield "segments", "a segment is there twice."
    measured = any(segment.qca is not None for segment in analysis.segments)
    sizes = (analysis.spacing.row_mm, analysis.spacing.column_mm)
    if analysis.has_scale and not all(math.isfinite(size) and size > 0 for size in sizes):
        yield "spacing", "the scale has a source, but is no positive number."
    if measured and not analysis.has_scale:
        yield "spacing", "there are measurements in mm, but no scale."
