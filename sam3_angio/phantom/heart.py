"""A patient's coronary tree in three dimensions, cut into CASS segments.

``courses`` says where the vessels run, ``calibre`` how wide they are; here they become one tree.
Borders of segments: the right coronary artery is divided half way to the acute margin, there, and
at the crux; the LAD at its first branch and half way from there; the circumflex at its first
obtuse marginal.

Conventions: millimetres; patient coordinates of DICOM (+x to the patient's left, +y to the back,
+z to the head), with the middle of the heart at the origin. Samples are 0.5 mm apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam3_angio.anatomy import Artery
from sam3_angio.phantom.axes import Dominance, HeartAxes, Points, Sex, draw_axes, generator
from sam3_angio.phantom.calibre import diameters_mm
from sam3_angio.phantom.courses import STEP_MM, Course, along_mm, lay_courses, lay_twigs

if TYPE_CHECKING:
    from sam3_angio.phantom.lesion import LesionPlan

__all__ = ["Branch", "Dominance", "Heart", "HeartAxes", "Points", "Sex", "grow_heart"]


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

    def part(self, samples: slice) -> Branch:
        """Return the piece of the branch that these samples make."""
        centreline = self.centreline_mm[samples]
        healthy = self.lumen_mm is self.centreline_mm
        return replace(
            self,
            centreline_mm=centreline,
            lumen_mm=centreline if healthy else self.lumen_mm[samples],
            reference_radius_mm=self.reference_radius_mm[samples],
            radius_mm=self.radius_mm[samples],
            path_mm=self.path_mm[samples],
        )


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
    # up to its last sample inside, a branch is inside: its first one may meet a flat end
    return np.minimum.accumulate(share[::-1])[::-1]


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
    rng = generator(seed, 0)
    # 85 % right, 8 % left, 7 % balanced (Dodge 1992 and common angiographic series)
    dominance: Dominance = ("right", "left", "balanced")[
        int(np.digitize(rng.random(), (0.85, 0.93)))
    ]
    sex: Sex = "female" if rng.random() < 0.35 else "male"
    axes = draw_axes(rng, sex)
    courses = lay_courses(seed, axes, dominance)
    courses.update(lay_twigs(seed, axes, courses))
    diameters = diameters_mm(rng, courses, dominance, sex)
    return Heart(
        dominance=dominance, sex=sex, axes=axes, branches=_cut(courses, diameters, dominance)
    )


def _cut(
    courses: dict[str, Course], diameters: dict[str, NDArray[np.float64]], dominance: Dominance
) -> tuple[Branch, ...]:
    """Cut the courses at the borders of the CASS segments and link them."""
    branches: list[Branch] = []
    pieces: dict[str, list[tuple[int, int]]] = {"": []}  # (first sample, index of the branch)
    path_mm = {"": np.zeros(1)}
    for name, course in courses.items():
        parent = _parent(pieces[course.row.origin], course.origin_index)
        begun_mm = path_mm[course.row.origin][course.origin_index]
        path_mm[name] = begun_mm + along_mm(course.points_mm)
        whole = _whole(course, diameters[name] / 2, path_mm[name])
        pieces[name] = []
        for first, last, cass in _borders(name, courses, dominance):
            part = whole.part(slice(first, last + 1))
            branches.append(replace(part, cass=cass, parent=parent))
            parent = len(branches) - 1
            pieces[name].append((first, parent))
    return tuple(branches)


def _parent(pieces: list[tuple[int, int]], sample: int) -> int | None:
    before = [branch for first, branch in pieces if first < sample or first == 0]
    return before[-1] if before else None


def _whole(course: Course, radius_mm: NDArray[np.float64], path_mm: NDArray[np.float64]) -> Branch:
    return Branch(
        cass=course.row.cass,
        name=course.row.name,
        artery=course.row.artery,
        parent=None,
        centreline_mm=course.points_mm,
        lumen_mm=course.points_mm,
        reference_radius_mm=radius_mm,
        radius_mm=radius_mm,
        path_mm=path_mm,
    )


def _borders(
    name: str, courses: dict[str, Course], dominance: Dominance
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
