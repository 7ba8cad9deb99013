"""The run that results refer to: reading its header, and what of it goes into new objects.

A DICOM segmentation or report repeats the patient's and the study's module of its source. By
default they are blanked, and say so (PS3.15 E.3; Patient Identity Removed, PS3.3 C.7.1.1): only
the unique identifiers stay, without which nobody could tell which run and frame are meant. With
identity, both modules are copied, so that an archive files the objects with their study.
"""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from sam3_angio.errors import DataError, Fault

_REFERENCE = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "Rows",
    "Columns",
)
_LOSSY = (
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
#: Type 2 elements of patient and study (PS3.3 C.7.1.1, C.7.2.1): always there, perhaps empty.
_IDENTITY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
_MORE_IDENTITY = (
    "SpecificCharacterSet",
    "IssuerOfPatientID",
    "OtherPatientIDsSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
)


def read_source(path: Path, *, name: str) -> Dataset:
    """Read a run's header, without its pixels.

    Parameters
    ----------
    path : Path
    name : str
        What the file is called in errors, since paths carry patients' names.

    Raises
    ------
    DataError
        The file cannot be read, or lacks what a reference to it needs.
    """
    try:
        dataset = dcmread(path, stop_before_pixels=True)
    except OSError as error:
        reason = error.strerror or "input or output error"
        raise DataError.at(name, f"the file cannot be read ({reason}).") from None
    except (InvalidDicomError, ValueError, KeyError, AttributeError, NotImplementedError):
        raise DataError.at(name, "it is no DICOM file that can be read.") from None
    require_reference(dataset, name)
    return dataset


def require_reference(dataset: Dataset, name: str) -> None:
    """Refuse a header that lacks what a reference to the run needs.

    Raises
    ------
    DataError
        Lists every missing element.
    """
    faults = [
        Fault(
            file=name,
            field=keyword,
            message="it is missing or empty or no unique identifier.",
            fix="Export the run again; a segmentation refers to its run by it.",
        )
        for keyword in _REFERENCE
        if not dataset.get(keyword)
        or (keyword.endswith("UID") and not UID(str(dataset.get(keyword))).is_valid)
    ]
    if faults:
        raise DataError("The run cannot be referred to.", faults)


def reference_header(source: Dataset, pseudonym: str, *, identified: bool) -> Dataset:
    """Return the part of a run's header that new objects may repeat.

    Parameters
    ----------
    source : Dataset
    pseudonym : str
        Patient's id where the identity is left out.
    identified : bool
        Whether to keep the patient's and the study's modules.
    """
    header = Dataset()
    kept = _IDENTITY + _MORE_IDENTITY if identified else ()
    for keyword in (*_REFERENCE, *_LOSSY, *kept):
        if keyword in source:
            header[keyword] = source[keyword]
    for keyword in _IDENTITY:
        if keyword not in header:
            setattr(header, keyword, "")
    if not identified:
        header.PatientID = pseudonym
        header.PatientIdentityRemoved = "YES"
        header.DeidentificationMethod = "Patient and study modules blanked, UIDs kept"
        header.SpecificCharacterSet = "ISO_IR 192"
    return header
