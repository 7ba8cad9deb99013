"""Patients' data where none may be: what a commit, or the whole history, would disclose.

Looked for are DICOM files, whatever they are called and however they are packed; tables of a site
and manifests; dumps of patients' elements; names as DICOM writes them; and what is known of this
data set alone: the identifiers and folders of its manifest, its salt, and the expressions of
``.private-patterns``, a file that Git does not track, of one regular expression a line. A phantom's
identifiers are nobody's: they may pass.

Conventions
-----------
A fault never repeats what was found, nor a path that holds it.
"""

from sam3_angio.disclosure.data_set import PATTERNS_FILE, data_set_secrets, known_of
from sam3_angio.disclosure.dicom_traces import holds_dicom, is_dicom
from sam3_angio.disclosure.packed import unpacked
from sam3_angio.disclosure.personal import INVENTED_FILE, Invented, read_invented
from sam3_angio.disclosure.repository import (
    disclosures,
    history_disclosures,
    staged_disclosures,
)
from sam3_angio.disclosure.spelling import Secrets, spellings

__all__ = [
    "INVENTED_FILE",
    "PATTERNS_FILE",
    "Invented",
    "Secrets",
    "data_set_secrets",
    "disclosures",
    "history_disclosures",
    "holds_dicom",
    "is_dicom",
    "known_of",
    "read_invented",
    "spellings",
    "staged_disclosures",
    "unpacked",
]
