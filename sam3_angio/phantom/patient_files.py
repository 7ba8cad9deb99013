"""One patient of the phantom, from plan to files in the site's folders.

Conventions: everything is drawn from generators that are seeded by data set, patient, run and
frame, so that files do not depend on who writes them in which order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam3_angio.files import write_json
from sam3_angio.label_mask import write_mask
from sam3_angio.medis import polygon_mask
from sam3_angio.phantom.cases import PatientCase, RunCase, plan_patient
from sam3_angio.phantom.identity import invented_identity, patient_id
from sam3_angio.phantom.labels import FrameTruth
from sam3_angio.phantom.medis_file import contour_document, read_by_expert
from sam3_angio.phantom.pseudo_label import pseudo_label
from sam3_angio.phantom.run import RunPlan, SimulatedRun, simulate_run
from sam3_angio.phantom.site import SiteRow, run_path
from sam3_angio.phantom.truth_files import FrameRecord, record
from sam3_angio.phantom.xa_file import XARun, write_xa

# Every 40th patient is spelled in two ways in the table, as such tables happen to be.
_TWO_SPELLINGS_EVERY = 40
_TWO_SPELLINGS_FIRST = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFiles:
    """One analysed frame: its line in the site's table and its truth."""

    row: SiteRow
    truth: FrameRecord


def write_patient(export: Path, seed: int, number: int) -> list[FrameFiles]:
    """Simulate a patient and write all runs and labels.

    Parameters
    ----------
    export : Path
        The site's folder.
    seed : int
        Of the data set.
    number : int
        Of the patient, from 1.
    """
    case = plan_patient(seed, number)
    frames: list[FrameFiles] = []
    for index, run in enumerate(case.runs, start=1):
        film = simulate_run(_run_plan(case, run))
        path = run_path(patient_id(number), run.phase, run.name)
        (export / path).parent.mkdir(parents=True, exist_ok=True)
        write_xa(export / path, _stored(seed, case, index, film))
        for row_index, truth in enumerate(film.truths):
            row = _site_row(case, run, row_index)
            _write_labels(export, row, run, truth)
            frames.append(FrameFiles(row=row, truth=record(truth, film.geometry)))
    return frames


def _run_plan(case: PatientCase, run: RunCase) -> RunPlan:
    return RunPlan(
        heart=case.after if run.phase == "INDEX FINAL" else case.before,
        artery=run.artery,
        geometry=run.geometry,
        bits=run.bits,
        n_frames=run.frames,
        analysed=tuple((row.frame_index, row.cass) for row in run.rows),
        seed=run.seed,
    )


def _stored(seed: int, case: PatientCase, index: int, film: SimulatedRun) -> XARun:
    run, geometry = case.runs[index - 1], film.geometry
    sex = "F" if case.before.sex == "female" else "M"
    window = (film.window_centre, film.window_width)
    return XARun(
        identity=invented_identity(seed, case.number, sex),
        study=f"{seed} {case.number}",
        run=f"{seed} {case.number} {index}",
        number=index,
        pixels=film.pixels,
        bits=run.bits,
        view=None if "angles" in run.gaps else geometry.view,
        detector_spacing_mm=geometry.detector_spacing_mm,
        collimated=geometry.collimated,
        sid_mm=geometry.sid_mm,
        sod_mm=None if "sod" in run.gaps else geometry.sod_mm,
        magnification=None if "magnification" in run.gaps else geometry.sid_mm / geometry.sod_mm,
        window=None if "window" in run.gaps else window,
        frame_time_ms=film.frame_time_ms,
        transfer_syntax=run.transfer_syntax,
        offset_table="offsets" not in run.gaps,
    )


def _site_row(case: PatientCase, run: RunCase, row_index: int) -> SiteRow:
    row = run.rows[row_index]
    spelled = patient_id(case.number)
    # two spellings of one patient: the results were typed in by somebody else
    if case.number % _TWO_SPELLINGS_EVERY == _TWO_SPELLINGS_FIRST and run.phase == "INDEX FINAL":
        spelled = spelled.title().replace("-", "\N{EN DASH}")
    last = run is case.runs[-1] and row_index == len(run.rows) - 1
    return SiteRow(
        patient_id=spelled,
        vessel_pattern=row.vessel_pattern,
        phase=run.phase,
        frame_index=row.frame_index,
        cass=row.cass,
        view=run.geometry.view,
        run=run_path(patient_id(case.number), run.phase, run.name),
        has_pseudo_label=not (case.number == 1 and last),
    )


def _write_labels(export: Path, row: SiteRow, run: RunCase, truth: FrameTruth) -> None:
    if row.has_pseudo_label:
        # of the frame, so that two segments of one frame have the same
        generator = np.random.default_rng([run.seed, row.frame_index, 2])
        label = pseudo_label(truth.tree_mask, truth.catheter_mask, truth.field_mask, generator)
        write_mask(export / row.pseudo_label, label)
    generator = np.random.default_rng([run.seed, row.frame_index, 3, row.cass])
    reading = read_by_expert(truth, run.geometry, row.vessel_pattern, generator)
    document = contour_document(reading, truth, run.geometry)
    write_json(export / row.contour, document, indent=None)
    edges = (reading.contour.left_px, reading.contour.right_px[::-1])
    drawn = polygon_mask(np.concatenate(edges), truth.tree_mask.shape)
    write_mask(export / row.mask, drawn & truth.field_mask)
