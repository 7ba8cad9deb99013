"""Score the predictions on validation frames against pseudo-labels and, where known, the truth."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sam3_angio.command import run
from sam3_angio.config import load_config
from sam3_angio.report.overlays import write_overlays
from sam3_angio.report.phase1 import write_metrics
from sam3_angio.report.result import render_result
from sam3_angio.scoring.cases import read_cases
from sam3_angio.scoring.phase1 import summarise
from sam3_angio.scoring.statistics import Resampling
from sam3_angio.scoring.tree import score_cases


def evaluate(
    dataset: Annotated[Path, typer.Option(help="Written by split.")],
    truth: Annotated[Path, typer.Option(help="The folder data/truth.")],
    predictions: Annotated[Path, typer.Option(help="Holds a folder a phase.")],
    metrics: Annotated[Path, typer.Option(help="Folder for figures, tables and plots.")],
    report: Annotated[Path, typer.Option(help="Folder for pictures of frames.")],
) -> None:
    """Write metrics/phase1.json, its tables and plots, and overlays; print the result."""
    config = load_config()
    chosen = config.evaluate
    resampling = Resampling(
        samples=chosen.bootstrap_samples, confidence=chosen.confidence, seed=chosen.seed
    )
    cases = read_cases(dataset, truth, predictions / "phase1")
    frames = score_cases(cases, chosen.score_threshold, config.machine.processes)
    scores = summarise(frames, chosen.tree_from, chosen.score_threshold, resampling)
    figures = write_metrics(metrics, scores)
    images = dataset / "val" / "images"
    write_overlays(report / "phase1" / "overlays", images, scores, chosen.overlays)
    Console().print(render_result(figures))


if __name__ == "__main__":
    run(evaluate)
