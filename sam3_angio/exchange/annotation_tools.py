"""Masks to annotation tools: CVAT, FiftyOne, Label Studio.

Sources: CVAT's "COCO 1.0" as ``datumaro`` reads it; FiftyOne's ``COCODetectionDataset``; Label
Studio's JSON of tasks with ``PolygonLabels``.

Conventions
-----------
CVAT and FiftyOne get run-length codes, which lose nothing. Label Studio gets polygons, in percent
of the picture, one a connected part; the lowest IoU of what they draw with the mask is told. Names
of pictures are frame ids; nothing personal is handed on, but the pictures are patients'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree
from skimage.measure import find_contours

from sam3_angio.coco import Document, decode_mask, load_document, mask_box, of_images
from sam3_angio.errors import ConfigError, DataError, Fault
from sam3_angio.exchange.foreign_coco import parts_mask
from sam3_angio.files import replacing, write_json, write_text
from sam3_angio.label_mask import Mask, intersection_over_union
from sam3_angio.pictures import has_picture, read_picture
from sam3_angio.scoring.predictions import read_predictions

FloatArray = NDArray[np.float64]
Format = Literal["cvat", "label-studio", "fiftyone"]

_LABELS, _IMAGE = "label", "image"
_TASK_OF_PHASE = {1: "vessel_tree", 2: "segments", 4: "findings"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Marked:
    """One mask of one frame.

    Attributes
    ----------
    frame_id, label : str
    mask : (R, C) ndarray of bool
    """

    frame_id: str
    label: str
    mask: Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """What an annotation tool is given.

    Attributes
    ----------
    sizes_px : tuple of (str, int, int)
        Every frame with its rows and columns, also those without a mask.
    labels : tuple of str
    marks : tuple of Marked
    """

    sizes_px: tuple[tuple[str, int, int], ...]
    labels: tuple[str, ...]
    marks: tuple[Marked, ...]


def labels_handover(converted: Path) -> Handover:
    """Return the pseudo-labels of all frames.

    Parameters
    ----------
    converted : Path
        Written by the ``convert`` stage.
    """
    document = load_document(converted / "vessel_tree.json")
    return _handover(
        document,
        [
            (mark.image_id, mark.noun_phrase, decode_mask(mark.segmentation))
            for mark in document.annotations
        ],
    )


def predictions_handover(
    dataset: Path, predictions: Path, phase: int, threshold: float
) -> Handover:
    """Return what a phase found in the validation frames: the best mask of each phrase.

    Parameters
    ----------
    dataset, predictions : Path
    phase : {1, 2, 4}
    threshold : float
        A phrase counts as found from this presence on.

    Raises
    ------
    ConfigError
        There is no such phase with one model.
    """
    if phase not in _TASK_OF_PHASE:
        raise ConfigError(f"--phase is one of {', '.join(map(str, _TASK_OF_PHASE))}.")
    document = load_document(dataset / "val" / _TASK_OF_PHASE[phase] / "annotations.json")
    ids = {image.frame_id: image.id for image in document.images}
    queries = read_predictions(predictions / f"phase{phase}")
    return _handover(
        of_images(document, ids.values()),
        [
            (ids[query.frame_id], query.phrase, decode_mask(query.instances[0].mask))
            for query in queries
            if query.frame_id in ids and query.instances and query.presence >= threshold
        ],
    )


def _handover(document: Document, masks: Iterable[tuple[int, str, Mask]]) -> Handover:
    frames = {image.id: image.frame_id for image in document.images}
    marks = tuple(
        Marked(frame_id=frames[image], label=label, mask=mask) for image, label, mask in masks
    )
    return Handover(
        sizes_px=tuple((image.frame_id, image.height, image.width) for image in document.images),
        labels=tuple(sorted({mark.label for mark in marks})),
        marks=marks,
    )


def export_masks(handover: Handover, pictures: Path, out: Path, form: Format) -> float:
    """Write a folder that an annotation tool reads.

    Parameters
    ----------
    handover : Handover
    pictures : Path
        Folder of ``{frame_id}.png``.
    out : Path
        Folder to make; one that exists is refused.
    form : {"cvat", "label-studio", "fiftyone"}

    Returns
    -------
    float
        Lowest IoU of what the tool gets with what it should get; 1 where nothing is lost.

    Raises
    ------
    ConfigError
        `out` exists, or there is nothing to hand over.
    DataError
        A picture is missing.
    """
    if out.exists():
        raise ConfigError(f"{out.name} exists; give another folder.")
    if not handover.marks:
        raise ConfigError("There is no mask to hand over.")
    missing = [
        Fault(file=f"{frame}.png", message="the picture is missing.")
        for frame, *_ in handover.sizes_px
        if not has_picture(pictures / f"{frame}.png")
    ]
    if missing:
        raise DataError("Pictures are missing:", missing)
    places = {"cvat": "images/default", "fiftyone": "data", "label-studio": "images"}
    with replacing(out) as folder:
        (folder / places[form]).mkdir(parents=True)
        for frame, *_ in handover.sizes_px:
            content = read_picture(pictures / f"{frame}.png")
            (folder / places[form] / f"{frame}.png").write_bytes(content)
        if form == "label-studio":
            write_text(folder / "label_config.xml", _label_config(handover.labels))
            tasks, lost = _tasks(handover)
            write_json(folder / "tasks.json", tasks)
            return lost
        name = "annotations/instances_default.json" if form == "cvat" else "labels.json"
        # CVAT takes a mask that is no polygon for one of a crowd, and refuses it otherwise.
        write_json(folder / name, _coco(handover, iscrowd=int(form == "cvat")), indent=None)
    return 1.0


def _coco(handover: Handover, *, iscrowd: int) -> dict[str, object]:
    images = {frame: k for k, (frame, *_) in enumerate(handover.sizes_px, start=1)}
    categories = {label: k for k, label in enumerate(handover.labels, start=1)}
    return {
        "info": {"description": "Research use only. Not a medical device."},
        "licenses": [],
        "categories": [
            {"id": number, "name": label, "supercategory": ""}
            for label, number in categories.items()
        ],
        "images": [
            {"id": images[frame], "file_name": f"{frame}.png", "height": rows, "width": columns}
            for frame, rows, columns in handover.sizes_px
        ],
        "annotations": [
            {
                "id": number,
                "image_id": images[mark.frame_id],
                "category_id": categories[mark.label],
                "segmentation": {"size": list(mark.mask.shape), "counts": _runs(mark.mask)},
                "bbox": list(mask_box(mark.mask)),
                "area": int(np.count_nonzero(mark.mask)),
                "iscrowd": iscrowd,
            }
            for number, mark in enumerate(handover.marks, start=1)
        ],
    }


def _runs(mask: Mask) -> list[int]:
    """Return the runs by columns, zeros first."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(run) for run in np.diff(np.concatenate([[0], ends, [mask.size]]))]


