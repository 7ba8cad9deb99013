"""The analysed segment of each validation frame, measured from every mask or contour there is.

==================  ===========================================================================
from                what is measured
==================  ===========================================================================
``prediction``      the frame's own pixels under the predicted mask of the segment
``truth_frame``     the same under the whole truth's mask (phantom): what naming has no part in
``truth_mask``      that mask itself
``expert_edges``    the expert's two borders, with the reference of the file's ideal borders;
                    where it has none, with the line of their own profile
==================  ===========================================================================

References are the expert's own figures (``measurements.csv``) and the phantom's truth.

What is seen is compared with what can be seen: places and lengths are along one line of the frame,
the truth's centreline or else the expert's, foreshortened as it is. The truth's lesion is that of
its own diameters by the definitions of :mod:`sam3_angio.qca.stenosis`, so that it ends at the same
tolerance; the expert's runs between the file's start and end.

Conventions
-----------
Figures of a frame are those of its most severe place. A segment that cannot be measured has none,
and the reason is kept. A frame without a lesion is measured too: what is found there is false.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.children import end_with_parent
from sam3_angio.coco import ImageEntry, Rle, decode_mask, load_document
from sam3_angio.errors import DataError
from sam3_angio.lesion_labels import Measured, read_measurements
from sam3_angio.medis import read_contour
from sam3_angio.pictures import read_picture
from sam3_angio.progress import tracked
from sam3_angio.qca import (
    LesionMeasurement,
    QcaResult,
    measure,
    profile_from_edges,
    profile_from_frame,
    profile_from_mask,
    reference_from_edges,
)
from sam3_angio.qca.parts import one_vessel
from sam3_angio.qca.profile import scale_of
from sam3_angio.scoring.cases import truth_is_known
from sam3_angio.scoring.course import Course, measured_along
from sam3_angio.scoring.true_lesions import TrueDiameters, TrueLesion, TruePath

Origin = Literal["prediction", "truth_frame", "truth_mask", "expert_edges"]
Finding = Literal["lesion", "free", "unknown"]

#: %DS from which on the phantom's truth counts as a lesion, as at the expert's.
MIN_LESION_PCT = 20.0

_CHUNK = 4
_MIN_POINTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One set of figures of a segment; NaN where unknown.

    Attributes
    ----------
    mld_mm, rvd_mm, stenosis_pct, area_stenosis_pct, length_mm : float
        The field's usual ones.
    proximal_normal_mm, distal_normal_mm : float
        Reference diameters where the lesion starts and ends.
    mld_place_mm, start_place_mm, end_place_mm : float
        Places of the narrowest point and of the lesion's ends along the frame's course.
    """

    mld_mm: float
    rvd_mm: float
    stenosis_pct: float
    area_stenosis_pct: float
    length_mm: float
    proximal_normal_mm: float
    distal_normal_mm: float
    mld_place_mm: float
    start_place_mm: float
    end_place_mm: float


