"""DICOM files, told by their content: whatever they are called, wherever in a file they stand.

A file begins with a preamble of 128 bytes and ``DICM`` (PS3.10, 7.1), then elements of group 0002;
where both were dropped, with elements of group 0008. As text, such bytes are base64, hexadecimal
or escapes.
"""

from __future__ import annotations

import re
import struct

from sam3_angio.disclosure.spelling import base64_forms

#: ``DICM``, and a first element of group 0002 or, where that is missing, 0008.
_PREFIX = re.compile(rb"DICM[\x02\x08]\x00[\x00-\x20]\x00")
#: SOP Class UID (0008,0016), or that of the media (0002,0002), with one of DICOM's own UIDs.
_UID = re.compile(rb"1\.2\.840\.10008\.")
_CLASS_TAGS = (b"\x08\x00\x16\x00", b"\x02\x00\x02\x00")
_STARTS = (b"DICM\x02\x00", b"DICM\x08\x00")
_HEXADECIMAL = tuple(start.hex().encode() for start in _STARTS)
#: By what begins them: a search for that alone is short.
_BASE64 = {
    short: tuple(form for start in _STARTS for form in base64_forms(start) if short in form)
    for short in base64_forms(b"DICM")
}
#: The same with the element's number and representation, as Python, JSON and C escape them.
_ESCAPED = re.compile(rb"DICM\\+(?:x|u00|0{0,2})0?[28](?:\\+(?:x|u)?[0-9a-f]{1,4}){3}[A-Z]{2}")


def is_dicom(content: bytes) -> bool:
    """Tell a DICOM file by its start: with the prefix of PS3.10, or without a preamble."""
    if content[128:132] == b"DICM":
        return True
    group, element, length = struct.unpack("<HHI", content[:8].ljust(8, b"\xff"))
    if group not in (0x0002, 0x0008) or element > 0x0020:
        return False
    is_explicit = content[4:6] in (b"UL", b"UI", b"CS", b"OB", b"SH", b"DA")
    return is_explicit or length <= 64


def holds_dicom(content: bytes) -> bool:
    """Tell whether bytes are a DICOM file, or hold one at any place, as bytes or as text.

    Examples
    --------
    >>> import base64
    >>> holds_dicom(base64.b64encode(bytes(128) + b"DICM" + bytes.fromhex("02000000554c0400")))
    True
    """
    return is_dicom(content) or _has_bytes(content) or _has_text(content)


def _has_bytes(content: bytes) -> bool:
    if b"DICM" in content and _PREFIX.search(content):
        return True
    return any(_names_class(content, one.start()) for one in _UID.finditer(content))


def _names_class(content: bytes, place: int) -> bool:
    """Tell whether a UID is the value of one of the elements that name a file's class."""
    tag, rest = content[max(0, place - 8) : place - 4], content[place - 4 : place]
    return tag in _CLASS_TAGS and (rest.startswith(b"UI") or rest.endswith(b"\0\0"))


def _has_text(content: bytes) -> bool:
    if b"DICM\\" in content and _ESCAPED.search(content):
        return True
    text = content.translate(None, b"\r\n\t ")
    text = text.replace(b"\\n", b"") if b"\\" in text else text
    if any(short in text and any(map(text.__contains__, _BASE64[short])) for short in _BASE64):
        return True
    return any(form in text.lower() for form in _HEXADECIMAL)
