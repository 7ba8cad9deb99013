"""The evaluation of all phases: what is scored against what, and where it is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sam3_angio.config import Config
from sam3_angio.files import replacing, replacing_entries, write_json, write_text
from sam3_angio.report.checklist import fill_checklist
from sam3_angio.report.composition import count_composition
from sam3_angio.report.data_profile import data_profile
from sam3_angio.report.gallery import PictureGroup, confused_group, tree_groups
from sam3_angio.report.headline import headline
from sam3_angio.report.overlays import write_overlays
from sam3_angio.report.page import PageContent, draw_charts, write_page
from sam3_angio.report.page_figures import read_documents
from sam3_angio.report.phase1 import write_baseline, write_metrics
from sam3_angio.report.phase2 import write_phase2
from sam3_angio.report.phase3 import write_phase3
from sam3_angio.report.phase4 import write_phase4
from sam3_angio.report.provenance import find_provenance
from sam3_angio.scoring.answers import SaidRule
from sam3_angio.scoring.cases import read_cases
from sam3_angio.scoring.phase1 import Phase1Scores, summarise
from sam3_angio.scoring.phase2 import AnswerRules, SegmentScores, score_predictions
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
    frames : Path
        Written by ``extract``.
    models : Path
        Holds a folder a phase.
    """

    dataset: Path
    truth: Path
    contours: Path
    predictions: Path
    frames: Path
    models: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How it is scored.

    Attributes
    ----------
    threshold : float
        An instance counts, and a phrase is said to be there, from this score on.
    agreement : float
        Of both heads, from which on a phrase is said to be there.
    tree_from : {"semantic", "best", "union"}
        Mask of the vessel tree.
    segment_from : {"best", "semantic"}
        Mask of a named segment.
    view_epochs : int
        For which each arm of Phase 3 was trained.
    overlays : int
        Best, median and worst frames each that are drawn.
    resampling : Resampling
    processes : int
        Work at once; 0 for all cores.
    """

    threshold: float
    agreement: float
    tree_from: Literal["semantic", "best", "union"]
    segment_from: Literal["best", "semantic"]
    view_epochs: int
    overlays: int
    resampling: Resampling
    processes: int

    @property
    def answers(self) -> AnswerRules:
        """How answers to phrases are read."""
        said = SaidRule(presence=self.threshold, agreement=self.agreement)
        return AnswerRules(rule=self.segment_from, said=said, processes=self.processes)


def rules_of(config: Config) -> Rules:
    """Return how the parameters say that it is scored."""
    chosen = config.evaluate
    return Rules(
        threshold=chosen.score_threshold,
        agreement=chosen.agreement,
        tree_from=chosen.tree_from,
        segment_from=chosen.segment_from,
        view_epochs=config.train_phase3.epochs,
        overlays=chosen.overlays,
        resampling=Resampling(
            samples=chosen.bootstrap_samples, confidence=chosen.confidence, seed=chosen.seed
        ),
        processes=config.machine.processes,
    )


def evaluate_phases(sources: Sources, config: Config, *, metrics: Path, report: Path) -> None:
    """Write every phase's figures, tables, plots and pictures, and the page that shows them.

    All of it is written, or nothing: what fails leaves the earlier figures and page as they were.

    Parameters
    ----------
    sources : Sources
    config : Config
    metrics, report : Path
        Folders. `metrics` also holds the learning curves that the trainings wrote.

    Raises
    ------
    DataError
        Predictions, labels or truth are missing or contradict each other.
    """
    rules = rules_of(config)
    with replacing(report) as pages, replacing_entries(metrics, last="phase1.json") as figures:
        pages.mkdir()
        trees = _evaluate_tree(sources, rules, figures, pages / "phase1" / "overlays")
        baseline = _score_trees(sources, rules, "baseline")
        write_baseline(figures, baseline, trees, rules.resampling)
        names = _evaluate_names(sources, rules, figures)
        _evaluate_lesions(sources, rules, figures)
        documents = read_documents(figures)
        content = PageContent(
            documents=documents,
            charts=draw_charts(figures, metrics, documents),
            gallery=_gallery(sources.dataset / "val" / "images", trees, names, rules.overlays),
            composition=count_composition(sources.dataset, sources.frames),
            provenance=find_provenance(config, sources.models),
        )
        write_page(pages / "index.html", content)
        write_json(figures / "headline.json", headline(documents))
        profile = data_profile(content.composition, sources.dataset, sources.frames)
        write_json(figures / "data_profile.json", profile)
        write_text(figures / "checklist.md", fill_checklist(documents, content.composition))


def _score_trees(sources: Sources, rules: Rules, of: str) -> Phase1Scores:
    cases = read_cases(sources.dataset, sources.truth, sources.predictions / of)
    frames = score_cases(cases, rules.threshold, rules.processes)
    return summarise(frames, rules.tree_from, rules.threshold, rules.resampling)


def _evaluate_tree(sources: Sources, rules: Rules, metrics: Path, overlays: Path) -> Phase1Scores:
    trees = _score_trees(sources, rules, "phase1")
    write_metrics(metrics, trees)
    write_overlays(overlays, sources.dataset / "val" / "images", trees, rules.overlays)
    return trees


def _evaluate_names(sources: Sources, rules: Rules, metrics: Path) -> SegmentScores:
    how = rules.answers
    against, answers = (sources.dataset, sources.truth), sources.predictions
    names = score_predictions(*against, answers / "phase2", how)
    write_phase2(metrics, names, rules.resampling)
    arms = score_arms(*against, answers / "phase3", how)
    write_phase3(metrics, compare_arms(arms, rules.resampling), rules.view_epochs)
    return names


def _evaluate_lesions(sources: Sources, rules: Rules, metrics: Path) -> None:
    inputs = Phase4Inputs(
        dataset=sources.dataset,
        truth=sources.truth,
        predictions=sources.predictions / "phase4",
        contours=sources.contours,
    )
    frames = score_phase4(inputs, rules.segment_from, rules.processes)
    write_phase4(metrics, frames, rules.threshold, rules.resampling)


def _gallery(
    images: Path, trees: Phase1Scores, names: SegmentScores, count: int
) -> tuple[PictureGroup, ...]:
    groups = (*tree_groups(images, trees, count), confused_group(images, names, count))
    return tuple(group for group in groups if group.pictures)
