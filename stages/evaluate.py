"""Score the predictions on validation frames against labels and, where known, the truth."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sam3_angio.command import run
from sam3_angio.config import load_config
from sam3_angio.report.evaluation import Rules, Sources, evaluate_phases
from sam3_angio.report.result import result_tables
from sam3_angio.scoring.statistics import Resampling


def evaluate(
    dataset: Annotated[Path, typer.Option(help="Written by split.")],
    truth: Annotated[Path, typer.Option(help="The folder data/truth.")],
    contours: Annotated[Path, typer.Option(help="The expert's contour files.")],
    predictions: Annotated[Path, typer.Option(help="Holds a folder a phase.")],
    metrics: Annotated[Path, typer.Option(help="Folder for figures, tables and plots.")],
    report: Annotated[Path, typer.Option(help="Folder for pictures of frames.")],
) -> None:
    """Write every phase's figures, tables, plots and overlays; print the results."""
    config = load_config()
    chosen = config.evaluate
    rules = Rules(
        threshold=chosen.score_threshold,
        tree_from=chosen.tree_from,
        segment_from=chosen.segment_from,
        overlays=chosen.overlays,
        resampling=Resampling(
            samples=chosen.bootstrap_samples, confidence=chosen.confidence, seed=chosen.seed
        ),
        processes=config.machine.processes,
    )
    sources = Sources(dataset=dataset, truth=truth, contours=contours, predictions=predictions)
    evaluate_phases(sources, rules, metrics=metrics, report=report)
    Console().print(*result_tables(metrics))


if __name__ == "__main__":
    run(evaluate)
