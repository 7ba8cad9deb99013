"""How identifiers are written: what is searched for, and the search in one pass.

Conventions
-----------
All searches are over bytes. What is in the run-length string of a COCO mask is no text: its
characters are the digits, the letters to ``o`` and what stands between them in ASCII.
"""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html.entities import codepoint2name
from typing import Any

import ahocorasick

from sam3_angio.disclosure.text import in_utf_8

MIN_IDENTIFIER = 5
#: Shorter numbers that were an identifier with separators count by themselves only.
_MIN_DIGITS = 10
_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_NAME_GAPS = (" ", ", ", ",", "^", "_", "-", ".", "")
_NUMBER_GAPS = ("-", "_", " ", "/", "\u2013", "%20")
_MASK_KEY = re.compile(rb"\"counts\"\s*:\s*\Z")
#: A number that is only called so where it stands behind these.
_AFTER_PATIENT = re.compile(
    rb"(?:patient|subject|proband)(?:in|s)?(?:[\W_]{0,2}(?:id|nr|no))?[\W_]{0,4}([^\W_]{3,4})(?![^\W_])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What is known of one data set and must not leave it.

    Attributes
    ----------
    plain : frozenset of bytes
        Spellings in lower case, for text in lower case.
    alone : frozenset of bytes
        Names and numbers that count only where they are no part of longer ones.
    coded : frozenset of bytes
        Base64 of them, in which case matters.
    short : frozenset of bytes
        Identifiers of three or four letters or digits: they count behind "patient".
    patterns : tuple of re.Pattern
        Of the user.
    """

    plain: frozenset[bytes]
    coded: frozenset[bytes]
    alone: frozenset[bytes] = frozenset()
    short: frozenset[bytes] = frozenset()
    patterns: tuple[re.Pattern[bytes], ...] = ()

    def are_in(self, content: bytes) -> bool:
        """Tell whether one of them is in some bytes."""
        small = content.lower()
        return (
            any(True for _ in _hits(self.plain, small))
            or any(_stands_alone(small, *hit) for hit in _hits(self.alone, small))
            or any(True for _ in _hits(self.coded, content))
            or (bool(self.short) and any(one in self.short for one in _named(content)))
            or any(pattern.search(content) for pattern in self.patterns)
        )


@lru_cache(maxsize=8)
def _search_of(words: frozenset[bytes]) -> Callable[[str], Iterator[Any]]:
    """Return a search for many words in one pass (Aho and Corasick)."""
    automaton = ahocorasick.Automaton()
    for word in words:
        automaton.add_word(word.decode("latin-1"), len(word))
    automaton.make_automaton()
    search: Callable[[str], Iterator[Any]] = automaton.iter
    return search


def _hits(words: frozenset[bytes], content: bytes) -> Iterator[tuple[int, int]]:
    """Yield where words start and end in some bytes."""
    if words:
        for last, length in _search_of(words)(content.decode("latin-1")):
            yield last + 1 - length, last + 1


def _stands_alone(content: bytes, start: int, end: int) -> bool:
    """Tell whether a word is no part of a longer one, or of a number, nor in a mask."""
    word, before, after = content[start:end], content[start - 1 : start], content[end : end + 1]
    if word.isdigit():
        is_part = before.isalnum() or after.isalnum()
    elif word[:1].isdigit():
        is_part = before.isdigit() or after.isdigit()
    else:
        is_part = before.isalpha() or after.isalpha()
    is_decimal = before == b"." and word[:1].isdigit()
    return not is_part and not is_decimal and not is_in_mask(content, start)


def is_in_mask(content: bytes, place: int) -> bool:
    """Tell whether a place is within the run lengths of a COCO mask.

    Examples
    --------
    >>> is_in_mask(b'{"counts": "SUc13l?1"}', 15)
    True
    """
    quote = content.rfind(b'"', 0, place)
    return bool(_MASK_KEY.search(content[max(0, quote - 16) : max(0, quote)]))


def _named(content: bytes) -> Iterator[bytes]:
    return (one.group(1) for one in _AFTER_PATIENT.finditer(in_utf_8(content).lower()))


def spellings(
    values: Sequence[str],
    patterns: Sequence[re.Pattern[bytes]] = (),
    *,
    names: Iterable[tuple[str, str]] = (),
    numbers: Iterable[tuple[str, ...]] = (),
    short: Iterable[str] = (),
) -> Secrets:
    """Return values in the encodings in which they hide.

    UTF-8, -16 and -32, URL, HTML, JSON, hexadecimal, base64; and as file names have them, with
    other separators or none.

    Parameters
    ----------
    values : sequence of str
        Identifiers.
    patterns : sequence of re.Pattern
        Of the user.
    names : iterable of (str, str)
        Two names of a person: in both orders, without their accents, with ``ue`` for ``ü``.
    numbers : iterable of tuple of str
        Groups of digits of an identifier: with any separator, or none if they are six or more.
    short : iterable of str
        Identifiers of three or four letters or digits.

    Examples
    --------
    >>> spellings(["Müller"]).are_in("see m%C3%BCller.png".encode())
    True
    >>> spellings([], names=[("Müller", "Jörg")]).are_in(b"Joerg_Mueller")
    True
    """
    plain: set[bytes] = set()
    coded: set[bytes] = set()
    for form in (form for value in values for form in _written(value)):
        # bytes in lower case keep the case of letters beyond ASCII
        for text in {form} if form.isascii() else {form, form.lower(), form.upper()}:
            raw = {text.encode(code, "ignore") for code in _ENCODINGS}
            raw.add(text.encode("latin-1", "replace"))
            plain |= {one.lower() for one in raw} | {one.hex().encode() for one in raw}
            plain |= {escaped.lower().encode() for escaped in _escaped(text)}
            coded |= {code for one in raw for code in base64_forms(one)}
    alone = {raw for pair in names for raw in _name_forms(*pair)}
    alone |= {raw for groups in numbers for raw in _number_forms(groups)}
    alone |= {form.encode() for value in values for form in _short_digits(value)}
    return Secrets(
        plain=frozenset(plain),
        alone=frozenset(alone),
        coded=frozenset(coded),
        short=frozenset(value.lower().encode() for value in short),
        patterns=tuple(patterns),
    )


def _written(value: str) -> set[str]:
    """Return the ways in which people and programs write a value: separators, accents."""
    forms = {value, *(value.replace("^", other) for other in (" ", "_", ", "))}
    for gaps in (r"\s+", r"[\s^-]+"):
        forms |= {re.sub(gaps, other, value) for other in ("_", "-", "")}
    forms |= {unicodedata.normalize(how, form) for how in ("NFC", "NFD") for form in set(forms)}
    kept = {form for form in forms if len(form) >= min(len(value), MIN_IDENTIFIER)}
    return kept - set(_short_digits(value))


def _short_digits(value: str) -> list[str]:
    """Return the digits of an identifier without its separators, if they are few."""
    digits = re.sub(r"[\s^-]+", "", value)
    is_short = digits != value and digits.isdecimal() and len(digits) < _MIN_DIGITS
    return [digits] if is_short and len(digits) >= MIN_IDENTIFIER else []


#: Letters that no decomposition turns into ASCII.
_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "Ae", "ł": "l", "Ł": "L"})
_LONG = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ø": "oe", "å": "aa"}
)


def _name_forms(first: str, second: str) -> set[bytes]:
    found: set[bytes] = set()
    for one, other in ((first, second), (second, first)):
        spelled = zip(_transliterated(one), _transliterated(other), strict=True)
        for pair, gap in itertools.product({*spelled}, _NAME_GAPS):
            text = gap.join(pair)
            for form in {text} if text.isascii() else {text, text.lower(), text.upper()}:
                found |= {form.encode(code, "ignore") for code in ("utf-8", "utf-16-le")}
                found |= {form.encode("latin-1", "replace")}
                found |= {escaped.encode() for escaped in _escaped(form)}
                found.add(unicodedata.normalize("NFD", form).encode())
    return {form.lower() for form in found}


def _transliterated(word: str) -> tuple[str, str, str]:
    """Return a word, with ``ue`` for ``ü``, and without accents.

    Examples
    --------
    >>> _transliterated("Müller")
    ('Müller', 'Mueller', 'Muller')
    """
    word = unicodedata.normalize("NFC", word)
    return word, _without_accents(word.translate(_LONG)), _without_accents(word)


def _without_accents(word: str) -> str:
    parts = unicodedata.normalize("NFD", word.translate(_LETTERS))
    return "".join(letter for letter in parts if not unicodedata.combining(letter))


def _number_forms(groups: tuple[str, ...]) -> set[bytes]:
    forms = {gap.join(groups) for gap in _NUMBER_GAPS} if len(groups) > 1 else set()
    digits = "".join(groups)
    if len(digits) > MIN_IDENTIFIER:
        forms.add(digits)
    return {form.lower().encode(code) for form in forms for code in ("utf-8", "utf-16-le")}


def _escaped(text: str) -> set[str]:
    """Return a text as URLs, JSON, HTML and XML have it."""
    return {
        urllib.parse.quote(text),
        urllib.parse.quote(text, safe=""),
        urllib.parse.quote_plus(text),
        json.dumps(text)[1:-1],
        html.escape(text),
        text.encode("ascii", "xmlcharrefreplace").decode(),
        "".join(f"&#x{ord(letter):x};" if ord(letter) > 127 else letter for letter in text),
        "".join(f"&{codepoint2name.get(ord(c), '')};" if ord(c) > 127 else c for c in text),
    }


def base64_forms(content: bytes) -> Iterator[bytes]:
    """Yield the base64 of bytes that begin at each of the three places of a group."""
    for before in range(3):
        code = base64.b64encode(bytes(before) + content)
        first, last = -(-before * 8 // 6), (before + len(content)) * 8 // 6
        yield code[first:last]
