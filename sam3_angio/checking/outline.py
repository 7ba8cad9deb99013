"""A contour's lines against each other: centre line, edges, ideal edges.

Conventions
-----------
Points are ``[x, y]`` in frame pixels. Faults of the outline itself (self-crossing, opposite edges,
points outside the frame) are found by :func:`sam3_angio.medis.contour_faults`.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from sam3_angio.checking.finding import Notes
from sam3_angio.checking.label_set import LabelSet
from sam3_angio.medis import Points, SegmentContour, polygon_mask
from sam3_angio.path_columns import CONTOUR

_FIX = "Export the contour again, or remove it from the table."
#: A step along a line that is so much longer than the others is a misplaced point.
_JUMP_TIMES, _JUMP_PX = 8.0, 8.0
_INSIDE = 0.8
#: The centre line may end before the edges, or behind them, by this much.
_END_WIDTHS, _END_PX = 1.5, 4.0
#: Difference of its distances from the two edges, as a share of their sum. Of 442 sound contours of
#: a phantom the most is 0.13; an edge moved by a quarter of the width gives 0.33, in bends 0.2.
_BESIDE_MIDDLE = 0.18
#: An ideal edge further from the drawn one than this many widths belongs elsewhere.
_MOST_WIDTHS = 3.0


def outline_findings(labels: LabelSet, notes: Notes) -> None:
    """Note lines of a contour that contradict each other."""
    contour = labels.contour
    if contour is None:
        return
    if contour.frame_num is None:
        found = "the contour has no frame_num, so that frame_index cannot be proved."
        notes.warning(CONTOUR, found, "frame_num, the analysed frame, counted from 0", _FIX)
    for name in ("centerline", "left_edge", "right_edge", "ideal_left_edge", "ideal_right_edge"):
        _steps(name, getattr(contour, name), notes)
    if len(contour.left_edge) > 1 and len(contour.right_edge) > 1:
        _centre_line(labels, contour, notes)
        _ideal_edges(contour, notes)


def _steps(name: str, line: Points, notes: Notes) -> None:
    if len(line) < 4:
        return
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    longest, usual = float(steps.max()), float(np.median(steps))
    if longest > max(_JUMP_TIMES * usual, _JUMP_PX):
        found = f"{name} jumps by {longest:.0f} px after point {int(steps.argmax())}."
        notes.warning(CONTOUR, found, f"steps of about {usual:.1f} px", _FIX)


def _centre_line(labels: LabelSet, contour: SegmentContour, notes: Notes) -> None:
    line = contour.centerline
    if len(line) < 2:
        return
    first = (contour.left_edge[0] + contour.right_edge[0]) / 2
    last = (contour.left_edge[-1] + contour.right_edge[-1]) / 2
    along = np.linalg.norm(line[0] - first) + np.linalg.norm(line[-1] - last)
    across = np.linalg.norm(line[0] - last) + np.linalg.norm(line[-1] - first)
    if along > across:
        found = "the centre line runs against the edges."
        notes.error(CONTOUR, found, "lines that begin at the same end", _FIX)
    else:
        _ends(line, contour, notes)
    _middle(line, contour, notes)
    if labels.shape is None:
        return
    inside = polygon_mask(labels.polygon, labels.shape)
    limit = np.array([labels.shape[1], labels.shape[0]]) - 1
    columns, rows = np.clip(np.rint(line).astype(int), 0, limit).T
    share = float(inside[rows, columns].mean())
    if inside.any() and share < _INSIDE:
        found = f"{100 * (1 - share):.0f} % of the centre line lie outside the edges."
        notes.error(CONTOUR, found, "a centre line between its edges", _FIX)


def _ends(line: Points, contour: SegmentContour, notes: Notes) -> None:
    """Note a centre line that is much shorter, or longer, than the edges."""
    edges = np.stack([contour.left_edge[[0, -1]], contour.right_edge[[0, -1]]])
    # where one edge is cut off, the width is true at the other end alone
    width = min(float(np.linalg.norm(edges[0, at] - edges[1, at])) for at in (0, -1))
    for name, at in (("begins", 0), ("ends", -1)):
        apart = float(np.linalg.norm(line[at] - edges[:, at].mean(axis=0)))
        if apart > max(_END_WIDTHS * width, _END_PX):
            found = f"the centre line {name} {apart:.0f} px from where the edges do."
            notes.warning(CONTOUR, found, "a centre line as long as its edges", _FIX)


def _middle(line: Points, contour: SegmentContour, notes: Notes) -> None:
    """Note edges of which one runs closer to the centre line than the other."""
    left, right = (
        float(np.mean(cKDTree(_refined(edge)).query(line)[0]))
        for edge in (contour.left_edge, contour.right_edge)
    )
    if abs(left - right) > _BESIDE_MIDDLE * (left + right) and max(left, right) > 1:
        found = f"the edges run {left:.1f} px and {right:.1f} px from the centre line."
        notes.warning(CONTOUR, found, "a centre line in the middle of its edges", _FIX)


def _refined(line: Points) -> Points:
    """Return a line with points between its points, four for each."""
    places = np.linspace(0, len(line) - 1, 4 * len(line))
    known = np.arange(len(line))
    return np.stack([np.interp(places, known, line[:, axis]) for axis in (0, 1)], axis=1)


def _ideal_edges(contour: SegmentContour, notes: Notes) -> None:
    lengths = {len(contour.ideal_left_edge), len(contour.ideal_right_edge)}
    if lengths == {0}:
        return
    drawn = len(contour.left_edge), len(contour.right_edge)
    if lengths != set(drawn):
        return
    width = float(np.linalg.norm(contour.left_edge - contour.right_edge, axis=1).mean())
    sides = (
        ("left", contour.ideal_left_edge, contour.left_edge, contour.right_edge),
        ("right", contour.ideal_right_edge, contour.right_edge, contour.left_edge),
    )
    for name, ideal, own, other in sides:
        apart = float(np.linalg.norm(ideal - own, axis=1).mean())
        if apart > _MOST_WIDTHS * max(width, 1.0):
            found = f"ideal_{name}_edge lies {apart:.0f} px from {name}_edge."
            notes.warning(CONTOUR, found, "a reference beside the drawn edge", _FIX)
        elif apart > np.linalg.norm(ideal - other, axis=1).mean():
            found = f"ideal_{name}_edge lies at the other edge."
            notes.error(CONTOUR, found, "ideal edges on the side of the drawn ones", _FIX)
