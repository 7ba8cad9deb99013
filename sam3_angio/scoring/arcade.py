"""The scores of the ARCADE challenge: as its organisers compute them, and as they should be.

Source: github.com/cmctec/ARCADE, ``evaluation/evaluate_segmentation.py`` (commit 9de821e) and
``evaluation/evaluate_stenosis.py`` (commit 35dad0d); data: doi:10.1038/s41597-023-02871-z. Figures
that were published for ARCADE come from these scripts, so their peculiarities are kept:

- only the first polygon of an annotation counts;
- segments: a class is scored once, on its first reference and its first prediction in the order of
  the files; a single predicted class that the reference lacks sets the whole image to 0;
- stenoses: every prediction is scored against the reference that suits it best, so two predictions
  of one stenosis both count; references are missed only where there are fewer predictions than
  references; and what is predicted too much costs only by its own score in the mean;
- outlines that cross themselves are repaired by ``buffer(0)``, which may drop a part of them, for
  segments always and for stenoses only where the plain intersection fails;
- an image without any reference ends the scripts.

An older script of segments (commit f19ae87) repairs as that of stenoses does; the two agree on
outlines that do not cross themselves.

The sane scores take all polygons of all annotations, count every predicted class and every stenosis
once, and leave images without any outline out, counted.

Conventions
-----------
Polygons are ``(x, y)`` in pixels; F1 is that of areas, which is their Dice. Images are known by the
names of their files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
import shapely
from scipy.optimize import linear_sum_assignment

from sam3_angio.errors import DataError, Fault

#: Corners of one polygon.
Corners = tuple[tuple[float, float], ...]

_FOUND_IOU = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """One annotation of one image.

    Attributes
    ----------
    image : str
        Name of its file.
    category_id : int
    polygons : tuple of Corners
        At least one; the first is the one that the official scores take.
    """

    image: str
    category_id: int
    polygons: tuple[Corners, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcadeScore:
    """A score of a set of images.

    Attributes
    ----------
    mean : float
        Over the images; NaN without any.
    per_image : mapping
        Score by image; NaN where it is not defined.
    """

    mean: float
    per_image: Mapping[str, float]

    @property
    def undefined(self) -> int:
        """Images that have no score."""
        return sum(math.isnan(score) for score in self.per_image.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Stenoses of all images, matched one to one at an IoU of one half and more."""

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and sensitivity; NaN where there is nothing at all."""
        wrong = self.false_positives + self.false_negatives
        total = 2 * self.true_positives + wrong
        return 2 * self.true_positives / total if total else math.nan


def official_segments(
    images: Sequence[str], reference: Sequence[Outline], prediction: Sequence[Outline]
) -> ArcadeScore:
    """Return the official score of segments, peculiarities included.

    Parameters
    ----------
    images : sequence of str
        All images of the reference.
    reference, prediction : sequence of Outline
        In the order of their files, which matters.

    Raises
    ------
    DataError
        An image has no reference, or its outlines cannot be repaired; the script ends there.
    """
    return _official(_official_segments_of, images, reference, prediction)


def official_stenoses(
    images: Sequence[str], reference: Sequence[Outline], prediction: Sequence[Outline]
) -> ArcadeScore:
    """Return the official score of stenoses, peculiarities included.

    Parameters
    ----------
    images : sequence of str
        All images of the reference.
    reference, prediction : sequence of Outline
        In the order of their files.

    Raises
    ------
    DataError
        An image has no reference, or its outlines cannot be repaired; the script ends there.
    """
    return _official(_official_stenoses_of, images, reference, prediction)


def sane_segments(
    images: Sequence[str], reference: Sequence[Outline], prediction: Sequence[Outline]
) -> ArcadeScore:
    """Return the mean over images of the mean Dice of all classes that are there or predicted.

    Parameters
    ----------
    images : sequence of str
    reference, prediction : sequence of Outline
        In any order.
    """
    return _sane(_sane_segments_of, images, reference, prediction)


def sane_stenoses(
    images: Sequence[str], reference: Sequence[Outline], prediction: Sequence[Outline]
) -> ArcadeScore:
    """Return the mean over images of the Dice of stenoses matched one to one.

    Twice the sum of the matched pairs' Dice over the number of references and predictions: a
    missed stenosis and a surplus one cost the same.

    Parameters
    ----------
    images : sequence of str
    reference, prediction : sequence of Outline
        In any order.
    """
    return _sane(_sane_stenoses_of, images, reference, prediction)


def found_stenoses(
    images: Sequence[str], reference: Sequence[Outline], prediction: Sequence[Outline]
) -> Found:
    """Count stenoses that are found, false and missed; an IoU of one half is a Dice of two thirds.

    Parameters
    ----------
    images : sequence of str
    reference, prediction : sequence of Outline
        In any order.
    """
    least = 2 * _FOUND_IOU / (1 + _FOUND_IOU)
    wanted, given = _by_image(images, reference), _by_image(images, prediction)
    found = sum(
        sum(dice >= least for dice in _matched(wanted[image], given[image], least))
        for image in images
    )
    return Found(
        true_positives=found,
        false_positives=sum(map(len, given.values())) - found,
        false_negatives=sum(map(len, wanted.values())) - found,
    )


_OfImage = Callable[[Sequence[Outline], Sequence[Outline]], float]


def _official(
    score: _OfImage,
    images: Sequence[str],
    reference: Sequence[Outline],
    prediction: Sequence[Outline],
) -> ArcadeScore:
    wanted, given = _by_image(images, reference), _by_image(images, prediction)
    empty = [image for image in images if not wanted[image]]
    faults = [_fault(image, "no reference; the official score does not exist") for image in empty]
    scores: dict[str, float] = {}
    for image in images:
        try:
            scores[image] = score(wanted[image], given[image]) if wanted[image] else math.nan
        except shapely.errors.GEOSException:
            faults.append(_fault(image, "an outline crosses itself beyond repair"))
    if faults:
        raise DataError("The official scores cannot be computed:", faults)
    return ArcadeScore(mean=float(mean(scores.values())) if scores else math.nan, per_image=scores)


def _fault(image: str, message: str) -> Fault:
    return Fault(file=image, message=f"{message}.", fix="Leave this image out of both files.")


def _sane(
    score: _OfImage,
    images: Sequence[str],
    reference: Sequence[Outline],
    prediction: Sequence[Outline],
) -> ArcadeScore:
    wanted, given = _by_image(images, reference), _by_image(images, prediction)
    scores = {image: score(wanted[image], given[image]) for image in images}
    defined = [value for value in scores.values() if not math.isnan(value)]
    return ArcadeScore(mean=mean(defined) if defined else math.nan, per_image=scores)


def _by_image(images: Sequence[str], marks: Sequence[Outline]) -> dict[str, list[Outline]]:
    found: dict[str, list[Outline]] = {image: [] for image in images}
    for mark in marks:
        if mark.image in found:
            found[mark.image].append(mark)
    return found


def _official_segments_of(reference: Sequence[Outline], prediction: Sequence[Outline]) -> float:
    wanted, given = _first_of_class(reference), _first_of_class(prediction)
    if given.keys() - wanted.keys():
        return 0.0
    return float(
        mean(
            _official_f1(mark, given[category], always_repaired=True) if category in given else 0.0
            for category, mark in wanted.items()
        )
    )


def _first_of_class(marks: Sequence[Outline]) -> dict[int, Outline]:
    first: dict[int, Outline] = {}
    for mark in marks:
        first.setdefault(mark.category_id, mark)
    return first


def _official_stenoses_of(reference: Sequence[Outline], prediction: Sequence[Outline]) -> float:
    best = [
        # The script hands over the two the other way round, which shows in the last digit.
        max(_official_f1(answer, mark, always_repaired=False) for mark in reference)
        for answer in prediction
    ]
    missed = [0.0] * (len(reference) - len(prediction))
    return float(mean([*best, *missed]))


def _official_f1(reference: Outline, prediction: Outline, *, always_repaired: bool) -> float:
    """F1 of the first polygons, with the scripts' ways of getting by with faulty ones."""
    corners = (prediction.polygons[0], reference.polygons[0])
    repaired = False
    try:
        answer, mark = (shapely.Polygon(c) for c in corners)
        common = answer.intersection(mark)
    except (shapely.errors.GEOSException, ValueError):
        repaired = True
        try:
            answer, mark = (shapely.Polygon(c).buffer(0) for c in corners)
            common = answer.intersection(mark)
        except (shapely.errors.GEOSException, ValueError):
            return 0.0
    true = common.area
    if true == 0:
        return 0.0
    if always_repaired and not repaired:
        answer, mark = answer.buffer(0), mark.buffer(0)
    surplus, missed = answer.difference(common).area, mark.difference(common).area
    precision, recall = true / (true + surplus), true / (true + missed)
    return float(2 * (precision * recall) / (precision + recall))


