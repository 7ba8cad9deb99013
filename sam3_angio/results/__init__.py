"""Results of an analysed frame: DICOM Segmentation and report, JSON, overlay, page.

Make a :class:`FrameAnalysis` of what was found, then :func:`write_analysis`.
"""

from sam3_angio.results.analysis import (
    NOTICE,
    FrameAnalysis,
    LesionFinding,
    SegmentFinding,
    TreeFinding,
)
from sam3_angio.results.source import read_source
from sam3_angio.results.writing import write_analysis

__all__ = [
    "NOTICE",
    "FrameAnalysis",
    "LesionFinding",
    "SegmentFinding",
    "TreeFinding",
    "read_source",
    "write_analysis",
]
