"""The evaluation of all phases: what is scored against what, and where it is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sam3_angio.report.overlays import write_overlays
from sam3_angio.report.phase1 import write_metrics
from sam3_angio.report.phase2 import write_phase2
from sam3_angio.report.phase3 import write_phase3
from sam3_angio.report.phase4 import write_phase4
from sam3_angio.scoring.cases import read_cases
from sam3_angio.scoring.phase1 import summarise
from sam3_angio.scoring.phase2 import AnswerRules, score_predictions
from sam3_angio.scoring.phase3 import compare_arms, score_arms
from sam3_angio.scoring.phase4 import Phase4Inputs, score_phase4
from sam3_angio.scoring.statistics import Resampling
from sam3_angio.scoring.tree import score_cases


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What is scored, and against what.

    Attributes
    ----------
    dataset : Path
        Written by ``split``.
    truth : Path
        The folder ``data/truth``.
    contours : Path
        The expert's contour files.
    predictions : Path
        Holds a folder a phase.
    """

    dataset: Path
    truth: Path
    contours: Path
    predictions: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How it is scored.

    Attributes
    ----------
    threshold : float
        An instance counts, and a phrase is said to be there, from this score on.
    tree_from : {"semantic", "best", "union"}
        Mask of the vessel tree.
    segment_from : {"best", "semantic"}
        Mask of a named segment.
    overlays : int
        Best, median and worst frames each that are drawn.
    resampling : Resampling
    processes : int
        Work at once; 0 for all cores.
    """

    threshold: float
    tree_from: Literal["semantic", "best", "union"]
    segment_from: Literal["best", "semantic"]
    overlays: int
    resampling: Resampling
    processes: int


def evaluate_phases(sources: Sources, rules: Rules, *, metrics: Path, report: Path) -> None:
    """Write every phase's figures, tables, plots and pictures.

    Parameters
    ----------
    sources : Sources
    rules : Rules
    metrics, report : Path
        Folders.

    Raises
    ------
    DataError
        Predictions, labels or truth are missing or contradict each other.
    """
    _evaluate_tree(sources, rules, metrics, report / "phase1" / "overlays")
    _evaluate_names(sources, rules, metrics)
    _evaluate_lesions(sources, rules, metrics)


def _evaluate_tree(sources: Sources, rules: Rules, metrics: Path, overlays: Path) -> None:
    cases = read_cases(sources.dataset, sources.truth, sources.predictions / "phase1")
    frames = score_cases(cases, rules.threshold, rules.processes)
    trees = summarise(frames, rules.tree_from, rules.threshold, rules.resampling)
    write_metrics(metrics, trees)
    write_overlays(overlays, sources.dataset / "val" / "images", trees, rules.overlays)


def _evaluate_names(sources: Sources, rules: Rules, metrics: Path) -> None:
    how = AnswerRules(rule=rules.segment_from, threshold=rules.threshold, processes=rules.processes)
    against, answers = (sources.dataset, sources.truth), sources.predictions
    write_phase2(metrics, score_predictions(*against, answers / "phase2", how), rules.resampling)
    arms = score_arms(*against, answers / "phase3", how)
    write_phase3(metrics, compare_arms(arms, rules.resampling))


def _evaluate_lesions(sources: Sources, rules: Rules, metrics: Path) -> None:
    inputs = Phase4Inputs(
        dataset=sources.dataset,
        truth=sources.truth,
        predictions=sources.predictions / "phase4",
        contours=sources.contours,
    )
    frames = score_phase4(inputs, rules.segment_from, rules.processes)
    write_phase4(metrics, frames, rules.threshold, rules.resampling)
