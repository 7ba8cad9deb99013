"""Choosing the model that Phase 4 starts from, by scores on the validation frames.

Decisive is the top-1 accuracy of names, then the mean Dice of the annotated segments: a lesion is
looked for in a segment, so the segment comes first. A tie goes to the candidate that is listed
first. Both are taken against the expert's labels, which exist for any data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sam3_angio.config import Config
from sam3_angio.errors import ConfigError
from sam3_angio.phase4_start import FOLDERS, Start, StartChoice, StartScores
from sam3_angio.scoring.phase2 import AnswerRules, score_predictions


def choose_start(config: Config, dataset: Path, truth: Path, answers: Path) -> StartChoice:
    """Return what Phase 4 starts from, by ``train_phase4.start``.

    Parameters
    ----------
    config : Config
    dataset, truth : Path
        ``dataset`` and ``data/truth``; the truth only says which phrases are wrong.
    answers : Path
        ``predictions``: a folder a phase.

    Raises
    ------
    AngioError
        There is no model to start from, or its predictions are not valid.
    """
    asked = config.train_phase4.start
    if asked != "auto":
        return StartChoice(start=asked, asked=asked, scores={})
    rules = AnswerRules(
        rule=config.evaluate.segment_from,
        threshold=config.evaluate.score_threshold,
        processes=config.machine.processes,
    )
    scores = {
        name: _scores(answers / folder, dataset, truth, rules)
        for name, folder in FOLDERS.items()
        if (answers / folder).is_dir()
    }
    return StartChoice(start=best_start(scores), asked=asked, scores=scores)


def _scores(folder: Path, dataset: Path, truth: Path, rules: AnswerRules) -> StartScores:
    scores = score_predictions(dataset, truth, folder, rules)
    dice = np.array([of.masks["annotated"].dice for of in scores.frames if "annotated" in of.masks])
    defined = dice[~np.isnan(dice)]
    return StartScores(
        top1=float(np.mean(scores.named == scores.true)),
        dice=float(defined.mean()) if len(defined) else None,
        frames=len(scores.frames),
    )


def best_start(scores: Mapping[Start, StartScores]) -> Start:
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
    return max(scores, key=lambda name: (scores[name].top1, scores[name].dice or 0.0))
