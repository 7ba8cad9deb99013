"""One row of a data set with the content of its files, as the checks see it."""

from __future__ import annotations

from dataclasses import dataclass

from sam3_angio.acquisition import ViewAngle
from sam3_angio.checking.acquisition import Acquired
from sam3_angio.checking.label_set import LabelPaths, LabelSet, read_labels
from sam3_angio.intake.conflicts import SurveyedRow
from sam3_angio.intake.survey import header_view
from sam3_angio.medis import SegmentContour


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A row and what its files hold.

    Attributes
    ----------
    surveyed : SurveyedRow
        The row and its run's facts.
    labels : LabelSet
        Of its frame.
    """

    surveyed: SurveyedRow
    labels: LabelSet

    @property
    def contour(self) -> SegmentContour | None:
        """The contour, where there is a readable one."""
        return self.labels.contour

    @property
    def acquired(self) -> Acquired:
        """How the frame was taken."""
        row, facts = self.surveyed.row, self.surveyed.facts
        return Acquired(
            header=facts.header if facts else None,
            view=header_view(self.surveyed),
            table_view=ViewAngle(primary_deg=row.primary_deg, secondary_deg=row.secondary_deg),
            cass_segment=row.cass_segment,
            calibration=self.contour.calibration if self.contour else None,
        )


def load_case(surveyed: SurveyedRow) -> Case:
    """Read the labels of a row."""
    found, facts = surveyed.paths, surveyed.facts
    paths = LabelPaths(contour=found.contour, mask=found.mask, tree=found.pseudo_label)
    shape = (facts.header.rows, facts.header.columns) if facts else None
    return Case(surveyed=surveyed, labels=read_labels(paths, shape))
