"""Patients under two spellings are told, and other patients are not."""

from __future__ import annotations

from itertools import permutations

import pytest

from sam3_angio.checking.spelling import alike_patients
from sam3_angio.manifest import fold_patient_id

OTHERS = tuple(f"ALL RISE 101-{number:04}" for number in range(20, 40))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ALL RISE 101-0005", "101-0005"),
        ("ALL RISE 101-0005", "ALL RISE 101-0005 (2)"),
        ("ALL RISE 101-0005", "101-0005 (2)"),
        ("ALL RISE 101-0005", "ALL RISE 1O1-OOO5"),
        ("ALL RISE 101-0005", "ALL RISE 1010005"),
        ("ALL RISE 101-0005", "ALL RISE 101/0005"),
        ("ALL RISE 101-0005", "AR 101-0005"),
        ("ALL RISE 101-0005", "\u0410LL RISE 101-0005"),
        ("Müller Anna", "Mueller Anna"),
        ("Müller Anna", "Muller Anna"),
        ("Müller Anna", "Anna Müller"),
        ("Müller, Anna", "mu\u0308ller anna"),
        ("Müller Anna", "Müller Anna Maria"),
        ("Иванов Иван", "Иван Иванов"),
    ],
)
def test_two_spellings_of_one_patient_are_told(one: str, other: str) -> None:
    for first, second in permutations((one, other)):
        if fold_patient_id(first) != fold_patient_id(second):
            alike = alike_patients([first, *OTHERS, second])
            assert alike == {fold_patient_id(second): fold_patient_id(first)}


@pytest.mark.parametrize(
    "patients",
    [
        OTHERS,
        ("Иванов", "Петров", "Сидоров", "Кузнецов", "Попов"),
        ("山田 太郎", "山田 花子", "佐藤 太郎"),
        ("Müller Anna", "Müller Hanna", "Muller Otto", "Maier Anna"),
        [f"{site} {number:04}" for site in ("A", "B", "C") for number in range(12)],
        [f"SITE {site} PATIENT {number:04}" for site in "AB" for number in range(12)],
        ["ALL RISE", *OTHERS],
        [f"{site}-{number}" for site in range(1, 4) for number in range(1, 9)],
        ["***", "---", "()", "P1"],
    ],
)
def test_other_patients_are_not_told(patients: list[str]) -> None:
    assert alike_patients(patients) == {}


def test_a_spelling_is_told_of_the_first_that_it_is_like() -> None:
    alike = alike_patients(["ALL RISE 101-0005", "101-0005", "AR 101-0005", *OTHERS])
    assert alike == {"101-0005": "ALL-RISE-101-0005", "AR-101-0005": "ALL-RISE-101-0005"}
