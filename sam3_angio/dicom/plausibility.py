"""Whether a decoded picture can be a frame of its run.

Three questions that no header answers. Is there a picture at all? Has it the width that the header
says (uncompressed frames do not tell)? And are there stretches of a row that fit neither the rows
around them nor the frames before and after: zeros or noise where bytes were lost?

The last question is asked in two steps, so that it costs a fraction of decoding: a look at the
frame itself, and only where that finds something odd (a collimator's edge, a burned-in letter, a
wire, or damage) the neighbouring frames are decoded, which show all of these but damage. Where a
shutter blanks the edges, only its opening is looked at (:mod:`~sam3_angio.dicom.shutter`).

What cannot be found: noise in the low bytes of an uncompressed or RLE frame, which looks like the
noise of the picture, and damage in the very rows of a strong edge that all frames have. The
manifest's SHA-256 is the guard against that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sam3_angio.dicom.decode import Pixels
from sam3_angio.dicom.shutter import WHOLE, Opening
from sam3_angio.dicom.tags import UnreadableError

Neighbours = Callable[[], Sequence[Pixels]]

#: How many pictures may lie in one frame, of how many rows, and how much more alike rows at the
#: distance of a picture are than at others.
_MOST_PARTS, _LEAST_HEIGHT_PX, _ALIKE = 16, 32, 0.6
#: How much more than usual two rows differ where one picture ends and the next begins.
_ENDS_TIMES = 2.5

#: Pixels of a row that are judged together; half of the shortest damage that is looked for.
STRETCH_PX = 8

#: A stretch is odd if it differs from the rows around it by this many times what is usual ...
_ODD_TIMES = 8.0
#: ... and by this share of the frame's largest value.
_ODD_SHARE = 0.08

#: A frame whose usual stretch is as odd as this share of its largest value, ...
_NOISY_SHARE = 0.05
#: ... and odder by this factor than those around it, is not a picture with noise, but noise.
_NOISY_TIMES = 3.0

#: Rows next to a shutter's edge that a blade's penumbra may dim: evenly over a stretch, ...
_PENUMBRA_PX = 4
#: ... and by at most this many times what it does to the middle one of the row's stretches.
_PENUMBRA_TIMES = 2.5

#: The rest of a row is offset if it differs from those beside it by this many times what is usual,
#: and they from the rows beyond by half as much, to within this share.
_OFFSET_TIMES, _SHARPNESS = 7.0, 0.25
_LEAST_ROWS = 16

#: What sixteen lost bytes leave of 16-bit pixels at the least.
_ZEROS_IN_A_ROW = 6

#: Bits of the values that are compared with neighbours.
_NARROW_BITS = 12
#: Pixels that are worked on at once, so that intermediate values stay in the processor's cache.
_BAND_PX = 1 << 16
#: A product with it adds up the four 16-bit numbers of a 64-bit one in its highest place.
_FOUR_ONES = np.uint64(0x0001_0001_0001_0001)

_FIELD = "PixelData (7FE0,0010)"


def require_picture(pixels: Pixels) -> None:
    """Refuse a frame in which all pixels are the same.

    Raises
    ------
    UnreadableError
        If there is nothing to see.
    """
    middle = pixels[len(pixels) // 2]  # tells in most cases
    if int(middle.min()) == int(middle.max()) and int(pixels.min()) == int(pixels.max()):
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
        there = _difference_at(flat, width) if width != columns else math.inf
        if width > columns:
            fits = there < 0.6 * here
        else:
            fits = there < 1.1 * here and there < 0.9 * _least_difference_around(flat, width)
        if fits:
            message = f"rows look {width} pixels wide, but Columns says {columns}."
            raise UnreadableError("Columns (0028,0011)", message, "Rows and Columns are wrong.")


def require_one_picture(pixels: Pixels) -> None:
    """Refuse an uncompressed frame that is several of a run, one below the other.

    Pictures of a run are alike, so rows at the distance of a picture are, and more so than those a
    little nearer or farther; and where one ends and the next begins, rows differ or are blank.

    Raises
    ------
    UnreadableError
        If the frame repeats itself from top to bottom.
    """
    (rows, columns), flat = pixels.shape, pixels.ravel()
    for parts in range(2, _MOST_PARTS + 1):
        height = rows // parts
        if rows % parts or height < _LEAST_HEIGHT_PX:
            continue
        here, off = _difference_at(flat, height * columns), height // 8 * columns
        is_alike = all(
            here < _ALIKE * _difference_at(flat, height * columns + step) for step in (off, -off)
        )
        if is_alike and _ends_at(pixels, range(height, rows, height)):
            message = f"the frame is {parts} pictures of {height} rows, but Rows says {rows}."
            raise UnreadableError("Rows (0028,0010)", message, "Rows and NumberOfFrames are wrong.")


def _ends_at(pixels: Pixels, rows: Sequence[int]) -> bool:
    """Tell whether each of some rows can be the first of a picture."""
    usual = _difference_at(pixels.ravel(), pixels.shape[1])
    for row in rows:
        above, here = pixels[row - 1].astype(np.int32), pixels[row].astype(np.int32)
        is_blank = np.ptp(above) == 0 and np.ptp(here) == 0
        if not is_blank and float(np.abs(here - above).mean()) < _ENDS_TIMES * usual:
            return False
    return True


@lru_cache(maxsize=8)
def _divisors(number: int) -> tuple[int, ...]:
    small = [k for k in range(1, int(number**0.5) + 1) if number % k == 0]
    return tuple(sorted({*small, *(number // k for k in small)}))


def _difference_at(flat: Pixels, distance: int) -> float:
    """Return the mean difference of pixels at a distance, from some thousands of them."""
    start = flat[: flat.size - distance]
    step = max(1, start.size // 5_000) | 1
    ahead, here = flat[distance:][::step].astype(np.int32), start[::step].astype(np.int32)
    return int(np.abs(ahead - here).sum()) / max(here.size, 1)


def _least_difference_around(flat: Pixels, distance: int) -> float:
    offsets = (-distance // 8, distance // 8)
    return min(_difference_at(flat, distance + offset) for offset in offsets)


def require_like_neighbours(
    pixels: Pixels, neighbours: Neighbours, opening: Opening = WHOLE
) -> None:
    """Refuse a frame with stretches that fit neither its own rows nor the frames around it.

    Parameters
    ----------
    pixels : (R, C) ndarray of uint8 or uint16
        The frame.
    neighbours : callable
        Decodes up to two frames that are close in time; called only if the frame looks odd.
    opening : tuple of slice
        Rows and columns that are looked at.

    Raises
    ------
    UnreadableError
        If part of the picture is in no other frame.
    """
    opening = _of_whole_stretches(opening)
    pixels = pixels[opening]
    if pixels.shape[1] < STRETCH_PX:
        return
    largest = int(pixels.max())
    spare_bits = max(largest.bit_length() - _NARROW_BITS, 0)
    oddness = _oddness(pixels, spare_bits)
    usual, most = _usual(oddness), (largest >> spare_bits) * STRETCH_PX
    odd = oddness > max(_ODD_TIMES * usual, _ODD_SHARE * most)
    if opening != WHOLE and odd.any():
        odd &= ~_in_penumbra(pixels, oddness, spare_bits)
    is_noisy = usual > _NOISY_SHARE * most
    others = [other[opening] for other in neighbours()] if is_noisy or odd.any() else []
    if not others:
        return
    if is_noisy and usual > _NOISY_TIMES * max(_usual(_oddness(o, spare_bits)) for o in others):
        message = "most of the frame is noise, as in no frame before or after."
        raise UnreadableError(_FIELD, message, "The frame is damaged; export the run again.")
    values = [_narrow(other, spare_bits) for other in others]
    apart = [_stretch_sums(_narrow(pixels, spare_bits) - other)[odd] for other in values]
    alone = np.min(apart, axis=0) > oddness[odd] / 2
    if len(values) == 2:
        alone &= _stretch_sums(values[0] - values[1])[odd] < oddness[odd] / 4
    if alone.any():  # an edge that all have may be brighter in one, where contrast has moved
        theirs = [_oddness(other, spare_bits)[odd] for other in others]
        alone &= np.min(theirs, axis=0) < oddness[odd] / 4
    _refuse_rows(np.nonzero(odd)[0][alone], opening)


def require_level_rows(pixels: Pixels, neighbours: Neighbours, opening: Opening = WHOLE) -> None:
    """Refuse a frame in which the rest of one row is brighter or darker than the rows beside it.

    In lossless JPEG each sample is predicted from the one before. A flipped bit adds the same to
    all that follow in the row, and to no other row; what a picture shows is not as sharp.

    Parameters
    ----------
    pixels, neighbours, opening
        As in :func:`require_like_neighbours`.

    Raises
    ------
    UnreadableError
        If the frames before and after have no such row.
    """
    pixels = pixels[opening]
    if len(pixels) < _LEAST_ROWS or pixels.shape[1] < STRETCH_PX:
        return
    spare_bits = max(int(pixels.max()).bit_length() - _NARROW_BITS, 0)
    sums = _signed_sums(pixels, spare_bits)
    odd = _offset_rows(sums)
    others = neighbours() if odd.any() else []
    for other in others:
        odd &= _offset_rows(sums - _signed_sums(other[opening], spare_bits))
    if others:
        _refuse_rows(np.flatnonzero(odd), opening)


def _signed_sums(pixels: Pixels, spare_bits: int) -> NDArray[np.int32]:
    sums: NDArray[np.int32] = _stretch_sums(_narrow(pixels, spare_bits)).astype(np.int32)
    return sums


def _offset_rows(sums: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Find rows of which the rest, from some stretch on, is level with neither row beside it.

    The rows beside one that is offset are bent the other way by half as much.
    """
    rest = np.cumsum(sums[:, ::-1], axis=1)
    bend = 2 * rest[1:-1] - rest[:-2] - rest[2:]
    usual = np.maximum(np.abs(bend).mean(axis=0), 1)
    here, sharp = bend[1:-1], np.abs(bend[1:-1]) * _SHARPNESS
    is_alone = np.abs(2 * bend[:-2] + here) <= 2 * sharp
    is_alone &= np.abs(2 * bend[2:] + here) <= 2 * sharp
    found = np.zeros(len(sums), dtype=bool)
    found[2:-2] = (is_alone & (np.abs(here) > _OFFSET_TIMES * usual)).any(axis=1)
    return found


