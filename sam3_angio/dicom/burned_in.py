"""Text that is burned into pictures: found near the edges, and blanked on request.

A name that the laboratory's system draws into the picture leaves with it, whatever becomes of the
header. Text differs from what X-rays show by being thin, sharp, bright or dark, of glyphs of one
height in a row, and by staying where it is while everything else of the run moves or is noise. So
a frame is searched for rows of such marks near its edges, and only where there are some, another
frame of the run is asked whether it has them too.

Conventions
-----------
Pictures are as displayed, 8 bits. A region is ``(left, top, right, bottom)`` in fractions of the
picture's width and height, a box the same in whole pixels, right and bottom exclusive. What is
blanked becomes 0, black.

What it cannot find: text away from the edges, of fewer than three letters, slanted, blurred, or
larger or smaller than :data:`_GLYPH_SHARE`. Regions blank whatever is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Picture = NDArray[np.uint8]
Region = tuple[float, float, float, float]
Box = tuple[int, int, int, int]

#: How far from an edge text is looked for, as a share of the side.
_BORDER_SHARE = 0.2
#: Height of a glyph, as a share of the picture's: 5 to 40 of 512 pixels.
_GLYPH_SHARE = (0.0095, 0.08)
#: A stroke is narrower than this share of the picture's height, 7 of 512 pixels, ...
_STROKE_SHARE = 7 / 512
#: ... and differs from what is beside it by this many grey levels.
_CONTRAST = 40
_GLYPHS_IN_A_ROW = 3
#: Three letters have more.
_STROKE_PIXELS = 20
#: Share of a row's strokes that another frame must have in the same place.
_STILL_SHARE = 0.7
#: Around what is found, in heights of the glyphs: accents above and below, and letters before and
#: after that are too faint to be found.
_MARGINS = (3.0, 0.6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blanking:
    """What is made black in every picture.

    Attributes
    ----------
    regions : tuple of Region
        Always.
    text : bool
        What looks like burned-in text, too.
    """

    regions: tuple[Region, ...] = ()
    text: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blanked:
    """A picture that may be passed on, as far as was asked.

    Attributes
    ----------
    picture : (R, C) ndarray of uint8
    boxes : tuple of Box
        What was made black.
    left : tuple of Box
        Marks like text that are in the picture still.
    """

    picture: Picture
    boxes: tuple[Box, ...]
    left: tuple[Box, ...]


def blanked(picture: Picture, other: Callable[[], Picture | None], blanking: Blanking) -> Blanked:
    """Make parts of a picture black, and tell what text seems to be left.

    Parameters
    ----------
    picture : (R, C) ndarray of uint8
        Not changed.
    other : callable
        Gives a picture of the same run from another time, or None where there is none; called only
        if there is something that may be text.
    blanking : Blanking
        With nothing to do, the picture itself is returned.
    """
    boxes = [pixel_box(region, picture.shape) for region in blanking.regions]
    found = text_boxes(_without(picture, boxes), other)
    if blanking.text:
        boxes, found = [*boxes, *found], []
    return Blanked(picture=_without(picture, boxes), boxes=tuple(boxes), left=tuple(found))


def pixel_box(region: Region, shape: tuple[int, ...]) -> Box:
    """Return a region of a picture of `shape` (rows, columns), rounded outwards.

    Examples
    --------
    >>> pixel_box((0, 0.9, 0.25, 1), (100, 200))
    (0, 90, 50, 100)
    """
    left, top, right, bottom = region
    rows, columns = shape
    return (
        math.floor(left * columns),
        math.floor(top * rows),
        min(math.ceil(right * columns), columns),
        min(math.ceil(bottom * rows), rows),
    )


def _without(picture: Picture, boxes: Sequence[Box]) -> Picture:
    if not boxes:
        return picture
    changed = picture.copy()
    for left, top, right, bottom in boxes:
        changed[top:bottom, left:right] = 0
    return changed


def text_boxes(picture: Picture, other: Callable[[], Picture | None]) -> list[Box]:
    """Return where near the edges marks are that look like text and stay still.

    Parameters
    ----------
    picture, other
        As in :func:`blanked`.
    """
    strokes = _strokes(picture)
    rows = [row for sign in strokes for row in _rows_of_glyphs(sign)]
    if not rows:
        return []
    later = other()
    again = None if later is None or later.shape != picture.shape else _strokes(later)
    return sorted({_widened(row, picture.shape) for row in rows if _is_still(row, strokes, again)})


def _border(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    depth = [math.ceil(_BORDER_SHARE * side) for side in shape]
    border = np.ones(shape, bool)
    border[depth[0] : -depth[0], depth[1] : -depth[1]] = False
    return border


def _strokes(picture: Picture) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the pixels of bright and of dark marks that are narrower than a stroke can be."""
    size = max(2 * round(_STROKE_SHARE * picture.shape[0] / 2) + 1, 5)
    padded = np.pad(picture, size - 1, mode="edge")
    opened = _over_windows(_over_windows(padded, size, np.minimum), size, np.maximum)
    closed = _over_windows(_over_windows(padded, size, np.maximum), size, np.minimum)
    border = _border(picture.shape)
    return (picture - opened > _CONTRAST) & border, (closed - picture > _CONTRAST) & border


