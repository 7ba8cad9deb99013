"""Whether the pictures of uncompressed frames begin where the frames do.

Uncompressed pixels carry no marks. Where bytes were added or lost before a frame, and zeros hide
it at the end of the file, every picture behind that place is wrapped: what left it on one side
comes back on the other. Three questions tell. Do the blank columns and rows lie beside those that
the header's shutter covers? Does the picture go on across its border as smoothly as inside, while
a seam runs through it? Do frames alternate, as halves of pictures do?

All frames behind the damage are shifted, so that the wanted and the last one are asked. Opposite
borders of an intact picture have nothing to do with each other: on the phantom they differ by
three times what rows next to each other do, at the least, and those of wrapped ones by two times,
at the most.

What cannot be found: a shift that leaves blank borders on both sides where the header names no
shutter; a shift along borders that are dark behind blades but not blank; damage inside the last
frame only, near its end. A shift by one line against the shutter is a doubt only, since the
header's lines may be counted otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam3_angio.dicom.codestream import damaged
from sam3_angio.dicom.decode import Pixels
from sam3_angio.dicom.header import RunHeader, Shutter
from sam3_angio.dicom.shutter import WHOLE, Opening, covered

#: Numbers of pixels of the run, counted from the first frame's first, to values; ``(N,)``.
PixelsAt = Callable[[int, int], Pixels]

#: How many bands of how many rows are looked at, and how many rows and columns of other lines.
_BANDS, _BAND_ROWS = 8, 5
_SAMPLE_ROWS = 40
_SAMPLE_COLUMNS = 96
#: Borders fit each other if they differ by no more than this many times what is usual inside, ...
_FITTING_TIMES = 2.5
#: ... and rise and fall together.
_FITTING_CORRELATION = 0.8
#: Brightness of such borders, as a share of the picture's; behind blades it is far less.
_BRIGHT_SHARE = 0.5
#: A seam is this many times what is usual, and what the borders differ by.
_SEAM_TIMES, _SEAM_OVER_BORDER = 3.0, 2.0
#: Fewest pixels of a border that say anything.
_FEW = 16
#: Parts of pictures come back after so many frames, and differ by less than this share of what
#: frames next to each other do.
_PERIODS, _ALTERNATING = (2, 3, 4), 0.5

_FIX = "Bytes were added or lost before; export the run again."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lines:
    """Lines of a frame, either rows or columns.

    Attributes
    ----------
    values : (N, L) ndarray of uint8 or uint16
        Samples of the L lines at N places.
    first, before : (N,) ndarray of uint8 or uint16
        The first line, and what lies before it in the file; or the last, and what lies behind it.
    """

    values: Pixels
    first: Pixels
    before: Pixels

    def blank(self) -> NDArray[np.bool_]:
        """Return which lines have one value throughout."""
        same: NDArray[np.bool_] = (self.values == self.values[:1]).all(axis=0)
        return same

    def is_joined(self) -> bool:
        """Tell whether the picture goes on across its border."""
        first, before = self._at_the_border()
        if first.size < _FEW or _correlation(first, before) < _FITTING_CORRELATION:
            return False
        if first.mean() < _BRIGHT_SHARE * self.values.mean():
            return False
        steps = self._steps()
        return bool(np.abs(first - before).mean() <= _FITTING_TIMES * np.median(steps[steps > 0]))

    def has_seam(self) -> bool:
        """Tell whether two lines differ far more than others, and than those at the border.

        They do so along most of their length, as text does not.
        """
        first, before = self._at_the_border()
        values = self.values[self._says()].astype(np.int32)
        steps = np.median(np.abs(np.diff(values)), axis=0)
        border, usual = float(np.median(np.abs(first - before))), float(np.median(steps))
        return bool(steps.max() >= max(_SEAM_TIMES * usual, _SEAM_OVER_BORDER * border))

    def _steps(self) -> NDArray[np.float64]:
        steps: NDArray[np.float64] = np.abs(np.diff(self.values.astype(np.int32))).mean(axis=0)
        return steps

    def _at_the_border(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the border without what is blank or saturated on both sides."""
        says = self._says()
        return self.first.astype(np.int32)[says], self.before.astype(np.int32)[says]

    def _says(self) -> NDArray[np.bool_]:
        first = self.first
        says: NDArray[np.bool_] = (first > first.min()) & (first < first.max())
        says |= first != self.before
        return says


def _correlation(one: NDArray[np.int32], other: NDArray[np.int32]) -> float:
    a, b = one - one.mean(), other - other.mean()
    return float(a @ b / max(math.sqrt((a @ a) * (b @ b)), 1e-9))


def require_aligned(
    pixels: Pixels, frame_index: int, header: RunHeader, pixels_at: PixelsAt
) -> tuple[str, ...]:
    """Refuse an uncompressed frame whose picture is wrapped around its borders.

    Parameters
    ----------
    pixels : (R, C) ndarray of uint8 or uint16
        The frame.
    frame_index : int
    header : RunHeader
    pixels_at : callable
        Reads so many pixels from such a place of the run on.

    Returns
    -------
    tuple of str
        What is odd, but may be another way of counting.

    Raises
    ------
    UnreadableError
        If the picture begins elsewhere.
    """
    if min(pixels.shape) < 2 * _FEW:
        return ()
    last = header.frames - 1
    flat = pixels.ravel()
    samples = [_columns(_sample(header, 0, lambda start, count: flat[start : start + count]))]
    if frame_index != last:
        samples.append(_columns(_sample(header, last * pixels.size, pixels_at)))
    for columns in (*samples, _lower_half(samples[-1])):
        if columns.is_joined() and columns.has_seam():
            raise damaged("the picture goes on from one side to the other.", _FIX)
    doubts = {_compare_with_shutter(columns, header.shutter, axis=1) for columns in samples}
    before, behind = _rows(pixels, frame_index, header, pixels_at)
    doubts.add(_compare_with_shutter(before, header.shutter, axis=0))
    for rows in (before, behind):
        if rows.is_joined() and (rows.has_seam() or _alternates(frame_index, header, pixels_at)):
            raise damaged("the picture goes on in another frame.", _FIX)
    return tuple(sorted(doubts - {""}))


