"""The data elements of a DICOM file: an allow-list, read strictly and without recursion.

Only the elements of :data:`~sam3_angio.dicom.tags.WANTED` are ever taken into memory; every other
value, a patient's name for one, is skipped unread, so it can reach no message and no output. The
parser follows PS3.5 clause 7 (explicit and implicit VR, sequences of defined and undefined length)
and PS3.10 clause 7 (preamble, file meta information). Depth, number and size of elements are
bounded.

Conventions
-----------
A tag is one integer, ``0xGGGGEEEE``. Values stay bytes here; :mod:`sam3_angio.dicom.header` gives
them meaning.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from sam3_angio.dicom.source import MAX_INFLATED_BYTES, ByteSource, InflatingStream
from sam3_angio.dicom.tags import (
    BIG_ENDIAN,
    DEFLATED,
    IMPLICIT,
    PIXEL_DATA,
    WANTED,
    UnreadableError,
    tag_text,
    vr_of,
)

_TRANSFER_SYNTAX = 0x00020010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_OVERLAYS = 0x60  # first byte of their groups, PS3.5 7.6
_VR_32_BIT = frozenset(re.findall("..", "OBODOFOLOVOWSQSVUCUNURUTUV"))
_VR_16_BIT = frozenset(re.findall("..", "AEASATCSDADSDTFDFLISLOLTPNSHSLSSSTTMUIULUS"))
#: Representations that may stand for the one in WANTED.
_ALTERNATIVES = {"US": ("US", "SS", "UN"), "OW": ("OW", "US", "SS", "UN"), "OV": ("OV", "UN")}

_MAX_PADDING_BYTES = 1 << 16

MAX_VALUE_BYTES = 1 << 20
MAX_ELEMENTS = 50_000
MAX_DEPTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """The wanted elements of a file and where its pixels are.

    Attributes
    ----------
    transfer_syntax : str
        UID.
    big_endian : bool
        Byte order of the values.
    values : Mapping of int to bytes
        By tag.
    sequences : Mapping of int to Mapping
        The first item of each wanted sequence, by tag.
    source : ByteSource
        The file, or the inflated data set, still open.
    pixel_offset : int
        Where the value of Pixel Data starts in `source`.
    pixel_bytes : int or None
        Its length; None where it is encapsulated.
    has_overlays : bool
        There are drawings beside the pixels (groups 60xx), which are not read.
    """

    transfer_syntax: str
    big_endian: bool
    values: Mapping[int, bytes]
    sequences: Mapping[int, Mapping[int, bytes]]
    source: ByteSource
    pixel_offset: int
    pixel_bytes: int | None
    has_overlays: bool


def read_data_set(stream: BinaryIO, size: int) -> DataSet:
    """Read the wanted elements of a DICOM file, up to its pixels.

    Parameters
    ----------
    stream : BinaryIO
        The file, open for reading.
    size : int
        Its size in bytes.

    Raises
    ------
    UnreadableError
        If the stream is no complete DICOM file, or nests deeper, has more elements or larger
        values than any angiogram.
    """
    source = ByteSource(stream, size)
    _require_preamble(source)
    transfer_syntax = _transfer_syntax(source)
    if transfer_syntax == DEFLATED:
        inflating = InflatingStream(stream, source.position)
        source = ByteSource(inflating, MAX_INFLATED_BYTES)  # type: ignore[arg-type]
    return _parser(source, transfer_syntax).data_set(transfer_syntax)


def _require_preamble(source: ByteSource) -> None:
    start = source.read(min(132, source.size))
    if start[128:] == b"DICM":
        return
    if start[:1] == b"\x30" and start[1:2] >= b"\x80":
        message = "the file looks encrypted (a CMS envelope), not like DICOM."
        raise UnreadableError("", message, "Decrypt it first.")
    message = "this is no DICOM file: 'DICM' is missing at byte 128."
    raise UnreadableError("", message, "Check the path, or add the file header with dcmconv.")


def _transfer_syntax(source: ByteSource) -> str:
    """Read the file meta information (group 0002, always explicit little endian)."""
    parser = _Parser(source, explicit=True, big_endian=False)
    uid = b""
    for _ in range(64):
        start = source.position
        is_meta = source.read(2) == b"\x02\0"
        source.seek(start)  # what follows may be deflated, so only the group is looked at
        if not is_meta:
            break
        tag, _vr, length = parser.element()
        if tag == _TRANSFER_SYNTAX:
            uid = parser.value(tag, length)
        else:
            source.skip(length)
    text = uid.decode("ascii", "replace").rstrip("\0 ")
    if not text or any(letter not in "0123456789." for letter in text):
        raise UnreadableError("TransferSyntaxUID (0002,0010)", "it is missing or no UID.")
    return text


def require_end(data_set: DataSet, position: int) -> int:
    """Refuse a file in which something else than elements or zeros follows the pixels.

    Bytes that were added before shift the pixels and come out here.

    Parameters
    ----------
    data_set : DataSet
    position : int
        End of the pixels in its source.

    Returns
    -------
    int
        Bytes of zeros that follow, of no element.

    Raises
    ------
    UnreadableError
        If what follows cannot be read as elements up to the end of the file.
    """
    source = data_set.source
    source.seek(position)
    rest = source.read_up_to(_MAX_PADDING_BYTES)
    if not any(rest) and len(rest) < _MAX_PADDING_BYTES:
        return len(rest)
    source.seek(position)
    try:
        _parser(source, data_set.transfer_syntax).skip_to_end()
    except UnreadableError:
        message = "what follows the pixels is no DICOM: bytes were added or lost before."
        raise UnreadableError(tag_text(PIXEL_DATA), message, "Export the run again.") from None
    return 0


def _parser(source: ByteSource, transfer_syntax: str) -> _Parser:
    return _Parser(
        source,
        explicit=transfer_syntax != IMPLICIT,
        big_endian=transfer_syntax == BIG_ENDIAN,
    )


class _Parser:
    """Element by element through one data set."""

    def __init__(self, source: ByteSource, *, explicit: bool, big_endian: bool) -> None:
        self._source = source
        self._explicit = explicit
        self._order = ">" if big_endian else "<"
        self._count = 0

    def element(self, *, explicit: bool | None = None) -> tuple[int, str, int]:
        """Read tag, representation and length of the next element."""
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise UnreadableError("", f"the header has more than {MAX_ELEMENTS} elements.")
        group, number = struct.unpack(f"{self._order}HH", self._source.read(4))
        tag = group << 16 | number
        is_explicit = self._explicit if explicit is None else explicit
        if group == 0xFFFE or not is_explicit:
            return tag, vr_of(tag), self._unsigned(4)
        vr = self._source.read(2).decode("latin-1")
        if vr in _VR_32_BIT:
            self._source.skip(2)
            return tag, vr, self._unsigned(4)
        if vr not in _VR_16_BIT:
            message = "the value representation is unknown: the header is damaged."
            raise UnreadableError(tag_text(tag), message)
        return tag, vr, self._unsigned(2)

    def _unsigned(self, size: int) -> int:
        code = {2: "H", 4: "I"}[size]
        return int(struct.unpack(f"{self._order}{code}", self._source.read(size))[0])

    def value(self, tag: int, length: int) -> bytes:
        """Read the value of a wanted element."""
        if length > MAX_VALUE_BYTES:
            raise UnreadableError(tag_text(tag), f"the value has {length} bytes.")
        return self._source.read(length)

    def data_set(self, transfer_syntax: str) -> DataSet:
        """Read up to Pixel Data."""
        values: dict[int, bytes] = {}
        sequences: dict[int, Mapping[int, bytes]] = {}
        has_overlays = False
        for tag, vr, length in self._top_level():
            has_overlays = has_overlays or tag >> 24 == _OVERLAYS
            if tag == PIXEL_DATA:
                return DataSet(
                    transfer_syntax=transfer_syntax,
                    big_endian=self._order == ">",
                    values=values,
                    sequences=sequences,
                    source=self._source,
                    pixel_offset=self._source.position,
                    pixel_bytes=None if length == _UNDEFINED else length,
                    has_overlays=has_overlays,
                )
            if tag not in WANTED:
                self._skip(vr, length)
            elif vr_of(tag) == "SQ":
                sequences[tag] = self._first_item(tag, length)
            else:
                self._require_vr(tag, vr)
                values[tag] = self.value(tag, length)
        raise UnreadableError("PixelData (7FE0,0010)", "there are no pixels.")

    def skip_to_end(self) -> None:
        """Read elements behind Pixel Data, such as trailing padding, up to the end of the file."""
        previous = PIXEL_DATA
        while self._source.position < self._source.size:
            tag, vr, length = self.element()
            if tag <= previous:
                raise UnreadableError(tag_text(tag), "the element is out of order.")
            previous = tag
            self._skip(vr, length)

    def _top_level(self) -> Iterator[tuple[int, str, int]]:
        previous = 0
        while self._source.position < self._source.size:
            tag, vr, length = self.element()
            if tag <= previous:
                message = "the element is doubled or out of order: the header is damaged."
                raise UnreadableError(tag_text(tag), message)
            if tag > PIXEL_DATA:
                return
            previous = tag
            yield tag, vr, length

    @staticmethod
    def _require_vr(tag: int, vr: str) -> None:
        wanted = vr_of(tag)
        if vr not in _ALTERNATIVES.get(wanted, (wanted, "UN")):
            message = f"the value representation is {vr}, expected {wanted}."
            raise UnreadableError(tag_text(tag), message)

    def _skip(self, vr: str, length: int) -> None:
        if length == _UNDEFINED:
            self._skip_undefined(explicit=self._explicit and vr != "UN")
        else:
            self._source.skip(length)

    def _skip_undefined(self, *, explicit: bool) -> None:
        """Skip a value of undefined length, however deep it nests, without recursion."""
        levels = [("sequence", explicit)]
        while levels:
            if len(levels) > MAX_DEPTH:
                raise UnreadableError("", f"sequences nest deeper than {MAX_DEPTH // 2} levels.")
            kind, explicit = levels[-1]
            tag, vr, length = self.element(explicit=explicit)
            if tag == (_SEQUENCE_END if kind == "sequence" else _ITEM_END):
                levels.pop()
            elif (tag == _ITEM) != (kind == "sequence") or tag in (_ITEM_END, _SEQUENCE_END):
                raise UnreadableError("", "a sequence is damaged: item and element are mixed up.")
            elif length != _UNDEFINED:
                self._source.skip(length)
            elif kind == "sequence":
                levels.append(("item", explicit))
            else:
                levels.append(("sequence", explicit and vr != "UN"))

    def _first_item(self, tag: int, length: int) -> Mapping[int, bytes]:
        """Read the wanted elements of a sequence's first item; skip the others."""
        end = None if length == _UNDEFINED else self._source.position + length
        first: dict[int, bytes] = {}
        found = False
        while end is None or self._source.position < end:
            item, _vr, item_length = self.element()
            if item == _SEQUENCE_END and end is None:
                break
            if item != _ITEM:
                raise UnreadableError(tag_text(tag), "the sequence is damaged.")
            content = self._item(item_length)
            first, found = (first, True) if found else (content, True)
        return first

    def _item(self, length: int) -> dict[int, bytes]:
        end = None if length == _UNDEFINED else self._source.position + length
        values: dict[int, bytes] = {}
        while end is None or self._source.position < end:
            tag, vr, value_length = self.element()
            if tag == _ITEM_END and end is None:
                break
            if tag in WANTED and vr_of(tag) != "SQ":
                values[tag] = self.value(tag, value_length)
            else:
                self._skip(vr, value_length)
        return values
