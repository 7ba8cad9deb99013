"""Masks against the contour of the same frame: shifted, mirrored, turned, inverted.

A label that lies elsewhere trains without an error. A mask that fits its polygon badly is
compared in the eight symmetries of the square and in all translations; what fits far better
names the fault. The pseudo-label must at least run along the analysed segment.

Conventions
-----------
A shift is (columns, rows) by which the mask lies right of and below the polygon, in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.fft import irfft2, next_fast_len, rfft2

from sam3_angio.checking.finding import Notes
from sam3_angio.checking.label_set import LabelSet
from sam3_angio.label_mask import Mask, intersection_over_union
from sam3_angio.medis import Points, polygon_mask
from sam3_angio.path_columns import MASK, PSEUDO_LABEL

#: Mask and polygon that agree as well as this need no closer look; a border a pixel wide does.
GOOD_IOU = 0.95
#: Below this they hardly show the same segment: one edge moved by a quarter of the width gives 0.71
#: to 0.78 on a phantom, whose own masks have 0.99.
LOW_IOU = 0.8
_GAIN = 0.05
_LARGE_SHIFT_PX = 3

#: Share of the centre line below which the pseudo-label is compared with the picture more closely.
#: Of 441 right labels of a phantom two cover less (0.11 and 0.26), of 2646 of other patients 88 %.
LOW_COVERAGE = 0.3
#: Share below which it misses the segment, whatever the picture shows.
_MISSED = 0.05
_COVERAGE_GAIN = 0.4
#: A projected coronary tree covers 1 to 10 % of a frame.
_TREE_SHARE = (0.002, 0.35)

_SYMMETRIES = (
    "mirrored left to right",
    "mirrored top to bottom",
    "turned by 180°",
    "turned by 90° to the left",
    "turned by 90° to the right",
    "mirrored along a diagonal",
    "mirrored along the other diagonal",
)


def overlap_findings(labels: LabelSet, notes: Notes) -> None:
    """Note masks that do not lie where the contour does."""
    _segment(labels, notes)
    _tree(labels, notes)


def _segment(labels: LabelSet, notes: Notes) -> None:
    mask, polygon = labels.mask, labels.polygon
    if mask is None or mask.shape != labels.shape or not len(polygon) or not mask.any():
        return
    drawn = polygon_mask(polygon, mask.shape)
    iou = intersection_over_union(drawn, mask)
    if not drawn.any() or iou >= GOOD_IOU:
        return
    expected = f"the contour's polygon (they overlap by {iou:.2f})"
    fix = "Export mask and contour again, of the same frame."
    how, best = _best_symmetry(mask, drawn)
    if best > iou + 2 * _GAIN:
        notes.error(MASK, f"the mask is {how}.", expected, fix)
        return
    shift, shifted = best_shift(mask, drawn)
    if shifted > iou + _GAIN and any(shift):
        found = f"the mask is shifted by ({shift[0]}, {shift[1]}) px."
        is_large = max(map(abs, shift)) >= _LARGE_SHIFT_PX
        (notes.error if is_large else notes.warning)(MASK, found, expected, fix)
    elif iou < LOW_IOU:
        notes.warning(MASK, "the mask is another shape than the polygon.", expected, fix)


def symmetries(mask: Mask) -> Iterator[tuple[str, Mask]]:
    """Yield the other seven symmetries of a mask with their names, those of its shape alone."""
    sideways = mask.T
    turned = (
        mask[:, ::-1],
        mask[::-1],
        mask[::-1, ::-1],
        sideways[:, ::-1],
        sideways[::-1],
        sideways,
        sideways[::-1, ::-1],
    )
    # what undoes a turn to one side is the turn to the other
    for name, other in zip(_SYMMETRIES, turned, strict=True):
        if other.shape == mask.shape:
            yield name, other


def _best_symmetry(mask: Mask, drawn: Mask) -> tuple[str, float]:
    others = [
        *((name, intersection_over_union(drawn, other)) for name, other in symmetries(mask)),
        ("inverted: 1 is outside", intersection_over_union(drawn, ~mask)),
    ]
    return max(others, key=lambda one: one[1])


def best_shift(mask: Mask, drawn: Mask) -> tuple[tuple[int, int], float]:
    """Return the translation of a mask against a drawing that explains it best, and its IoU.

    The IoU of two masks grows with their common pixels alone, and cross-correlation counts these
    for all translations at once.

    Parameters
    ----------
    mask, drawn : (R, C) ndarray of bool
        Neither empty.
    """
    rows, columns = (next_fast_len(2 * side, real=True) for side in mask.shape)
    size = (rows, columns)
    common = irfft2(rfft2(mask, size) * np.conj(rfft2(drawn, size)), size)
    row, column = np.unravel_index(int(np.argmax(common)), size)
    most = round(float(common[row, column]))
    down = int(row) if row < rows // 2 else int(row) - rows
    right = int(column) if column < columns // 2 else int(column) - columns
    return (right, down), most / (int(mask.sum()) + int(drawn.sum()) - most)


def _tree(labels: LabelSet, notes: Notes) -> None:
    tree = labels.tree
    if tree is None or not tree.any() or tree.all():
        return
    share = float(tree.mean())
    if not _TREE_SHARE[0] <= share <= _TREE_SHARE[1]:
        found = f"the pseudo-label covers {100 * share:.1f} % of the frame."
        expected = "a vessel tree, about 1 to 10 %"
        is_inverted = share > 1 - _TREE_SHARE[1]
        note = notes.error if is_inverted else notes.warning
        note(PSEUDO_LABEL, found, expected, "Check whether 0 and 1 are swapped; make it again.")
        return
    if labels.shape is not None and len(labels.line):
        _along_the_segment(labels, tree, notes)


def segment_coverage(labels: LabelSet) -> float:
    """Return the share of the centre line on the pseudo-label; NaN where one is missing."""
    if labels.tree is None or labels.shape is None or not len(labels.line):
        return math.nan
    return _covered(labels.tree, _at_size(labels.line, labels.shape, labels.tree.shape))


def _along_the_segment(labels: LabelSet, tree: Mask, notes: Notes) -> None:
    points = _at_size(labels.line, labels.shape or tree.shape, tree.shape)
    own = _covered(tree, points)
    if own >= LOW_COVERAGE:
        return
    expected = f"the vessel tree of this frame (it covers {100 * own:.0f} % of the centre line)"
    fix = "Check that pseudo-label, run and frame_index belong together."
    how, best = max(
        ((name, _covered(other, points)) for name, other in symmetries(tree)),
        key=lambda one: one[1],
        default=("", 0.0),
    )
    if best > own + _COVERAGE_GAIN:
        notes.error(PSEUDO_LABEL, f"the pseudo-label looks {how}.", expected, fix)
    elif own < _MISSED:
        notes.warning(PSEUDO_LABEL, "the pseudo-label misses the analysed segment.", expected, fix)


def _at_size(points: Points, shape: tuple[int, int], size: tuple[int, ...]) -> Points:
    """Bring points of a frame into a picture of another size, pixel centre to pixel centre."""
    scale = np.array([size[1] / shape[1], size[0] / shape[0]])
    return np.asarray((points + 0.5) * scale - 0.5)


def _covered(mask: Mask, points: Points) -> float:
    """Return the share of points that lie on a mask."""
    limit = np.array([mask.shape[1], mask.shape[0]]) - 1
    columns, rows = np.clip(np.rint(points).astype(int), 0, limit).T
    return float(mask[rows, columns].mean())