def _over_windows(picture: Picture, size: int, extreme: np.ufunc) -> Picture:
    """Return the extreme of all square windows that lie within a picture."""
    for _ in range(2):  # rows, then columns
        done = 1
        while done < size:
            step = min(done, size - done)
            picture = extreme(picture[step:], picture[:-step])
            done += step
        picture = picture.T
    return picture


def _rows_of_glyphs(strokes: NDArray[np.bool_]) -> list[Box]:
    """Return boxes around marks of about one height that stand side by side."""
    if np.count_nonzero(strokes) < _STROKE_PIXELS:  # naming marks costs more than finding them
        return []
    height = strokes.shape[0]
    low, high = (max(share * height, 4) for share in _GLYPH_SHARE)
    labels, _count = ndimage.label(strokes, np.ones((3, 3)))
    glyphs = [
        (across.start, down.start, across.stop, down.stop)
        for down, across in ndimage.find_objects(labels)
        if low <= down.stop - down.start <= high
        and across.stop - across.start <= 4 * (down.stop - down.start)
    ]
    rows: list[list[Box]] = []
    for glyph in sorted(glyphs):
        for row in rows:
            if _follows(row[-1], glyph):
                row.append(glyph)
                break
        else:
            rows.append([glyph])
    return [_around(row) for row in rows if len(row) >= _GLYPHS_IN_A_ROW]


def _follows(one: Box, other: Box) -> bool:
    """Tell whether a glyph can be the next one, or the one after a space, of the same row."""
    heights = one[3] - one[1], other[3] - other[1]
    overlap = min(one[3], other[3]) - max(one[1], other[1])
    gap = other[0] - one[2]
    return (
        max(heights) <= 2 * min(heights)
        and overlap >= 0.6 * min(heights)
        and gap <= 2 * max(heights)
    )


def _around(row: Sequence[Box]) -> Box:
    lefts, tops, rights, bottoms = zip(*row, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _is_still(
    box: Box,
    strokes: tuple[NDArray[np.bool_], ...],
    again: tuple[NDArray[np.bool_], ...] | None,
) -> bool:
    """Tell whether another frame has the same strokes; without another it has to be believed."""
    if again is None:
        return True
    left, top, right, bottom = box
    here, there = (
        np.stack([sign[top:bottom, left:right] for sign in signs]) for signs in (strokes, again)
    )
    return bool(np.count_nonzero(here & there) >= _STILL_SHARE * np.count_nonzero(here | there))


def _widened(box: Box, shape: tuple[int, ...]) -> Box:
    left, top, right, bottom = box
    beside, above = (math.ceil(margin * (bottom - top)) for margin in _MARGINS)
    return (
        max(left - beside, 0),
        max(top - above, 0),
        min(right + beside, shape[1]),
        min(bottom + above, shape[0]),
    )
