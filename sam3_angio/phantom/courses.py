"""Where the vessels run: ring-and-loop model, with individual variation.

The right coronary artery and the circumflex run round the atrioventricular groove (the ring); the
anterior and the posterior descending arteries run down the interventricular groove (the loop).
``courses.csv`` holds every vessel as knots ``ring_deg/descent_deg/depth`` (see ``axes``), the
probability that a heart of each dominance has it, its diameter relative to its origin's, and its
diameter at the end.

Source: the model is that of Dodge et al. 1988, doi:10.1161/01.CIR.78.5.1167; knots, probabilities
and relative diameters are this project's own, chosen so that lengths, calibres and the usual views
come out as in life (``tests/test_phantom_heart.py``, ``tests/test_phantom_xray.py``).
Conventions: as in ``axes``. Samples of a course are 0.5 mm apart.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from sam3_angio.anatomy import Artery
from sam3_angio.phantom.axes import Dominance, HeartAxes, Points, bounded, generator

STEP_MM = 0.5
MIN_DIAMETER_MM = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of ``courses.csv``: a vessel as it is on average.

    Attributes
    ----------
    name : str
    cass : int or None
        CASS number; None for the trunks, which are several segments.
    artery : {"RCA", "LCA"}
    origin : str
        Vessel it comes from; empty for those from the aorta.
    probability : dict of str to float
        That a heart of each dominance has it.
    ratio : float or None
        Its diameter relative to its origin's where it leaves; None where Dodge's table or Murray's
        law says it.
    ratio_sd : float
    end_mm : float or None
        Diameter at its end; None where it does not taper.
    knots : (K, 3) ndarray
        `ring_deg`, `descent_deg`, depth.
    """

    name: str
    cass: int | None
    artery: Artery
    origin: str
    probability: dict[str, float]
    ratio: float | None
    ratio_sd: float
    end_mm: float | None
    knots: Points


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A vessel of one heart from its origin to its end, before it is cut into segments.

    Attributes
    ----------
    row : Row
    ratio : float or None
        As :attr:`Row.ratio`, for this heart.
    knots : (N, 3) ndarray
        `ring_deg`, `descent_deg`, depth of each sample.
    points_mm : (N, 3) ndarray
    origin_index : int
        Sample of the origin's course that it leaves from.
    """

    row: Row
    ratio: float | None
    knots: Points
    points_mm: Points
    origin_index: int


@cache
def _rows() -> tuple[Row, ...]:
    text = resources.files("sam3_angio.phantom").joinpath("courses.csv").read_text("utf-8")
    return tuple(
        Row(
            name=line["name"],
            cass=int(line["cass"]) if line["cass"] else None,
            artery="RCA" if line["artery"] == "RCA" else "LCA",
            origin=line["origin"],
            probability={key: float(line[key]) for key in ("right", "left", "balanced")},
            ratio=float(line["ratio"]) if line["ratio"] else None,
            ratio_sd=float(line["ratio_sd"] or 0),
            end_mm=float(line["end_mm"]) if line["end_mm"] else None,
            knots=np.array([[float(x) for x in k.split("/")] for k in line["knots"].split()]),
        )
        for line in csv.DictReader(text.splitlines())
    )


def lay_courses(seed: int, axes: HeartAxes, dominance: Dominance) -> dict[str, Course]:
    """Lay the vessels of ``courses.csv`` that this heart has; an origin comes before its branches.

    Parameters
    ----------
    seed : int
    axes : HeartAxes
    dominance : {"right", "left", "balanced"}

    Returns
    -------
    dict of str to Course
        By the vessel's name.
    """
    courses: dict[str, Course] = {}
    for number, row in enumerate(_rows()):
        rng = generator(seed, 1, number)
        if rng.random() < row.probability[dominance] and (not row.origin or row.origin in courses):
            courses[row.name] = _lay(rng, row, axes, courses.get(row.origin))
    return courses


def _lay(rng: np.random.Generator, row: Row, axes: HeartAxes, origin: Course | None) -> Course:
    """Lay a vessel over the heart, from its origin's nearest sample."""
    knots = row.knots.copy()
    knots[1:, :2] += np.clip(rng.standard_normal((len(knots) - 1, 2)), -2, 2) * (3.0, 1.5)
    path = _spline(knots, axes)
    points = axes.surface(path)
    index = 0
    if origin is None:
        start = _ostium(row.artery, axes)
    elif row.origin == "left main" or row.name.startswith("posterior"):
        index = len(origin.points_mm) - 1  # divides at the origin's end
        start = origin.points_mm[index]
    else:
        index = int(np.argmin(((origin.points_mm - points[0]) ** 2).sum(axis=1)))
        start = origin.points_mm[index]
    points = points + _wave(rng, points)
    points = points + (start - points[0]) * _fade(points, 18.0)[:, None]
    points, path = _resample(points, path)
    ratio = None if row.ratio is None else float(bounded(rng, row.ratio, row.ratio_sd))
    return Course(row=row, ratio=ratio, knots=path, points_mm=points, origin_index=index)


