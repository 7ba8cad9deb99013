"""What an electronic shutter leaves of a picture.

Source: PS3.3 C.7.6.11 (Display Shutter), rectangular. Units that blank what the collimator's blades
cover store one value there. The border between it and the picture is as odd as damage, so a frame
is judged inside of it; but only where header and picture say the same to the pixel, since lost
bytes at the end of a frame are blank, too.

The standard leaves open whether an edge is the last line that is covered or the first that is not;
both are accepted, one for all four edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam3_angio.dicom.decode import Pixels
from sam3_angio.dicom.header import Shutter

#: Rows and columns of a picture.
Opening = tuple[slice, slice]
WHOLE: Opening = (slice(None), slice(None))


def opening_of(pixels: Pixels, shutter: Shutter | None) -> Opening:
    """Return the part of a frame that its shutter leaves free.

    Parameters
    ----------
    pixels : (R, C) ndarray of uint8 or uint16
        The frame.
    shutter : Shutter or None
        What the header says.

    Returns
    -------
    tuple of slice
        Rows and columns; all of them where header and picture do not agree.
    """
    if shutter is not None:
        found = _not_blank(pixels)
        if found in (_free(pixels, shutter, 0), _free(pixels, shutter, 1)):
            return found
    return WHOLE


def _free(pixels: Pixels, shutter: Shutter, wider: int) -> Opening:
    """Return what lies between the edges; `wider` by 1 if the edges are free themselves."""
    rows, columns = pixels.shape
    return (
        _between(shutter.upper, shutter.lower, rows, wider),
        _between(shutter.left, shutter.right, columns, wider),
    )


def covered(shutter: Shutter, size: int, axis: int, wider: int) -> NDArray[np.bool_]:
    """Return which rows (axis 0) or columns (axis 1) the blades cover.

    Parameters
    ----------
    shutter : Shutter
    size : int
        Number of rows or columns.
    axis : {0, 1}
    wider : {0, 1}
        1 if the edges are free themselves.
    """
    lines = np.ones(size, dtype=bool)
    ends = (shutter.upper, shutter.lower) if axis == 0 else (shutter.left, shutter.right)
    lines[_between(*ends, size, wider)] = False
    return lines


def _between(first: int, last: int, size: int, wider: int) -> slice:
    begin, end = first - wider, last - 1 + wider
    return slice(min(max(begin, 0), size), min(max(end, 0), size))


def _not_blank(pixels: Pixels) -> Opening:
    """Find the rows and columns that are not covered by one value from the borders inward."""
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    values, counts = np.unique(corners, return_counts=True)
    seen = pixels != values[counts.argmax()]
    return _extent(seen.any(axis=1)), _extent(seen.any(axis=0))


def _extent(found: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(found)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
