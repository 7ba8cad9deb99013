"""Bytes of a file with bounds, and of a deflated data set without ever holding it whole."""

from __future__ import annotations

import io
import zlib
from typing import BinaryIO

from sam3_angio.dicom.tags import UnreadableError

#: No run inflates to more.
MAX_INFLATED_BYTES = 1 << 30


class ByteSource:
    """Bytes with bounds: a read or a skip beyond the end is a fault, not a short answer.

    Parameters
    ----------
    stream : BinaryIO
        What to read from.
    size : int
        Number of bytes that may be read from it.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self.size = size
        self.position = 0

    def read(self, count: int) -> bytes:
        """Return exactly `count` bytes."""
        self._bounded(self.position + count)
        content = self._stream.read(count)
        if len(content) != count:
            raise _truncated(self.position + len(content))
        self.position += count
        return content

    def read_up_to(self, count: int) -> bytes:
        """Return at most `count` bytes, fewer where the source ends."""
        content = self._stream.read(count)
        self.position += len(content)
        return content

    def seek(self, position: int) -> None:
        """Go to an absolute position within the bounds."""
        self._bounded(position)
        if self._stream.seek(position) != position:
            raise _truncated(position)
        self.position = position

    def skip(self, count: int) -> None:
        """Go forward."""
        self.seek(self.position + count)

    def _bounded(self, position: int) -> None:
        if position > self.size:
            raise _truncated(self.size)


def _truncated(size: int) -> UnreadableError:
    return UnreadableError(
        "", f"the file ends too early, after {size} bytes.", "Copy the run again from its source."
    )


class InflatingStream(io.RawIOBase):
    """A deflated data set (PS3.5 A.5) as a stream of bounded length that can be read forward.

    Going back starts afresh, so memory stays at one chunk whatever the data inflate to.
    """

    def __init__(self, stream: BinaryIO, offset: int) -> None:
        super().__init__()
        self._stream = stream
        self._offset = offset
        self._restart()

    def _restart(self) -> None:
        self._stream.seek(self._offset)
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._position = 0

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def read(self, count: int = -1) -> bytes:
        """Return `count` bytes, fewer at the end."""
        parts = []
        while count > 0 and (part := self._inflate(min(count, 1 << 16))):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _inflate(self, limit: int) -> bytes:
        part = b""
        while not part and not self._inflater.eof:
            content = self._inflater.unconsumed_tail or self._stream.read(1 << 15)
            try:
                part = self._inflater.decompress(content, limit)
            except zlib.error:
                raise UnreadableError("", "the deflated data set is damaged.") from None
            if not content:
                break
        self._position += len(part)
        return part

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        """Go to an absolute position, or as far as the data reach; return where that is."""
        if position < self._position:
            self._restart()
        while self._position < position and self._inflate(min(position - self._position, 1 << 16)):
            pass
        return self._position
