"""Score the predictions of every phase against pseudo-labels and, where it is known, the truth."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from sam3_angio.command import run
from sam3_angio.config import load_config
from sam3_angio.files import write_json
from sam3_angio.report.curves import all_curves
from sam3_angio.report.overlays import write_overlays
from sam3_angio.report.phase1 import frame_table, group_table, metrics_document
from sam3_angio.report.result import render_result
from sam3_angio.scoring.cases import read_cases
from sam3_angio.scoring.phase1 import summarise
from sam3_angio.scoring.statistics import Resampling
from sam3_angio.scoring.tree import score_cases
from sam3_angio.table import write_table


def evaluate(
    dataset: Annotated[Path, typer.Option(help="Written by split.")],
    truth: Annotated[Path, typer.Option(help="The folder data/truth.")],
    predictions: Annotated[Path, typer.Option(help="Holds a folder a phase.")],
    metrics: Annotated[Path, typer.Option(help="Folder for figures and tables.")],
    report: Annotated[Path, typer.Option(help="Folder for pictures of frames.")],
) -> None:
    """Write metrics/phase1.json, its tables, data of plots, and overlays; print the result."""
    config = load_config()
    chosen = config.evaluate
    cases = read_cases(dataset, truth, predictions / "phase1")
    work = score_cases(cases, chosen.score_threshold, config.machine.processes)
    frames = list(track(work, description="Scoring frames", total=len(cases)))
    resampling = Resampling(
        samples=chosen.bootstrap_samples, confidence=chosen.confidence, seed=chosen.seed
    )
    scores = summarise(frames, chosen.tree_from, chosen.score_threshold, resampling)
    document = metrics_document(scores)
    write_json(metrics / "phase1.json", document)
    write_table(metrics / "phase1_frames.csv", *frame_table(scores))
    write_table(metrics / "phase1_groups.csv", *group_table(scores))
    for name, table in all_curves(scores).items():
        write_table(metrics / "phase1_plots" / f"{name}.csv", *table)
    images = dataset / "val" / "images"
    write_overlays(report / "phase1" / "overlays", images, scores, chosen.overlays)
    Console().print(render_result(document))


if __name__ == "__main__":
    run(evaluate)