QUANTITIES = tuple(field.name for field in fields(Figures))


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What of a frame is measured.

    Attributes
    ----------
    image : ImageEntry
    picture : Path
    annotated, predicted, true : Rle or None
        Masks; None where there is no label, the model found none, or the truth is unknown.
    contour : Path or None
        The expert's file.
    """

    image: ImageEntry
    picture: Path
    annotated: Rle | None
    predicted: Rle | None
    true: Rle | None
    contour: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSegment:
    """What the measurements gave.

    Attributes
    ----------
    frame_id : str
    results : dict of str to QcaResult
        By origin, where it could be measured.
    refused : dict of str to str
        Why it could not, by origin; an origin that the frame lacks is in neither.
    """

    frame_id: str
    results: dict[Origin, QcaResult]
    refused: dict[Origin, str]


def measure_segments(segments: Sequence[Segment], workers: int = 0) -> tuple[MeasuredSegment, ...]:
    """Measure the analysed segments, in processes.

    Parameters
    ----------
    segments : sequence of Segment
    workers : int
        Processes; 0 for one a core, 1 for none.
    """
    label = "Measuring diameters"
    if workers == 1:
        return tuple(map(measure_segment, tracked(segments, len(segments), label)))
    with ProcessPoolExecutor(
        workers or None, mp_context=get_context("spawn"), initializer=end_with_parent
    ) as pool:
        found = pool.map(measure_segment, segments, chunksize=_CHUNK)
        return tuple(tracked(found, len(segments), label))


def measure_segment(segment: Segment) -> MeasuredSegment:
    """Measure one analysed segment from all that there is."""
    results: dict[Origin, QcaResult] = {}
    refused: dict[Origin, str] = {}
    for origin, measuring in _ways(segment).items():
        try:
            results[origin] = measuring()
        except DataError as error:
            refused[origin] = error.faults[0].message if error.faults else error.headline
    return MeasuredSegment(frame_id=segment.image.frame_id, results=results, refused=refused)


def _ways(segment: Segment) -> dict[Origin, Callable[[], QcaResult]]:
    spacing = spacing_of(segment.image)
    ways: dict[Origin, Callable[[], QcaResult]] = {}
    ways["prediction"] = partial(_from_frame, segment, segment.predicted, spacing)
    if segment.true is not None:
        ways["truth_frame"] = partial(_from_frame, segment, segment.true, spacing)
        ways["truth_mask"] = partial(_from_mask, segment.true, spacing)
    if segment.contour is not None:
        ways["expert_edges"] = partial(_from_edges, segment.contour, spacing)
    return ways


def _from_frame(segment: Segment, mask: Rle | None, spacing: PixelSpacing) -> QcaResult:
    if mask is None:
        raise DataError.at("prediction", "the segment was not found.")
    with Image.open(io.BytesIO(read_picture(segment.picture))) as picture:
        frame = np.asarray(picture.convert("L"), dtype=np.float64)
    return measure(profile_from_frame(frame, decode_mask(mask), spacing))


def _from_mask(mask: Rle, spacing: PixelSpacing) -> QcaResult:
    vessel, _ = one_vessel(decode_mask(mask), scale_of(spacing))
    return measure(profile_from_mask(vessel, spacing))


def _from_edges(path: Path, spacing: PixelSpacing) -> QcaResult:
    contour = read_contour(path)
    centre = contour.centerline if len(contour.centerline) else None
    edges = (contour.left_edge, contour.right_edge)
    profile = profile_from_edges(*edges, spacing, centreline_px=centre)
    ideal = (contour.ideal_left_edge, contour.ideal_right_edge)
    given = all(len(edge) for edge in ideal)
    return measure(profile, reference_from_edges(profile, *ideal, spacing) if given else None)


def course_of(segment: Segment, truth: TrueDiameters | None) -> Course | None:
    """Return the line that a frame's places are given along: the truth's, or else the expert's."""
    line = np.empty((0, 2))
    path = None if truth is None else truth.paths.get(segment.image.frame_id)
    if path is not None:
        line = path.points_px
    elif segment.contour is not None:
        line = read_contour(segment.contour).centerline
    spacing = spacing_of(segment.image)
    known = math.isfinite(spacing.row_mm) and math.isfinite(spacing.column_mm)
    return Course(points_px=line, spacing=spacing) if len(line) >= _MIN_POINTS and known else None


def spacing_of(image: ImageEntry) -> PixelSpacing:
    """Return a frame's pixel spacing; NaN where unknown."""
    row_mm, column_mm = (
        math.nan if side is None else side
        for side in (image.spacing_row_mm, image.spacing_column_mm)
    )
    return PixelSpacing(row_mm=row_mm, column_mm=column_mm, source=image.spacing_source or "none")


def figures_of(result: QcaResult, course: Course | None) -> Figures:
    """Return the figures of a measurement; without a lesion its length and ends are NaN.

    A profile that runs against the course is turned: its lesion starts where the course says.
    """
    worst = max(result.lesions, key=lambda lesion: lesion.diameter_stenosis_pct, default=None)
    normal_mm = (result.proximal_normal_mm, result.distal_normal_mm)
    ends_mm = (math.nan, math.nan)
    if worst is not None:
        ends_mm = (_place(course, worst.start_px), _place(course, worst.end_px))
    if ends_mm[0] > ends_mm[1]:
        ends_mm, normal_mm = ends_mm[::-1], normal_mm[::-1]
    return Figures(
        mld_mm=result.mld_mm,
        rvd_mm=result.rvd_mm,
        stenosis_pct=result.diameter_stenosis_pct,
        area_stenosis_pct=result.area_stenosis_pct,
        length_mm=math.nan if worst is None else worst.length_mm,
        proximal_normal_mm=normal_mm[0],
        distal_normal_mm=normal_mm[1],
        mld_place_mm=_place(course, result.mld_px),
        start_place_mm=ends_mm[0],
        end_place_mm=ends_mm[1],
    )


