"""Identifiers that may be one patient's, though they are spelled otherwise.

Hands differ in accents (``Müller``, ``Mueller``, ``Muller``), in the order of names, in what they
put before or after a number (``ALL RISE 101-0005``, ``101-0005``, ``101-0005 (2)``) and in letters
that look alike (``O`` and ``0``, or those of another script). What is alike is suspect, not proved:
it is for a warning.

Conventions
-----------
Identifiers are compared by their *parts*, the runs of letters and digits of any script in them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Sequence

from sam3_angio.manifest import fold_patient_id

#: Letters that are typed for digits.
_CONFUSED = str.maketrans("OQILZSB", "0011258")
#: Cyrillic and Greek capitals that look like Latin ones.
_OTHER_SCRIPT = str.maketrans(
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0408\u0405"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
    "ABEKMHOPCTYXIJSABEZHIKMNOPTYX",
)
_UMLAUT = re.compile(r"([AOU])E")
#: What programs append to a second file of one name.
_COPY = re.compile(r"\(\d{1,2}\)$")
#: A part of so many letters and digits names a patient even alone; fewer are a site or a number.
_TELLING_LENGTH = 4
#: What so many patients hold is a word that belongs to all of them.
_MOST_HOLDERS = 3
#: Digits tell patients apart only where few share them.
_SHARED_DIGITS = 0.2


def alike_patients(patient_ids: Sequence[str]) -> dict[str, str]:
    """Return, for each patient who looks like an earlier one, the first of these.

    Parameters
    ----------
    patient_ids : sequence of str
        As written; spellings that :func:`sam3_angio.manifest.fold_patient_id` makes equal are one.

    Returns
    -------
    dict of str to str
        Folded identifiers.

    Examples
    --------
    >>> alike_patients(["Müller Anna", "Anna Mueller", "Huber Eva"])
    {'ANNA-MUELLER': 'MÜLLER-ANNA'}
    """
    patients = list(dict.fromkeys(map(fold_patient_id, patient_ids)))
    place = {patient: number for number, patient in enumerate(patients)}
    parts = {patient: own for patient in patients if (own := _parts(patient))}
    pairs = [
        *_sharing({patient: "".join(own) for patient, own in parts.items()}),
        *_sharing({patient: _without_order(own) for patient, own in parts.items()}),
        *_sharing_digits(parts),
        *_holding(parts),
    ]
    first: dict[str, str] = {}
    for pair in pairs:
        earlier, later = sorted(pair, key=place.__getitem__)
        first[later] = min(first.get(later, earlier), earlier, key=place.__getitem__)
    return first


def _parts(patient: str) -> list[str]:
    """Return the parts of an identifier without accents, look-alikes made equal.

    >>> _parts("MÜLLER-ANNA 1O1"), _parts("ИВАНОВ")
    (['MU11ER', 'ANNA', '101'], ['И8AH08'])
    """
    letters = unicodedata.normalize("NFKD", patient)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    plain = _UMLAUT.sub(r"\1", _COPY.sub("", plain.translate(_OTHER_SCRIPT)))
    return [part.translate(_CONFUSED) for part in re.findall(r"[^\W_]+", plain)]


def _without_order(own: list[str]) -> Hashable:
    """Return the words in any order, and the numbers in theirs."""
    words = sorted(part for part in own if not part.isdecimal())
    return tuple(words), tuple(part for part in own if part.isdecimal())


def _sharing(keyed: dict[str, Hashable]) -> list[tuple[str, str]]:
    """Return the first patient of each key with every other one."""
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for patient, key in keyed.items():
        groups[key].append(patient)
    return [(first, other) for first, *others in groups.values() for other in others]


def _sharing_digits(parts: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return patients with the same digits and other words, where digits name patients."""
    digits: dict[str, Hashable] = {
        patient: "".join(part for part in own if part.isdecimal()) for patient, own in parts.items()
    }
    telling = {
        patient: number for patient, number in digits.items() if len(str(number)) >= _TELLING_LENGTH
    }
    pairs = _sharing(telling)
    return pairs if len(pairs) <= _SHARED_DIGITS * len(set(telling.values())) else []


def _holding(parts: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return patients all of whose parts another one has, too, with that one."""
    holders: dict[str, set[str]] = defaultdict(set)
    for patient, own in parts.items():
        for part in own:
            holders[part].add(patient)
    pairs = []
    for patient, own in parts.items():
        if max(map(len, own)) < _TELLING_LENGTH:
            continue
        fewest, *more = sorted((holders[part] for part in own), key=len)
        others = fewest.intersection(*more) - {patient}
        if len(others) <= _MOST_HOLDERS:
            pairs += [(patient, other) for other in sorted(others)]
    return pairs
