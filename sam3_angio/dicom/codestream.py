"""Check one frame's codestream against the header before it is decoded.

Decoders believe what a codestream says of itself: a picture of 60000² runs for a minute and takes
gigabytes, a wrong precision gives wrong values without a word. So size, precision, number of
components and coding process are read here first. Sources: ITU-T T.81 (JPEG, process 14), T.87
(JPEG-LS), T.800 (JPEG 2000), PS3.5 A.4 and annex G (RLE).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sam3_angio.dicom.header import RunHeader
from sam3_angio.dicom.tags import UnreadableError

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS, JPEG_2000 = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"

_FIELD = "PixelData (7FE0,0010)"
_COPY = "The frame is damaged; export the run again."
_START_OF_SCAN, _HUFFMAN, _RESTART_INTERVAL = 0xDA, 0xC4, 0xDD
#: Lossless JPEG and JPEG-LS frame headers, JPEG-LS presets, and the above.
_NEEDED = frozenset({0xC3, 0xF7, 0xF8, _START_OF_SCAN, _HUFFMAN, _RESTART_INTERVAL})
_MARKER = re.compile(rb"\xff+([\x01-\xfe])")
#: Least byte after FF that makes a marker: JPEG stuffs a zero byte after FF, JPEG-LS a zero bit.
_LEAST_MARKER = {0xC3: 0x01, 0xF7: 0x80}
_RESTARTS = range(0xD0, 0xD8)
#: Size, coding style, quantisation, region of interest, progression (T.800 A.5 and A.6).
_CODING = frozenset({0x51, 0x52, 0x53, 0x5C, 0x5D, 0x5E, 0x5F})


def damaged(message: str, fix: str = _COPY) -> UnreadableError:
    """Make the error for a frame whose bytes are wrong."""
    return UnreadableError(_FIELD, message, fix)


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegFrame:
    """What the headers of a JPEG or JPEG-LS frame say.

    Attributes
    ----------
    process : int
        Marker of the frame header: 0xC3 lossless, 0xF7 JPEG-LS.
    precision, rows, columns, components : int
    parameters : bytes
        Of the scan header: predictor (or NEAR), interleave mode, point transform.
    code_lengths : Mapping of int to int
        Bits of the Huffman code by difference category.
    restart_rows : int
        Rows between restart markers; 0 where there are none.
    intervals : tuple of bytes
        Entropy-coded data between restart markers, without them.
    """

    process: int
    precision: int
    rows: int
    columns: int
    components: int
    parameters: bytes
    code_lengths: Mapping[int, int] = field(default_factory=dict)
    restart_rows: int = 0
    intervals: tuple[bytes, ...]


def jpeg_frame(code: bytes) -> JpegFrame:
    """Read the headers of a JPEG or JPEG-LS frame.

    Raises
    ------
    UnreadableError
        If they are not exactly those of one picture in one scan, up to its end marker.
    """
    data_end = code.rfind(b"\xff\xd9")
    padding = code[data_end + 2 :]  # one byte, of any value in what DCMTK writes, or zeros
    if not code.startswith(b"\xff\xd8") or data_end < 0 or (len(padding) > 1 and any(padding)):
        raise damaged("the frame does not begin and end as a JPEG picture does.")
    segments, data_start = _segments(code)
    process = 0xC3 if 0xC3 in segments else 0xF7
    frame, scan = segments.get(process, b""), segments[_START_OF_SCAN]
    if len(frame) != 9 or len(scan) != 6 or scan[0] != 1:
        raise damaged("the frame's headers are incomplete, or it has several scans.")
    precision, rows, columns, components = struct.unpack(">BHHB", frame[:6])
    return JpegFrame(
        process=process,
        precision=precision,
        rows=rows,
        columns=columns,
        components=components,
        parameters=scan[3:],
        code_lengths=_code_lengths(segments.get(_HUFFMAN, b""), scan),
        restart_rows=_restart_rows(segments.get(_RESTART_INTERVAL, b""), columns),
        intervals=_intervals(code[data_start:data_end], _LEAST_MARKER[process]),
    )


def _intervals(data: bytes, least_marker: int) -> tuple[bytes, ...]:
    """Cut entropy-coded data at the restart markers; there may be no others."""
    values = np.frombuffer(data.rstrip(b"\xff"), np.uint8)  # fill bytes (T.81 B.1.1.2)
    before = np.flatnonzero(values[:-1] == 0xFF)
    markers = values[before + 1]
    is_marker = (markers >= least_marker) & (markers != 0xFF)
    if not np.isin(markers[is_marker], _RESTARTS).all():
        raise damaged("there are markers inside the frame, or several pictures.")
    cuts = before[is_marker].tolist()
    starts, ends = [0, *(cut + 2 for cut in cuts)], [*cuts, len(values)]
    return tuple(data[start:end].rstrip(b"\xff") for start, end in zip(starts, ends, strict=True))


def _segments(code: bytes) -> tuple[dict[int, bytes], int]:
    """Return the marker segments up to the scan's data by marker, and where the data start."""
    segments: dict[int, bytes] = {}
    position = 2
    while _START_OF_SCAN not in segments:
        marker, content, position = _segment(code, position)
        if marker == _HUFFMAN:
            content = segments.pop(marker, b"") + content
        if marker in segments:
            raise damaged(f"marker FF{marker:02X} is there twice.")
        if marker in _NEEDED:
            segments[marker] = content
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            raise damaged(f"the coding process or marker FF{marker:02X} is not that of the run.")
    return segments, position