def _ostium(artery: Artery, axes: HeartAxes) -> NDArray[np.float64]:
    """Return where the artery leaves its aortic sinus; the root lies inside the ring's top."""
    return axes.place(-13, 19, -8) if artery == "RCA" else axes.place(5, 17, -9)


def _spline(knots: Points, axes: HeartAxes) -> Points:
    along = along_mm(axes.surface(knots))
    dense = np.linspace(0.0, along[-1], max(8, int(along[-1] / 0.4)))
    return np.asarray(PchipInterpolator(along, knots, axis=0)(dense), dtype=np.float64)


def _fade(points: Points, length_mm: float) -> NDArray[np.float64]:
    """Return a weight that falls from 1 at the start to 0 after `length_mm`."""
    along = along_mm(points)
    share = np.clip(along / min(length_mm, 0.6 * along[-1]), 0, 1)
    return np.asarray(0.5 * (1 + np.cos(np.pi * share)))


def _wave(rng: np.random.Generator, points: Points) -> Points:
    """Return the tortuosity: a few waves across the course, none at its start."""
    along = along_mm(points)
    wavelength_mm = rng.uniform(14, 45, (4, 3))
    amplitude_mm = rng.uniform(0.1, 0.55, (4, 3)) * wavelength_mm / 25
    phase = rng.uniform(0, 2 * np.pi, (4, 3))
    waves = amplitude_mm * np.sin(2 * np.pi * along[:, None, None] / wavelength_mm + phase)
    return np.asarray(waves.sum(axis=1) * np.clip(along / 12, 0, 1)[:, None])


def _resample(points: Points, path: Points) -> tuple[Points, Points]:
    smooth = gaussian_filter1d(points, 4.0, axis=0, mode="nearest")
    smooth[0] = points[0]
    along = along_mm(smooth)
    even = np.linspace(0.0, along[-1], max(8, round(along[-1] / STEP_MM) + 1))
    return _interpolated(even, along, smooth), _interpolated(even, along, path)


def _interpolated(at: NDArray[np.float64], along: NDArray[np.float64], values: Points) -> Points:
    return np.stack([np.interp(at, along, column) for column in values.T], axis=1)


def lay_twigs(seed: int, axes: HeartAxes, courses: dict[str, Course]) -> dict[str, Course]:
    """Lay small side branches, without a number, on the branches that run to the apex."""
    twigs: dict[str, Course] = {}
    for number, (name, course) in enumerate(courses.items()):
        if course.row.cass in (None, 5, 11, 17) or len(course.points_mm) * STEP_MM < 30:
            continue
        rng = generator(seed, 2, number)
        for count in range(int(rng.integers(1, 4))):
            row = _twig_row(rng, f"twig {count + 1} of {name}", course)
            twigs[row.name] = _lay(rng, row, axes, course)
    return twigs


def _twig_row(rng: np.random.Generator, name: str, course: Course) -> Row:
    total = len(course.knots) - 1
    start = int(rng.uniform(0.2, 0.7) * total)
    reach = min(total - start, int(rng.uniform(12, 28) / STEP_MM))
    samples = start + (np.array([0, 0.3, 0.65, 1.0]) * reach).astype(int)
    knots = course.knots[samples].copy()
    side = 1.0 if rng.random() < 0.5 else -1.0
    knots[:, 0] += side * rng.uniform(0.7, 1.3) * np.array([0, 7, 15, 22])
    return Row(
        name=name,
        cass=None,
        artery=course.row.artery,
        origin=course.row.name,
        probability={},
        ratio=0.5,
        ratio_sd=0.08,
        end_mm=MIN_DIAMETER_MM,
        knots=knots,
    )


def along_mm(points: Points) -> NDArray[np.float64]:
    """Return the arc length from the first of (N, d) points to each, (N,)."""
    steps = np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1))
    return np.concatenate([[0.0], np.cumsum(steps)])
