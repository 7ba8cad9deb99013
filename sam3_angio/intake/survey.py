"""Every file that a table's rows name, and what is wrong with rows and files together.

What an import refuses and what a check tells is found here, once.

Conventions
-----------
Nothing is raised for a fault of the data: all faults are in the result, as faults of the table's
rows. A run that several rows share is read once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sam3_angio.acquisition import ViewAngle
from sam3_angio.errors import Fault
from sam3_angio.intake.angles import AngleCheck, check_angles
from sam3_angio.intake.conflicts import SurveyedRow, find_conflicts
from sam3_angio.intake.files import (
    NO_SUCH_FILE,
    RowPaths,
    RunFacts,
    check_labels,
    find_paths,
    run_facts,
    run_faults,
)
from sam3_angio.intake.paths import SitePaths
from sam3_angio.intake.table import PrimarySign, SiteRow, SiteTable
from sam3_angio.path_columns import CONTOUR, DICOM, MASK, PSEUDO_LABEL
from sam3_angio.progress import in_threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found in the files of a table.

    Attributes
    ----------
    rows : tuple of SurveyedRow
        All rows, in the order of the table.
    angles : AngleCheck
        The table's primary angle against the headers.
    faults : tuple of Fault
        Of files, angles, and between rows; those of the table's own fields are not among them.
    """

    rows: tuple[SurveyedRow, ...]
    angles: AngleCheck
    faults: tuple[Fault, ...]


def survey_site(
    table: SiteTable,
    paths: SitePaths,
    dicom_root: Path,
    primary_sign: PrimarySign,
    processes: int,
) -> Survey:
    """Find the files of a site's table and look at every one.

    Parameters
    ----------
    table : SiteTable
    paths : SitePaths
        Finds the files that the table's paths mean.
    dicom_root : Path
        Folder in which all runs lie.
    primary_sign : {"RAO+", "LAO+"}
        The table's convention, as stated; for faults.
    processes : int
        Files that are read at once; 0 for one a core.
    """
    places = [find_paths(table.name, row, paths, dicom_root) for row in table.rows]
    missing = _unmapped(table, [fault for _, found in places for fault in found])
    rows = [(row, found) for row, (found, _) in zip(table.rows, places, strict=True)]
    survey = survey_rows(table.name, rows, primary_sign, processes)
    return Survey(rows=survey.rows, angles=survey.angles, faults=(*missing, *survey.faults))


def survey_rows(
    table: str,
    rows: Sequence[tuple[SiteRow, RowPaths]],
    primary_sign: PrimarySign,
    processes: int,
) -> Survey:
    """Look at every file of rows whose files are known.

    Parameters
    ----------
    table : str
        File name of the table, for faults.
    rows : sequence of (SiteRow, RowPaths)
    primary_sign : {"RAO+", "LAO+"}
        As in :func:`survey_site`.
    processes : int
        As in :func:`survey_site`.
    """
    files = sorted({found.dicom for _, found in rows if found.dicom})
    facts = dict(zip(files, in_threads(run_facts, files, processes, "Runs"), strict=True))

    def surveyed(item: tuple[SiteRow, RowPaths]) -> SurveyedRow:
        row, found = item
        known = facts[found.dicom] if found.dicom else None
        run = known if isinstance(known, RunFacts) else None
        shape = (run.header.rows, run.header.columns) if run else None
        labels = check_labels(table, row, found, shape)
        return SurveyedRow(row=row, paths=found, facts=run, labels=labels)

    done = in_threads(surveyed, rows, processes, "Labels")
    faults: list[Fault] = []
    for row in done:
        known = facts.get(row.paths.dicom) if row.paths.dicom else None
        faults += [*(run_faults(table, row.row, known) if known else ()), *row.labels.faults]
    angles, angle_faults = check_angles(
        table, [(row.row, header_view(row)) for row in done if _has_frame(row)], primary_sign
    )
    faults += [*angle_faults, *find_conflicts(table, done)]
    return Survey(rows=tuple(done), angles=angles, faults=tuple(faults))


def header_view(row: SurveyedRow) -> ViewAngle | None:
    """Return the view that the run's header gives for a row's frame; None where it has none."""
    if row.facts is None or not _has_frame(row):
        return None
    return row.facts.header.view(row.row.frame_index)


def _has_frame(row: SurveyedRow) -> bool:
    return row.facts is not None and 0 <= row.row.frame_index < row.facts.header.frames


def _unmapped(table: SiteTable, faults: Sequence[Fault]) -> list[Fault]:
    """Put one error in the place of a column's many: its folder was not mapped.

    Single files may be missing; a column of which most files are missing is another matter.
    """
    given = {
        DICOM: sum(bool(row.dicom_path) for row in table.rows),
        PSEUDO_LABEL: sum(bool(row.pseudo_label_path) for row in table.rows),
        CONTOUR: sum(bool(row.contour_path) for row in table.rows),
        MASK: sum(bool(row.mask_path) for row in table.rows),
    }
    absent = Counter(fault.field for fault in faults if fault.message == NO_SUCH_FILE)
    unmapped = [column for column, count in given.items() if absent[column] > max(1, count / 2)]
    return [
        *(
            Fault(
                file=table.name,
                field=column,
                message=f"{absent[column]} of {given[column]} files do not exist.",
                fix="Check the --map options: PREFIX=FOLDER.",
            )
            for column in unmapped
        ),
        *(f for f in faults if f.field not in unmapped or f.message != NO_SUCH_FILE),
    ]
