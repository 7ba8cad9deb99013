"""Codes of what is found and measured (SNOMED CT, DICOM, UCUM), as PS3.16 has them.

Segments: CID 3014 through ``anatomy.csv``. Stenoses: CID 12119 and 3483; the reference diameter:
CID 3465. A segment without a code of its own is coded as coronary artery; its label names it.
"""

from __future__ import annotations

from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from sam3_angio.anatomy import segments


def _coded(value: str, scheme: str, meaning: str) -> CodedConcept:
    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)


CORONARY_ARTERY = _coded("41801008", "SCT", "Coronary artery")
ANATOMY = _coded("91723000", "SCT", "Anatomical Structure")
ABNORMALITY = _coded("49755003", "SCT", "Morphologically Abnormal Structure")
STENOSIS = _coded("415582006", "SCT", "Stenosis")
ANGIOGRAPHY = _coded("33367005", "SCT", "Coronary Arteriography")
ALGORITHM_FAMILY = _coded("123110", "DCM", "Artificial Intelligence")

LUMEN_DIAMETER = _coded("397413000", "SCT", "Vessel lumen diameter")
MINIMUM = _coded("255605001", "SCT", "Minimum")
INTERPOLATED_REFERENCE = _coded("122490", "DCM", "Interpolated Local Reference")
DIAMETER_STENOSIS = _coded("408715008", "SCT", "Lumen Diameter Stenosis")
AREA_STENOSIS = _coded("408714007", "SCT", "Lumen Area Stenosis")
LESION_LENGTH = _coded("408716009", "SCT", "Stenotic Lesion Length")
SEGMENT_LENGTH = _coded("122510", "DCM", "Length Luminal Segment")
PROBABILITY = _coded("122157", "DCM", "Probability")

MILLIMETRE = CodedConcept.from_code(codes.UCUM.Millimeter)
PERCENT = CodedConcept.from_code(codes.UCUM.Percent)
NO_UNIT = CodedConcept.from_code(codes.UCUM.NoUnits)


def segment_code(cass: int) -> CodedConcept:
    """Return a segment's SNOMED CT code.

    Examples
    --------
    >>> segment_code(12).value
    '68787002'
    """
    segment = segments()[cass]
    return _coded(segment.snomed, "SCT", segment.name) if segment.snomed else CORONARY_ARTERY
