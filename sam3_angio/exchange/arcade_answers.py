"""ARCADE's documents as outlines for its scores."""

from __future__ import annotations

from pathlib import Path

from sam3_angio.errors import DataError, Fault
from sam3_angio.exchange.foreign_coco import ForeignDocument, read_foreign
from sam3_angio.scoring.arcade import Outline


def read_outlines(
    reference: Path, prediction: Path
) -> tuple[tuple[str, ...], tuple[Outline, ...], tuple[Outline, ...]]:
    """Return the images of the reference and the outlines of both documents, in their order.

    Raises
    ------
    DataError
        A document is not valid, holds masks in place of polygons, or the two do not have as many
        images and categories, where the official scripts stop.
    """
    wanted, given = read_foreign(reference), read_foreign(prediction)
    faults = [
        Fault(
            file=path.name,
            field=f"annotations[id={mark.id}]",
            message="the score takes polygons, this is a run-length code.",
        )
        for path, document in ((reference, wanted), (prediction, given))
        for mark in document.annotations
        if not isinstance(mark.segmentation, tuple)
    ]
    if len(wanted.images) != len(given.images) or len(wanted.categories) != len(given.categories):
        message = "not as many images and categories as the reference has."
        faults.append(Fault(file=prediction.name, message=message))
    if faults:
        raise DataError("The documents cannot be scored:", faults)
    images = tuple(image.file_name for image in wanted.images)
    return images, _outlines(wanted), _outlines(given)


def _outlines(document: ForeignDocument) -> tuple[Outline, ...]:
    names = {image.id: image.file_name for image in document.images}
    return tuple(
        Outline(
            image=names[mark.image_id],
            category_id=mark.category_id,
            polygons=tuple(
                tuple(zip(part[::2], part[1::2], strict=True)) for part in mark.segmentation
            ),
        )
        for mark in document.annotations
        if isinstance(mark.segmentation, tuple)
    )