def _place(course: Course | None, point_px: tuple[float, float]) -> float:
    return math.nan if course is None else course.place_mm(point_px)


def expert_figures(row: Measured, course: Course | None) -> Figures:
    """Return the expert's own figures; the lesion's length is that between the ends as seen."""
    start_mm, end_mm = (_place(course, point) for point in row.extent_px)
    seen_mm = abs(end_mm - start_mm)
    return Figures(
        mld_mm=row.mld_mm,
        rvd_mm=row.rvd_mm,
        stenosis_pct=row.stenosis_pct,
        area_stenosis_pct=row.area_stenosis_pct,
        length_mm=row.length_mm if math.isnan(seen_mm) else seen_mm,
        proximal_normal_mm=row.proximal_normal_mm,
        distal_normal_mm=row.distal_normal_mm,
        mld_place_mm=_place(course, (row.mld_x_px, row.mld_y_px)),
        start_place_mm=start_mm,
        end_place_mm=end_mm,
    )


def true_figures(
    truth: TrueDiameters, frame_id: str, segment: int, course: Course | None
) -> Figures | None:
    """Return the true figures of a segment's narrowest place; None if the frame has no truth."""
    path = truth.paths.get(frame_id)
    here = [one for one in deep_lesions(truth, frame_id) if one.cass_segment == segment]
    if here:
        worst = max(here, key=lambda lesion: lesion.stenosis_pct)
        mld_mm, rvd_mm, point_px = worst.mld_mm, worst.rvd_mm, worst.line_px[1]
    elif path is not None:
        index = path.narrowest
        mld_mm, rvd_mm = float(path.diameter_mm[index]), float(path.reference_mm[index])
        point_px = (float(path.points_px[index, 0]), float(path.points_px[index, 1]))
    else:
        return None
    left_over, place_mm = mld_mm / rvd_mm, _place(course, point_px)
    seen = _as_seen(path, course, place_mm) if here else None
    return Figures(
        mld_mm=mld_mm,
        rvd_mm=rvd_mm,
        stenosis_pct=100 * (1 - left_over),
        area_stenosis_pct=100 * (1 - left_over**2),
        length_mm=math.nan if seen is None else seen.length_mm,
        proximal_normal_mm=math.nan if seen is None else seen.proximal_normal_mm,
        distal_normal_mm=math.nan if seen is None else seen.distal_normal_mm,
        mld_place_mm=place_mm,
        start_place_mm=math.nan if seen is None else seen.start_mm,
        end_place_mm=math.nan if seen is None else seen.end_mm,
    )


def _as_seen(
    path: TruePath | None, course: Course | None, place_mm: float
) -> LesionMeasurement | None:
    """Return the lesion nearest to a place of the true path, by a measurement's definitions."""
    if path is None or course is None:
        return None
    result = measured_along(course, path.diameter_mm, path.reference_mm)
    lesions = () if result is None else result.lesions
    return min(
        lesions,
        key=lambda lesion: abs(course.place_mm(lesion.mld_px) - place_mm),
        default=None,
    )


def deep_lesions(truth: TrueDiameters, frame_id: str) -> list[TrueLesion]:
    """Return what counts as a lesion of all that a frame shows."""
    shown = truth.lesions.get(frame_id, [])
    return [lesion for lesion in shown if lesion.stenosis_pct >= MIN_LESION_PCT]


def true_masks(truth: Path) -> Mapping[tuple[str, int], Rle]:
    """Return the whole truth's masks by frame and CASS number; none where it is not known."""
    if not truth_is_known(truth):
        return {}
    document = load_document(truth / "segments.json")
    frames = {image.id: image.frame_id for image in document.images}
    return {
        (frames[mark.image_id], mark.category_id): mark.segmentation
        for mark in document.annotations
    }


def read_expert(dataset: Path) -> dict[str, Measured]:
    """Return the expert's figures of the validation frames."""
    return read_measurements(dataset / "val" / "measurements.csv")
