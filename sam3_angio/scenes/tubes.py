"""Courses with a width, and trees of them.

A *course* is a centreline with a width; lines and curves are courses of one width, tubes taper. A
*tree* has a trunk that starts wide, side branches numbered from that start, sometimes a fork at
its far end, twigs on its branches and narrow spots on its trunk.

Conventions
-----------
Points are ``[x, y]`` in pixels. Fractions run along the course from 0 (its wide beginning) to 1.
Widths at 384 px: trunk 4.8 to 14 at its beginning, branches 1.5 to 9.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam3_angio.scenes.raster import BORDER_PX, Box, Patches

Points = NDArray[np.float64]
Rng = np.random.Generator

REFERENCE_SIZE_PX = 384.0
MIN_WIDTH_PX = 1.5
_TRUNK_POINTS = 96
_BRANCH_POINTS = 40
_CHUNK_STEPS = 8
_FREQUENCIES = np.array([0.35, 0.8, 1.5, 2.6])


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A centreline with a width.

    Attributes
    ----------
    points_px : (N, 2) ndarray of float64
        Evenly spaced, N ≥ 2.
    width_px : (N,) ndarray of float64
    """

    points_px: Points
    width_px: NDArray[np.float64]

    @property
    def length_px(self) -> float:
        """Length along the centreline."""
        return float(np.hypot(*np.diff(self.points_px, axis=0).T).sum())

    def index(self, fraction: float) -> int:
        """Return the index of the point at a fraction of the course."""
        return round(fraction * (len(self.points_px) - 1))

    def part(self, start: float, end: float) -> Course:
        """Return the course between two fractions, ends included.

        Examples
        --------
        >>> course = straight((0.0, 0.0), (90.0, 0.0), 4.0, points=10)
        >>> course.part(1 / 3, 2 / 3).length_px
        30.0
        """
        first = min(self.index(start), len(self.points_px) - 2)
        last = max(self.index(end), first + 1)
        return Course(
            points_px=self.points_px[first : last + 1], width_px=self.width_px[first : last + 1]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A side branch: where on the trunk it leaves, and its course from the trunk's border on."""

    origin: float
    course: Course


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A tube and what grows from it.

    Attributes
    ----------
    trunk : Course
        Its first point is its beginning, the wide end.
    branches : tuple of Branch
        In order from the beginning.
    fork : tuple of Course
        Two arms that leave the trunk's end, or none.
    twigs : tuple of Course
        Branches of side branches.
    narrowings : tuple of (start, end)
        Fractions of the trunk between which it is narrowed.
    """

    trunk: Course
    branches: tuple[Branch, ...] = ()
    fork: tuple[Course, ...] = ()
    twigs: tuple[Course, ...] = ()
    narrowings: tuple[tuple[float, float], ...] = ()

    @property
    def courses(self) -> tuple[Course, ...]:
        """Everything that the tree consists of, the trunk first."""
        return (self.trunk, *(branch.course for branch in self.branches), *self.fork, *self.twigs)


def straight(
    start_px: tuple[float, float], end_px: tuple[float, float], width_px: float, *, points: int = 32
) -> Course:
    """Return a straight course of one width."""
    along = np.linspace(0.0, 1.0, points)[:, None]
    line = (1.0 - along) * np.array(start_px) + along * np.array(end_px)
    return Course(points_px=line, width_px=np.full(points, width_px))


def course_patches(course: Course, share: float = 1.0) -> Patches:
    """Return the outline of a course as a chain of patches that do not cross themselves.

    Parameters
    ----------
    course : Course
    share : float
        Share of the width that is drawn, for profiles across the tube.
    """
    points = course.points_px
    direction = np.gradient(points, axis=0)
    direction /= np.maximum(np.hypot(direction[:, 0], direction[:, 1]), 1e-9)[:, None]
    half = np.maximum(share * course.width_px / 2.0 - BORDER_PX, 0.0)[:, None]
    offset = half * np.stack([-direction[:, 1], direction[:, 0]], axis=1)
    left, right = points + offset, points - offset
    return tuple(
        (np.concatenate([left[i : i + _CHUNK_STEPS + 1], right[i : i + _CHUNK_STEPS + 1][::-1]]),)
        for i in range(0, len(points) - 1, _CHUNK_STEPS)
    )


def tree_patches(tree: Tree) -> Patches:
    """Return the outline of the whole tree."""
    return tuple(patch for course in tree.courses for patch in course_patches(course))


def wander(rng: Rng, points: int, bend_rad: float) -> Points:
    """Return a smooth random centreline of unit steps that starts at 0 along the x axis.

    Parameters
    ----------
    rng : Generator
    points : int
    bend_rad : float
        Standard deviation of the heading's slow waves; below about 1 it makes no loops.
    """
    along = np.linspace(0.0, 2.0 * np.pi, points)[:, None] * _FREQUENCIES
    waves = np.sin(along + rng.uniform(0.0, 2.0 * np.pi, 4)) @ (
        rng.standard_normal(4) * bend_rad / (1.0 + _FREQUENCIES)
    )
    heading = waves - waves[0]
    steps = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps[:-1], axis=0)])


def turned(points: Points, angle_rad: float) -> Points:
    """Turn points about the origin."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    result: Points = points @ np.array([[cos, sin], [-sin, cos]])
    return result


def fitted(points: Points, box: Box) -> Points:
    """Scale a centreline as a whole so that it just fits into a box, and centre it there."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array([box[2] - box[0], box[3] - box[1]])
    scale = float((room / np.maximum(high - low, 1e-6)).min())
    centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2.0
    result: Points = (points - (low + high) / 2.0) * scale + centre
    return result


def heading_at(course: Course, fraction: float) -> float:
    """Return the direction of a course at a fraction, in radians."""
    index = course.index(fraction)
    points = course.points_px
    step = points[min(index + 2, len(points) - 1)] - points[max(index - 2, 0)]
    return float(np.arctan2(step[1], step[0]))


def _inside(course: Course, size_px: int) -> Course | None:
    """Cut a course where it leaves the picture; None when it leaves at once."""
    margin = 2.0
    points = course.points_px
    outside = ((points < margin) | (points > size_px - 1 - margin)).any(axis=1)
    last = int(np.argmax(outside)) if outside.any() else len(points)
    if last < 4:
        return None
    return Course(points_px=points[:last], width_px=course.width_px[:last])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shoot:
    """How a branch leaves its parent: place, direction, length, width at its start."""

    fraction: float
    turn_rad: float
    length_px: float
    width_px: float


def _shoot(rng: Rng, parent: Course, shoot: _Shoot, size_px: int) -> Course | None:
    """Grow a branch from the parent's border; None when the picture leaves too little room."""
    index = parent.index(shoot.fraction)
    line = wander(rng, _BRANCH_POINTS, rng.uniform(0.1, 0.6))
    # a branch leaves steeply and then tends towards its parent's direction
    bow = -shoot.turn_rad * rng.uniform(0.0, 0.7) * np.linspace(0.0, 1.0, _BRANCH_POINTS)
    steps = np.diff(line, axis=0, prepend=line[:1])
    steps = np.stack(
        [
            steps[:, 0] * np.cos(bow) - steps[:, 1] * np.sin(bow),
            steps[:, 0] * np.sin(bow) + steps[:, 1] * np.cos(bow),
        ],
        axis=1,
    )
    line = np.cumsum(steps, axis=0) * shoot.length_px / (_BRANCH_POINTS - 1)
    line = turned(line, heading_at(parent, shoot.fraction) + shoot.turn_rad)
    taper = 1.0 - rng.uniform(0.2, 0.6) * np.linspace(0.0, 1.0, _BRANCH_POINTS)
    course = Course(
        points_px=line + parent.points_px[index],
        width_px=np.maximum(shoot.width_px * taper, MIN_WIDTH_PX),
    )
    covered = parent.width_px[index] / 2.0 / max(abs(np.sin(shoot.turn_rad)), 0.5)
    start = int(covered / shoot.length_px * (_BRANCH_POINTS - 1))
    visible = _inside(course, size_px)
    if visible is None or len(visible.points_px) - start < 5:
        return None
    visible = Course(points_px=visible.points_px[start:], width_px=visible.width_px[start:])
    return visible if visible.length_px >= 0.09 * size_px else None


def _stands_off(branch: Course, trunk: Course, distance_px: float) -> bool:
    """Say whether a branch's middle and end are away from the trunk, so that both can be seen."""
    ends = branch.points_px[[len(branch.points_px) // 2, -1]]
    gaps = np.hypot(*(ends[:, None] - trunk.points_px[None]).transpose(2, 0, 1))
    return bool((gaps.min(axis=1) > distance_px * np.array([0.5, 1.0])).all())


def _grow_branches(rng: Rng, trunk: Course, size_px: int, count: int) -> tuple[Branch, ...]:
    """Grow up to `count` side branches, well apart along the trunk."""
    if not count:
        return ()
    gap = 0.66 / count
    branches = []
    for number in range(count):
        origin = 0.16 + gap * (number + rng.uniform(0.15, 0.6))
        width = float(trunk.width_px[trunk.index(origin)])
        side = rng.choice([-1.0, 1.0])
        for attempt in range(3):
            shoot = _Shoot(
                fraction=origin,
                turn_rad=(side if attempt < 2 else -side) * rng.uniform(0.6, 1.3),
                length_px=size_px * rng.uniform(0.14, 0.45),
                width_px=max(width * rng.uniform(0.35, 0.65), MIN_WIDTH_PX),
            )
            course = _shoot(rng, trunk, shoot, size_px)
            if course is not None and _stands_off(course, trunk, 0.05 * size_px):
                branches.append(Branch(origin=origin, course=course))
                break
    return tuple(branches)


def _grow_fork(rng: Rng, trunk: Course, size_px: int) -> tuple[Course, ...]:
    """Grow two arms from the trunk's end, or nothing where one of them finds no room."""
    arms = []
    for side in (-1.0, 1.0):
        shoot = _Shoot(
            fraction=1.0,
            turn_rad=side * rng.uniform(0.4, 0.8),
            length_px=size_px * rng.uniform(0.13, 0.32),
            width_px=max(float(trunk.width_px[-1]) * rng.uniform(0.75, 0.95), MIN_WIDTH_PX),
        )
        arm = _shoot(rng, trunk, shoot, size_px)
        if arm is None:
            return ()
        # the arms meet: each starts where the trunk ends
        points = np.concatenate([trunk.points_px[-1:], arm.points_px])
        arms.append(Course(points_px=points, width_px=np.append(arm.width_px[:1], arm.width_px)))
    return tuple(arms)


def _grow_twigs(rng: Rng, branches: tuple[Branch, ...], size_px: int) -> tuple[Course, ...]:
    twigs = []
    for branch in branches:
        if branch.course.length_px < 0.2 * size_px or rng.random() > 0.35:
            continue
        fraction = rng.uniform(0.4, 0.8)
        width = float(branch.course.width_px[branch.course.index(fraction)])
        shoot = _Shoot(
            fraction=fraction,
            turn_rad=rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.0),
            length_px=size_px * rng.uniform(0.1, 0.2),
            width_px=max(0.7 * width, MIN_WIDTH_PX),
        )
        twig = _shoot(rng, branch.course, shoot, size_px)
        if twig is not None:
            twigs.append(twig)
    return tuple(twigs)


def _narrowed(rng: Rng, trunk: Course) -> tuple[Course, tuple[tuple[float, float], ...]]:
    """Pinch the trunk in the middle of one of its thirds."""
    third = int(rng.integers(3))
    middle = third / 3.0 + rng.uniform(0.12, 0.21)
    index = trunk.index(middle)
    half = min(float(trunk.width_px[index]) * rng.uniform(1.0, 2.2) / trunk.length_px, 0.1)
    along = np.linspace(0.0, 1.0, len(trunk.points_px))
    near = np.clip(np.abs(along - middle) / half, 0.0, 1.0)
    depth = rng.uniform(0.45, 0.75)
    width = trunk.width_px * (1.0 - depth * (1.0 + np.cos(np.pi * near)) / 2.0)
    narrowed = Course(points_px=trunk.points_px, width_px=np.maximum(width, 1.0))
    # the outer tenth of the dip cannot be seen
    return narrowed, ((middle - 0.9 * half, middle + 0.9 * half),)


def grow_trunk(rng: Rng, box: Box, size_px: int) -> Course:
    """Grow a tapering course whose centreline just fits into a box."""
    bend_rad = rng.uniform(0.15, 0.8)
    line = wander(rng, _TRUNK_POINTS, bend_rad)
    while np.hypot(*line[-1]) < 0.55 * _TRUNK_POINTS:
        # beginning and end that nearly meet would leave thirds and sides to taste
        bend_rad *= 0.8
        line = wander(rng, _TRUNK_POINTS, bend_rad)
    line = turned(line, rng.uniform(0.0, 2.0 * np.pi))
    along = np.linspace(0.0, 1.0, _TRUNK_POINTS)
    # thin tubes are as frequent as thick ones
    start_px = np.exp(rng.uniform(np.log(4.8), np.log(14.0))) * size_px / REFERENCE_SIZE_PX
    taper = 1.0 - rng.uniform(0.4, 0.65) * along ** rng.uniform(0.7, 1.4)
    return Course(points_px=fitted(line, box), width_px=np.maximum(start_px * taper, MIN_WIDTH_PX))


def grow_tree(rng: Rng, box: Box, size_px: int, branches: int) -> Tree:
    """Grow a tree whose trunk fits into a box.

    Parameters
    ----------
    rng : Generator
    box : (x0, y0, x1, y1)
        Room of the trunk's centreline; branches may leave it, but not the picture.
    size_px : int
        Side of the picture.
    branches : int
        How many side branches to try; one that finds no room is left out. 0 gives a plain tube.
    """
    trunk = grow_trunk(rng, box, size_px)
    sides = _grow_branches(rng, trunk, size_px, branches)
    fork = _grow_fork(rng, trunk, size_px) if sides and rng.random() < 0.45 else ()
    twigs = _grow_twigs(rng, sides, size_px)
    narrowings: tuple[tuple[float, float], ...] = ()
    if trunk.width_px[0] > 6.0 * size_px / REFERENCE_SIZE_PX and rng.random() < 0.35:
        trunk, narrowings = _narrowed(rng, trunk)
    return Tree(trunk=trunk, branches=sides, fork=fork, twigs=twigs, narrowings=narrowings)
