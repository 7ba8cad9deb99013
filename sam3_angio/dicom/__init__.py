"""XA runs: one frame, its display mapping and its geometry, read fast and safely."""

from sam3_angio.dicom.reader import XAFrame, read_frame, read_run_header

__all__ = ["XAFrame", "read_frame", "read_run_header"]
