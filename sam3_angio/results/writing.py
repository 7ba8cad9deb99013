"""Writing all results of an analysed frame into a folder."""

from __future__ import annotations

from pathlib import Path

from sam3_angio.files import replacing_entries, write_bytes, write_json, write_text
from sam3_angio.results.analysis import FrameAnalysis
from sam3_angio.results.measurement_report import measurement_report
from sam3_angio.results.numbers import analysis_numbers
from sam3_angio.results.overlay import overlay_png
from sam3_angio.results.page import page
from sam3_angio.results.segmentation import Geometry, segmentation
from sam3_angio.results.source import reference_header

SEGMENTATION, REPORT = "segmentation.dcm", "measurements.dcm"
NUMBERS, OVERLAY, PAGE = "analysis.json", "overlay.png", "index.html"


def write_analysis(
    analysis: FrameAnalysis,
    out_dir: Path,
    *,
    identified: bool = False,
    geometry: Geometry = "nominal",
) -> tuple[Path, ...]:
    """Write ``index.html, overlay.png, analysis.json, segmentation.dcm, measurements.dcm``.

    All or nothing; other files in the folder stay.

    Parameters
    ----------
    analysis : FrameAnalysis
    out_dir : Path
        Made where missing.
    identified : bool
        Keep patient and study in the DICOM objects, so that an archive files them with their
        study. The other files never have them.
    geometry : {"nominal", "strict"}
        Of the segmentation, see :mod:`sam3_angio.results.segmentation`.

    Returns
    -------
    tuple of Path
        What was written, the page first.

    Raises
    ------
    DataError
        The run or the frame cannot be referred to.
    """
    header = reference_header(analysis.source, analysis.name, identified=identified)
    masks = segmentation(analysis, header, geometry)
    report = measurement_report(analysis, header, masks)
    picture = overlay_png(analysis)
    with replacing_entries(out_dir, last=PAGE) as staged:
        masks.save_as(staged / SEGMENTATION)
        report.save_as(staged / REPORT)
        write_json(staged / NUMBERS, analysis_numbers(analysis))
        write_bytes(staged / OVERLAY, picture)
        write_text(staged / PAGE, page(analysis))
    return tuple(out_dir / name for name in (PAGE, OVERLAY, NUMBERS, SEGMENTATION, REPORT))
