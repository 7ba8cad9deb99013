"""Whether bytes are text, and text in one encoding."""

from __future__ import annotations

import codecs

_SAMPLE_BYTES = 2**16
#: No text has them; tabulator, new lines, form feed and escape are others.
_CONTROLS = bytes({*range(0x20), 0x7F} - {*b"\t\n\v\f\r\x1b"})


def is_text(content: bytes) -> bool:
    """Tell whether the first 64 KiB have no control characters but those of texts."""
    sample = content[:_SAMPLE_BYTES]
    return len(sample.translate(None, _CONTROLS)) == len(sample)


def in_utf_8(content: bytes) -> bytes:
    """Return UTF-16 that is marked as such in UTF-8; other bytes as they are."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace").encode()
    return content
