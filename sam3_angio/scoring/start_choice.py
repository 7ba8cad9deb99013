"""Which model Phase 4 starts from, and the validation scores that decided.

Decisive is the top-1 accuracy of names, then the mean Dice of the annotated segments: a lesion is
looked for in a segment, so the segment comes first. A tie goes to the candidate that is listed
first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam3_angio.config import Config
from sam3_angio.errors import ConfigError
from sam3_angio.scoring.phase2 import AnswerRules, score_predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class StartScores:
    """A candidate's scores on the validation frames.

    Attributes
    ----------
    top1 : float
        Part of the frames whose annotated segment got its name.
    dice : float
        Mean over the annotated segments, as drawn when asked for.
    frames : int
    """

    top1: float
    dice: float
    frames: int


#: Folder under ``models`` and ``predictions`` of each model that Phase 4 can start from.
FOLDERS = {"phase2": "phase2", "none": "phase3/none"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StartChoice:
    """What is written to ``predictions/phase4/choice.json``.

    Attributes
    ----------
    start, folder : str
        Name of the chosen model, and where it lies under ``models``.
    asked : str
        ``train_phase4.start``.
    scores : dict of str to StartScores
        Of the candidates; empty where the start was given by name.
    """

    start: str
    folder: str
    asked: str
    scores: dict[str, StartScores]


def choose_start(config: Config, dataset: Path, truth: Path, answers: Path) -> StartChoice:
    """Return what Phase 4 starts from, by ``train_phase4.start``.

    Parameters
    ----------
    config : Config
    dataset, truth : Path
        ``dataset`` and ``data/truth``.
    answers : Path
        ``predictions``: a folder a phase.

    Raises
    ------
    AngioError
        There is no model to start from, or its predictions are not valid.
    """
    asked = config.train_phase4.start
    if asked != "auto":
        return StartChoice(start=asked, folder=FOLDERS[asked], asked=asked, scores={})
    rules = AnswerRules(
        rule=config.evaluate.segment_from, threshold=config.evaluate.score_threshold, processes=1
    )
    there = {name: answers / folder for name, folder in FOLDERS.items()}
    candidates = {name: folder for name, folder in there.items() if folder.is_dir()}
    scores = score_candidates(candidates, dataset, truth, rules)
    start = best_start(scores)
    return StartChoice(start=start, folder=FOLDERS[start], asked=asked, scores=scores)


def score_candidates(
    candidates: Mapping[str, Path], dataset: Path, truth: Path, rules: AnswerRules
) -> dict[str, StartScores]:
    """Return the scores of each candidate's predictions against the expert's labels.

    Parameters
    ----------
    candidates : mapping of str to Path
        Folder of predictions by name.
    dataset, truth : Path
        ``dataset`` and ``data/truth``; the truth only says which phrases are wrong.
    rules : AnswerRules

    Raises
    ------
    DataError
        Predictions are not valid.
    """
    return {name: _scores(folder, dataset, truth, rules) for name, folder in candidates.items()}


def _scores(folder: Path, dataset: Path, truth: Path, rules: AnswerRules) -> StartScores:
    scores = score_predictions(dataset, truth, folder, rules)
    dice = [of.masks["annotated"].dice for of in scores.frames if "annotated" in of.masks]
    return StartScores(
        top1=float(np.mean(scores.named == scores.true)),
        dice=float(np.nanmean(dice)) if dice else math.nan,
        frames=len(scores.frames),
    )


def best_start(scores: Mapping[str, StartScores]) -> str:
    """Return the candidate of the highest top-1 accuracy, then Dice.

    Raises
    ------
    ConfigError
        There is no candidate.

    Examples
    --------
    >>> low = StartScores(top1=0.7, dice=0.9, frames=80)
    >>> high = StartScores(top1=0.8, dice=0.6, frames=80)
    >>> best_start({"phase2": low, "none": high})
    'none'
    """
    if not scores:
        raise ConfigError("There is no model that Phase 4 could start from; train Phase 2 first.")
    return max(scores, key=lambda name: (scores[name].top1, np.nan_to_num(scores[name].dice)))