def _restart_rows(segment: bytes, columns: int) -> int:
    """Return the rows between restart markers; lossless pictures have whole ones (T.81 H.1.1)."""
    interval = int.from_bytes(segment, "big")
    if interval and (not columns or interval % columns):
        raise damaged("restart markers do not stand at the end of a row.")
    return interval // max(columns, 1)


def _segment(code: bytes, position: int) -> tuple[int, bytes, int]:
    """Return marker, content and end of the marker segment at `position`."""
    match = _MARKER.match(code, position)
    if match is None or match.end() + 2 > len(code):
        raise damaged("the frame's headers are damaged.")
    start = match.end()
    length = struct.unpack_from(">H", code, start)[0]
    if length < 2 or start + length > len(code):
        raise damaged("the frame's headers are damaged.")
    return match.group(1)[0], code[start + 2 : start + length], start + length


def _code_lengths(tables: bytes, scan: bytes) -> dict[int, int]:
    """Return the length of each category's code, from the table that the scan uses (T.81 B.2.4.2).

    Empty where there are no tables, as in JPEG-LS.
    """
    lengths: dict[int, dict[int, int]] = {}
    while tables:
        identifier, counts = tables[0], tables[1:17]
        size = 17 + sum(counts)
        symbols = tables[17:size]
        if len(counts) != 16 or len(tables) < size or len(set(symbols)) != len(symbols):
            raise damaged("a Huffman table is damaged.")
        bits = [length for length, count in enumerate(counts, start=1) for _ in range(count)]
        if sum(2.0**-length for length in bits) > 1 or any(symbol > 16 for symbol in symbols):
            raise damaged("a Huffman table is impossible.")
        lengths[identifier] = dict(zip(symbols, bits, strict=True))
        tables = tables[size:]
    return lengths.get(scan[2] >> 4, {})


def _require_size(header: RunHeader, rows: int, columns: int, components: int) -> None:
    if (rows, columns) != (header.rows, header.columns):
        message = f"the frame is {rows} × {columns}, Rows and Columns say {header.rows} × "
        raise damaged(f"{message}{header.columns}.", "The header or the frame is wrong.")
    if components != 1:
        raise damaged(f"the frame has {components} components, expected 1.")


def _require_precision(header: RunHeader, precision: int) -> None:
    """Accept what encoders write: BitsStored, or BitsAllocated (values are compared later)."""
    if precision not in (header.bits_stored, header.bits_allocated):
        message = f"the frame has {precision} bits, BitsStored says {header.bits_stored}."
        raise UnreadableError("BitsStored (0028,0101)", message, "The header is wrong.")


