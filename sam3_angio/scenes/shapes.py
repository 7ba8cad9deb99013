"""Simple figures: disc, ring, square, triangle, bar, cross, ellipse.

Conventions
-----------
A figure's *extent* is its longest side or diameter. Angles are in degrees, 0 along the picture's x
axis, growing clockwise on the screen (y points down).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sam3_angio.scenes.raster import BORDER_PX, Contour, Patches

ShapeKind = Literal["disc", "ring", "square", "triangle", "bar", "cross", "ellipse"]
SHAPE_KINDS: tuple[ShapeKind, ...] = get_args(ShapeKind)

_ELLIPSE_ASPECT = 2.0
_BAR_ASPECT = 4.0
_RING_HOLE = 0.55
_CROSS_ARM = 0.3
_CIRCLE_POINTS = 40


def _circle(radius_x: float, radius_y: float) -> Contour:
    angle = np.linspace(0.0, 2.0 * np.pi, _CIRCLE_POINTS, endpoint=False)
    return np.stack([radius_x * np.cos(angle), radius_y * np.sin(angle)], axis=1)


def _rectangle(half_x: float, half_y: float) -> Contour:
    return np.array([[-half_x, -half_y], [half_x, -half_y], [half_x, half_y], [-half_x, half_y]])


def _triangle(half: float) -> Contour:
    """Equilateral triangle whose side is twice `half`, around its centroid."""
    angle = np.deg2rad([-90.0, 30.0, 150.0])
    corners: Contour = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    corners *= 2.0 * half / np.sqrt(3.0)
    return corners


def _cross(half: float) -> Contour:
    arm = _CROSS_ARM * half
    quarter = np.array([[arm, -half], [arm, -arm], [half, -arm]])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    quarters = [quarter]
    for _ in range(3):
        quarters.append(quarters[-1] @ turn)
    return np.concatenate(quarters)


def _upright(kind: ShapeKind, extent_px: float) -> tuple[Contour, ...]:
    half = extent_px / 2.0 - BORDER_PX
    outlines: dict[ShapeKind, tuple[Contour, ...]] = {
        "disc": (_circle(half, half),),
        "ring": (
            _circle(half, half),
            _circle(_RING_HOLE * half + BORDER_PX, _RING_HOLE * half + BORDER_PX),
        ),
        "square": (_rectangle(half, half),),
        "triangle": (_triangle(half),),
        "bar": (_rectangle(half, extent_px / 2.0 / _BAR_ASPECT - BORDER_PX),),
        "cross": (_cross(half),),
        "ellipse": (_circle(half, extent_px / 2.0 / _ELLIPSE_ASPECT - BORDER_PX),),
    }
    return outlines[kind]


def shape_patches(
    kind: ShapeKind, centre_px: tuple[float, float], extent_px: float, angle_deg: float
) -> Patches:
    """Return the outline of a figure.

    Parameters
    ----------
    kind : ShapeKind
    centre_px : (x, y)
    extent_px : float
        Longest side or diameter.
    angle_deg : float
        Turn about the centre; a bar and an ellipse of 0° lie.

    Examples
    --------
    >>> from sam3_angio.scenes.raster import mask_of
    >>> int(mask_of(shape_patches("square", (15.5, 15.5), 10.0, 0.0), 32).sum())
    100
    """
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    turn: NDArray[np.float64] = np.array([[cos, sin], [-sin, cos]])
    return (tuple(contour @ turn + np.array(centre_px) for contour in _upright(kind, extent_px)),)
