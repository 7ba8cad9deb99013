"""Phase 1 in figures: the vessel tree against the truth and against the pseudo-label.

Conventions
-----------
``truth`` is the clean mask of the whole tree and exists for a phantom only; ``pseudo`` is the label
that training learned from, so a score against it measures imitation. The teacher is the
pseudo-label itself, scored against the truth; a positive difference says that training beats it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import get_args

import numpy as np

from sam3_angio.anatomy import TREE_PHRASE
from sam3_angio.errors import ConfigError, Fault
from sam3_angio.scoring.cases import TREE_CATEGORY, Reference, TreeCase
from sam3_angio.scoring.detection import (
    AveragePrecision,
    PresenceScores,
    average_precision,
    presence_scores,
)
from sam3_angio.scoring.masks import MaskScores
from sam3_angio.scoring.predictions import coco_result
from sam3_angio.scoring.statistics import (
    Estimate,
    FloatArray,
    Resampling,
    estimate_difference,
    estimate_mean,
)
from sam3_angio.scoring.tree import Source, TreeRule, TreeScores

#: All scores of a mask, in the order of the tables.
MASK_METRICS = tuple(field.name for field in fields(MaskScores))

#: Scores for which more is better, so that a positive difference beats the teacher.
OVERLAP_METRICS = ("dice", "iou", "cldice")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEstimate:
    """One score of one source against one reference, over a group of frames.

    Attributes
    ----------
    source : str
        Rule that made the mask, or ``teacher``.
    reference : {"truth", "pseudo"}
        What it was compared with.
    metric : str
        One of `MASK_METRICS`.
    group, value : str
        ``all`` and nothing, ``artery`` and which, ``view`` and which.
    estimate : Estimate
    """

    source: Source
    reference: Reference
    metric: str
    group: str
    value: str
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase1Scores:
    """Everything that Phase 1 is measured by.

    Attributes
    ----------
    tree_from : {"semantic", "best", "union"}
        Rule behind the headline.
    threshold : float
        An instance counts from this score on.
    confidence : float
        Of the intervals, such as 0.95.
    frames : tuple of TreeScores
        By frame.
    groups : tuple of GroupEstimate
        Every source, reference, metric and group.
    beats_teacher : mapping
        Paired difference to the teacher against the truth, by metric; empty without a truth.
    precision : mapping
        Average precision by reference.
    presence : PresenceScores
        Of the phrase "coronary artery".
    """

    tree_from: TreeRule
    threshold: float
    confidence: float
    frames: tuple[TreeScores, ...]
    groups: tuple[GroupEstimate, ...]
    beats_teacher: Mapping[str, Estimate]
    precision: Mapping[Reference, AveragePrecision]
    presence: PresenceScores

    @property
    def reference(self) -> Reference:
        """Return what the headline compares with: the truth where it is known."""
        return next(iter(self.precision))

    @property
    def dice(self) -> FloatArray:
        """Return each frame's Dice of the headline."""
        return _values(self.frames, self.tree_from, self.reference, "dice")


def summarise(
    frames: Sequence[TreeScores],
    tree_from: TreeRule,
    threshold: float,
    resampling: Resampling,
) -> Phase1Scores:
    """Average the frames' scores, with intervals by patient.

    Parameters
    ----------
    frames : sequence of TreeScores
    tree_from : {"semantic", "best", "union"}
    threshold : float
        From this presence on the tree is said to be there; instances were chosen by it as well.
    resampling : Resampling

    Raises
    ------
    ConfigError
        `tree_from` needs masks that the model did not give.
    """
    sources = _sources(frames)
    if tree_from not in sources:
        raise ConfigError("The headline's masks are missing:", [_missing_masks(sources)])
    cases = [frame.case for frame in frames]
    references = tuple(cases[0].references)
    return Phase1Scores(
        tree_from=tree_from,
        threshold=threshold,
        confidence=resampling.confidence,
        frames=tuple(frames),
        groups=tuple(_group_estimates(frames, sources, resampling)),
        beats_teacher=_beats_teacher(frames, tree_from, resampling),
        precision={name: _precision(cases, name, resampling) for name in references},
        presence=presence_scores(
            [case.query.presence for case in cases],
            [references[0] not in frame.empty for frame in frames],
            _patients(frames),
            threshold,
            resampling,
        ),
    )


