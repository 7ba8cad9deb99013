"""Labels of the manifest to COCO documents at the size of the extracted frames.

Three documents: the whole vessel tree from the pseudo-labels, the analysed segment from the
contour's polygon (or from the mask), and its lesion; and the expert's measurements as a table.
Where a frame has both contour and mask, their overlap is reported: a mask that is shifted or
mirrored against its polygon is a label of something else.

Conventions
-----------
Image ids count from 1 in the order of ``frame_id`` over the whole manifest, so that all documents
and everything later use the same. A frame without a label of a task has no annotation there. The
document of lesions holds the frames of which it is known whether there is a lesion.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from rich.table import Table

from sam3_angio.anatomy import TREE_PHRASE, analysed_segments, segments
from sam3_angio.coco import Annotation, Category, Document, ImageEntry, annotate, write_document
from sam3_angio.errors import DataError, Fault
from sam3_angio.files import replacing, write_json
from sam3_angio.geometry_table import FrameGeometry
from sam3_angio.label_mask import Mask, intersection_over_union, read_mask, resize_nearest
from sam3_angio.lesion_labels import (
    LESION_CATEGORY,
    Measured,
    lesion_mask,
    measured,
    write_measurements,
)
from sam3_angio.manifest import ManifestRow
from sam3_angio.medis import SegmentContour, contour_polygon, polygon_mask, read_contour
from sam3_angio.progress import in_threads
from sam3_angio.table import write_table

SegmentSource = Literal["contour", "mask"]

TREE_CATEGORY = Category(id=1, name=TREE_PHRASE)
Label = TypeVar("Label")
OVERLAP_COLUMNS = ("frame_id", "patient", "cass_segment", "iou")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Mask against polygon of one analysed segment; the IoU is NaN where both are empty."""

    frame_id: str
    patient: str
    cass_segment: int
    iou: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameLabels:
    """The labels of one frame.

    Attributes
    ----------
    tree, segment, lesion : Annotation or None
        None where the frame has no such label, or an empty one.
    measured : Measured or None
        None where the frame has no contour.
    overlap : Overlap or None
        None unless the frame has both contour and mask.
    faults : tuple of Fault
        Why a label could not be used.
    """

    tree: Annotation | None
    segment: Annotation | None
    lesion: Annotation | None
    measured: Measured | None
    overlap: Overlap | None
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What was converted.

    Attributes
    ----------
    frames, trees, segments, lesions : int
        Frames, and how many have which label.
    lesion_free : int
        Frames that are known to have no lesion.
    empty_labels : int
        Labels that are there and hold no pixel.
    overlaps : tuple of Overlap
        Of every frame with both contour and mask.
    min_mask_iou : float
        Below it, an overlap is low.
    """

    frames: int
    trees: int
    segments: int
    lesions: int
    lesion_free: int
    empty_labels: int
    overlaps: tuple[Overlap, ...]
    min_mask_iou: float

    @property
    def low_overlaps(self) -> tuple[Overlap, ...]:
        """Masks that hardly fit their polygon, worst first."""
        low = [overlap for overlap in self.overlaps if not overlap.iou >= self.min_mask_iou]
        return tuple(sorted(low, key=lambda overlap: (overlap.iou, overlap.frame_id)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRules:
    """How labels are made.

    Attributes
    ----------
    segment_source : {"contour", "mask"}
        What a segment's label is made from; the other where the frame lacks it.
    min_stenosis_pct : float
        %DS from which on a narrowing is a lesion.
    """

    segment_source: SegmentSource
    min_stenosis_pct: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    image_id: int
    row: ManifestRow
    geometry: FrameGeometry


def convert(
    rows: Iterable[ManifestRow],
    geometry: dict[str, FrameGeometry],
    data: Path,
    out: Path,
    *,
    rules: LabelRules,
    min_mask_iou: float,
    processes: int = 0,
) -> Conversion:
    """Write the documents and reports of all frames.

    Parameters
    ----------
    rows : iterable of ManifestRow
        The manifest.
    geometry : dict of str to FrameGeometry
        Of every frame, by frame.
    data : Path
        Folder that the manifest's label paths start from.
    out : Path
        Folder to write.
    rules : LabelRules
    min_mask_iou : float
        Overlap of mask and polygon below which a frame is listed.
    processes : int
        Frames that are worked on at once; 0 for one a core.

    Raises
    ------
    DataError
        With every label that cannot be read or does not fit its frame.
    """
    jobs = _jobs(rows, geometry)
    labels = in_threads(
        lambda job: frame_labels(job.row, job.image_id, job.geometry, data, rules),
        jobs,
        processes,
        "Labels to COCO",
    )
    faults = [fault for label in labels for fault in label.faults]
    if faults:
        raise DataError(f"{len(faults)} labels cannot be converted:", faults)
    tree, segment, lesion = _documents(tuple(_image_entry(job) for job in jobs), labels)
    conversion = _conversion(jobs, labels, min_mask_iou)
    with replacing(out) as folder:
        folder.mkdir(parents=True)
        write_document(folder / "vessel_tree.json", tree)
        write_document(folder / "segments.json", segment)
        write_document(folder / "lesions.json", lesion)
        write_measurements(
            folder / "measurements.csv", [label.measured for label in labels if label.measured]
        )
        write_table(
            folder / "mask_against_polygon.csv", OVERLAP_COLUMNS, map(astuple, conversion.overlaps)
        )
        write_json(folder / "report.json", _report(conversion))
    return conversion


def _jobs(rows: Iterable[ManifestRow], geometry: dict[str, FrameGeometry]) -> list[_Job]:
    ordered = sorted(rows, key=lambda row: row.frame_id)
    strangers = {row.frame_id for row in ordered} ^ geometry.keys()
    faults = [
        Fault(
            file="geometry.csv",
            field="frame_id",
            message=f"{frame} is not in both the manifest and this table.",
            fix="Run extract again.",
        )
        for frame in sorted(strangers)
    ]
    if faults:
        raise DataError("Frames and manifest do not belong together:", faults)
    return [
        _Job(image_id=number, row=row, geometry=geometry[row.frame_id])
        for number, row in enumerate(ordered, start=1)
    ]


def frame_labels(
    row: ManifestRow,
    image_id: int,
    geometry: FrameGeometry,
    data: Path,
    rules: LabelRules,
) -> FrameLabels:
    """Return the labels of one frame at its size.

    The tree is the pseudo-label, resized. The segment is the contour's polygon or the mask,
    whichever the rules prefer and the frame has. The lesion
    is the part of that polygon that the contour file's measurements bound.
    """
    shape = (geometry.rows, geometry.columns)
    faults: list[Fault] = []
    tree = _read(row.pseudo_label, faults, lambda path: _tree(data / path, shape))
    contour = _read(row.contour, faults, lambda path: read_contour(data / path))
    polygon = None if contour is None else _polygon(contour, shape)
    mask = _read(row.mask, faults, lambda path: _mask(data / path, shape))
    first, second = (polygon, mask) if rules.segment_source == "contour" else (mask, polygon)
    segment = second if first is None else first
    overlap = None
    if polygon is not None and mask is not None:
        overlap = Overlap(
            frame_id=row.frame_id,
            patient=row.patient,
            cass_segment=row.cass_segment,
            iou=intersection_over_union(polygon, mask),
        )
    figures = None
    if contour is not None:
        frame = (row.frame_id, row.patient, row.cass_segment)
        figures = measured(contour, frame, rules.min_stenosis_pct)
    return FrameLabels(
        tree=_annotation(tree, image_id, TREE_CATEGORY),
        segment=_annotation(segment, image_id, _segment_category(row.cass_segment)),
        lesion=_annotation(_lesion(contour, figures, shape), image_id, LESION_CATEGORY),
        measured=figures,
        overlap=overlap,
        faults=tuple(faults),
    )


def _read(path: str, faults: list[Fault], reader: Callable[[str], Label]) -> Label | None:
    """Read a label that the manifest names; what is wrong with it goes to `faults`."""
    if not path:
        return None
    try:
        return reader(path)
    except DataError as error:
        faults += [replace(fault, file=path) for fault in error.faults]
        return None


def _tree(path: Path, shape: tuple[int, int]) -> Mask:
    return resize_nearest(read_mask(path).mask, shape)


def _mask(path: Path, shape: tuple[int, int]) -> Mask:
    mask = read_mask(path).mask
    if mask.shape != shape:
        message = f"{mask.shape[1]}×{mask.shape[0]} pixels, the frame has {shape[1]}×{shape[0]}."
        raise DataError.at(path.name, message, "Import the table again.")
    return mask


def _polygon(contour: SegmentContour, shape: tuple[int, int]) -> Mask | None:
    polygon = contour_polygon(contour)
    return polygon_mask(polygon, shape) if len(polygon) else None


def _lesion(
    contour: SegmentContour | None, figures: Measured | None, shape: tuple[int, int]
) -> Mask | None:
    if contour is None or figures is None or figures.finding != "lesion":
        return None
    return lesion_mask(contour, shape)


def _is_known(label: FrameLabels) -> bool:
    """Tell whether a frame shows a lesion or none; a lesion outside the frame is neither."""
    if label.measured is None:
        return False
    return label.measured.finding == "free" or label.lesion is not None


def _annotation(mask: Mask | None, image_id: int, category: Category) -> Annotation | None:
    if mask is None or not mask.any():
        return None
    return annotate(
        mask,
        annotation_id=image_id,
        image_id=image_id,
        category_id=category.id,
        phrase=category.name,
    )


def _segment_category(cass_segment: int) -> Category:
    return Category(id=cass_segment, name=segments()[cass_segment].phrase)


def _image_entry(job: _Job) -> ImageEntry:
    row, geometry = job.row, job.geometry
    return ImageEntry(
        id=job.image_id,
        file_name=f"{row.frame_id}.png",
        width=geometry.columns,
        height=geometry.rows,
        frame_id=row.frame_id,
        patient=row.patient,
        artery=row.artery,
        cass_segment=row.cass_segment,
        primary_deg=geometry.view.primary_deg,
        secondary_deg=geometry.view.secondary_deg,
        spacing_row_mm=_known(geometry.spacing.row_mm),
        spacing_column_mm=_known(geometry.spacing.column_mm),
        spacing_source=geometry.spacing.source,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _documents(
    images: tuple[ImageEntry, ...], labels: Sequence[FrameLabels]
) -> tuple[Document, Document, Document]:
    """Return the documents of the vessel tree, of the segments and of the lesions."""
    return (
        Document(
            images=images,
            annotations=tuple(label.tree for label in labels if label.tree),
            categories=(TREE_CATEGORY,),
        ),
        Document(
            images=images,
            annotations=tuple(label.segment for label in labels if label.segment),
            categories=tuple(_segment_category(number) for number in analysed_segments()),
        ),
        Document(
            images=tuple(
                image for image, label in zip(images, labels, strict=True) if _is_known(label)
            ),
            annotations=tuple(label.lesion for label in labels if label.lesion),
            categories=(LESION_CATEGORY,),
        ),
    )


def _conversion(
    jobs: Sequence[_Job],
    labels: Sequence[FrameLabels],
    min_mask_iou: float,
) -> Conversion:
    rows = [job.row for job in jobs]
    trees = sum(label.tree is not None for label in labels)
    outlined = sum(label.segment is not None for label in labels)
    named = sum(bool(r.pseudo_label) for r in rows) + sum(bool(r.contour or r.mask) for r in rows)
    overlaps = tuple(label.overlap for label in labels if label.overlap)
    return Conversion(
        frames=len(jobs),
        trees=trees,
        segments=outlined,
        lesions=sum(label.lesion is not None for label in labels),
        lesion_free=sum(_is_known(label) and label.lesion is None for label in labels),
        empty_labels=named - trees - outlined,
        overlaps=overlaps,
        min_mask_iou=min_mask_iou,
    )


def _report(conversion: Conversion) -> dict[str, object]:
    values = [overlap.iou for overlap in conversion.overlaps if not math.isnan(overlap.iou)]
    return {
        "frames": conversion.frames,
        "vessel_trees": conversion.trees,
        "segments": conversion.segments,
        "lesions": conversion.lesions,
        "lesion_free": conversion.lesion_free,
        "empty_labels": conversion.empty_labels,
        "mask_against_polygon": {
            "n": len(conversion.overlaps),
            "median_iou": statistics.median(values) if values else None,
            "lowest_iou": min(values, default=None),
            "minimum": conversion.min_mask_iou,
            "below_minimum": len(conversion.low_overlaps),
        },
    }


def overlap_table(overlaps: Sequence[Overlap]) -> Table:
    """Return a table of overlaps for the terminal."""
    table = Table("frame", "segment", "IoU", title="Mask and polygon hardly overlap")
    for overlap in overlaps:
        name = segments()[overlap.cass_segment].name
        table.add_row(overlap.frame_id, f"{overlap.cass_segment} {name}", f"{overlap.iou:.2f}")
    return table
