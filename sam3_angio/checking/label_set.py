"""The labels of one frame, as the checks see them.

Conventions
-----------
Points are ``[x, y]`` in frame pixels. A label that cannot be read is absent here: who reads it for
its own sake tells why.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam3_angio.errors import DataError
from sam3_angio.label_mask import Mask, read_mask
from sam3_angio.medis import Points, SegmentContour, contour_polygon, read_contour

_MIN_POINTS = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelSet:
    """What the label files of a frame hold.

    Attributes
    ----------
    contour : SegmentContour or None
    mask, tree : (R, C) ndarray of bool or None
        Of the segment at the frame's size; the pseudo-label at its own.
    shape : tuple of int or None
        Rows and columns of the frame, where known.
    """

    contour: SegmentContour | None
    mask: Mask | None
    tree: Mask | None
    shape: tuple[int, int] | None

    @property
    def polygon(self) -> Points:
        """The segment's outline; no points where there is none."""
        return contour_polygon(self.contour) if self.contour else np.empty((0, 2))

    @property
    def line(self) -> Points:
        """The file's centre line, or the middle of edges of equal length; may have no points."""
        if self.contour is None:
            return np.empty((0, 2))
        contour = self.contour
        if len(contour.centerline) >= _MIN_POINTS:
            return contour.centerline
        if len(contour.left_edge) == len(contour.right_edge) >= _MIN_POINTS:
            middle: Points = (contour.left_edge + contour.right_edge) / 2
            return middle
        return np.empty((0, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPaths:
    """Where the labels of a frame are; None for a label that the frame has not."""

    contour: Path | None
    mask: Path | None
    tree: Path | None


def read_labels(paths: LabelPaths, shape: tuple[int, int] | None) -> LabelSet:
    """Read the labels of a frame of `shape` (rows, columns)."""
    return LabelSet(
        contour=contour_of(paths.contour),
        mask=_mask(paths.mask),
        tree=_mask(paths.tree),
        shape=shape,
    )


def contour_of(path: Path | None) -> SegmentContour | None:
    """Return the contour in a file; None where there is no file, or none that can be read."""
    if path is not None:
        with suppress(DataError):
            return read_contour(path)
    return None


def _mask(path: Path | None) -> Mask | None:
    if path is not None:
        with suppress(DataError):
            return read_mask(path).mask
    return None
