"""An analysed frame for the tests of the results: a drawn vessel with one stenosis in a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from xa_files import pictures, write_run

from sam3_angio.acquisition import PixelSpacing, ViewAngle
from sam3_angio.qca import measure, profile_from_mask
from sam3_angio.results import (
    FrameAnalysis,
    LesionFinding,
    SegmentFinding,
    TreeFinding,
    read_source,
)

SPACING = PixelSpacing(row_mm=0.2, column_mm=0.25, source="sod_sid")
PLANTED = {
    "PatientName": "Planted^Name",
    "PatientID": "PLANTED-0815",
    "PatientBirthDate": "19470317",
    "PatientSex": "F",
    "StudyDate": "20190704",
    "StudyTime": "101112",
    "StudyID": "PLANTED-STUDY",
    "AccessionNumber": "PLANTED-ACC",
    "ReferringPhysicianName": "Planted^Physician",
    "StudyDescription": "Planted description",
    "InstitutionName": "Planted Hospital",
    "OperatorsName": "Planted^Operator",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.2",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.3",
}


def vessel(rows=96, columns=128):
    """Return a horizontal vessel 12 pixels wide that narrows to 6 in its middle."""
    y, x = np.mgrid[:rows, :columns]
    half = 6 - 3 * np.exp(-(((x - 60) / 8.0) ** 2))
    return (np.abs(y - 48) <= half) & (x > 5) & (x < 120)


def run_file(folder, **changes):
    """Write a run of six frames with planted personal values; return its path."""
    return write_run(folder / "Planted run.dcm", pictures(), 8, **(PLANTED | changes))


def analysis_case(folder, **changes):
    """Return an analysis of frame 3: a tree, two segments of which one is measured, a lesion."""
    tree = vessel()
    first, second = tree.copy(), tree.copy()
    first[:, 100:], second[:, :95] = False, False
    lesion = tree.copy()
    lesion[:, :50] = lesion[:, 70:] = False
    qca = measure(profile_from_mask(first, SPACING, start_px=(6, 48)))
    analysis = FrameAnalysis(
        name="run-0001",
        source=read_source(run_file(folder), name="run-0001"),
        frame_index=3,
        frame_reason="given",
        picture=pictures()[3],
        view=ViewAngle(primary_deg=-30, secondary_deg=20),
        spacing=SPACING,
        tree=TreeFinding(mask=tree, score=0.97),
        segments=(
            SegmentFinding(cass=12, mask=first, score=0.91, qca=qca),
            SegmentFinding(cass=9, mask=second, score=0.55, qca=None),
        ),
        lesions=(LesionFinding(mask=lesion, score=0.6, cass=12),),
        model="phase4 0123456789ab",
    )
    return replace(analysis, **changes)
