"""Analytic vessels: a centreline, the two borders' distances from it, and their picture.

Everything is in pixels; ``(x, y)``, (0, 0) the centre of the first pixel. A pixel's value is the
part of it that the vessel covers, counted on a grid of subpixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Width = Callable[[NDArray[np.float64]], NDArray[np.float64]]
STEP = 0.05
SUBPIXELS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tube:
    """A vessel: dense centreline (N, 2), unit normals to the left, both borders' distances."""

    arc: NDArray[np.float64]
    centre: NDArray[np.float64]
    normal: NDArray[np.float64]
    left: NDArray[np.float64]
    right: NDArray[np.float64]

    @property
    def diameter(self) -> NDArray[np.float64]:
        return self.left + self.right

    def edges(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return both borders as `count` points."""
        chosen = np.round(np.linspace(0, len(self.arc) - 1, count)).astype(int)
        left = self.centre + self.left[:, None] * self.normal
        right = self.centre - self.right[:, None] * self.normal
        return left[chosen], right[chosen]

    def coverage(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Return the part of each pixel that the vessel covers."""
        rows, columns = np.indices(shape)
        points = np.column_stack([columns.ravel(), rows.ravel()]).astype(float)
        tree = KDTree(self.centre)
        reach = max(self.left.max(), self.right.max()) + 1
        near = np.flatnonzero(tree.query(points, distance_upper_bound=reach)[0] <= reach)
        offset = (np.arange(SUBPIXELS) + 0.5) / SUBPIXELS - 0.5
        grid = np.stack(np.meshgrid(offset, offset), axis=-1).reshape(-1, 2)
        fine = points[near, None, :] + grid[None]
        value = np.zeros(len(points))
        value[near] = self._inside(fine.reshape(-1, 2), tree).reshape(len(near), -1).mean(axis=1)
        return value.reshape(shape)

    def _inside(self, points: NDArray[np.float64], tree: KDTree) -> NDArray[np.bool_]:
        distance, nearest = tree.query(points)
        gap = points - self.centre[nearest]
        side = np.einsum("ij,ij->i", gap, self.normal[nearest])
        along = gap[:, 0] * -self.normal[nearest, 1] + gap[:, 1] * self.normal[nearest, 0]
        beyond = ((nearest == 0) & (along < 0)) | ((nearest == len(self.arc) - 1) & (along > 0))
        place = np.copysign(distance, side)
        return ~beyond & (place <= self.left[nearest]) & (place >= -self.right[nearest])


def tube(
    length: float,
    diameter: Width,
    *,
    middle: tuple[float, float] = (100.0, 100.0),
    angle_deg: float = 0.0,
    curvature: float = 0.0,
    eccentricity: float = 0.0,
) -> Tube:
    """Return a tube of constant curvature (1/pixel) about a middle point.

    An eccentricity of 1 puts all narrowing (against the tube's first diameter) on the left.
    """
    arc = np.linspace(0.0, length, round(length / STEP) + 1)
    heading = np.radians(angle_deg) + curvature * (arc - length / 2)
    steps = np.column_stack([np.cos(heading), np.sin(heading)]) * (arc[1] - arc[0])
    centre = np.concatenate([np.zeros((1, 2)), np.cumsum((steps[1:] + steps[:-1]) / 2, axis=0)])
    centre += np.asarray(middle) - centre[len(centre) // 2]
    width = diameter(arc)
    shift = eccentricity * (width[0] - width) / 2
    return Tube(
        arc=arc,
        centre=centre,
        normal=np.column_stack([np.sin(heading), -np.cos(heading)]),
        left=width / 2 - shift,
        right=width / 2 + shift,
    )


def straight(diameter: float, *, taper: float = 0.0) -> Width:
    """Return a diameter that changes by `taper` a pixel."""
    return lambda arc: diameter + taper * arc


def narrowed(healthy: Width, *lesions: tuple[float, float, float]) -> Width:
    """Narrow a tube by cosine lesions of (middle, length, fraction of the diameter)."""

    def width(arc: NDArray[np.float64]) -> NDArray[np.float64]:
        remaining = np.ones_like(arc)
        for middle, length, fraction in lesions:
            phase = np.clip((arc - middle) / length, -0.5, 0.5)
            remaining -= fraction * (1 + np.cos(2 * np.pi * phase)) / 2
        return healthy(arc) * remaining

    return width
