"""The labels of frames against each other: what ``convert`` asks before it converts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sam3_angio.checking.figures import figure_findings
from sam3_angio.checking.finding import CheckReport, Finding, Notes, as_of_manifest, in_order
from sam3_angio.checking.label_set import LabelPaths, LabelSet, read_labels
from sam3_angio.checking.outline import outline_findings
from sam3_angio.checking.overlap import overlap_findings
from sam3_angio.geometry_table import FrameGeometry
from sam3_angio.manifest import ManifestRow
from sam3_angio.progress import in_threads

_TABLE = "manifest.csv"


def label_findings(labels: LabelSet, notes: Notes) -> None:
    """Note lines, masks and measurements that contradict each other."""
    outline_findings(labels, notes)
    overlap_findings(labels, notes)
    figure_findings(labels, notes)


def check_labels(
    entries: Sequence[ManifestRow],
    geometry: Mapping[str, FrameGeometry],
    data: Path,
    processes: int = 0,
) -> CheckReport:
    """Check the labels of all frames; one that cannot be read is told where it is converted.

    Parameters
    ----------
    entries : sequence of ManifestRow
        The manifest.
    geometry : mapping of str to FrameGeometry
        By frame; of a frame that has none, what needs the frame's size is not asked.
    data : Path
        Folder that the manifest's label paths start from.
    processes : int
        Frames that are looked at at once; 0 for one a core.
    """

    def findings(numbered: tuple[int, ManifestRow]) -> list[Finding]:
        line, entry = numbered
        paths = LabelPaths(
            contour=data / entry.contour if entry.contour else None,
            mask=data / entry.mask if entry.mask else None,
            tree=data / entry.pseudo_label if entry.pseudo_label else None,
        )
        known = geometry.get(entry.frame_id)
        notes = Notes(file=_TABLE, row=line)
        label_findings(read_labels(paths, (known.rows, known.columns) if known else None), notes)
        return notes.findings

    numbered = list(enumerate(entries, start=2))  # line 1 is the header
    found = in_threads(findings, numbered, processes, "Checking labels")
    renamed = [replace(one, field=as_of_manifest(one.field)) for row in found for one in row]
    return CheckReport(rows=len(entries), findings=in_order(renamed))
