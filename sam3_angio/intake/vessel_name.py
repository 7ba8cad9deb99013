"""What segments a clinical name such as ``MID LAD FINAL`` can mean.

Names are those of QCA software and catheter laboratories: a vessel, mostly with its part, and
words that say something else (``PRE``, ``FINAL``). Only what is recognised is a statement.
"""

from __future__ import annotations

import re

from sam3_angio.anatomy import segments
from sam3_angio.errors import Severity

_VESSELS: dict[str, frozenset[int]] = {
    "RCA": frozenset({1, 2, 3}),
    "PDA|RPDA|LPDA|PD|RPD": frozenset({4, 27}),
    "RPAV|PAV|RPL|PLB|PL|PLV|RPLB|PLA": frozenset({5, 6, 7, 8, 24, 25, 26}),
    "AM|RV": frozenset({10}),
    "LM|LMCA|LMS|LMT": frozenset({11}),
    "LAD": frozenset({12, 13, 14}),
    "D|DG|DIAG|DIAGONAL": frozenset({15, 16, 29}),
    "D1|DG1|DIAG1|DIAGONAL1": frozenset({15}),
    "D2|DG2|DIAG2|DIAGONAL2": frozenset({16}),
    "D3|DG3|DIAG3|DIAGONAL3": frozenset({29}),
    "LCX|CX|CIRC|CIRCUMFLEX": frozenset({18, 19, 23}),
    "OM|MARGINAL": frozenset({20, 21, 22}),
    "OM1|MARGINAL1": frozenset({20}),
    "OM2|MARGINAL2": frozenset({21}),
    "OM3|MARGINAL3": frozenset({22}),
    "RAMUS|RI|IM|INTERMEDIUS|INTERMEDIATE": frozenset({28}),
}
_PARTS: dict[str, frozenset[int]] = {
    "PROX|PROXIMAL": frozenset({1, 12, 18}),
    "MID|MIDDLE": frozenset({2, 13, 19}),
    "DIST|DISTAL": frozenset({3, 14, 19}),
}
_MAIN = frozenset({1, 2, 3, 12, 13, 14, 18, 19, 23})
_LONG_FORMS = {
    "RIGHT CORONARY": "RCA",
    "LEFT ANTERIOR DESCENDING": "LAD",
    "LEFT CIRCUMFLEX": "LCX",
    "LEFT MAIN": "LM",
    "POSTERIOR DESCENDING": "PDA",
    "OBTUSE MARGINAL": "OM",
    "ACUTE MARGINAL": "AM",
}
_ORDINALS = {"1ST": "1", "FIRST": "1", "2ND": "2", "SECOND": "2", "3RD": "3", "THIRD": "3"}


def named_vessels(name: str) -> frozenset[int]:
    """Return the CASS segments of all vessels that a name contains; empty if it names none.

    Examples
    --------
    >>> sorted(named_vessels("Mid LAD PRE"))
    [12, 13, 14]
    """
    return _meaning(_VESSELS, _words(name))


def named_segments(name: str) -> frozenset[int]:
    """Return the CASS segments that a name can mean, its part taken into account.

    Examples
    --------
    >>> sorted(named_segments("Mid LAD PRE")), sorted(named_segments("LAD/D1 FINAL"))
    ([13], [12, 13, 14, 15])
    """
    words = _words(name)
    vessels = _meaning(_VESSELS, words)
    parts = _meaning(_PARTS, words)
    if not parts:
        return vessels
    return frozenset(number for number in vessels if number in parts or number not in _MAIN)


def disagreement(name: str, cass_segment: int) -> Severity | None:
    """Return how badly a name contradicts a segment.

    Returns
    -------
    {"error", "warning"} or None
        An error for another vessel, a warning for another part of the vessel, None for agreement
        or a name that names no vessel.
    """
    vessels = named_vessels(name)
    if not vessels or cass_segment in named_segments(name):
        return None
    return "warning" if cass_segment in vessels else "error"


def segment_title(cass_segment: int) -> str:
    """Return number and name, such as ``13 (Mid LAD)``."""
    return f"{cass_segment} ({segments()[cass_segment].name})"


def _words(name: str) -> list[str]:
    text = " ".join(re.findall(r"[A-Z0-9]+", name.upper()))
    for long, short in _LONG_FORMS.items():
        text = text.replace(long, short)
    words = text.split()
    # "FIRST DIAGONAL", "DIAGONAL 1" and "OM 1" are one word each.
    joined = []
    for word, after in zip(words, [*words, ""][1:], strict=True):
        number = _ORDINALS.get(word, "")
        if number:
            joined.append(f"{after}{number}")
        elif after in ("1", "2", "3"):
            joined.append(f"{word}{after}")
        else:
            joined.append(word)
    return joined


def _meaning(table: dict[str, frozenset[int]], words: list[str]) -> frozenset[int]:
    found = [numbers for names, numbers in table.items() if set(names.split("|")) & set(words)]
    # "FIRST DIAGONAL" names the first diagonal and, by its last word, any: the narrower counts.
    narrow = [numbers for numbers in found if not any(other < numbers for other in found)]
    return frozenset().union(*narrow)