def require_no_zeroed_bytes(
    pixels: Pixels, neighbours: Neighbours, opening: Opening = WHOLE
) -> None:
    """Refuse a frame in which the low bytes of some pixels in a row are zero as in no other frame.

    Noise does that nowhere but where a picture is cut off at a round value, over whole areas and
    in every frame.

    Parameters
    ----------
    pixels, neighbours, opening
        As in :func:`require_like_neighbours`.

    Raises
    ------
    UnreadableError
        If bytes were lost.
    """
    pixels = pixels[opening]
    if not pixels.size or not _may_have_zeroed_bytes(pixels.ravel()):
        return
    zero = _zero_bytes(pixels)
    others = neighbours() if _in_runs(zero).any() else []
    for other in others:
        zero &= ~_zero_bytes(other[opening])
    if others:
        _refuse_rows(np.flatnonzero(_in_runs(zero)) // pixels.shape[1], opening)


def _may_have_zeroed_bytes(flat: Pixels) -> bool:
    """Whether to look closer: a run of six holds a sixth pixel, and five others around it."""
    sixth = np.flatnonzero(flat[_ZEROS_IN_A_ROW - 1 :: _ZEROS_IN_A_ROW].astype(np.uint8) == 0)
    places = sixth[:, None] * _ZEROS_IN_A_ROW + np.arange(2 * _ZEROS_IN_A_ROW - 1)
    around = flat[np.minimum(places, flat.size - 1)].astype(np.uint8) == 0
    return bool((np.count_nonzero(around, axis=1) >= _ZEROS_IN_A_ROW).any())


def _zero_bytes(pixels: Pixels) -> NDArray[np.bool_]:
    """Find pixels whose low byte is zero, in the order of storage."""
    zero: NDArray[np.bool_] = pixels.ravel().astype(np.uint8) == 0
    return zero


def _in_runs(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find where runs of :data:`_ZEROS_IN_A_ROW` begin."""
    for step in (1, 2, 2):
        found = found[:-step] & found[step:]
    return found


def _refuse_rows(rows: NDArray[np.intp], opening: Opening) -> None:
    if len(rows):
        rows = rows + (opening[0].start or 0)
        message = (
            f"pixels in rows {rows.min()} to {rows.max()} fit neither what is around them nor the "
            "frames before and after."
        )
        raise UnreadableError(_FIELD, message, "The frame is damaged; export the run again.")


def _oddness(pixels: Pixels, spare_bits: int) -> NDArray[np.uint16]:
    """Return by how much each stretch differs from the rows above and below."""
    rows, mirrored = max(1, _BAND_PX // pixels.shape[1]), _mirrored(len(pixels))
    bands = (pixels[mirrored[first : first + rows + 2]] for first in range(0, len(pixels), rows))
    sums = [_stretch_sums(_bend(_narrow(band, spare_bits))) for band in bands]
    oddness: NDArray[np.uint16] = np.concatenate(sums) // 2
    return oddness


def _of_whole_stretches(opening: Opening) -> Opening:
    """Widen to where stretches begin and end; blank columns are odd nowhere."""
    rows, columns = opening
    if columns.start is None:
        return opening
    first, last = columns.start // STRETCH_PX, -(-columns.stop // STRETCH_PX)
    return rows, slice(first * STRETCH_PX, last * STRETCH_PX)


def _mirrored(rows: int) -> NDArray[np.intp]:
    """Return the numbers of the rows from the one before the first to the one after the last."""
    last = rows - 1
    mirrored: NDArray[np.intp] = last - np.abs(last - np.abs(np.arange(-1, rows + 1)))
    return mirrored


def _in_penumbra(pixels: Pixels, oddness: NDArray[np.uint16], spare_bits: int) -> NDArray[np.bool_]:
    """Find stretches at the upper and lower end that the blurred edge of a blade accounts for.

    It bends all pixels of a stretch the same way, and those of its row by about as much; and it
    leaves them their noise.
    """
    found = np.zeros(oddness.shape, dtype=bool)
    mirrored, wide = _mirrored(len(pixels)), STRETCH_PX * oddness.shape[1]
    for row in {*range(len(pixels))[:_PENUMBRA_PX], *range(len(pixels))[-_PENUMBRA_PX:]}:
        bend = _bend(_narrow(pixels[mirrored[row : row + 3]], spare_bits))[0, :wide]
        evenly = np.abs(bend.reshape(-1, STRETCH_PX).sum(axis=1)) // 2 == oddness[row]
        varies = np.ptp(pixels[row, :wide].reshape(-1, STRETCH_PX), axis=1) > 0
        is_usual = oddness[row] <= _PENUMBRA_TIMES * np.median(oddness[row])
        found[row] = evenly & varies & is_usual
    return found


def _usual(oddness: NDArray[np.uint16]) -> float:
    """Return the median of stretches, from a seventh of them."""
    some = oddness.ravel()[::7]
    return float(np.partition(some, some.size // 2)[some.size // 2])


def _bend(band: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return the second differences between rows, of all but the first and the last one."""
    bend = band[1:-1] - band[:-2]
    bend += band[1:-1]
    bend -= band[2:]
    return bend


def _narrow(pixels: Pixels, spare_bits: int) -> NDArray[np.int16]:
    """Bring values into 12 bits, so that sums of second differences fit into 16.

    Frames that are compared lose the same number of bits.
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.int16)
    if spare_bits or int(pixels.max()) >> _NARROW_BITS:
        pixels = np.minimum(pixels >> spare_bits, (1 << _NARROW_BITS) - 1)
    return pixels.view(np.int16)


def _stretch_sums(differences: NDArray[np.int16]) -> NDArray[np.uint16]:
    """Add up absolute values over stretches of a row.

    Two stretches' halves at once, then four numbers by one product: sums over a short axis and
    products that start threads take many times as long.
    """
    whole = differences.shape[1] // STRETCH_PX * STRETCH_PX
    fours = np.abs(differences[:, :whole]).view(np.uint64)
    sums = fours[:, ::2] + fours[:, 1::2]
    sums *= _FOUR_ONES
    sums >>= np.uint64(48)
    return sums.astype(np.uint16)
