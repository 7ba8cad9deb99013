"""The vessel tree of one frame: from the model's answer to one mask, and its scores.

Three rules make one mask of an answer; ``evaluate.tree_from`` names the one in the headline:

- ``semantic``: the semantic head's mask as it is. Presence is scored by itself and does not
  empty it.
- ``best``: the best-scored instance, if its score reaches ``evaluate.score_threshold``; else the
  empty mask.
- ``union``: all instances whose score reaches the threshold, together.

Conventions
-----------
What is compared is named by its source: one of the three rules, or ``teacher``, the pseudo-label
itself as a prediction of the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Literal, get_args

import numpy as np

from sam3_angio.children import end_with_parent
from sam3_angio.coco import decode_mask
from sam3_angio.progress import tracked
from sam3_angio.scoring.cases import Reference, TreeCase
from sam3_angio.scoring.masks import BoolArray, MaskScores, compare, measure

TreeRule = Literal["semantic", "best", "union"]
Source = Literal["semantic", "best", "union", "teacher"]

_LABEL = "Scoring frames"

#: Frames that a worker takes at a time.
_CHUNK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeScores:
    """Scores of one frame.

    Attributes
    ----------
    case : TreeCase
        The frame.
    scores : mapping
        By source and reference.
    empty : frozenset of str
        Sources and references whose mask is empty.
    """

    case: TreeCase
    scores: Mapping[tuple[Source, Reference], MaskScores]
    empty: frozenset[str]


def tree_mask(case: TreeCase, rule: TreeRule, threshold: float) -> BoolArray | None:
    """Make one mask of the model's answer by one of the module's rules.

    Parameters
    ----------
    case : TreeCase
    rule : {"semantic", "best", "union"}
    threshold : float
        An instance counts from this score on.

    Returns
    -------
    (M, N) bool ndarray or None
        None where the rule needs a semantic head that the model has not.
    """
    query = case.query
    if rule == "semantic":
        return None if query.semantic is None else decode_mask(query.semantic)
    chosen = [instance for instance in query.instances if instance.score >= threshold]
    mask = np.zeros(case.shape_px, dtype=bool)
    for instance in chosen[:1] if rule == "best" else chosen:
        mask |= decode_mask(instance.mask)
    return mask


def reference_mask(case: TreeCase, reference: Reference) -> BoolArray:
    """Return the mask of a reference.

    Returns
    -------
    (M, N) bool ndarray
    """
    mark = case.references[reference]
    if mark is None:
        return np.zeros(case.shape_px, dtype=bool)
    return decode_mask(mark.segmentation)


def score_case(case: TreeCase, threshold: float) -> TreeScores:
    """Score one frame by every rule against every reference, and the teacher against the truth."""
    references = {
        name: measure(reference_mask(case, name), case.spacing_mm) for name in case.references
    }
    predictions = {
        rule: measure(mask, case.spacing_mm)
        for rule in get_args(TreeRule)
        if (mask := tree_mask(case, rule, threshold)) is not None
    }
    scores: dict[tuple[Source, Reference], MaskScores] = {
        (rule, name): compare(reference, prediction)
        for rule, prediction in predictions.items()
        for name, reference in references.items()
    }
    if "truth" in references:
        scores["teacher", "truth"] = compare(references["truth"], references["pseudo"])
    measured = {**references, **predictions}
    empty = frozenset(name for name, of in measured.items() if not of.mask.any())
    return TreeScores(case=case, scores=scores, empty=empty)


def score_cases(
    cases: Sequence[TreeCase], threshold: float, processes: int
) -> tuple[TreeScores, ...]:
    """Score frames in parallel, with progress.

    Parameters
    ----------
    cases : sequence of TreeCase
    threshold : float
        An instance counts from this score on.
    processes : int
        Worker processes; 0 for as many as there are cores, 1 for none.

    Returns
    -------
    tuple of TreeScores
        In the order of `cases`.
    """
    work = partial(score_case, threshold=threshold)
    if processes == 1:
        return tuple(tracked(map(work, cases), len(cases), _LABEL))
    # Workers start afresh on every system: forking a process that draws a progress bar is unsafe.
    with ProcessPoolExecutor(
        processes or None, mp_context=get_context("spawn"), initializer=end_with_parent
    ) as pool:
        scores = pool.map(work, cases, chunksize=_CHUNK)
        return tuple(tracked(scores, len(cases), _LABEL))
