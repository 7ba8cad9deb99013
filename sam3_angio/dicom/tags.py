"""The elements that are read, by tag; transfer syntaxes; and the error that names an element.

A tag is one integer, ``0xGGGGEEEE``. Keywords and representations are those of PS3.6.
"""

from __future__ import annotations

from collections.abc import Mapping

#: The elements that are read: keyword and value representation by tag (PS3.6).
WANTED: Mapping[int, tuple[str, str]] = {
    0x00080016: ("SOPClassUID", "UI"),
    0x00080060: ("Modality", "CS"),
    0x00181110: ("DistanceSourceToDetector", "DS"),
    0x00181111: ("DistanceSourceToPatient", "DS"),
    0x00181114: ("EstimatedRadiographicMagnificationFactor", "DS"),
    0x00181164: ("ImagerPixelSpacing", "DS"),
    0x00181500: ("PositionerMotion", "CS"),
    0x00181510: ("PositionerPrimaryAngle", "DS"),
    0x00181511: ("PositionerSecondaryAngle", "DS"),
    0x00181520: ("PositionerPrimaryAngleIncrement", "DS"),
    0x00181521: ("PositionerSecondaryAngleIncrement", "DS"),
    0x00181600: ("ShutterShape", "CS"),
    0x00181602: ("ShutterLeftVerticalEdge", "IS"),
    0x00181604: ("ShutterRightVerticalEdge", "IS"),
    0x00181606: ("ShutterUpperHorizontalEdge", "IS"),
    0x00181608: ("ShutterLowerHorizontalEdge", "IS"),
    0x0020000D: ("StudyInstanceUID", "UI"),
    0x00280002: ("SamplesPerPixel", "US"),
    0x00280004: ("PhotometricInterpretation", "CS"),
    0x00280008: ("NumberOfFrames", "IS"),
    0x00280010: ("Rows", "US"),
    0x00280011: ("Columns", "US"),
    0x00280100: ("BitsAllocated", "US"),
    0x00280101: ("BitsStored", "US"),
    0x00280102: ("HighBit", "US"),
    0x00280103: ("PixelRepresentation", "US"),
    0x00280301: ("BurnedInAnnotation", "CS"),
    0x00281040: ("PixelIntensityRelationship", "CS"),
    0x00281050: ("WindowCenter", "DS"),
    0x00281051: ("WindowWidth", "DS"),
    0x00281052: ("RescaleIntercept", "DS"),
    0x00281053: ("RescaleSlope", "DS"),
    0x00281056: ("VOILUTFunction", "CS"),
    0x00283002: ("LUTDescriptor", "US"),  # inside a LUT sequence
    0x00283006: ("LUTData", "OW"),  # inside a LUT sequence
    0x00283010: ("VOILUTSequence", "SQ"),
    0x7FE00001: ("ExtendedOffsetTable", "OV"),
    0x7FE00002: ("ExtendedOffsetTableLengths", "OV"),
}

PIXEL_DATA = 0x7FE00010
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
IMPLICIT = "1.2.840.10008.1.2"


class UnreadableError(Exception):
    """What a run's file has that cannot be trusted; the reader turns it into a ``DataError``.

    Parameters
    ----------
    field : str
        Element, such as ``Rows (0028,0010)``, or part of the file.
    message : str
        What was found and what was expected; no personal value.
    fix : str
        What to do about it.
    """

    def __init__(self, field: str, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.fix = fix


def vr_of(tag: int) -> str:
    """Return the representation of a wanted element, UN for any other."""
    return WANTED[tag][1] if tag in WANTED else "UN"


def tag_text(tag: int) -> str:
    """Return a tag as people write it, with its keyword where it has one.

    Examples
    --------
    >>> tag_text(0x00280010)
    'Rows (0028,0010)'
    """
    number = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return f"{WANTED[tag][0]} {number}" if tag in WANTED else number