def check_jpeg_lossless(code: bytes, header: RunHeader) -> None:
    """Check a frame of process 14 (T.81 annex H)."""
    frame = jpeg_frame(code)
    _require_size(header, frame.rows, frame.columns, frame.components)
    _require_precision(header, frame.precision)
    predictor, last, shift = frame.parameters
    allowed = (1,) if header.transfer_syntax == JPEG_LOSSLESS_SV1 else range(1, 8)
    if frame.process != 0xC3 or predictor not in allowed or last or shift or not frame.code_lengths:
        raise damaged("the frame's coding process is not that of its transfer syntax.")
    rows = frame.restart_rows
    if len(frame.intervals) != (-(-header.rows // rows) if rows else 1):
        count = len(frame.intervals) - 1
        raise damaged(f"{count} restart markers, which do not fit the number of rows.")


def check_jpeg_ls(code: bytes, header: RunHeader) -> None:
    """Check a JPEG-LS frame (T.87 annex C)."""
    frame = jpeg_frame(code)
    _require_size(header, frame.rows, frame.columns, frame.components)
    _require_precision(header, frame.precision)
    near, interleave, shift = frame.parameters
    lossless = header.transfer_syntax == JPEG_LS
    if len(frame.intervals) != 1:
        raise damaged("there are restart markers, which JPEG-LS in DICOM does without.")
    if frame.process != 0xF7 or interleave or shift or (lossless and near) or near > 255:
        raise damaged("the frame's coding process is not that of its transfer syntax.")


def check_jpeg_2000(code: bytes, header: RunHeader) -> None:
    """Check a JPEG 2000 codestream: size, coding, and the chain of its tile parts (T.800 A)."""
    end = code.rstrip(b"\0").rfind(b"\xff\xd9")
    if not code.startswith(b"\xff\x4f\xff\x51") or len(code) < 49 or end < 0:
        raise damaged("the frame does not begin and end as a JPEG 2000 codestream does.")
    size = struct.unpack_from(">HHIIIIIIIIHBBB", code, 4)
    _length, _profile, right, bottom, left, top, wide, high, _x, _y, components, *sample = size
    _require_size(header, bottom - top, right - left, components)
    precision, is_signed = (sample[0] & 0x7F) + 1, bool(sample[0] & 0x80)
    _require_precision(header, precision)
    if is_signed or sample[1:] != [1, 1] or min(wide, high) < 16:
        raise damaged("the codestream is signed, subsampled or cut into splinters.")
    position = _main_header(
        code, 4 + size[0], lossless=header.transfer_syntax == JPEG_2000_LOSSLESS
    )
    _follow_tile_parts(code, position, end)


def _main_header(code: bytes, position: int, *, lossless: bool) -> int:
    """Check the coding style; return where the first tile part starts."""
    while code[position : position + 2] != b"\xff\x90":
        marker, segment, position = _segment(code, position)
        if marker == 0x52 and (len(segment) < 10 or segment[5] > 32):
            raise damaged("the codestream's coding style is damaged.")
        if marker == 0x52 and lossless and segment[9] != 1:
            message = "the frame is coded with loss, its transfer syntax says without."
            raise damaged(message, "The header is wrong.")
    return position


def require_same_coding(code: bytes, others: Sequence[bytes]) -> None:
    """Refuse a lossless JPEG 2000 frame that is coded by other parameters than those around it.

    A run comes from one encoder. Where a size of code blocks or a number of bit planes was changed
    in one frame, a decoder makes another picture of the right size, without a word.

    Parameters
    ----------
    code : bytes
        The frame.
    others : sequence of bytes
        Frames around it; those that are damaged say nothing.

    Raises
    ------
    UnreadableError
        If it stands alone with its parameters.
    """
    theirs = {coding for other in others if (coding := _coding(other))}
    if len(theirs) == 1 and _coding(code) not in theirs:
        raise damaged("the frame is coded by other parameters than the frames around it.")


def _coding(code: bytes) -> bytes:
    """Return what a JPEG 2000 main header says of the coding; nothing where it is damaged."""
    found, position = [], 2
    try:
        while code[position : position + 2] != b"\xff\x90":
            marker, segment, position = _segment(code, position)
            if marker in _CODING:
                found.append(bytes([marker]) + segment)
    except UnreadableError:
        return b""
    return b"".join(found)


def _follow_tile_parts(code: bytes, position: int, end: int) -> None:
    while position < end:
        if code[position : position + 4] != b"\xff\x90\x00\x0a" or position + 12 > end:
            raise damaged("the codestream's tile parts do not join.")
        length = struct.unpack_from(">I", code, position + 6)[0]
        position = position + length if length else end
        if length and length < 14:
            raise damaged("the codestream's tile parts do not join.")
    if position != end:
        raise damaged("the codestream ends too early.")


def rle_segments(code: bytes, header: RunHeader) -> list[bytes]:
    """Return the segments of an RLE frame, one a byte of the sample (PS3.5 G.5)."""
    if len(code) < 64:
        raise damaged("the frame is shorter than its header.")
    count, *offsets = struct.unpack_from("<16I", code)
    if count != header.bits_allocated // 8 or any(offsets[count:]) or offsets[0] != 64:
        raise damaged("the frame's RLE header does not fit BitsAllocated.")
    ends = [*offsets[1:count], len(code)]
    if any(start >= end for start, end in zip(offsets[:count], ends, strict=True)):
        raise damaged("the frame's RLE segments overlap or are empty.")
    segments = [code[start:end] for start, end in zip(offsets[:count], ends, strict=True)]
    if len(set(segments)) != count:
        raise damaged("high and low bytes of the frame are the same.")
    return segments


def check_rle(code: bytes, header: RunHeader) -> None:
    """Check the header of an RLE frame."""
    rle_segments(code, header)
