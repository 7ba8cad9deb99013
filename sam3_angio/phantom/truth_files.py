"""What is true of a phantom's frames, as files: masks, lesions, diameters.

The format is ``data/truth/`` of ``docs/reference/files.md``. Training never reads it.

Conventions: lengths and diameters are three-dimensional, in millimetres; points are frame pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sam3_angio.acquisition import ViewAngle
from sam3_angio.anatomy import TREE_PHRASE, segments
from sam3_angio.coco import Annotation, Category, Document, ImageEntry, annotate, write_document
from sam3_angio.files import write_json
from sam3_angio.manifest import ManifestRow
from sam3_angio.phantom.labels import FrameTruth, LesionTruth, SegmentContour
from sam3_angio.phantom.xray import ProjectionGeometry
from sam3_angio.table import write_table

LESION_COLUMNS = (
    "frame_id",
    "cass_segment",
    "start_x_px",
    "start_y_px",
    "centre_x_px",
    "centre_y_px",
    "end_x_px",
    "end_y_px",
    "start_mm",
    "centre_mm",
    "end_mm",
    "length_mm",
    "mld_mm",
    "rvd_mm",
    "stenosis_pct",
    "eccentricity",
)
DIAMETER_COLUMNS = ("frame_id", "x_px", "y_px", "arc_mm", "diameter_mm", "reference_mm")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecord:
    """The truth of one analysed frame, masks as run-length codes.

    Attributes
    ----------
    size_px : int
        Rows and columns.
    view : ViewAngle
        DICOM signs.
    spacing_mm : float
        At the isocentre.
    tree : Annotation
        The whole tree; its ids are not yet given.
    segments : tuple of Annotation
        Every visible numbered segment, ascending; their ids are not yet given.
    contour : SegmentContour
        Of the analysed segment.
    lesions : tuple of LesionTruth
        All that the picture shows.
    """

    size_px: int
    view: ViewAngle
    spacing_mm: float
    tree: Annotation
    segments: tuple[Annotation, ...]
    contour: SegmentContour
    lesions: tuple[LesionTruth, ...]


def record(truth: FrameTruth, geometry: ProjectionGeometry) -> FrameRecord:
    """Keep what the truth files need of a frame."""
    names = segments()
    return FrameRecord(
        size_px=geometry.size_px,
        view=geometry.view,
        spacing_mm=geometry.object_spacing_mm,
        tree=annotate(
            truth.tree_mask, annotation_id=1, image_id=1, category_id=1, phrase=TREE_PHRASE
        ),
        segments=tuple(
            annotate(mask, annotation_id=1, image_id=1, category_id=cass, phrase=names[cass].phrase)
            for cass, mask in sorted(truth.segment_masks.items())
        ),
        contour=truth.contour,
        lesions=truth.lesions,
    )


def write_truth(folder: Path, rows: Sequence[ManifestRow], records: Sequence[FrameRecord]) -> None:
    """Write the truth of a data set.

    Parameters
    ----------
    folder : Path
        ``data/truth``.
    rows : sequence of ManifestRow
        In the order of `frame_id`.
    records : sequence of FrameRecord
        One for each row.
    """
    images = tuple(
        _image(image_id, row, frame)
        for image_id, (row, frame) in enumerate(zip(rows, records, strict=True), start=1)
    )
    tree = Document(
        images=images,
        annotations=_numbered([(frame.tree,) for frame in records]),
        categories=(Category(id=1, name=TREE_PHRASE),),
    )
    named = Document(
        images=images,
        annotations=_numbered([frame.segments for frame in records]),
        categories=tuple(Category(id=cass, name=s.phrase) for cass, s in segments().items()),
    )
    write_document(folder / "vessel_tree.json", tree)
    write_document(folder / "segments.json", named)
    ids = [row.frame_id for row in rows]
    write_table(folder / "lesions.csv", LESION_COLUMNS, _lesion_rows(ids, records))
    write_table(folder / "diameters.csv", DIAMETER_COLUMNS, _diameter_rows(ids, records))


def write_kind(folder: Path) -> None:
    """Write that the whole truth of this data set is known."""
    write_json(folder / "truth.json", {"kind": "phantom"})


def _image(image_id: int, row: ManifestRow, frame: FrameRecord) -> ImageEntry:
    return ImageEntry(
        id=image_id,
        file_name=f"{row.frame_id}.png",
        width=frame.size_px,
        height=frame.size_px,
        frame_id=row.frame_id,
        patient=row.patient,
        artery=row.artery,
        cass_segment=row.cass_segment,
        primary_deg=frame.view.primary_deg,
        secondary_deg=frame.view.secondary_deg,
        spacing_row_mm=round(frame.spacing_mm, 6),
        spacing_column_mm=round(frame.spacing_mm, 6),
    )


def _numbered(marks: Sequence[Sequence[Annotation]]) -> tuple[Annotation, ...]:
    """Give image ids in the order of images and annotation ids in the order of everything."""
    placed = [(image_id, mark) for image_id, of in enumerate(marks, start=1) for mark in of]
    return tuple(
        replace(mark, id=number, image_id=image_id)
        for number, (image_id, mark) in enumerate(placed, start=1)
    )


def _lesion_rows(
    ids: Sequence[str], records: Sequence[FrameRecord]
) -> Iterator[tuple[str | int | float, ...]]:
    for frame_id, frame in zip(ids, records, strict=True):
        for lesion in frame.lesions:
            points = (*lesion.start_px, *lesion.centre_px, *lesion.end_px)
            numbers = (
                *points,
                lesion.start_mm,
                lesion.centre_mm,
                lesion.end_mm,
                lesion.length_mm,
                lesion.mld_mm,
                lesion.rvd_mm,
                lesion.stenosis_pct,
                lesion.eccentricity,
            )
            yield (frame_id, lesion.cass, *(round(float(number), 3) for number in numbers))


def _diameter_rows(
    ids: Sequence[str], records: Sequence[FrameRecord]
) -> Iterator[tuple[str | int | float, ...]]:
    for frame_id, frame in zip(ids, records, strict=True):
        contour = frame.contour
        profile = (contour.arc_mm, contour.diameter_mm, contour.reference_mm)
        columns = (*contour.centreline_px.T, *profile)
        for numbers in zip(*columns, strict=True):
            yield (frame_id, *(round(float(number), 3) for number in numbers))
