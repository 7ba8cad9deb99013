"""Tables of patients: a site's before its import, a manifest, others with patients' names."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sam3_angio.disclosure.text import is_text

#: Of a site's table and of the manifest: so many of them make a table one of these.
_COLUMNS = frozenset(
    [
        *("patient_id", "vessel_pattern", "phase", "frame_index", "cass_segment"),
        *("cass_segment_original", "primary_angle", "secondary_angle", "primary_deg"),
        *("deepsa_pseudo_label_path", "dicom_path", "medis_contour_path", "medis_mask_path"),
        *("secondary_deg", "dicom", "dicom_bytes", "dicom_sha256", "pseudo_label"),
    ]
)
_TELLING = ("patient_id", "dicom_path", "dicom")
_MIN_COLUMNS = 4
#: Columns that only a table of patients has, whatever else is in it.
_PERSONAL_COLUMNS = frozenset(
    ["patientname", "patientsname", "patientbirthdate", "patientsbirthdate", "otherpatientids"]
)
#: Of a spreadsheet, or of HTML.
_CELL = re.compile(rb">\s*patient_id\s*</")
_CLUES_OF_HEADERS = (b"patient", b"dicom")
_MAX_HEADER_BYTES = 4096
_SEPARATORS = ",;\t|"


def holds_table(content: bytes) -> bool:
    r"""Tell whether bytes hold a site's table or a manifest, or another with patients' names.

    A header counts with a row beneath it; so do both names of columns in a binary file, or as the
    cells of a sheet.

    Examples
    --------
    >>> holds_table(b"patient_id;vessel_pattern;phase;frame_index\nA 17;MID RCA;INDEX;3\n")
    True
    """
    has_columns = b"patient_id" in content and b"vessel_pattern" in content
    if has_columns and (_CELL.search(content) or not is_text(content)):
        return True
    return any(map(_is_header, _header_lines(content)))


def _header_lines(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield lines that may be a header, each with the line below."""
    small = content.lower()
    for clue in _CLUES_OF_HEADERS:
        place = small.find(clue)
        while place >= 0:
            start, end = content.rfind(b"\n", 0, place) + 1, content.find(b"\n", place)
            if end < 0:
                break
            if end - start <= _MAX_HEADER_BYTES:
                below = content[end + 1 : end + 1 + _MAX_HEADER_BYTES].lstrip(b"\r\n")
                row = below.split(b"\n", 1)[0]
                yield content[start:end].decode("utf-8", "replace"), row.decode("utf-8", "replace")
            place = small.find(clue, end)


def _is_header(lines: tuple[str, str]) -> bool:
    for separator in _SEPARATORS:
        header, row = (
            [field.strip(" \t\r\"'\ufeff") for field in line.split(separator)] for line in lines
        )
        if len(header) < 2 or len(row) < len(header):
            continue
        names = [field.lower() for field in header]
        known = _COLUMNS.intersection(names)
        plain = {re.sub(r"[ _']", "", one) for one in names}
        is_known = len(known) >= _MIN_COLUMNS and not known.isdisjoint(_TELLING)
        is_named = bool(plain & _PERSONAL_COLUMNS) and all(one[:1].isalpha() for one in names)
        if (is_known or is_named) and any(row):
            return True
    return False
