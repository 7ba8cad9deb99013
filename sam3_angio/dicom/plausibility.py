"""Whether a decoded picture can be a frame of its run.

Three questions that no header answers. Is there a picture at all? Has it the width that the header
says (uncompressed frames do not tell)? And are there stretches of a row that fit neither the rows
around them nor the frames before and after: zeros or noise where bytes were lost?

The last question is asked in two steps, so that it costs a fraction of decoding: a look at the
frame itself, and only where that finds something odd (a collimator's edge, a burned-in letter, a
wire, or damage) the neighbouring frames are decoded, which show all of these but damage.

What cannot be found: noise in the low bytes of an uncompressed or RLE frame, which looks like the
noise of the picture. The manifest's SHA-256 is the guard against that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sam3_angio.dicom.decode import Pixels
from sam3_angio.dicom.tags import UnreadableError

Neighbours = Callable[[], Sequence[Pixels]]

#: Pixels of a row that are judged together; half of the shortest damage that is looked for.
STRETCH_PX = 8

#: A stretch is odd if it differs from the rows around it by this many times what is usual ...
_ODD_TIMES = 8.0
#: ... and by this share of the frame's largest value.
_ODD_SHARE = 0.08

_FIELD = "PixelData (7FE0,0010)"


def require_picture(pixels: Pixels) -> None:
    """Refuse a frame in which all pixels are the same.

    Raises
    ------
    UnreadableError
        If there is nothing to see.
    """
    if int(pixels.min()) == int(pixels.max()):
        message = "all pixels of the frame are the same."
        raise UnreadableError(_FIELD, message, "Check frame_index; the frame may be lost.")


def require_width(pixels: Pixels) -> None:
    """Refuse an uncompressed frame whose rows have another length than the header says.

    Neighbours in a column look alike, so pixels at a distance of one row differ little. Where the
    header's width is wrong, it is another distance that fits: a longer one far better, or a
    shorter one as well and better than those around it.

    Raises
    ------
    UnreadableError
        If another width that gives the same number of pixels fits better.
    """
    columns, flat = pixels.shape[1], pixels.ravel()
    widths = [width for width in _divisors(flat.size) if columns / 8 <= width <= columns * 8]
    here = _difference_at(flat, columns)
    for width in widths:
        there = _difference_at(flat, width)
        if width > columns:
            fits = there < 0.6 * here
        else:
            around = [_difference_at(flat, width + offset) for offset in (-width // 8, width // 8)]
            fits = width < columns and there < 1.1 * here and there < 0.9 * min(around)
        if fits:
            message = f"rows look {width} pixels wide, but Columns says {columns}."
            raise UnreadableError("Columns (0028,0011)", message, "Rows and Columns are wrong.")


def _divisors(number: int) -> list[int]:
    small = [k for k in range(1, int(number**0.5) + 1) if number % k == 0]
    return sorted({*small, *(number // k for k in small)})


def _difference_at(flat: Pixels, distance: int) -> float:
    """Return the mean difference of pixels at a distance, from some thousands of them."""
    start = flat[: flat.size - distance]
    step = max(1, start.size // 5_000) | 1
    ahead, here = flat[distance:][::step].astype(np.int32), start[::step].astype(np.int32)
    return float(np.abs(ahead - here).mean())


def require_like_neighbours(pixels: Pixels, neighbours: Neighbours) -> None:
    """Refuse a frame with stretches that fit neither its own rows nor the frames around it.

    Parameters
    ----------
    pixels : (R, C) ndarray of uint8 or uint16
        The frame.
    neighbours : callable
        Decodes up to two frames that are close in time; called only if the frame looks odd.

    Raises
    ------
    UnreadableError
        If part of the picture is in no other frame.
    """
    odd, oddness = _odd_stretches(pixels)
    others = neighbours() if odd.any() else []
    if not others:
        return
    apart = [_apart(pixels, other)[odd] for other in others]
    alone = np.min(apart, axis=0) > oddness[odd] / 2
    if len(others) == 2:
        alone &= _apart(*others)[odd] < oddness[odd] / 4
    _refuse_rows(np.nonzero(odd)[0][alone])


def require_no_zeroed_bytes(pixels: Pixels, neighbours: Neighbours) -> None:
    """Refuse a frame in which the low bytes of some pixels in a row are zero as in no other frame.

    Noise does that nowhere but where a picture is cut off at a round value, over whole areas and
    in every frame.

    Parameters
    ----------
    pixels, neighbours
        As in :func:`require_like_neighbours`.

    Raises
    ------
    UnreadableError
        If bytes were lost.
    """
    zero = _zero_bytes(pixels)
    if not _in_runs(zero).any():
        return
    others = neighbours()
    for other in others:
        zero &= ~_zero_bytes(other)
    if others:
        _refuse_rows(np.flatnonzero(_in_runs(zero)) // pixels.shape[1])


def _zero_bytes(pixels: Pixels) -> NDArray[np.bool_]:
    """Find pixels whose low byte is zero, in the order of storage."""
    zero: NDArray[np.bool_] = pixels.ravel().astype(np.uint8) == 0
    return zero


def _in_runs(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find where runs of six begin: what sixteen lost bytes leave of 16-bit pixels at the least."""
    for step in (1, 2, 2):
        found = found[:-step] & found[step:]
    return found


def _refuse_rows(rows: NDArray[np.intp]) -> None:
    if len(rows):
        message = (
            f"pixels in rows {rows.min()} to {rows.max()} fit neither what is around them nor the "
            "frames before and after."
        )
        raise UnreadableError(_FIELD, message, "The frame is damaged; export the run again.")


def _odd_stretches(pixels: Pixels) -> tuple[NDArray[np.bool_], NDArray[np.uint16]]:
    """Find stretches that differ from the rows above and below; with how much each differs."""
    values = _narrow(pixels)
    bend = np.empty_like(values)
    bend[1:-1] = values[1:-1] * np.int16(2) - values[:-2] - values[2:]
    bend[0], bend[-1] = (values[0] - values[1]) * 2, (values[-1] - values[-2]) * 2
    oddness = _stretch_sums(bend) // 2
    usual = float(np.median(oddness.ravel()[::7]))
    limit = max(_ODD_TIMES * usual, _ODD_SHARE * float(values.max()) * STRETCH_PX)
    return oddness > limit, oddness


def _apart(one: Pixels, other: Pixels) -> NDArray[np.uint16]:
    """Return how much two frames differ in every stretch."""
    return _stretch_sums(_narrow(one) - _narrow(other))


def _narrow(pixels: Pixels) -> NDArray[np.int16]:
    """Bring values into 12 bits, so that sums of second differences fit into 16."""
    spare = int(pixels.max()).bit_length() - 12
    return (pixels >> spare if spare > 0 else pixels).astype(np.int16)


def _stretch_sums(differences: NDArray[np.int16]) -> NDArray[np.uint16]:
    """Add up absolute values over stretches of a row.

    By halves: sums over a short axis and products that start threads take many times as long.
    """
    whole = differences.shape[1] // STRETCH_PX * STRETCH_PX
    sums = np.abs(differences[:, :whole]).view(np.uint16)
    for _ in range(STRETCH_PX.bit_length() - 1):
        sums = sums[:, ::2] + sums[:, 1::2]
    return sums
