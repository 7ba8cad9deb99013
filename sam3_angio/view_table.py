"""What each arm of the view-angle experiment is told of each frame.

A table is made once, before an arm trains, and published beside its model: which view each frame
is said to have, and which frame of the training set shows a segment from the nearest view.

Conventions
-----------
A view is a direction in space, from the heart to the detector; the distance of two views is the
angle between the directions (on the great circle), in degrees. Boxes are ``(cx, cy, w, h)`` in
fractions of the picture. Ids are those of the COCO documents, unique over all splits.

The control
-----------
``shuffled`` gives each frame the view of another patient's frame of the same split. It is a
permutation, so the views that occur, and how often, stay what they were. It is drawn over the
frames of both arteries: runs of the right and of the left artery are taken from different views,
and a permutation within an artery would still tell which one it is. Two patients may have had the
same view; such a frame keeps its angle by chance, as a random draw would have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from sam3_angio.acquisition import ViewAngle
from sam3_angio.coco import Annotation, Document, ImageEntry
from sam3_angio.errors import DataError
from sam3_angio.files import write_json
from sam3_angio.strict_json import read_json

_MAX_TABLE_BYTES = 2**30
# Distances closer than this are a tie, so that the last bits of an arithmetic decide nothing.
_DECIMALS_DEG = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldView:
    """The view that a frame is said to have.

    Attributes
    ----------
    image_id : int
    from_image_id : int
        Frame whose view it is; another patient's where views are shuffled.
    primary_deg, secondary_deg : float
    """

    image_id: int
    from_image_id: int
    primary_deg: float
    secondary_deg: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplar:
    """A frame of the training set that shows a segment from the view nearest to a frame's.

    Attributes
    ----------
    image_id, category_id : int
        Frame and segment that are asked about.
    from_image_id, annotation_id : int
        The training frame and its annotation of the segment.
    distance_deg : float
        Between the two views.
    box : tuple of float
        Of the annotation.
    """

    image_id: int
    category_id: int
    from_image_id: int
    annotation_id: int
    distance_deg: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class ViewTable:
    """What an arm is told.

    Attributes
    ----------
    views : tuple of ToldView
        One a frame, ascending.
    exemplars : tuple of Exemplar
        One at most a frame and segment, ascending.
    """

    views: tuple[ToldView, ...]
    exemplars: tuple[Exemplar, ...]

    @cached_property
    def angles(self) -> dict[int, ViewAngle]:
        """Views by the frame's id."""
        return {
            told.image_id: ViewAngle(primary_deg=told.primary_deg, secondary_deg=told.secondary_deg)
            for told in self.views
        }

    @cached_property
    def exemplar_of(self) -> dict[tuple[int, int], Exemplar]:
        """Exemplars by the ids of frame and segment."""
        return {(found.image_id, found.category_id): found for found in self.exemplars}


_SCHEMA = TypeAdapter(ViewTable)


def write_table(path: Path, table: ViewTable) -> None:
    """Write a table as JSON."""
    write_json(path, asdict(table), indent=None)


def load_table(path: Path) -> ViewTable:
    """Read a table.

    Raises
    ------
    DataError
        The file is missing or not what :func:`write_table` writes.
    """
    return read_json(path, _SCHEMA, _MAX_TABLE_BYTES)


def true_views(images: Sequence[ImageEntry]) -> tuple[ToldView, ...]:
    """Return each frame with its own view."""
    return tuple(_told(image, image) for image in sorted(images, key=lambda image: image.id))


def shuffled_views(images: Sequence[ImageEntry], seed: int) -> tuple[ToldView, ...]:
    """Return each frame with the view of another patient's frame, every view used once.

    Frames stand in a circle, a patient's frames side by side, and each takes the view of the one a
    number of places on: at least the frames of the patient with most of them, in both directions,
    so that it is never the same patient's.

    Parameters
    ----------
    images : sequence of ImageEntry
        The frames of one split.
    seed : int

    Raises
    ------
    DataError
        One patient has more than half of the frames.
    """
    rng = np.random.default_rng(seed)
    circle = _in_a_circle(images, rng)
    most = max(Counter(image.patient for image in images).values())
    if 2 * most > len(circle):
        raise DataError.at(
            "segments",
            f"{most} of {len(circle)} frames of a split are one patient's, so views cannot be "
            "exchanged between patients.",
            "Take 'shuffled' out of train_phase3.arms, or split so that more patients are in it.",
        )
    step = int(rng.integers(most, len(circle) - most, endpoint=True))
    told = [_told(image, giver) for image, giver in zip(circle, np.roll(circle, step), strict=True)]
    return tuple(sorted(told, key=lambda view: view.image_id))