def _area(marks: Sequence[Outline]) -> shapely.Geometry:
    """Return what is inside any polygon; one that crosses itself keeps all of its parts."""
    polygons = [
        shapely.make_valid(shapely.Polygon(corners))
        for mark in marks
        for corners in mark.polygons
        if len(corners) > 2
    ]
    return shapely.union_all(polygons)


def _dice(first: shapely.Geometry, second: shapely.Geometry) -> float:
    total = first.area + second.area
    return float(2 * first.intersection(second).area / total) if total else 0.0


def _sane_segments_of(reference: Sequence[Outline], prediction: Sequence[Outline]) -> float:
    classes = {mark.category_id for mark in (*reference, *prediction)}
    if not classes:
        return math.nan
    return mean(
        _dice(
            _area([mark for mark in reference if mark.category_id == category]),
            _area([mark for mark in prediction if mark.category_id == category]),
        )
        for category in classes
    )


def _sane_stenoses_of(reference: Sequence[Outline], prediction: Sequence[Outline]) -> float:
    total = len(reference) + len(prediction)
    return 2 * sum(_matched(reference, prediction, 0.0)) / total if total else math.nan


def _matched(
    reference: Sequence[Outline], prediction: Sequence[Outline], least: float
) -> tuple[float, ...]:
    """Return the Dice of pairs matched one to one: as many as reach `least`, then the best sum."""
    if not reference or not prediction:
        return ()
    wanted, given = [_area([mark]) for mark in reference], [_area([mark]) for mark in prediction]
    dice = np.array([[_dice(mark, answer) for answer in given] for mark in wanted])
    many = len(reference) + len(prediction)
    rows, columns = linear_sum_assignment(dice + many * (dice >= least), maximize=True)
    return tuple(float(value) for value in dice[rows, columns])
