"""Score the predictions on validation frames against labels and, where known, the truth."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sam3_angio.config import load_config
from sam3_angio.recorded import run_stage
from sam3_angio.report.evaluation import Sources, evaluate_phases
from sam3_angio.report.result import result_tables


def evaluate(
    dataset: Annotated[Path, typer.Option(help="Written by split.")],
    data: Annotated[Path, typer.Option(help="Holds truth/ and labels/contours/.")],
    predictions: Annotated[Path, typer.Option(help="Holds a folder a phase.")],
    frames: Annotated[Path, typer.Option(help="Written by extract.")],
    models: Annotated[Path, typer.Option(help="Holds a folder a phase.")],
    metrics: Annotated[Path, typer.Option(help="Folder for figures, tables and plots.")],
    report: Annotated[Path, typer.Option(help="Folder for index.html and pictures of frames.")],
) -> None:
    """Write every phase's figures, tables, plots and page; print the results."""
    sources = Sources(
        dataset=dataset,
        truth=data / "truth",
        contours=data / "labels" / "contours",
        predictions=predictions,
        frames=frames,
        models=models,
    )
    evaluate_phases(sources, load_config(), metrics=metrics, report=report)
    console = Console()
    console.print(*result_tables(metrics))
    console.print(f"Report: {report / 'index.html'}", soft_wrap=True)


if __name__ == "__main__":
    run_stage(evaluate, "evaluate")
