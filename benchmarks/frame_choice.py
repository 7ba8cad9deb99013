"""How far the chosen frame is from the one that the site's table has analysed, and what it costs.

Run on a data folder with runs and ``manifest.csv``; every k-th run is taken. Beside the choice
stand two that need no pixels: the middle of the run and three quarters through it.

With ``--patients N`` the runs with a lesion of N patients are simulated again, so that the truth of
every frame is known, and the minimal lumen diameter (MLD) is measured on the frames that are
chosen and on those around the analyst's: on the frame's own pixels, guided by the segment's true
mask in that frame, so that no model has a part in it. Shown is the difference from the MLD that the
analyst's frame gives, and the error against the three-dimensional truth, mean and standard
deviation in millimetres.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.errors import DataError
from sam3_angio.frame_choice import choose_frame, read_run
from sam3_angio.phantom.cases import PatientCase, RunCase, plan_patient
from sam3_angio.phantom.labels import FrameTruth
from sam3_angio.phantom.run import RunPlan, SimulatedRun, simulate_run
from sam3_angio.qca import measure, profile_from_frame

LEAST_STENOSIS_PCT = 20.0

Distances = dict[str, list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The MLD of one segment on several frames, and the true one; NaN where it has none.

    Attributes
    ----------
    analysed : int
        The analyst's frame.
    chosen : dict of str to int
        Frame by choice.
    mld_mm : dict of int to float
        By frame.
    true_mm : float
    """

    analysed: int
    chosen: dict[str, int]
    mld_mm: dict[int, float]
    true_mm: float


def analysed_frames(manifest: Path) -> dict[str, list[int]]:
    """Return the analysed frames of each run."""
    frames: defaultdict[str, set[int]] = defaultdict(set)
    with manifest.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            frames[row["dicom"]].add(int(row["frame_index"]))
    return {run: sorted(frames[run]) for run in sorted(frames)}


def distances(data: Path, dicom_root: Path, start: int, every: int) -> Distances:
    """Return how many frames each choice is away from the nearest analysed frame of its run."""
    found: Distances = {"chosen": [], "middle": [], "three quarters": []}
    runs = list(analysed_frames(data / "manifest.csv").items())[start::every]
    for number, (run, analysed) in enumerate(runs):
        frames = read_run(dicom_root / run, name=f"run {number}")
        for name, index in choices(frames).items():
            found[name].append(min(abs(index - frame) for frame in analysed))
    return found


def choices(frames: list[NDArray[np.generic]]) -> dict[str, int]:
    """Return the frame of each way to choose one."""
    return {
        "chosen": choose_frame(frames).frame_index,
        "middle": len(frames) // 2,
        "three quarters": 3 * len(frames) // 4,
    }


def measured_runs(patients: int) -> Iterator[Measured]:
    """Simulate runs with a lesion and measure them."""
    for number in range(1, patients + 1):
        case = plan_patient(0, number)
        for run in case.runs:
            if run.phase != "INDEX FINAL":
                yield from measured_run(case, run)
                break


def measured_run(case: PatientCase, run: RunCase) -> Iterator[Measured]:
    """Yield the measurement of a run's first analysed segment, if that has a lesion."""
    row = run.rows[0]
    film = simulate_run(
        RunPlan(
            heart=case.before,
            artery=run.artery,
            geometry=run.geometry,
            bits=run.bits,
            n_frames=run.frames,
            analysed=tuple((frame, row.cass) for frame in range(1, run.frames)),
            seed=run.seed,
        )
    )
    truths = {truth.frame_index: truth for truth in film.truths}
    true_mm = true_mld_mm(truths[row.frame_index])
    if np.isnan(true_mm):
        return
    chosen = choices(list(film.pixels))
    around = range(max(1, row.frame_index - 2), min(run.frames, row.frame_index + 3))
    wanted = sorted({*around, *chosen.values()})
    yield Measured(
        analysed=row.frame_index,
        chosen=chosen,
        mld_mm={frame: measured_mm(film, truths[frame]) for frame in wanted},
        true_mm=true_mm,
    )


def true_mld_mm(truth: FrameTruth) -> float:
    """Return the MLD of the analysed segment's tightest lesion; NaN without one."""
    lesions = [lesion for lesion in truth.lesions if lesion.cass == truth.analysed_cass]
    worst = max(lesions, key=lambda lesion: lesion.stenosis_pct, default=None)
    return worst.mld_mm if worst and worst.stenosis_pct >= LEAST_STENOSIS_PCT else np.nan


def measured_mm(film: SimulatedRun, truth: FrameTruth) -> float:
    """Return the MLD that a frame gives; NaN where it cannot be measured."""
    size_mm = film.geometry.object_spacing_mm
    spacing = PixelSpacing(row_mm=size_mm, column_mm=size_mm, source="sod_sid")
    low = film.window_centre - film.window_width / 2
    shown = np.clip((film.pixels[truth.frame_index] - low) / film.window_width, 0, 1)
    mask = truth.segment_masks.get(truth.analysed_cass, np.zeros(shown.shape, dtype=bool))
    try:
        return measure(profile_from_frame(255 * shown, mask, spacing)).mld_mm
    except DataError:
        return np.nan


def print_cost(found: list[Measured]) -> None:
    print(f"{'frame':16} {'runs':>5} {'from the analyst’s':>20} {'from the truth':>16}")
    for name in found[0].chosen:
        print_line(name, found, [one.chosen[name] for one in found])
    for step in range(-2, 3):
        print_line(f"analyst’s {step:+d}", found, [one.analysed + step for one in found])


def print_line(name: str, found: list[Measured], frames: list[int]) -> None:
    taken = [one.mld_mm.get(frame, np.nan) for one, frame in zip(found, frames, strict=True)]
    own = np.array([one.mld_mm[one.analysed] for one in found])
    true = np.array([one.true_mm for one in found])
    columns = [np.asarray(taken) - own, np.asarray(taken) - true]
    count = np.count_nonzero(~np.isnan(columns[0]))
    texts = [f"{np.nanmean(column):+.2f} ± {np.nanstd(column):.2f}" for column in columns]
    print(f"{name:16} {count:5d} {texts[0]:>20} {texts[1]:>16}")


def main(
    data: Annotated[Path, typer.Option(help="Data folder.")] = Path("data"),
    dicom_root: Annotated[Path, typer.Option(help="Runs.")] = Path("data/export/Angios"),
    start: Annotated[int, typer.Option(help="First run.")] = 5,
    every: Annotated[int, typer.Option(help="Take every k-th run.")] = 10,
    patients: Annotated[int, typer.Option(help="Measure runs of so many patients.")] = 0,
) -> None:
    if patients:
        print_cost(list(measured_runs(patients)))
        return
    found = distances(data, dicom_root, start, every)
    print(f"{'choice':16} {'runs':>5} {'mean':>6} {'exact':>6} {'within 1':>9} {'most':>5}")
    for name, values in found.items():
        apart: NDArray[np.int64] = np.asarray(values)
        share = f"{np.mean(apart == 0):6.2f} {np.mean(apart <= 1):9.2f} {apart.max():5d}"
        print(f"{name:16} {len(apart):5d} {apart.mean():6.2f} {share}")


if __name__ == "__main__":
    typer.run(main)
