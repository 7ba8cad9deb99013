"""How far the chosen frame is from the one that the site's table has analysed.

Run on a data folder with runs and ``manifest.csv``; every k-th run is taken. Beside the choice
stand two that need no pixels: the middle of the run and three quarters through it.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from sam3_angio.frame_choice import choose_frame, read_run

Distances = dict[str, list[int]]


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
        choices = {
            "chosen": choose_frame(frames).frame_index,
            "middle": len(frames) // 2,
            "three quarters": 3 * len(frames) // 4,
        }
        for name, index in choices.items():
            found[name].append(min(abs(index - frame) for frame in analysed))
    return found


def main(
    data: Annotated[Path, typer.Option(help="Data folder.")] = Path("data"),
    dicom_root: Annotated[Path, typer.Option(help="Runs.")] = Path("data/export/Angios"),
    start: Annotated[int, typer.Option(help="First run.")] = 5,
    every: Annotated[int, typer.Option(help="Take every k-th run.")] = 10,
) -> None:
    found = distances(data, dicom_root, start, every)
    print(f"{'choice':16} {'runs':>5} {'mean':>6} {'exact':>6} {'within 1':>9} {'most':>5}")
    for name, values in found.items():
        apart: NDArray[np.int64] = np.asarray(values)
        share = f"{np.mean(apart == 0):6.2f} {np.mean(apart <= 1):9.2f} {apart.max():5d}"
        print(f"{name:16} {len(apart):5d} {apart.mean():6.2f} {share}")


if __name__ == "__main__":
    typer.run(main)
