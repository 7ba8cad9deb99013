"""Invented people for the headers of the phantom: what a leak would show.

No name here belongs to anybody. They are unusual on purpose, so that a search for them in
everything that the pipeline writes finds leaks and nothing else.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from sam3_angio.phantom.xa_file import Identity

_FAMILY = (
    "Vélmorrow",
    "Ostrandik",
    "Quelbrooke",
    "Tharnwick",
    "Brannoch",
    "Isselgard",
    "Møldrup",
    "Wexelhart",
    "Járnsund",
    "Pellworthy",
    "Drosvane",
    "Üttermark",
    "Corvenholm",
    "Hallespont",
    "Zandrecht",
    "Fjelderup",
    "Marquillon",
    "Abernack",
    "Snellgrave",
    "Yorvasky",
    "Grünhalde",
    "Lothwaite",
    "Kestermann",
    "Ravelinck",
)
_GIVEN = (
    "Ilsebeth",
    "Thorvin",
    "Maruska",
    "Edelgund",
    "Corvin",
    "Annikarin",
    "Bertrun",
    "Osgodt",
    "Lunetta",
    "Wendelmar",
    "Hjördis",
    "Quirinus",
    "Sabeline",
    "Tancrede",
    "Ysoline",
    "Gernulf",
)
_INSTITUTIONS = ("St Quillon Heartcentre", "Vörnhagen Klinikum", "Marlisund Infirmary")


def patient_id(number: int) -> str:
    """Return a patient's identifier in the site's table.

    Examples
    --------
    >>> patient_id(25)
    'ALL RISE 101-0025'
    """
    return f"ALL RISE 101-{number:04d}"


def invented_identity(seed: int, number: int, sex: str) -> Identity:
    """Invent a patient and the circumstances of the procedure.

    Parameters
    ----------
    seed : int
        Of the data set.
    number : int
        Of the patient, from 1.
    sex : {"F", "M"}
        Of the patient.
    """
    generator = np.random.default_rng([seed, number, 1])
    family, given, physician, operator, reference = (
        str(generator.choice(names)) for names in (_FAMILY, _GIVEN, _FAMILY, _FAMILY, _FAMILY)
    )
    return Identity(
        name=f"{family}^{given}",
        hospital_id=f"HX{generator.integers(10**7, 10**8)}",
        birth=date(1932, 1, 1) + timedelta(days=int(generator.integers(0, 45 * 365))),
        sex=sex,
        examined=date(2021, 1, 4) + timedelta(days=int(generator.integers(0, 3 * 365))),
        accession=f"ACC{generator.integers(10**7, 10**8)}",
        institution=str(generator.choice(_INSTITUTIONS)),
        station=f"CATHLAB-{number % 3 + 1}",
        physician=f"{physician}^Prof",
        operator=f"{operator}^Nurse",
        remark=f"Discussed with {reference}",
    )


def planted_names(seed: int, patients: int) -> tuple[str, ...]:
    """Return every name and number of a person that a phantom's files carry, for leak searches.

    They are identifiers of patients (also without their prefix), names, hospital and request
    numbers and institutions; in the headers they are Latin-1.
    """
    found: set[str] = set()
    for number in range(1, patients + 1):
        person = invented_identity(seed, number, "F")
        for name in (person.name, person.physician, person.operator):
            found.add(name)
            found.add(name.split("^")[0])
        found.add(person.name.split("^")[1])
        found |= {person.hospital_id, person.accession, person.institution, person.remark}
        found |= {patient_id(number), patient_id(number).removeprefix("ALL RISE ")}
    return tuple(sorted(found))


def planted_dates(seed: int, patients: int) -> tuple[str, ...]:
    """Return the dates of birth and of procedures, as DICOM writes them (``19510309``).

    Eight digits also occur by chance in long numbers: search for them where no digit is beside.
    """
    found: set[str] = set()
    for number in range(1, patients + 1):
        person = invented_identity(seed, number, "F")
        found |= {day.strftime("%Y%m%d") for day in (person.birth, person.examined)}
    return tuple(sorted(found))
