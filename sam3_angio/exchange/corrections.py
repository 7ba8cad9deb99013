"""Corrected vessel trees of annotation tools, back into the pseudo-labels.

Reads a COCO document (CVAT, FiftyOne) or Label Studio's JSON. A frame's mask is what all of its
annotations cover. A frame without an annotation keeps its label and is listed: an annotator who
skipped a frame says nothing of it.

Conventions
-----------
``iscrowd`` is ignored, and counted: CVAT sets it on every mask. All labels are exchanged at once or
none is; those that did not change keep their bytes.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, TypeAdapter

from sam3_angio.anatomy import TREE_PHRASE
from sam3_angio.coco import MAX_DOCUMENT_BYTES
from sam3_angio.errors import DataError, Fault
from sam3_angio.exchange.foreign_coco import mark_mask, parts_mask, read_foreign
from sam3_angio.files import replacing
from sam3_angio.label_mask import (
    Mask,
    intersection_over_union,
    read_mask,
    resize_nearest,
    write_mask,
)
from sam3_angio.strict_json import read_json
from sam3_angio.table import write_table

COLUMNS = ("frame_id", "iou", "added_px", "removed_px")

_FRAME = re.compile(r"p[0-9a-f]{10}-[0-9a-f]{8}$")
_Percent = Annotated[float, Field(allow_inf_nan=False)]
_Side = Annotated[int, Field(ge=1, le=2**15)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A label that changed; pixels at the size that the annotator saw."""

    frame_id: str
    iou: float
    added_px: int
    removed_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """What came back.

    Attributes
    ----------
    changed : tuple of Change
    unchanged, skipped : int
        Frames whose label is as it was, and frames without an annotation.
    crowds : int
        Annotations that were marked as a crowd.
    """

    changed: tuple[Change, ...]
    unchanged: int
    skipped: int
    crowds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Returned:
    masks: Mapping[str, Mask]
    skipped: int
    crowds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Value:
    points: tuple[tuple[_Percent, _Percent], ...] = ()
    polygonlabels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Region:
    type: str
    value: _Value
    original_width: _Side = 1
    original_height: _Side = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    result: tuple[_Region, ...]
    was_cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Data:
    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    data: _Data
    annotations: tuple[_Answer, ...]


_TASKS = TypeAdapter(tuple[_Task, ...])


def import_corrections(
    path: Path, form: Literal["cvat", "fiftyone", "label-studio"], labels: Path, report: Path
) -> Corrections:
    """Exchange the pseudo-labels that were corrected.

    Parameters
    ----------
    path : Path
        What the tool exported.
    form : {"cvat", "fiftyone", "label-studio"}
    labels : Path
        ``data/labels/pseudo``.
    report : Path
        CSV to write: the frames that changed.

    Raises
    ------
    DataError
        With every fault: frames without a pseudo-label, labels other than the vessel tree, a file
        that is not valid. Nothing was changed.
    """
    returned = _tasks_returned(path) if form == "label-studio" else _coco_returned(path)
    strangers = [
        Fault(file=path.name, field=frame, message="this frame has no pseudo-label here.")
        for frame in sorted(returned.masks)
        if not (labels / f"{frame}.png").is_file()
    ]
    if strangers:
        raise DataError("The corrections do not belong to these labels:", strangers)
    compared = {
        frame: _change(frame, labels / f"{frame}.png", mask)
        for frame, mask in sorted(returned.masks.items())
    }
    changed = tuple(change for change in compared.values() if change.iou < 1)
    if changed:
        with replacing(labels) as folder:
            shutil.copytree(labels, folder)
            for change in changed:
                write_mask(folder / f"{change.frame_id}.png", returned.masks[change.frame_id])
    write_table(report, COLUMNS, map(astuple, changed))
    return Corrections(
        changed=changed,
        unchanged=len(compared) - len(changed),
        skipped=returned.skipped,
        crowds=returned.crowds,
    )


def _change(frame: str, path: Path, mask: Mask) -> Change:
    before = resize_nearest(read_mask(path).mask, mask.shape)
    iou = intersection_over_union(before, mask) if before.any() or mask.any() else 1.0
    return Change(
        frame_id=frame,
        iou=iou,
        added_px=int(np.count_nonzero(mask & ~before)),
        removed_px=int(np.count_nonzero(before & ~mask)),
    )


def _coco_returned(path: Path) -> _Returned:
    document = read_foreign(path)
    wrong = sorted(
        f"categories[id={category.id}]"
        for category in document.categories
        if category.name != TREE_PHRASE
        and any(mark.category_id == category.id for mark in document.annotations)
    )
    _require_tree(path.name, wrong)
    images = {image.id: image for image in document.images}
    masks: dict[str, Mask] = {}
    for mark in document.annotations:
        image = images[mark.image_id]
        frame = Path(image.file_name).stem
        mask = mark_mask(mark, image)
        masks[frame] = masks[frame] | mask if frame in masks else mask
    return _Returned(
        masks=masks,
        skipped=len(images) - len(masks),
        crowds=sum(mark.iscrowd for mark in document.annotations),
    )


def _tasks_returned(path: Path) -> _Returned:
    tasks = read_json(path, _TASKS, MAX_DOCUMENT_BYTES)
    regions: dict[str, list[_Region]] = defaultdict(list)
    for task in tasks:
        stem = Path(task.data.image).stem
        # Label Studio puts a prefix of its own before the names of uploaded files.
        found = _FRAME.search(stem)
        frame = found.group() if found else stem
        given = [answer for answer in task.annotations if not answer.was_cancelled]
        regions[frame] += given[-1].result if given else ()
    wrong = [
        f"{frame}: {region.type}"
        for frame, marks in regions.items()
        for region in marks
        if region.type != "polygonlabels" or region.value.polygonlabels != (TREE_PHRASE,)
    ]
    _require_tree(path.name, wrong)
    masks = {frame: _drawn(found) for frame, found in regions.items() if found}
    return _Returned(masks=masks, skipped=len(regions) - len(masks), crowds=0)


def _drawn(regions: list[_Region]) -> Mask:
    columns, rows = regions[0].original_width, regions[0].original_height
    parts = [
        (np.array(region.value.points) * (columns / 100, rows / 100)).ravel().tolist()
        for region in regions
        if len(region.value.points) > 2
    ]
    return parts_mask(parts, (rows, columns))


def _require_tree(name: str, wrong: list[str]) -> None:
    faults = [
        Fault(file=name, field=field, message=f"only polygons and masks of '{TREE_PHRASE}' fit.")
        for field in wrong
    ]
    if faults:
        raise DataError("Pseudo-labels are vessel trees; this file holds other labels:", faults)
