"""Names of persons as DICOM writes them: ``Family^Given`` (PS3.5, 6.2)."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator

from sam3_angio.disclosure.spelling import is_in_mask
from sam3_angio.disclosure.text import is_text

_WINDOW_BYTES = 96
_COMPONENT = r"[^\W\d_](?:[^\W\d_]|['\u2019.-](?=[^\W\d_]))*"
_FAMILY = re.compile(rf"(?<![^\W\d_])(?<!\\)({_COMPONENT})\Z")
_GIVEN = re.compile(rf"({_COMPONENT})(\^?)")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")


def holds_name(content: bytes, *, is_source: bool = False) -> bool:
    """Tell whether text holds a name as DICOM writes it (PS3.5, 6.2): ``Family^Given``.

    Both begin with a capital or are of a script that has none. In sources small letters are no
    names: there a caret is an operator.

    Examples
    --------
    >>> holds_name("Li^Bo".encode()), holds_name(b"IoU^0.75"), holds_name(b"x^T")
    (True, False, False)
    """
    if b"^" not in content or not is_text(content):
        return False
    return any(_is_name(content, place, is_source=is_source) for place in _carets(content))


def _carets(content: bytes) -> Iterator[int]:
    """Yield the places of carets that have a letter, or a part of one, on both sides."""
    place = content.find(b"^")
    while place >= 0:
        before, after = content[place - 1 : place], content[place + 1 : place + 2]
        is_between = _may_be_letter(before, b";.") and _may_be_letter(after, b"&\\")
        if is_between and not is_in_mask(content, place):
            yield place
        place = content.find(b"^", place + 1)


def _may_be_letter(byte: bytes, ends_of_escapes: bytes) -> bool:
    return byte.isalnum() or byte >= b"\x80" or (bool(byte) and byte in ends_of_escapes)


def _is_name(content: bytes, place: int, *, is_source: bool) -> bool:
    """Tell whether the words beside a caret are names."""
    before = content[max(0, place - _WINDOW_BYTES) : place]
    after = content[place + 1 : place + 1 + _WINDOW_BYTES]
    for code in ("utf-8", "latin-1"):
        family = _FAMILY.search(_unescaped(before, code))
        given = _GIVEN.match(_unescaped(after, code))
        if family and given and _are_names(family[1], given[1], given[2], is_source=is_source):
            return True
    return False


def _unescaped(content: bytes, code: str) -> str:
    """Return text with the letters that Python, JSON, HTML and XML escape."""
    text = content.decode(code, "ignore")
    text = _ESCAPE.sub(lambda one: chr(int(one[1] or one[2], 16)), text)
    return unicodedata.normalize("NFC", html.unescape(text))


def _are_names(family: str, given: str, more: str, *, is_source: bool) -> bool:
    letters = [sum(map(str.isalpha, part)) for part in (family, given)]
    if not (family[0].islower() or given[0].islower()):
        has_case = family[0].isupper() or given[0].isupper()
        return not has_case or letters[0] >= 2 <= letters[1] + bool(more)
    is_word = all(part.islower() or part.isupper() or part.istitle() for part in (family, given))
    return is_word and min(letters) >= 3 and not is_source
