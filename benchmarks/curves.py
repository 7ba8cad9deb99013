"""Validation against minutes: several trainings of Phases 1 and 2 in one picture and one table.

``python benchmarks/curves.py default=metrics random=/elsewhere/metrics --out curves.png`` reads the
learning curves that trainings left in folders of metrics and draws the Dice of the semantic mask
and the presence's accuracy on validation frames over the minutes since each training began. Whoever
compares two starts or two sets of parameters runs ``dvc repro`` in a clone for each, with one after
the other on the same idle machine: minutes are only comparable there.

Dice is that of training's own validation: against the labels, at the model's resolution. It is not
the figure that ``evaluate`` reports.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from result_table import show_table

from sam3_angio.files import replacing

PHASES = {"phase1": "Phase 1", "phase2": "Phase 2"}
FIGURES = {"dice_semantic": "Dice", "presence_accuracy": "presence, accuracy"}

Points = list[tuple[float, float]]


def read_curve(folder: Path, name: str) -> dict[int, float]:
    """Return a curve's values by epoch, from 0."""
    path = folder / "plots" / "metrics" / f"{name}.tsv"
    with path.open(encoding="utf-8", newline="") as stream:
        _head, *lines = csv.reader(stream, delimiter="\t")
    return {int(step): float(value) for step, value in lines}


def points(metrics: Path, phase: str, figure: str) -> Points:
    """Return (minutes, value) of each validation."""
    minutes = read_curve(metrics / phase, "minutes")
    values = read_curve(metrics / phase, f"val/{figure}")
    return [(minutes[epoch], value) for epoch, value in sorted(values.items())]


def draw(runs: dict[str, Path], path: Path) -> None:
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(FIGURES), len(PHASES), sharex="col", sharey="row")
    for row, (measure, words) in zip(grid, FIGURES.items(), strict=True):
        row[0].set_ylabel(words)
        for axes, phase in zip(row, PHASES, strict=True):
            for name, metrics in runs.items():
                found = points(metrics, phase, measure)
                axes.plot(*zip(*found, strict=True), marker="o", markersize=3, label=name)
            axes.grid(alpha=0.3)
    for axes, title in zip(grid[0], PHASES.values(), strict=True):
        axes.set_title(title)
    for axes in grid[-1]:
        axes.set_xlabel("minutes")
    grid[-1][-1].legend(fontsize="small", loc="lower right")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def rows(runs: dict[str, Path]) -> Iterator[tuple[str, ...]]:
    for phase, title in PHASES.items():
        for figure, words in FIGURES.items():
            for name, metrics in runs.items():
                found = points(metrics, phase, figure)
                yield name, title, words, ", ".join(f"{m:.1f}: {v:.3f}" for m, v in found)


def folders(runs: list[str]) -> dict[str, Path]:
    """Return the folder of each name; refuse what is not NAME=FOLDER with curves in it."""
    found = {name: Path(folder) for name, _, folder in (run.partition("=") for run in runs)}
    faulty = [name for name, folder in found.items() if not (folder / "phase1" / "plots").is_dir()]
    if faulty:
        message = (
            f"no learning curves for {', '.join(faulty)}; give NAME=FOLDER, as default=metrics"
        )
        raise typer.BadParameter(message)
    return found


def main(
    runs: Annotated[list[str], typer.Argument(help="Name and folder of metrics: NAME=FOLDER.")],
    out: Annotated[Path | None, typer.Option(help="Picture to draw.")] = None,
    markdown: Annotated[bool, typer.Option(help="Print a Markdown table.")] = False,
) -> None:
    """Show the learning curves of several trainings over minutes."""
    found = folders(runs)
    columns = ("training", "phase", "figure", "minutes: value")
    show_table("Validation against minutes", columns, rows(found), markdown=markdown)
    if out is not None:
        draw(found, out)


if __name__ == "__main__":
    typer.run(main)
