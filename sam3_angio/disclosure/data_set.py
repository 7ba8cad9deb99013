"""What is known of the data set in a working tree: identifiers, folders, its salt, patterns.

Of an identifier such as ``ALL RISE 101-0025`` the site's own number is one, too: ``101-0025``. What
several patients share (``ALL RISE``) is none. The folders of a patient's runs are identifiers.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sam3_angio.disclosure.spelling import MIN_IDENTIFIER, Secrets, spellings
from sam3_angio.errors import ConfigError
from sam3_angio.manifest import fold_patient_id
from sam3_angio.table import read_records, read_text

PATTERNS_FILE = ".private-patterns"

_DIGITS = re.compile(r"\d+(?:[\s_/\u2010-\u2015-]+\d+)*", re.ASCII)
_LETTERED = re.compile(r"(?<![A-Za-z])[A-Za-z]{1,4}\d{5,}", re.ASCII)
_WORD = re.compile(r"[^\W\d_]{2,}(?:['\u2019-][^\W\d_]{2,})?")
_MIN_LETTERS = 6
_SHORT = re.compile(r"[^\W_]{3,4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Identifiers, and what is derived from them; see :func:`~sam3_angio.disclosure.spellings`."""

    values: tuple[str, ...]
    names: tuple[tuple[str, str], ...]
    numbers: tuple[tuple[str, ...], ...]
    short: tuple[str, ...]


def data_set_secrets(repository: Path) -> Secrets:
    """Return what is known of the data set in a repository's working tree.

    Raises
    ------
    ConfigError
        An expression of the user is none.
    """
    salt = repository / "data" / "salt"
    salts = [salt.read_text(encoding="latin-1").strip()] if salt.is_file() else []
    known = known_of(_rows(repository / "data"))
    return spellings(
        [*known.values, *salts],
        _patterns(repository / PATTERNS_FILE),
        names=known.names,
        numbers=known.numbers,
        short=known.short,
    )


def _rows(data: Path) -> list[tuple[str, str]]:
    """Return identifier and run of each row of the manifest; none of a phantom's."""
    manifest, truth = data / "manifest.csv", data / "truth" / "truth.json"
    if not manifest.is_file() or (truth.is_file() and "phantom" in truth.read_text("utf-8")):
        return []
    header, *records = (record for _, record in read_records("", read_text(manifest), ","))
    patient, run = header.index("patient_id"), header.index("dicom")
    return [(record[patient], record[run]) for record in records]


def _patterns(path: Path) -> list[re.Pattern[bytes]]:
    lines = path.read_bytes().splitlines() if path.is_file() else []
    try:
        return [re.compile(line, re.IGNORECASE) for line in lines if line.strip()]
    except re.error:
        raise ConfigError(f"{PATTERNS_FILE} holds a line that is no regular expression.") from None


def known_of(rows: Iterable[tuple[str, str]]) -> Known:
    """Return what identifiers and the paths of runs tell of patients.

    Parameters
    ----------
    rows : iterable of (str, str)
        Identifier, and run relative to the DICOM root.

    Examples
    --------
    >>> known_of([("SITE 101-0025", "a/b.dcm"), ("SITE 101-0026", "a/c.dcm")]).numbers
    (('101', '0025'), ('101', '0026'))
    """
    rows = sorted(set(rows))
    owned = [(fold_patient_id(patient), patient, run) for patient, run in rows]
    spelled = [(owner, patient) for owner, patient, _ in owned]
    folders = _folders([(owner, run) for owner, _, run in owned])
    values = {text for pair in spelled for text in pair} | {folder for _, folder in folders}
    several = len({owner for owner, _ in spelled}) > 1
    return Known(
        values=tuple(sorted(value for value in values if len(value) >= MIN_IDENTIFIER)),
        names=tuple(_own(spelled, _names)) if several else (),
        numbers=tuple(_own([*spelled, *folders], _numbers)),
        short=tuple(sorted(value for value in values if _SHORT.fullmatch(value))),
    )


def _own(texts: Iterable[tuple[str, str]], parts: Any) -> list[Any]:
    """Return the parts of texts that one owner has alone."""
    owners = defaultdict(set)
    for owner, text in texts:
        for part in parts(text):
            owners[part].add(owner)
    return sorted(part for part, of in owners.items() if len(of) == 1)


def _names(identifier: str) -> Iterator[tuple[str, str]]:
    """Yield each two words of an identifier."""
    for one, other in itertools.combinations(_WORD.findall(identifier), 2):
        if len(one) + len(other) >= _MIN_LETTERS:
            yield (one, other) if one.casefold() < other.casefold() else (other, one)


def _numbers(identifier: str) -> Iterator[tuple[str, ...]]:
    """Yield the groups of digits of an identifier, and numbers that begin with letters."""
    yield from ((found,) for found in _LETTERED.findall(identifier))
    for found in _DIGITS.findall(identifier):
        groups = tuple(re.findall(r"\d+", found, re.ASCII))
        if len("".join(groups)) >= MIN_IDENTIFIER:
            yield groups


def _folders(runs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return patients and their folders.

    They are those of the first depth at which no two patients share one, and elsewhere those of
    one patient alone that have as many digits as an identifier has.
    """
    owners: dict[tuple[int, str], set[str]] = defaultdict(set)
    for owner, run in runs:
        for depth, folder in enumerate(PurePosixPath(run).parts[:-1]):
            owners[depth, folder].add(owner)
    if len({owner for of in owners.values() for owner in of}) < 2:
        return []
    shared = {depth for (depth, _), of in owners.items() if len(of) > 1}
    patients = min(({depth for depth, _ in owners} - shared), default=-1)
    return [
        (next(iter(of)), folder)
        for (depth, folder), of in owners.items()
        if len(of) == 1
        and (depth == patients or _count(folder, str.isdigit) >= MIN_IDENTIFIER)
        and _names_somebody(folder)
    ]


def _names_somebody(folder: str) -> bool:
    """Tell names and numbers from ``Patient1`` and ``CD 2``."""
    digits, letters = _count(folder, str.isdigit), _count(folder, str.isalpha)
    return digits >= MIN_IDENTIFIER - 1 or (not digits and letters >= MIN_IDENTIFIER)


def _count(text: str, kind: Any) -> int:
    return sum(map(kind, text))