def require_no_hidden_shift(pixels: Pixels, last_row: Pixels, opening: Opening) -> None:
    """Refuse a frame before zeros that no element announces, if they may be its own blank rows.

    Parameters
    ----------
    pixels : (R, C) ndarray of uint8 or uint16
        The frame.
    last_row : (C,) ndarray of uint8 or uint16
        Of the run's last frame.
    opening : tuple of slice
        What the frame's shutter leaves free; where header and picture agree, nothing is shifted.

    Raises
    ------
    UnreadableError
        If the last row is zero, and no shutter proves the frame's place.
    """
    rows, columns = pixels.shape
    proven = opening != WHOLE and opening != (slice(0, rows), slice(0, columns))
    if not proven and not last_row.any():
        message = "zeros follow the pixels, and the last row is zero: bytes may have been added."
        raise damaged(message, "Export the run again, or remove the zeros behind its pixels.")


def _sample(header: RunHeader, start: int, pixels_at: PixelsAt) -> Pixels:
    """Read some bands of rows of a frame, each row with the pixel behind it; ``(N, C + 1)``."""
    rows, columns = header.rows, header.columns
    bands = []
    for row in np.linspace(0, rows - 1 - _BAND_ROWS, _BANDS).astype(int).tolist():
        band = pixels_at(start + row * columns, _BAND_ROWS * columns + 1)
        bands.append(
            np.column_stack([band[:-1].reshape(_BAND_ROWS, columns), band[columns::columns]])
        )
    return np.concatenate(bands)


def _columns(sample: Pixels) -> _Lines:
    return _Lines(values=sample[:, :-1], first=sample[:, -1], before=sample[:, -2])


def _lower_half(lines: _Lines) -> _Lines:
    lower = slice(len(lines.values) // 2, None)
    return _Lines(values=lines.values[lower], first=lines.first[lower], before=lines.before[lower])


def _rows(
    pixels: Pixels, index: int, header: RunHeader, pixels_at: PixelsAt
) -> tuple[_Lines, _Lines]:
    """Sample columns of a frame, with the row before it, and with the one behind it.

    At the ends of the run both are the same.
    """
    size, columns = pixels.size, header.columns
    some = slice(None, None, max(columns // _SAMPLE_COLUMNS, 1))
    values = pixels[:, some].T
    found = []
    if index:
        before = pixels_at(index * size - columns, columns)[some]
        found.append(_Lines(values=values, first=values[:, 0], before=before))
    if index < header.frames - 1:
        behind = pixels_at((index + 1) * size, columns)[some]
        found.append(_Lines(values=values, first=values[:, -1], before=behind))
    if not found:
        nothing = np.zeros_like(values[:, 0])
        found.append(_Lines(values=values, first=nothing, before=nothing))
    return found[0], found[-1]


def _alternates(index: int, header: RunHeader, pixels_at: PixelsAt) -> bool:
    """Tell whether a later frame is far more alike than the next, as where Rows is too small."""
    size, columns = header.rows * header.columns, header.columns
    first = max(min(index, header.frames - 1 - _PERIODS[-1]), 0)
    rows = range(0, header.rows, max(header.rows // _SAMPLE_ROWS, 1))
    frames = [
        np.array([pixels_at(frame * size + row * columns, columns) for row in rows], np.int32)
        for frame in range(first, min(first + _PERIODS[-1] + 1, header.frames))
    ]
    apart = [float(np.abs(frame - frames[0]).mean()) for frame in frames]
    return any(apart[period] < _ALTERNATING * apart[1] for period in _PERIODS[: len(apart) - 2])


def _compare_with_shutter(found: _Lines, shutter: Shutter | None, *, axis: int) -> str:
    """Refuse blank lines that lie beside those which the shutter covers; return a doubt."""
    if shutter is None:
        return ""
    blank = found.blank()
    expected = [covered(shutter, len(blank), axis, wider) for wider in (0, 1)]
    if any(np.array_equal(blank, side) for one in expected for side in (one, one[::-1])):
        return ""  # or mirrored after the header was written
    shifts = [shift for one in expected if (shift := _shift(blank, one))]
    lines = ("rows", "columns")[axis == 1]
    if any(abs(shift) > 1 for shift in shifts):
        message = f"the picture lies {max(shifts, key=abs)} {lines} beside its shutter's edges."
        raise damaged(message, _FIX)
    return f"the picture lies one of its {lines} beside its shutter's edges." if shifts else ""


def _shift(found: NDArray[np.bool_], expected: NDArray[np.bool_]) -> int:
    """Return by how much one band of lines lies beside an equally wide one, wrapped around.

    Examples
    --------
    >>> _shift(np.array([0, 1, 1, 0, 0], bool), np.array([1, 0, 0, 0, 1], bool))
    2
    >>> _shift(np.array([0, 1, 0, 0, 0], bool), np.array([1, 0, 0, 0, 1], bool))
    0
    """
    starts = [np.flatnonzero(band & ~np.roll(band, 1)) for band in (found, expected)]
    if any(len(start) != 1 for start in starts) or found.sum() != expected.sum():
        return 0
    shift = int(starts[0][0] - starts[1][0]) % len(found)
    return shift - len(found) if shift > len(found) // 2 else shift
