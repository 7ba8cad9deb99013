"""Score the predictions on validation frames against labels and, where known, the truth."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sam3_angio.command import run
from sam3_angio.config import load_config
from sam3_angio.report.overlays import write_overlays
from sam3_angio.report.phase1 import write_metrics
from sam3_angio.report.phase2 import write_phase2
from sam3_angio.report.phase3 import write_phase3
from sam3_angio.report.result import result_tables
from sam3_angio.scoring.cases import read_cases
from sam3_angio.scoring.phase1 import summarise
from sam3_angio.scoring.phase2 import AnswerRules, score_predictions
from sam3_angio.scoring.phase3 import compare_arms, score_arms
from sam3_angio.scoring.statistics import Resampling
from sam3_angio.scoring.tree import score_cases


def evaluate(
    dataset: Annotated[Path, typer.Option(help="Written by split.")],
    truth: Annotated[Path, typer.Option(help="The folder data/truth.")],
    predictions: Annotated[Path, typer.Option(help="Holds a folder a phase.")],
    metrics: Annotated[Path, typer.Option(help="Folder for figures, tables and plots.")],
    report: Annotated[Path, typer.Option(help="Folder for pictures of frames.")],
) -> None:
    """Write every phase's figures, tables, plots and overlays; print the results."""
    config = load_config()
    chosen, processes = config.evaluate, config.machine.processes
    samples, seed = chosen.bootstrap_samples, chosen.seed
    resampling = Resampling(samples=samples, confidence=chosen.confidence, seed=seed)
    cases = read_cases(dataset, truth, predictions / "phase1")
    frames = score_cases(cases, chosen.score_threshold, processes)
    trees = summarise(frames, chosen.tree_from, chosen.score_threshold, resampling)
    write_metrics(metrics, trees)
    write_overlays(report / "phase1" / "overlays", dataset / "val/images", trees, chosen.overlays)
    threshold = chosen.score_threshold
    rules = AnswerRules(rule=chosen.segment_from, threshold=threshold, processes=processes)
    segments = score_predictions(dataset, truth, predictions / "phase2", rules)
    write_phase2(metrics, segments, resampling)
    arms = score_arms(dataset, truth, predictions / "phase3", rules)
    write_phase3(metrics, compare_arms(arms, resampling))
    Console().print(*result_tables(metrics))


if __name__ == "__main__":
    run(evaluate)
