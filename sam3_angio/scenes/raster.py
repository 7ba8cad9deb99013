"""Outlines to pixels.

Conventions
-----------
Points are ``[x, y]`` in pixels, (0, 0) the centre of the first pixel. A *patch* is a tuple of
closed contours filled by the even-odd rule (a ring is one patch of two contours); a figure is a
tuple of patches, whose union is its mask. ``cv2.fillPoly`` also paints the pixels that the contour
itself runs through, which widens a figure by half a pixel on each side: whoever makes an outline
draws it `BORDER_PX` inside the true border.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Contour = NDArray[np.float64]
Patch = tuple[Contour, ...]
Patches = tuple[Patch, ...]
Box = tuple[float, float, float, float]

BORDER_PX = 0.5
_SHIFT_BITS = 4


def fill(canvas: NDArray[np.uint8], patches: Patches, value: int) -> None:
    """Paint patches onto a canvas, in place.

    Parameters
    ----------
    canvas : (M, N) ndarray of uint8
    patches : tuple of patches
        Points in pixels of the canvas; what lies outside is cut off.
    value : int
        0 to 255.
    """
    scale = float(1 << _SHIFT_BITS)
    for patch in patches:
        contours = [np.rint(contour * scale).astype(np.int32) for contour in patch]
        cv2.fillPoly(canvas, contours, value, cv2.LINE_8, _SHIFT_BITS)


def mask_of(patches: Patches, size_px: int) -> NDArray[np.bool_]:
    """Return the union of patches as a mask of a square picture.

    Parameters
    ----------
    patches : tuple of patches
        None gives an empty mask.
    size_px : int
        Side of the picture.

    Returns
    -------
    (S, S) ndarray of bool
    """
    canvas = np.zeros((size_px, size_px), np.uint8)
    fill(canvas, patches, 1)
    return canvas.view(np.bool_)


def box_of(patches: Patches, size_px: int) -> Box:
    """Return ``(x0, y0, x1, y1)`` of the part of the patches that lies in the picture."""
    points = np.concatenate([patch[0] for patch in patches])
    x0, y0 = np.clip(points.min(axis=0) - BORDER_PX, 0, size_px)
    x1, y1 = np.clip(points.max(axis=0) + BORDER_PX, 0, size_px)
    return float(x0), float(y0), float(x1), float(y1)