def _in_a_circle(images: Sequence[ImageEntry], rng: np.random.Generator) -> NDArray[np.object_]:
    """Return the frames in random order, but each patient's together."""
    ordered = sorted(images, key=lambda image: image.id)
    patients = sorted({image.patient for image in ordered})
    place = dict(zip(patients, rng.permutation(len(patients)).tolist(), strict=True))
    within = rng.permutation(len(ordered)).tolist()
    keys = {image.id: (place[image.patient], within[k]) for k, image in enumerate(ordered)}
    circle = np.empty(len(ordered), dtype=object)
    circle[:] = sorted(ordered, key=lambda image: keys[image.id])
    return circle


def _told(image: ImageEntry, giver: ImageEntry) -> ToldView:
    return ToldView(
        image_id=image.id,
        from_image_id=giver.id,
        primary_deg=giver.primary_deg,
        secondary_deg=giver.secondary_deg,
    )


def directions(images: Sequence[ImageEntry]) -> NDArray[np.float64]:
    """Return the unit vectors of views, (N, 3): to the patient's left, to the front, to the head.

    AP looks along the second axis; a primary angle turns about the third, a secondary one lifts
    towards it (DICOM PS3.3 C.8.7.5.1.2).
    """
    angles = np.array([(image.primary_deg, image.secondary_deg) for image in images])
    primary, secondary = np.deg2rad(angles.reshape(-1, 2).T)
    flat = np.cos(secondary)
    return np.stack([np.sin(primary) * flat, np.cos(primary) * flat, np.sin(secondary)], axis=-1)


def distances_deg(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angles between unit vectors.

    Parameters
    ----------
    first : (N, 3) ndarray
    second : (M, 3) ndarray

    Returns
    -------
    (N, M) ndarray
        Degrees, rounded to a millionth.
    """
    # By the chord, which is exact for small angles; the scalar product is not.
    chord = np.linalg.norm(first[:, None] - second[None, :], axis=-1)
    return np.asarray(np.rad2deg(2 * np.arcsin(np.minimum(chord / 2, 1))).round(_DECIMALS_DEG))


def nearest_exemplars(
    images: Sequence[ImageEntry], training: Document, categories: Sequence[int]
) -> tuple[Exemplar, ...]:
    """Find the exemplar of each segment for each frame.

    Candidates are training frames of other patients in which the segment is annotated; of equally
    near ones the lowest annotation id. It is sought for every segment that can be asked, present
    or not, so that having an exemplar does not tell the answer. A segment that no other patient's
    training frame shows has none.

    Parameters
    ----------
    images : sequence of ImageEntry
        Frames that are asked about, of any split.
    training : Document
        Segments of the training frames.
    categories : sequence of int
        Segments that can be asked for.
    """
    shown = {image.id: image for image in training.images}
    found: list[Exemplar] = []
    for category in categories:
        marks = sorted(
            (mark for mark in training.annotations if mark.category_id == category),
            key=lambda mark: mark.id,
        )
        if marks:
            sources = [shown[mark.image_id] for mark in marks]
            found.extend(_nearest(images, marks, sources))
    return tuple(sorted(found, key=lambda exemplar: (exemplar.image_id, exemplar.category_id)))


def _nearest(
    images: Sequence[ImageEntry], marks: Sequence[Annotation], sources: Sequence[ImageEntry]
) -> Iterator[Exemplar]:
    apart = distances_deg(directions(images), directions(sources))
    patients = np.array([source.patient for source in sources])
    for image, row in zip(images, apart, strict=True):
        allowed = np.where(patients == image.patient, np.inf, row)
        best = int(allowed.argmin())
        if np.isfinite(allowed[best]):
            yield Exemplar(
                image_id=image.id,
                category_id=marks[best].category_id,
                from_image_id=sources[best].id,
                annotation_id=marks[best].id,
                distance_deg=float(allowed[best]),
                box=_fractions(marks[best], sources[best]),
            )


def _fractions(mark: Annotation, image: ImageEntry) -> tuple[float, float, float, float]:
    x, y, width, height = mark.bbox
    return (
        (x + width / 2) / image.width,
        (y + height / 2) / image.height,
        width / image.width,
        height / image.height,
    )
