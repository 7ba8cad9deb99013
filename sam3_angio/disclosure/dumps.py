"""Elements of patients as tools and people list them, with their values."""

from __future__ import annotations

import re
from importlib import resources

#: Parts of the keywords that are looked for by themselves.
_CLUES = (b"Patient", b"Physician", b"Institution", b"Operators", b"Accession", b"Observer")


def personal_elements() -> dict[str, str]:
    """Return keywords of the elements that tell of a person, a place or a day, by tag.

    They are those of PS3.15, table E.1-1; of group 0010, all others tell of a person, too.
    """
    source = resources.files("sam3_angio.disclosure").joinpath("personal_elements.csv")
    lines = source.read_text(encoding="utf-8").splitlines()[1:]
    return dict(line.split(",") for line in lines)


_ELEMENTS = personal_elements()
_VR = rb"(?:PN|LO|DA|CS|SH|TM|DT|LT|ST|UT|UC|AS|DS|IS|UI|AE)"
#: dcmdump, dcm4che, gdcmdump and pydicom.
_LISTED = re.compile(
    rb"\((00[0-4][0-9]), ?([0-9a-fA-F]{4})\)[^\n]{0,60}?\b" + _VR + rb"\b"
    rb"(?!\W{1,4}(?:no value|0 \[\]))\W{1,4}\w"
)
#: The JSON model of PS3.18.
_JSON_MODEL = re.compile(rb"\"(00[0-4][0-9])([0-9A-Fa-f]{4})\"\s*:\s*\{")
_KEYWORD = b"(?:%s)" % b"|".join(
    word
    for word in sorted(map(str.encode, _ELEMENTS.values()))
    if any(clue in word for clue in _CLUES)
)
#: The XML model of PS3.19.
_XML_MODEL = re.compile(rb"keyword=\"" + _KEYWORD + rb"\"")
_QUOTED = re.compile(
    rb"\b" + _KEYWORD + rb"[\"']?\]?\s{0,8}[:=]\s{0,8}[\[{\s]{0,8}[\"'][^\"'\n]+[\"']"
)
_ASSIGNED = re.compile(
    rb"\b" + _KEYWORD + rb"[\"']?[ \t]{0,8}[:=]+[ \t]{0,8}[^\s\"'\[\]{}<>(),;:=`]"
)
#: As people and viewers write it.
_SAID = re.compile(
    rb"\bPatient(?:'s|\xe2\x80\x99s)? (?:Name|ID|Birth ?Date)[\"']?[ \t]{0,30}[:=][ \t]{0,30}"
    rb"[^\s\[\]{}<>();:=`]"
)
#: Rows of a site's table, or of a manifest, as JSON; a pseudonym is none.
_RECORD = re.compile(
    rb"\"patient_id\"\s*:\s*[\[{\s]*(?:\"\w+\"\s*:\s*)?\"(?!p[0-9a-f]{10}\")[^\"]+\""
)
_QUOTES = (_XML_MODEL, _QUOTED)
_SAYINGS = (_ASSIGNED, _SAID, _RECORD)


def holds_dump(content: bytes, *, is_source: bool = False) -> bool:
    """Tell whether text lists elements of a patient, with values.

    What is assigned in a source counts where it is a quoted text.

    Examples
    --------
    >>> holds_dump(b"(0008,0080) LO [St. Hospital]  # 12, 1 InstitutionName")
    True
    """
    listed = (_LISTED, b"(00"), (_JSON_MODEL, b'"00')
    if any(clue in content and _has_personal(kind, content) for kind, clue in listed):
        return True
    kinds = _QUOTES if is_source else (*_QUOTES, *_SAYINGS)
    has_clue = b"patient_id" in content or any(clue in content for clue in _CLUES)
    return has_clue and any(kind.search(content) for kind in kinds)


def _has_personal(kind: re.Pattern[bytes], content: bytes) -> bool:
    return any(map(_is_personal, kind.finditer(content)))


def _is_personal(found: re.Match[bytes]) -> bool:
    group, element = found.group(1), found.group(2)
    return group == b"0010" or (group + element).decode().upper() in _ELEMENTS
