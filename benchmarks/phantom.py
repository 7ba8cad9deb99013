"""How fast angiograms are simulated, truth included.

``python benchmarks/phantom.py [--runs 6]`` simulates runs of ten frames with one analysed segment
each, on one core, and prints frames a second and where the time goes, by picture size. The times
are those of the processor, so that other work on the machine does not count.
"""

from __future__ import annotations

import time

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from sam3_angio.acquisition import ViewAngle
from sam3_angio.phantom.heart import grow_heart
from sam3_angio.phantom.run import RunPlan, analysable, best_frames, simulate_run
from sam3_angio.phantom.xray import ProjectionGeometry, aimed

FRAMES = 10
VIEWS = (("LCA", -25, -22), ("RCA", 40, 0), ("LCA", -5, 35), ("LCA", 35, 25))


def planned(seed: int, size_px: int, bits: int) -> RunPlan:
    artery, primary_deg, secondary_deg = VIEWS[seed % len(VIEWS)]
    heart = grow_heart(seed)
    geometry = aimed(
        ProjectionGeometry(
            view=ViewAngle(primary_deg=primary_deg, secondary_deg=secondary_deg),
            sid_mm=1050.0,
            sod_mm=770.0,
            detector_spacing_mm=0.31 * 512 / size_px,
            size_px=size_px,
        ),
        heart,
        artery,
    )
    cass, _ = analysable(heart, artery, geometry)[0]
    return RunPlan(
        heart=heart,
        artery=artery,
        geometry=geometry,
        bits=bits,
        n_frames=FRAMES,
        analysed=((best_frames(FRAMES, seed)[0], cass),),
        seed=seed,
    )


def seconds(runs: int, size_px: int, bits: int) -> tuple[float, float]:
    """Return the median processor time of planning a run and of simulating it."""
    planning, simulating = [], []
    for seed in range(runs + 3):
        begun = time.process_time()
        plan = planned(seed, size_px, bits)
        middle = time.process_time()
        simulate_run(plan)
        planning.append(middle - begun)
        simulating.append(time.process_time() - middle)
    # the first three also fill the tables of the noise, once a process
    return float(np.median(planning[3:])), float(np.median(simulating[3:]))


def main(runs: int = 6) -> None:
    table = Table(title=f"Runs of {FRAMES} frames, truth included, one core")
    for name in ("size", "bits", "heart and view, s", "run, s", "frames/s"):
        table.add_column(name, justify="right")
    for size_px, bits in ((512, 8), (1024, 12)):
        planning_s, run_s = seconds(runs, size_px, bits)
        speed = FRAMES / (planning_s + run_s)
        table.add_row(f"{size_px}²", f"{bits}", f"{planning_s:.2f}", f"{run_s:.2f}", f"{speed:.0f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
