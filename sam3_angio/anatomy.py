"""Coronary segments: CASS number, name, prompt, artery, similar segments, SNOMED CT code.

The table is ``anatomy.csv``, 29 segments of the BARI/CASS map; codes are those of DICOM CID 3014
(PS3.16). SYNTAX and AHA numbers collide with CASS numbers (5 is the left main there), so a
segment is always named with its scheme; everything in this module is CASS.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

Artery = Literal["RCA", "LCA"]

#: The prompt for the whole vessel tree.
TREE_PHRASE = "coronary artery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A coronary segment.

    Attributes
    ----------
    cass : int
        CASS number, 1 to 29.
    name : str
        Full name, for people.
    phrase : str
        Text prompt for the model.
    artery : {"RCA", "LCA"}
        Which injection shows it.
    vessel : str
        Vessel it belongs to, such as ``LAD``.
    similar : tuple of int
        CASS numbers of the segments that are easily mistaken for it.
    snomed : str
        SNOMED CT code, empty where CID 3014 has none.
    analysed : bool
        Whether core laboratories analyse it in this project's data.
    """

    cass: int
    name: str
    phrase: str
    artery: Artery
    vessel: str
    similar: tuple[int, ...]
    snomed: str
    analysed: bool


@cache
def segments() -> dict[int, Segment]:
    """Return all CASS segments by number.

    Examples
    --------
    >>> segments()[12].phrase
    'proximal LAD'
    """
    text = resources.files("sam3_angio").joinpath("anatomy.csv").read_text(encoding="utf-8")
    return {int(row["cass"]): _segment(row) for row in csv.DictReader(text.splitlines())}


def _segment(row: dict[str, str]) -> Segment:
    return Segment(
        cass=int(row["cass"]),
        name=row["name"],
        phrase=row["phrase"],
        artery="RCA" if row["artery"] == "RCA" else "LCA",
        vessel=row["vessel"],
        similar=tuple(int(number) for number in row["similar"].split()),
        snomed=row["snomed"],
        analysed=row["analysed"] == "yes",
    )


def analysed_segments() -> tuple[int, ...]:
    """Return the CASS numbers that are analysed, ascending.

    Examples
    --------
    >>> analysed_segments()
    (1, 2, 3, 4, 12, 13, 14, 15, 16, 18, 19, 20, 21, 28)
    """
    return tuple(number for number, segment in segments().items() if segment.analysed)
