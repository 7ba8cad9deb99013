"""One row of a data set with the content of its files, as the checks see it.

Conventions
-----------
Points are ``[x, y]`` in frame pixels. A label that cannot be read is absent here: the survey of
the files has told why.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam3_angio.dicom.header import RunHeader
from sam3_angio.errors import DataError
from sam3_angio.intake.conflicts import SurveyedRow
from sam3_angio.label_mask import Mask, read_mask
from sam3_angio.medis import Points, SegmentContour, contour_polygon, read_contour

_MIN_POINTS = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A row and what its files hold.

    Attributes
    ----------
    surveyed : SurveyedRow
        The row and its run's facts.
    contour : SegmentContour or None
    mask, tree : (R, C) ndarray of bool or None
        Of the segment at the frame's size; the pseudo-label at its own.
    """

    surveyed: SurveyedRow
    contour: SegmentContour | None
    mask: Mask | None
    tree: Mask | None

    @property
    def header(self) -> RunHeader | None:
        """The run's header, where it is readable."""
        return self.surveyed.facts.header if self.surveyed.facts else None

    @property
    def shape(self) -> tuple[int, int] | None:
        """Rows and columns of the frame, where known."""
        return (self.header.rows, self.header.columns) if self.header else None

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


def load_case(surveyed: SurveyedRow) -> Case:
    """Read the labels of a row."""
    paths = surveyed.paths
    contour = None
    if paths.contour:
        with suppress(DataError):
            contour = read_contour(paths.contour)
    return Case(
        surveyed=surveyed,
        contour=contour,
        mask=_mask(paths.mask),
        tree=_mask(paths.pseudo_label),
    )


def _mask(path: Path | None) -> Mask | None:
    if path is not None:
        with suppress(DataError):
            return read_mask(path).mask
    return None
