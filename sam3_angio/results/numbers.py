"""Every number of an analysed frame as plain values for JSON and the page.

Nothing here is taken from the run's header but what the reader measured: no name, date or unique
identifier. A figure that is not finite becomes null.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from importlib.metadata import version

import numpy as np

from sam3_angio.anatomy import segments
from sam3_angio.results.analysis import NOTICE, BoolArray, FrameAnalysis, SegmentFinding


def analysis_numbers(analysis: FrameAnalysis) -> dict[str, object]:
    """Return the numbers and what they rest on.

    Parameters
    ----------
    analysis : FrameAnalysis

    Returns
    -------
    dict
        ``notice, name, model, software, frame_index, frame_reason, rows, columns, view, scale,
        tree, segments, lesions``; `scale` has ``row_mm``, ``column_mm`` and ``source``, and every
        ``qca`` repeats the source. ``rivals`` of a segment are the CASS numbers that the model
        gave the same vessel with less certainty.
    """
    view, size = analysis.view, analysis.spacing
    rows, columns = analysis.picture.shape
    angles = None if view is None else {**asdict(view), "text": str(view)}
    values = {
        "notice": NOTICE,
        "name": analysis.name,
        "model": analysis.model,
        "software": f"sam3-angio {version('sam3-angio')}",
        "frame_index": analysis.frame_index,
        "frame_reason": analysis.frame_reason,
        "rows": rows,
        "columns": columns,
        "view": angles,
        "scale": {"row_mm": size.row_mm, "column_mm": size.column_mm, "source": size.source},
        "tree": {"score": analysis.tree.score, **_area(analysis.tree.mask)},
        "segments": [_segment(found, size.source) for found in analysis.segments],
        "lesions": [
            {"cass": found.cass, "score": found.score, **_area(found.mask)}
            for found in analysis.lesions
        ],
    }
    return {name: _plain(value) for name, value in values.items()}


def _segment(found: SegmentFinding, scale_source: str) -> dict[str, object]:
    segment = segments()[found.cass]
    qca = None if found.qca is None else {"scale_source": scale_source, **asdict(found.qca)}
    return {
        "cass": found.cass,
        "name": segment.name,
        "snomed": segment.snomed,
        "score": found.score,
        "rivals": found.rivals,
        **_area(found.mask),
        "qca": qca,
    }


def _area(mask: BoolArray) -> dict[str, object]:
    return {"area_px": int(mask.sum())}


def _plain(value: object) -> object:
    """Return a value that JSON has."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
