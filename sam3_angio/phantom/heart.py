"""A coronary tree in three dimensions: ring-and-loop model, with individual variation.

The right coronary artery and the circumflex run round the atrioventricular groove (the ring); the
anterior and the posterior descending arteries run down the interventricular groove (the loop).
Both lie on a half ellipsoid, and every course is given there by three numbers a knot
(``courses.csv``): `ring_deg` round the long axis (0 the obtuse margin, 90 the top, 180 the right
side, 270 the crux), `descent_deg` from the groove (0) to the apex (90), and a factor of depth.

Sources: model, Dodge et al. 1988 (doi:10.1161/01.CIR.78.5.1167); lumen diameters by segment,
dominance and sex, Dodge et al. 1992 (doi:10.1161/01.CIR.86.1.232, ``dodge.csv``); division of
diameters at a branch, Murray 1926 (doi:10.1073/pnas.12.3.207).

Conventions: millimetres; patient coordinates of DICOM (+x to the patient's left, +y to the back,
+z to the head), with the middle of the heart at the origin. Samples of a course are 0.5 mm apart.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from sam3_angio.anatomy import Artery

if TYPE_CHECKING:
    from sam3_angio.phantom.lesion import LesionPlan

Dominance = Literal["right", "left", "balanced"]
Sex = Literal["female", "male"]
Points = NDArray[np.float64]

STEP_MM = 0.5
MIN_DIAMETER_MM = 0.7
MURRAY_EXPONENT = 3.0
FEMALE_DIAMETER = 0.91  # Dodge 1992: women's arteries are about 9 % smaller


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One segment of the tree, or one branch without a number.

    Attributes
    ----------
    cass : int or None
        CASS number; None where the branch has none.
    name : str
        For people.
    artery : {"RCA", "LCA"}
        Which injection fills it.
    parent : int or None
        Index in :attr:`Heart.branches` of what it comes from; None at an ostium.
    centreline_mm : (N, 3) ndarray
        Axis of the healthy vessel.
    lumen_mm : (N, 3) ndarray
        Axis of the lumen; differs from the centreline only in an eccentric lesion.
    reference_radius_mm : (N,) ndarray
        Radius of the healthy lumen.
    radius_mm : (N,) ndarray
        Radius of the lumen.
    path_mm : (N,) ndarray
        Distance from the ostium along the vessels.
    """

    cass: int | None
    name: str
    artery: Artery
    parent: int | None
    centreline_mm: Points
    lumen_mm: Points
    reference_radius_mm: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    path_mm: NDArray[np.float64]

    @property
    def arc_mm(self) -> NDArray[np.float64]:
        """Return the arc length from the segment's start, (N,)."""
        return np.asarray(self.path_mm - self.path_mm[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartAxes:
    """Place, direction and size of the half ellipsoid that carries the tree.

    Attributes
    ----------
    base_mm : (3,) ndarray
        Middle of the atrioventricular ring.
    left, top, apex : (3,) ndarray
        Unit vectors: to the obtuse margin, to the upper border, down the long axis.
    left_mm, top_mm, apex_mm : float
        Half axes of the ring and length from the ring to the apex.
    """

    base_mm: NDArray[np.float64]
    left: NDArray[np.float64]
    top: NDArray[np.float64]
    apex: NDArray[np.float64]
    left_mm: float
    top_mm: float
    apex_mm: float

    def surface(self, knots: Points) -> Points:
        """Return the points of (N, 3) `ring_deg`, `descent_deg`, depth factor."""
        ring, descent = np.radians(knots[:, 0]), np.radians(knots[:, 1])
        out = np.cos(descent) * knots[:, 2]
        return (
            self.base_mm
            + (out * np.cos(ring) * self.left_mm)[:, None] * self.left
            + (out * np.sin(ring) * self.top_mm)[:, None] * self.top
            + (np.sin(descent) * knots[:, 2] * self.apex_mm)[:, None] * self.apex
            + (0.12 * self.left_mm * np.clip(np.sin(descent), 0, 1))[:, None] * self.left
        )

    def place(self, left_mm: float, top_mm: float, apex_mm: float) -> NDArray[np.float64]:
        """Return the point at these distances from the ring's middle."""
        return self.base_mm + left_mm * self.left + top_mm * self.top + apex_mm * self.apex


@dataclass(frozen=True, slots=True, kw_only=True)
class Heart:
    """A patient's coronary tree.

    Attributes
    ----------
    dominance : {"right", "left", "balanced"}
    sex : {"female", "male"}
    branches : tuple of Branch
        A parent comes before its children.
    axes : HeartAxes
    lesions : tuple of LesionPlan
        The narrowings in it; empty for a healthy tree.
    """

    dominance: Dominance
    sex: Sex
    branches: tuple[Branch, ...]
    axes: HeartAxes
    lesions: tuple[LesionPlan, ...] = ()

    @property
    def cass(self) -> tuple[int, ...]:
        """Return the CASS numbers of the segments that this heart has, ascending."""
        return tuple(sorted({b.cass for b in self.branches if b.cass is not None}))

    def segment(self, cass: int) -> Branch | None:
        """Return the first branch of this number, or None."""
        return next((branch for branch in self.branches if branch.cass == cass), None)

    def tree(self, artery: Artery) -> tuple[Branch, ...]:
        """Return the branches that an injection into `artery` fills."""
        return tuple(branch for branch in self.branches if branch.artery == artery)

    def outside(self, artery: Artery) -> tuple[NDArray[np.float64], ...]:
        """Return which part of each branch is not inside the vessel that it springs from.

        A branch begins on its parent's axis. What lies inside the parent, or inside a sister that
        begins at the same place, is not there twice.

        Returns
        -------
        tuple of (N,) ndarray
            For each branch of :meth:`tree`, 0 (inside) to 1 (outside) a sample.
        """
        shares = []
        for index, branch in enumerate(self.branches):
            if branch.artery == artery:
                kin = [
                    other
                    for place, other in enumerate(self.branches[:index])
                    if branch.parent is not None and branch.parent in (place, other.parent)
                ]
                shares.append(_outside(branch, kin))
        return tuple(shares)


def _outside(branch: Branch, kin: Iterable[Branch]) -> NDArray[np.float64]:
    share = np.ones(len(branch.radius_mm))
    near = slice(0, int(12 / STEP_MM))
    for other in kin:
        gap = branch.lumen_mm[near, None] - other.lumen_mm[None]
        distance = np.sqrt((gap**2).sum(axis=2))
        nearest = distance.argmin(axis=1)
        radius, wall = branch.radius_mm[near], other.radius_mm[nearest]
        # a tube ends flat: what is nearest to its end lies in front of it, not inside
        within = (nearest > 0) & (nearest < len(other.radius_mm) - 1)
        apart = np.clip((distance.min(axis=1) - (wall - radius)) / (2 * radius), 0, 1)
        share[near] = np.minimum(share[near], np.where(within, apart, 1.0))
    return share


def grow_heart(seed: int) -> Heart:
    """Grow the coronary tree of one patient.

    Parameters
    ----------
    seed : int
        Not negative; the same seed gives the same heart.

    Returns
    -------
    Heart
        Healthy: radius and reference radius are equal everywhere.
    """
    rng = _generator(seed, 0)
    # 85 % right, 8 % left, 7 % balanced (Dodge 1992 and common angiographic series)
    dominance: Dominance = ("right", "left", "balanced")[
        int(np.digitize(rng.random(), (0.85, 0.93)))
    ]
    sex: Sex = "female" if rng.random() < 0.35 else "male"
    axes = _draw_axes(rng, sex)
    courses = _lay_courses(seed, axes, dominance)
    courses.update(_lay_twigs(seed, axes, courses))
    diameters = _diameters(rng, courses, dominance, sex)
    return Heart(
        dominance=dominance, sex=sex, axes=axes, branches=_cut(courses, diameters, dominance)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A line of ``courses.csv``."""

    name: str
    cass: int | None
    artery: Artery
    origin: str
    probability: dict[str, float]
    ratio: float | None  # of its diameter to the origin's, at the branch
    ratio_sd: float
    end_mm: float | None
    knots: Points


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """A vessel from its origin to its end, before it is cut into segments."""

    row: _Row
    ratio: float | None
    knots: Points  # (N, 3), a row a sample
    points_mm: Points
    origin_index: int  # sample of the origin's course that it leaves from


@cache
def _rows() -> tuple[_Row, ...]:
    text = resources.files("sam3_angio.phantom").joinpath("courses.csv").read_text("utf-8")
    return tuple(
        _Row(
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


@cache
def _dodge() -> dict[tuple[str, str], tuple[float, float]]:
    text = resources.files("sam3_angio.phantom").joinpath("dodge.csv").read_text("utf-8")
    return {
        (line["vessel"], line["dominance"]): (float(line["mean_mm"]), float(line["sd_mm"]))
        for line in csv.DictReader(text.splitlines())
    }


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def _bounded(rng: np.random.Generator, mean: float, sd: float, limit: float = 2.0) -> float:
    """Draw from a normal distribution, cut at `limit` standard deviations."""
    return mean + sd * float(np.clip(rng.standard_normal(), -limit, limit))


def _draw_axes(rng: np.random.Generator, sex: Sex) -> HeartAxes:
    turn = np.radians(_bounded(rng, 45, 5))  # of the long axis to the left
    dip = np.radians(_bounded(rng, 33, 5))  # of the long axis to the feet
    roll = np.radians(_bounded(rng, 0, 5))  # round the long axis
    apex = np.array([np.cos(dip) * np.sin(turn), -np.cos(dip) * np.cos(turn), -np.sin(dip)])
    level = np.array([np.cos(turn), np.sin(turn), 0.0])
    rise = np.array([np.sin(dip) * np.sin(turn), -np.sin(dip) * np.cos(turn), np.cos(dip)])
    size = _bounded(rng, 0.95 if sex == "female" else 1.0, 0.05)
    length_mm = size * _bounded(rng, 84, 4)
    return HeartAxes(
        base_mm=-0.35 * length_mm * apex,
        left=np.cos(roll) * level + np.sin(roll) * rise,
        top=np.cos(roll) * rise - np.sin(roll) * level,
        apex=apex,
        left_mm=size * _bounded(rng, 46, 2),
        top_mm=size * _bounded(rng, 40, 2),
        apex_mm=length_mm,
    )


def _lay_courses(seed: int, axes: HeartAxes, dominance: Dominance) -> dict[str, _Course]:
    courses: dict[str, _Course] = {}
    for number, row in enumerate(_rows()):
        rng = _generator(seed, 1, number)
        if rng.random() < row.probability[dominance] and (not row.origin or row.origin in courses):
            courses[row.name] = _lay(rng, row, axes, courses.get(row.origin))
    return courses


def _lay(rng: np.random.Generator, row: _Row, axes: HeartAxes, origin: _Course | None) -> _Course:
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
    ratio = None if row.ratio is None else float(_bounded(rng, row.ratio, row.ratio_sd))
    return _Course(row=row, ratio=ratio, knots=path, points_mm=points, origin_index=index)


def _ostium(artery: Artery, axes: HeartAxes) -> NDArray[np.float64]:
    """Return where the artery leaves its aortic sinus; the root lies inside the ring's top."""
    return axes.place(-13, 19, -8) if artery == "RCA" else axes.place(5, 17, -9)


def _spline(knots: Points, axes: HeartAxes) -> Points:
    along = np.concatenate([[0.0], np.cumsum(_steps(axes.surface(knots)))])
    dense = np.linspace(0.0, along[-1], max(8, int(along[-1] / 0.4)))
    return np.asarray(PchipInterpolator(along, knots, axis=0)(dense), dtype=np.float64)


def _steps(points: Points) -> NDArray[np.float64]:
    return np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1))


def _fade(points: Points, length_mm: float) -> NDArray[np.float64]:
    """Return a weight that falls from 1 at the start to 0 after `length_mm`."""
    along = np.concatenate([[0.0], np.cumsum(_steps(points))])
    return 0.5 * (1 + np.cos(np.pi * np.clip(along / min(length_mm, 0.6 * along[-1]), 0, 1)))


def _wave(rng: np.random.Generator, points: Points) -> Points:
    """Return the tortuosity: a few waves across the course, none at its start."""
    along = np.concatenate([[0.0], np.cumsum(_steps(points))])
    wavelength_mm = rng.uniform(14, 45, (4, 3))
    amplitude_mm = rng.uniform(0.1, 0.55, (4, 3)) * wavelength_mm / 25
    phase = rng.uniform(0, 2 * np.pi, (4, 3))
    waves = amplitude_mm * np.sin(2 * np.pi * along[:, None, None] / wavelength_mm + phase)
    return np.asarray(waves.sum(axis=1) * np.clip(along / 12, 0, 1)[:, None])


def _resample(points: Points, path: Points) -> tuple[Points, Points]:
    smooth = gaussian_filter1d(points, 4.0, axis=0, mode="nearest")
    smooth[0] = points[0]
    along = np.concatenate([[0.0], np.cumsum(_steps(smooth))])
    even = np.linspace(0.0, along[-1], max(8, round(along[-1] / STEP_MM) + 1))
    return _interpolated(even, along, smooth), _interpolated(even, along, path)


def _interpolated(at: NDArray[np.float64], along: NDArray[np.float64], values: Points) -> Points:
    return np.stack([np.interp(at, along, column) for column in values.T], axis=1)


def _lay_twigs(seed: int, axes: HeartAxes, courses: dict[str, _Course]) -> dict[str, _Course]:
    """Lay small side branches, without a number, on the branches that run to the apex."""
    twigs: dict[str, _Course] = {}
    for number, (name, course) in enumerate(courses.items()):
        if course.row.cass in (None, 5, 11, 17) or len(course.points_mm) * STEP_MM < 30:
            continue
        rng = _generator(seed, 2, number)
        for count in range(int(rng.integers(1, 4))):
            row = _twig_row(rng, f"twig {count + 1} of {name}", course)
            twigs[row.name] = _lay(rng, row, axes, course)
    return twigs


def _twig_row(rng: np.random.Generator, name: str, course: _Course) -> _Row:
    total = len(course.knots) - 1
    start = int(rng.uniform(0.2, 0.7) * total)
    reach = min(total - start, int(rng.uniform(12, 28) / STEP_MM))
    samples = start + (np.array([0, 0.3, 0.65, 1.0]) * reach).astype(int)
    knots = course.knots[samples].copy()
    side = 1.0 if rng.random() < 0.5 else -1.0
    knots[:, 0] += side * rng.uniform(0.7, 1.3) * np.array([0, 7, 15, 22])
    return _Row(
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


def _diameters(
    rng: np.random.Generator, courses: dict[str, _Course], dominance: Dominance, sex: Sex
) -> dict[str, NDArray[np.float64]]:
    """Return each course's healthy lumen diameter, (N,), in mm."""
    factor = FEMALE_DIAMETER if sex == "female" else 1.0
    starts = {
        vessel: factor * _bounded(rng, *_dodge()[vessel, dominance])
        for vessel in ("LAD", "LCX", "RCA")
    }
    if "ramus" in courses:
        starts["ramus"] = 0.55 * starts["LAD"]
    fed_by_left_main = [starts[name] for name in ("LAD", "LCX", "ramus") if name in starts]
    starts["left main"] = _murray_sum(fed_by_left_main)
    diameters: dict[str, NDArray[np.float64]] = {}
    for name, course in courses.items():
        start = starts.get(name)
        if start is None:
            start = (
                _start_ratio(course, courses) * diameters[course.row.origin][course.origin_index]
            )
        diameters[name] = _tapered(float(start), course, factor, _children(name, courses))
    return diameters


def _children(name: str, courses: dict[str, _Course]) -> list[_Course]:
    return [course for course in courses.values() if course.row.origin == name and course.ratio]


def _murray_sum(diameters_mm: Iterable[float]) -> float:
    return float(sum(d**MURRAY_EXPONENT for d in diameters_mm) ** (1 / MURRAY_EXPONENT))


def _left_by(ratio: float) -> float:
    """Return how much of the diameter goes on, relative, after a branch of relative `ratio`."""
    return float((1 - ratio**MURRAY_EXPONENT) ** (1 / MURRAY_EXPONENT))


def _start_ratio(course: _Course, courses: dict[str, _Course]) -> float:
    if course.ratio is not None:
        return course.ratio
    sibling = courses["posterior descending"].ratio  # the one other course without a ratio
    return _left_by(sibling or 0.0)


def _tapered(
    start_mm: float, course: _Course, factor: float, children: list[_Course]
) -> NDArray[np.float64]:
    """Return a diameter that steps down at each branch by Murray's law and tapers between them.

    The steps are spread over 3 mm; the taper takes what is left between the last step and the
    diameter that the vessel has at its end.
    """
    samples = np.arange(len(course.points_mm))
    relative = np.ones(len(samples))
    for child in children:
        if child.origin_index < len(samples) - 1:
            ramp = np.clip((samples - child.origin_index) * STEP_MM / 3.0, 0, 1)
            relative = relative * (1 + (_left_by(child.ratio or 0.0) - 1) * ramp)
    end_mm = max(MIN_DIAMETER_MM, (course.row.end_mm or 0.0) * factor)
    if course.row.end_mm is None:
        return start_mm * relative  # the left main does not taper
    taper = np.clip(end_mm / (start_mm * relative[-1]), 0.2, 1.0)
    return np.maximum(
        start_mm * relative * taper ** (samples / samples[-1]), min(MIN_DIAMETER_MM, start_mm)
    )


def _cut(
    courses: dict[str, _Course], diameters: dict[str, NDArray[np.float64]], dominance: Dominance
) -> tuple[Branch, ...]:
    """Cut the courses at the borders of the CASS segments and link them."""
    branches: list[Branch] = []
    pieces: dict[str, list[tuple[int, int]]] = {}  # course -> (first sample, index of the branch)
    path_start = {"": 0.0}
    for name, course in courses.items():
        parent = _parent(pieces.get(course.row.origin, []), course.origin_index)
        begun_mm = path_start.get(course.row.origin, 0.0) + course.origin_index * STEP_MM
        path_start[name] = begun_mm
        pieces[name] = []
        for first, last, cass in _borders(name, courses, dominance):
            branches.append(
                _branch(course, slice(first, last + 1), cass, diameters[name], begun_mm, parent)
            )
            parent = len(branches) - 1
            pieces[name].append((first, parent))
    return tuple(branches)


def _parent(pieces: list[tuple[int, int]], sample: int) -> int | None:
    before = [branch for first, branch in pieces if first < sample or first == 0]
    return before[-1] if before else None


def _branch(
    course: _Course,
    piece: slice,
    cass: int | None,
    diameter_mm: NDArray[np.float64],
    begun_mm: float,
    parent: int | None,
) -> Branch:
    points = course.points_mm[piece]
    along = np.concatenate([[0.0], np.cumsum(_steps(course.points_mm))])
    radius = diameter_mm[piece] / 2
    return Branch(
        cass=cass,
        name=course.row.name,
        artery=course.row.artery,
        parent=parent,
        centreline_mm=points,
        lumen_mm=points,
        reference_radius_mm=radius,
        radius_mm=radius,
        path_mm=begun_mm + along[piece],
    )


def _borders(
    name: str, courses: dict[str, _Course], dominance: Dominance
) -> list[tuple[int, int, int | None]]:
    """Return first sample, last sample and CASS number of each segment of a course."""
    course = courses[name]
    last = len(course.points_mm) - 1
    if name == "RCA":
        acute = int(np.searchsorted(course.knots[:, 0], 215.0))
        return [(0, acute // 2, 1), (acute // 2, acute, 2), (acute, last, 3)]
    if name == "LAD":
        first = min(courses[key].origin_index for key in ("first septal", "first diagonal"))
        middle = (first + last) // 2
        return [(0, first, 12), (first, middle, 13), (middle, last, 14)]
    if name == "LCX":
        first = courses["first obtuse marginal"].origin_index
        if dominance == "right":
            return [(0, first, 18), (first, last, 19)]
        groove = int(np.searchsorted(-course.knots[:, 0], 42.0))
        return [(0, first, 18), (first, groove, 19), (groove, last, 23)]
    return [(0, last, course.row.cass)]