def _label_config(labels: Sequence[str]) -> str:
    options = "\n".join(f'    <Label value="{label}"/>' for label in labels)
    return (
        f'<View>\n  <Image name="{_IMAGE}" value="${_IMAGE}" zoom="true"/>\n'
        f'  <PolygonLabels name="{_LABELS}" toName="{_IMAGE}" strokeWidth="1">\n'
        f"{options}\n  </PolygonLabels>\n</View>\n"
    )


def _tasks(handover: Handover) -> tuple[list[dict[str, object]], float]:
    by_frame = {
        frame: list(marks)
        for frame, marks in groupby(
            sorted(handover.marks, key=lambda mark: (mark.frame_id, mark.label)),
            key=lambda mark: mark.frame_id,
        )
    }
    tasks: list[dict[str, object]] = []
    lost = 1.0
    for number, (frame, *_) in enumerate(handover.sizes_px, start=1):
        regions: list[dict[str, object]] = []
        for mark in by_frame.get(frame, []):
            parts = slit_polygons(mark.mask)
            drawn = parts_mask([part.ravel().tolist() for part in parts], mark.mask.shape)
            lost = min(lost, intersection_over_union(mark.mask, drawn))
            regions += [
                _region(part, mark, f"{number}-{len(regions) + k}") for k, part in enumerate(parts)
            ]
        tasks.append(
            {
                "id": number,
                "data": {_IMAGE: f"images/{frame}.png"},
                "annotations": [{"id": number, "result": regions}],
            }
        )
    return tasks, lost


def _region(part: FloatArray, mark: Marked, region_id: str) -> dict[str, object]:
    rows, columns = mark.mask.shape
    return {
        "id": region_id,
        "type": "polygonlabels",
        "from_name": _LABELS,
        "to_name": _IMAGE,
        "original_width": columns,
        "original_height": rows,
        "image_rotation": 0,
        "value": {
            "points": (part * (100 / columns, 100 / rows)).tolist(),
            "closed": True,
            "polygonlabels": [mark.label],
        },
    }


def slit_polygons(mask: Mask) -> tuple[FloatArray, ...]:
    """Return one polygon a connected part; a hole is joined to the outline by a slit without width.

    A tree of vessels that cross encloses large holes, and Label Studio's polygons have none.

    Parameters
    ----------
    mask : (R, C) ndarray of bool

    Returns
    -------
    tuple of (N, 2) ndarray
        ``[x, y]``, (0, 0) the outer corner of the first pixel; not closed.
    """
    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    polygons = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts, count), start=1):
        part = np.pad(parts[rows, columns] == number, 1).astype(float)
        rings = [ring[:-1, ::-1] for ring in find_contours(part, 0.5, fully_connected="high")]
        # The outline reaches farthest to the left. Without the padding, and from the pixel's
        # centre to its corner, a point moves by half a pixel.
        rings.sort(key=lambda ring: float(ring[:, 0].min()))
        polygon = rings[0]
        for hole in rings[1:]:
            polygon = _joined(polygon, hole)
        polygons.append(polygon - 0.5 + (columns.start, rows.start))
    return tuple(polygons)


def _joined(outline: FloatArray, hole: FloatArray) -> FloatArray:
    """Go from the outline to the hole where they are nearest, around it, and back."""
    distance, nearest = KDTree(outline).query(hole)
    start = int(np.argmin(distance))
    place = int(np.asarray(nearest)[start])
    around = np.roll(hole, -start, axis=0)
    there_and_back = [outline[: place + 1], around, around[:1], outline[place:]]
    return np.concatenate(there_and_back)