def _sources(frames: Sequence[TreeScores]) -> tuple[Source, ...]:
    """Return the sources that every frame has."""
    sets = [{source for source, _ in frame.scores} for frame in frames]
    return tuple(source for source in get_args(Source) if all(source in one for one in sets))


def _missing_masks(sources: Sequence[Source]) -> Fault:
    given = " or ".join(rule for rule in get_args(TreeRule) if rule in sources)
    return Fault(
        file="params.yaml",
        field="evaluate.tree_from",
        message="some frames have no semantic mask.",
        fix=f"Set it to {given}.",
    )


def _values(
    frames: Sequence[TreeScores], source: Source, reference: Reference, metric: str
) -> FloatArray:
    return np.array([getattr(frame.scores[source, reference], metric) for frame in frames])


def _patients(frames: Sequence[TreeScores]) -> list[str]:
    return [frame.case.patient for frame in frames]


def _groups(frames: Sequence[TreeScores]) -> Iterator[tuple[str, str, list[TreeScores]]]:
    yield "all", "", list(frames)
    for group in ("artery", "view"):
        for value in sorted({getattr(frame.case, group) for frame in frames}):
            members = [frame for frame in frames if getattr(frame.case, group) == value]
            yield group, value, members


def _group_estimates(
    frames: Sequence[TreeScores], sources: Sequence[Source], resampling: Resampling
) -> Iterator[GroupEstimate]:
    pairs = [pair for pair in frames[0].scores if pair[0] in sources]
    for group, value, members in _groups(frames):
        for source, reference in pairs:
            for metric in MASK_METRICS:
                values = _values(members, source, reference, metric)
                yield GroupEstimate(
                    source=source,
                    reference=reference,
                    metric=metric,
                    group=group,
                    value=value,
                    estimate=estimate_mean(values, _patients(members), resampling),
                )


def _beats_teacher(
    frames: Sequence[TreeScores], tree_from: TreeRule, resampling: Resampling
) -> dict[str, Estimate]:
    if ("teacher", "truth") not in frames[0].scores:
        return {}
    return {
        metric: estimate_difference(
            _values(frames, tree_from, "truth", metric),
            _values(frames, "teacher", "truth", metric),
            _patients(frames),
            resampling,
        )
        for metric in OVERLAP_METRICS
    }


def paired_differences(
    first: Phase1Scores, second: Phase1Scores, resampling: Resampling
) -> dict[tuple[str, Reference], Estimate]:
    """Return how much two models' headline masks of the same frames differ, first less second.

    Parameters
    ----------
    first, second : Phase1Scores
    resampling : Resampling

    Returns
    -------
    dict
        By score and reference; positive where the first model's value is the higher.

    Raises
    ------
    ValueError
        The frames, or the order of the frames, differ.
    """
    ids = [[frame.case.frame_id for frame in scores.frames] for scores in (first, second)]
    if ids[0] != ids[1]:
        raise ValueError("the models were not asked about the same frames")
    return {
        (metric, reference): estimate_difference(
            _values(first.frames, first.tree_from, reference, metric),
            _values(second.frames, second.tree_from, reference, metric),
            _patients(first.frames),
            resampling,
        )
        for metric in MASK_METRICS
        for reference in first.precision
    }


def _precision(
    cases: Sequence[TreeCase], reference: Reference, resampling: Resampling
) -> AveragePrecision:
    numbered = list(enumerate(cases, 1))
    document = {
        "images": [
            {"id": number, "height": case.shape_px[0], "width": case.shape_px[1]}
            for number, case in numbered
        ],
        "annotations": [
            asdict(mark) | {"id": number, "image_id": number}
            for number, case in numbered
            if (mark := case.references[reference]) is not None
        ],
        "categories": [{"id": TREE_CATEGORY, "name": TREE_PHRASE}],
    }
    results = [
        coco_result(instance, number, TREE_CATEGORY)
        for number, case in numbered
        for instance in case.query.instances
    ]
    patients = {number: case.patient for number, case in numbered}
    return average_precision(document, results, patients, resampling)
