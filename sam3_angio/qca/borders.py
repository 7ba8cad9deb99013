"""Where the lines perpendicular to a centreline leave the vessel.

Conventions
-----------
Points are ``(x, y)`` in object millimetres (see :mod:`sam3_angio.qca.centreline`). A border is
given as its signed distance from the centreline along the normal: positive to the left, negative
to the right. NaN: no border was found there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sam3_angio.qca.centreline import Points

LEVEL = 0.5
"""Probability at the border."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LumenField:
    """Probability of lumen over the frame.

    Attributes
    ----------
    probability : (M, N) ndarray of float
        In 0…1; a mask has only 0 and 1.
    scale_mm : (2,) ndarray
        Column and row spacing: what turns ``(x, y)`` from pixels to millimetres.
    """

    probability: NDArray[np.float64]
    scale_mm: NDArray[np.float64]

    @property
    def step_mm(self) -> float:
        """Sampling distance: half the smaller side of a pixel."""
        return float(self.scale_mm.min()) / 2

    @property
    def is_mask(self) -> bool:
        """Whether there is nothing between 0 and 1, so that borders are staircases."""
        return bool(np.all((self.probability == 0) | (self.probability == 1)))

    def at(self, points_mm: Points) -> NDArray[np.float64]:
        """Interpolate linearly at points of shape (…, 2); outside the frame there is no lumen."""
        x, y = np.moveaxis(points_mm / self.scale_mm, -1, 0)
        return np.asarray(
            ndimage.map_coordinates(self.probability, [y, x], order=1, mode="grid-constant"),
            dtype=np.float64,
        )

    def contains(self, points_mm: Points) -> NDArray[np.bool_]:
        """Tell whether points lie between the centres of the frame's outermost pixels."""
        rows, columns = self.probability.shape
        pixels = points_mm / self.scale_mm
        within = (pixels >= 0) & (pixels <= (columns - 1, rows - 1))
        return np.asarray(within.all(axis=-1))


def field_border(
    field: LumenField, centre: Points, direction: Points, reach_mm: float
) -> NDArray[np.float64]:
    """Return how far it is from each centre along its direction to probability ½.

    The first crossing counts, so that a neighbouring branch does not. NaN where the centre itself
    is outside, where nothing is crossed within the reach, and where the vessel is cut by the edge
    of the frame.

    Parameters
    ----------
    field : LumenField
    centre, direction : (N, 2) ndarray
        Points and unit vectors in millimetres.
    reach_mm : float

    Returns
    -------
    (N,) ndarray
        Millimetres, not negative.
    """
    distance = np.arange(0.0, reach_mm + field.step_mm, field.step_mm / 2)
    rays = centre[:, None, :] + distance[None, :, None] * direction[:, None, :]
    values = field.at(rays)
    outside = values < LEVEL
    after = np.argmax(outside, axis=1)
    found = outside.any(axis=1) & (after > 0)
    rows = np.arange(len(centre))
    before = np.maximum(after - 1, 0)
    high, low = values[rows, before], values[rows, after]
    drop = np.where(found, high - low, 1.0)
    border = distance[before] + (distance[1] - distance[0]) * (high - LEVEL) / drop
    found &= field.contains(centre + border[:, None] * direction)
    return np.where(found, border, np.nan)


def polyline_border(edge: Points, centre: Points, normal: Points) -> NDArray[np.float64]:
    """Return the signed distance along each normal to the nearest crossing of a polyline.

    Parameters
    ----------
    edge : (K, 2) ndarray
        Vertices in millimetres.
    centre, normal : (N, 2) ndarray
        Points and unit normals.

    Returns
    -------
    (N,) ndarray
        Millimetres along the normal; NaN where the normal misses the polyline.
    """
    start, along = edge[:-1], np.diff(edge, axis=0)
    gap = start[None, :, :] - centre[:, None, :]
    across = _cross(normal[:, None, :], along[None, :, :])
    with np.errstate(divide="ignore", invalid="ignore"):
        position = _cross(normal[:, None, :], gap) / -across
        distance = _cross(gap, along[None, :, :]) / across
    hit = (position >= -1e-9) & (position <= 1 + 1e-9)
    distance = np.where(hit, distance, np.inf)
    nearest = np.argmin(np.abs(distance), axis=1)
    border = distance[np.arange(len(centre)), nearest]
    return np.where(np.isfinite(border), border, np.nan)


def polylines_cross(first: Points, second: Points) -> bool:
    """Tell whether two polylines pass through each other; touching is not crossing."""
    a, b = first[:-1, None, :], first[1:, None, :]
    c, d = second[None, :-1, :], second[None, 1:, :]
    sides_of_first = _cross(b - a, c - a) * _cross(b - a, d - a)
    sides_of_second = _cross(d - c, a - c) * _cross(d - c, b - c)
    return bool(np.any((sides_of_first < 0) & (sides_of_second < 0)))


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
