"""An import's summary for the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from sam3_angio.anatomy import segments
from sam3_angio.fault_list import render_faults
from sam3_angio.intake.importing import ImportSummary


def render_summary(summary: ImportSummary) -> RenderableType:
    """Return counts, the check of the angles' sign, and the warnings."""
    counts = Table(box=box.SIMPLE, show_header=False)
    angles = f"{summary.primary_sign}: {summary.angles}"
    for name, value in (
        ("analysed frames", str(summary.rows)),
        ("patients", str(summary.patients)),
        ("runs", str(summary.runs)),
        ("arteries", _listed(summary.arteries)),
        ("views", _listed(summary.views)),
        ("segments", _listed((segments()[cass].name, n) for cass, n in summary.segments)),
        ("without pseudo-label", str(summary.without_pseudo_label)),
        ("without contour", str(summary.without_contour)),
        ("without mask", str(summary.without_mask)),
        ("primary angle against DICOM", angles),
    ):
        counts.add_row(name, value)
    return Group(counts, render_faults(summary.warnings)) if summary.warnings else counts


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts)
