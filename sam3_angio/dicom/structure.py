"""Where each frame of a run lies in its file.

PS3.5 A.4: encapsulated pixels are a sequence of items; the first is the basic offset table, which
may be empty; an extended offset table may stand in the header instead. Items, both tables and
NumberOfFrames must tell the same story, since each of them alone has been seen to lie: a table
that is shifted by one gives the neighbour's frame without a word.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sam3_angio.dicom.elements import DataSet, require_end
from sam3_angio.dicom.header import RunHeader
from sam3_angio.dicom.source import ByteSource
from sam3_angio.dicom.tags import UnreadableError

RLE = "1.2.840.10008.1.2.5"

_FIELD = "PixelData (7FE0,0010)"
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_EXTENDED, _EXTENDED_LENGTHS = 0x7FE00001, 0x7FE00002
#: First bytes of a JPEG, JPEG-LS or JPEG 2000 picture.
_STARTS = (b"\xff\xd8", b"\xff\x4f")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """One item of encapsulated pixels.

    Attributes
    ----------
    offset, size : int
        Of its value in the file, bytes.
    starts_frame : bool
        Whether a picture begins here.
    """

    offset: int
    size: int
    starts_frame: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameMap:
    """Where the frames of a run lie.

    Attributes
    ----------
    frames : tuple of tuple of Fragment
        Fragments of each frame, in the order of the run; one a frame where it is native.
    zeros_behind : int
        Bytes of zeros behind native pixels that no element announces.
    """

    frames: tuple[tuple[Fragment, ...], ...]
    zeros_behind: int = 0

    def read(self, source: ByteSource, frame_index: int) -> bytes:
        """Return the bytes of one frame."""
        parts = []
        for fragment in self.frames[frame_index]:
            source.seek(fragment.offset)
            parts.append(source.read(fragment.size))
        return b"".join(parts)


def frame_map(data_set: DataSet, header: RunHeader) -> FrameMap:
    """Find all frames of a run without reading their pixels.

    Raises
    ------
    UnreadableError
        If items, offset tables, NumberOfFrames and the file's size contradict one another.
    """
    if data_set.pixel_bytes is not None:
        return _native(data_set, header)
    table, fragments = _items(data_set.source, data_set.pixel_offset, header.frames)
    require_end(data_set, data_set.source.position)
    is_rle = header.transfer_syntax == RLE
    groups = _group(fragments, header.frames, one_each=is_rle)
    starts = [group[0].offset - fragments[0].offset for group in groups]
    _compare("the basic offset table", _unpack(table, "I"), starts)
    extended = data_set.values.get(_EXTENDED, b"")
    _compare("the extended offset table", _unpack(extended, "Q"), starts)
    lengths = _unpack(data_set.values.get(_EXTENDED_LENGTHS, b""), "Q")
    if extended:
        sizes = [sum(fragment.size for fragment in group) for group in groups]
        _compare_lengths(lengths, sizes)
    return FrameMap(frames=groups)


def _native(data_set: DataSet, header: RunHeader) -> FrameMap:
    found = data_set.pixel_bytes or 0
    expected = header.frames * header.frame_bytes
    if found not in (expected, expected + expected % 2):
        message = (
            f"{found} bytes of pixels; {header.frames} frames of {header.rows} × {header.columns} "
            f"at {header.bits_allocated} bits need {expected}."
        )
        raise UnreadableError(
            _FIELD, message, "NumberOfFrames, Rows, Columns or the file is wrong."
        )
    end = data_set.pixel_offset + found
    if end > data_set.source.size:
        message = f"the file ends {end - data_set.source.size} bytes too early."
        raise UnreadableError(_FIELD, message, "Copy the run again from its source.")
    zeros = require_end(data_set, end) - found % 2  # a value of odd length is padded
    size = header.frame_bytes
    return FrameMap(
        frames=tuple(
            (Fragment(offset=data_set.pixel_offset + k * size, size=size, starts_frame=True),)
            for k in range(header.frames)
        ),
        zeros_behind=max(zeros, 0),
    )


def _items(source: ByteSource, offset: int, frames: int) -> tuple[bytes, list[Fragment]]:
    """Walk all items: the basic offset table's bytes, and where the fragments lie."""
    table = b""
    fragments: list[Fragment] = []
    position = offset
    while True:
        source.seek(position)
        # Tag, length and the first two bytes; behind an empty item those are the next one's tag.
        head = source.read(max(8, min(10, source.size - position)))
        tag, size = head[:4], int.from_bytes(head[4:8], "little")
        position += 8
        if tag == _END:
            source.seek(position)
            break
        if tag != _ITEM or size > source.size - position or size % 2:
            message = f"item {len(fragments)} is damaged: no item tag, or an impossible length."
            raise UnreadableError(_FIELD, message, "Copy the run again from its source.")
        if position == offset + 8:
            source.seek(position)
            table = source.read(size)
        else:
            is_start = head[8:] in _STARTS
            fragments.append(Fragment(offset=position, size=size, starts_frame=is_start))
        if len(fragments) > 64 * frames + 64:
            raise UnreadableError(_FIELD, f"far more items than {frames} frames can have.")
        position += size
    if not fragments:
        raise UnreadableError(_FIELD, "there are no pixels.")
    return table, fragments


def _group(
    fragments: list[Fragment], frames: int, *, one_each: bool
) -> tuple[tuple[Fragment, ...], ...]:
    """Put the fragments of a frame together; a picture's first bytes tell where one begins."""
    groups: list[list[Fragment]] = []
    for fragment in fragments:
        if one_each or fragment.starts_frame or not groups:
            groups.append([])
        groups[-1].append(fragment)
    if not one_each and not fragments[0].starts_frame:
        raise UnreadableError(_FIELD, "the first item does not begin with a picture.")
    if len(groups) != frames:
        message = f"{len(groups)} pictures in the file, but NumberOfFrames says {frames}."
        raise UnreadableError(_FIELD, message, "A frame is missing or doubled; export it again.")
    return tuple(tuple(group) for group in groups)


def _unpack(content: bytes, code: str) -> list[int]:
    size = struct.calcsize(code)
    if len(content) % size:
        raise UnreadableError(_FIELD, "an offset table has an odd length.")
    return list(struct.unpack(f"<{len(content) // size}{code}", content))


def _compare(what: str, found: list[int], expected: list[int]) -> None:
    if not found or found == expected:
        return
    if len(found) != len(expected):
        message = f"{what} has {len(found)} entries for {len(expected)} frames."
    else:
        wrong = sum(one != other for one, other in zip(found, expected, strict=True))
        message = f"{what} points elsewhere than the items in {wrong} of {len(expected)} entries."
    raise UnreadableError(_FIELD, message, "It would give another frame; export the run again.")


def _compare_lengths(found: list[int], expected: list[int]) -> None:
    """Lengths may leave out the byte that makes a fragment even (PS3.3 C.7.6.3.1.8)."""
    if len(found) != len(expected):
        raise UnreadableError(_FIELD, "the extended offset table has no length for each frame.")
    if any(not size - 1 <= length <= size for length, size in zip(found, expected, strict=True)):
        raise UnreadableError(_FIELD, "the extended offset table's lengths are not the items'.")
