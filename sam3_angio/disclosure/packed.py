"""What is packed in a file: archives, compressed files and pictures' texts, one in another.

Conventions
-----------
All that is unpacked of one file stays below a quarter of a gigabyte, whatever it claims to hold.
What was not unpacked for that, or because it is encrypted or of another kind, is told
(:attr:`Unpacking.is_whole`). What is damaged gives what comes before the damage.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import io
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any

MAX_UNPACKED_BYTES = 256 * 2**20
_MAX_TRIALS = 10_000
_DEPTH = 4
_CHUNK_BYTES = 2**16

_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
)

_GZIP, _ZLIB, _RAW = 31, 15, -15
#: Decompressors by the bytes that a stream begins with, wherever in a file it stands.
_STREAMS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b\x08": partial(zlib.decompressobj, _GZIP),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": partial(lzma.LZMADecompressor, memlimit=MAX_UNPACKED_BYTES),
}
#: They are too short to be looked for but at the start.
_ZLIB_STARTS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
#: 7-Zip, RAR, Zstandard, LZ4, compress, cabinet: nothing here opens them.
_OTHER_KINDS = (
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x28\xb5\x2f\xfd",
    b"\x04\x22\x4d\x18",
    b"\x1f\x9d\x90",
    b"MSCF\0\0\0\0",
)
#: How the base64 of ZIP, gzip, bzip2 and xz begins.
_CODED_STARTS = (b"UEsDB", b"H4sI", b"QlpoO", b"/Td6WFoA")
_CODED = re.compile(rb"(?:[A-Za-z0-9+/=\r\n]|\\n)+")
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_LOCAL, _CENTRAL = b"PK\x03\x04", b"PK\x05\x06"
_STORED, _DEFLATED = 0, 8


def unpacked(content: bytes) -> Iterator[bytes]:
    """Yield bytes, and what is packed in them, four levels deep."""
    yield from Unpacking().parts(content)


class Unpacking:
    """The unpacking of one file.

    Attributes
    ----------
    is_whole : bool
        Whether all that is packed was unpacked, once :meth:`parts` has come to its end.
    """

    def __init__(self) -> None:
        self.is_whole = True
        self._left = MAX_UNPACKED_BYTES
        self._trials_left = _MAX_TRIALS

    def parts(self, content: bytes, depth: int = _DEPTH) -> Iterator[bytes]:
        """Yield bytes and what is in them; names of an archive's members, too."""
        yield content
        if content.startswith(_OTHER_KINDS):
            self.is_whole = False
        for part in self._inside(content):
            if depth:
                yield from self.parts(part, depth - 1)
            else:
                self.is_whole = False

    def _inside(self, content: bytes) -> Iterator[bytes]:
        for start, machine in _STREAMS.items():
            for place in self._places(start, content):
                yield from self._inflated(machine, content, place)
        if content.startswith(_ZLIB_STARTS):
            yield from self._inflated(partial(zlib.decompressobj, _ZLIB), content, 0)
        if _LOCAL in content:
            yield from self._zip_members(content)
        if content[257:262] == b"ustar":
            yield from self._tar_members(content)
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            yield from self._png_texts(content)
        for start in _CODED_STARTS:
            for place in self._places(start, content):
                yield from _decoded(content, place)

    def _places(self, start: bytes, content: bytes) -> Iterator[int]:
        """Yield where some bytes stand, as long as there are trials left."""
        place = content.find(start)
        while place >= 0 and self._tries():
            yield place
            place = content.find(start, place + 1)

    def _tries(self) -> bool:
        self._trials_left -= 1
        self.is_whole &= self._trials_left >= 0
        return self._trials_left >= 0

    def _takes(self, part: bytes) -> bool:
        """Count unpacked bytes; tell whether they are still within the bound."""
        self._left -= len(part)
        self.is_whole &= self._left >= 0
        return self._left >= 0

    def _inflated(self, machine: Callable[[], Any], content: bytes, place: int) -> Iterator[bytes]:
        """Yield what a stream holds, and those that follow it without a gap."""
        found, rest, stream = [], memoryview(content)[place:], machine()
        try:
            while rest and self._left > 0:
                chunk, rest = rest[:_CHUNK_BYTES], rest[_CHUNK_BYTES:]
                found.append(stream.decompress(chunk, self._left + 1))
                if not self._takes(found[-1]):
                    break
                if stream.eof:
                    rest = memoryview(content)[len(content) - len(rest) - len(stream.unused_data) :]
                    stream = machine()
        except _DAMAGE as error:
            self.is_whole &= "limit" not in str(error).lower()
        whole = b"".join(found)
        if whole:
            yield whole

    def _zip_members(self, content: bytes) -> Iterator[bytes]:
        """Yield names and contents, by the central directory or, where it fails, without it."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for member in archive.infolist():
                    if not self._tries():
                        return
                    yield member.filename.encode("utf-8", "replace")
                    if member.flag_bits & 1:
                        self.is_whole = False
                        continue
                    with archive.open(member) as stream:
                        yield self._read(stream)
                return
        except _DAMAGE:
            yield from self._local_members(content)

    def _read(self, stream: IO[bytes]) -> bytes:
        found = []
        while self._left > 0 and (chunk := stream.read(min(_CHUNK_BYTES, self._left + 1))):
            found.append(chunk)
            self._takes(chunk)
        return b"".join(found)

    def _local_members(self, content: bytes) -> Iterator[bytes]:
        """Yield members of a ZIP archive that is truncated, or stands within something else."""
        for place in self._places(_LOCAL, content):
            header = content[place : place + _LOCAL_HEADER.size]
            if len(header) < _LOCAL_HEADER.size:
                return
            _, _, flags, method, *_, packed, _, name, extra = _LOCAL_HEADER.unpack(header)
            start = place + _LOCAL_HEADER.size + name + extra
            yield content[place + _LOCAL_HEADER.size :][:name]
            if method == _DEFLATED:
                self.is_whole &= not flags & 1
                yield from self._inflated(partial(zlib.decompressobj, _RAW), content, start)
            elif method == _STORED:
                yield content[start : start + packed]

    def _tar_members(self, content: bytes) -> Iterator[bytes]:
        """Yield members as they lie in the archive, so that a sparse one takes no room."""
        try:
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
                for member in archive:
                    if not self._tries():
                        return
                    if member.isreg():
                        yield content[member.offset_data : member.offset_data + member.size]
        except _DAMAGE:
            return

    def _png_texts(self, content: bytes) -> Iterator[bytes]:
        """Yield the compressed texts of a PNG picture (its zTXt and iTXt chunks)."""
        place = 8
        while place + 8 <= len(content):
            length, kind = struct.unpack(">I4s", content[place : place + 8])
            chunk = content[place + 8 : place + 8 + length]
            if kind in (b"zTXt", b"iTXt"):
                for start in self._places(b"\x78", chunk):  # how a deflated text begins
                    yield from self._inflated(partial(zlib.decompressobj, _ZLIB), chunk, start)
            place += 12 + length


def _decoded(content: bytes, place: int) -> Iterator[bytes]:
    """Yield what a run of base64 holds."""
    run = _CODED.match(content, place)
    code = run.group().translate(None, b"\r\n=").replace(b"\\n", b"") if run else b""
    try:
        yield base64.b64decode(code[: len(code) // 4 * 4])
    except binascii.Error:
        return
