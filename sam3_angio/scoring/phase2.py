"""Named segments in figures: how they are drawn, named, found, and not found where they are not.

Conventions
-----------
A figure has a name and says what it is taken against: ``annotated`` (the expert's one segment a
frame), ``known`` (the pairs that those labels decide), ``truth`` (every visible segment); for rates
over phrases it says over which (``pooled``, ``absent``; ``phrases`` for all). Average precision is
the mean over the segments that occur; against ``annotated``, an answer to a segment that is visible
but not annotated counts as wrong. Intervals resample patients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from sam3_angio.anatomy import analysed_segments, segments
from sam3_angio.progress import tracked
from sam3_angio.scoring.answers import Against, FrameScores, SaidRule, SegmentRule, score_frames
from sam3_angio.scoring.cgf1 import REFERENCES, pairs_of, score_pairs
from sam3_angio.scoring.detection import Matches, detection_matches, weighted_precision
from sam3_angio.scoring.masks import BoolArray, MaskScores
from sam3_angio.scoring.naming import confusion_matrix, name_frames, naming_figures
from sam3_angio.scoring.predictions import coco_result
from sam3_angio.scoring.presence import CalibrationBin, calibration, presence_figures
from sam3_angio.scoring.segments import NO_CATEGORY, SegmentFrame, read_segment_frames
from sam3_angio.scoring.statistics import (
    Estimate,
    FloatArray,
    IntArray,
    Resampling,
    WeightedFigure,
    estimate_figure,
    weighted_mean,
)

#: All scores of a mask, in the order of the tables.
MASK_METRICS = tuple(field.name for field in fields(MaskScores))

#: IoU thresholds behind a figure of average precision.
_PRECISION = {"ap": slice(None), "ap50": slice(0, 1), "ap75": slice(5, 6)}

#: Name and what it is taken against.
Key = tuple[str, str]

#: The same with a group of frames, and which.
GroupKey = tuple[str, str, str, str]

_LABEL = "Intervals"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFigure:
    """A figure over a group of frames.

    Attributes
    ----------
    name, against : str
        Which figure.
    group, value : str
        ``segment``, ``artery`` or ``view``, and which.
    estimate : Estimate
    """

    name: str
    against: str
    group: str
    value: str
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentScores:
    """What a model is measured by that names segments.

    Attributes
    ----------
    rule : {"best", "semantic"}
        Which masks were scored.
    said : SaidRule
        From its presence on an instance counts, too.
    frames : tuple of FrameScores
        By frame.
    true, named : (N,) int ndarray
        Place of each frame's segment and of its name among the analysed segments; the name
        "absent" is their number.
    weighted : mapping
        Every figure over all frames, as a function of patients' weights.
    published : mapping
        Figures of SAM 3's evaluator as it gives them.
    matches : mapping
        What the instances matched, by reference.
    """

    rule: SegmentRule
    said: SaidRule
    frames: tuple[FrameScores, ...]
    true: IntArray
    named: IntArray
    weighted: Mapping[Key, WeightedFigure]
    published: Mapping[Key, float]
    matches: Mapping[Against, Matches]

    @property
    def patients(self) -> list[str]:
        """Return whose frame it is, by frame."""
        return [scores.frame.patient for scores in self.frames]

    @property
    def confusion(self) -> IntArray:
        """Return the confusion matrix of names, "absent" in the last column."""
        return confusion_matrix(self.true, self.named)

    @property
    def calibration(self) -> tuple[CalibrationBin, ...]:
        """Return the reliability diagram of the presence."""
        return calibration(self.frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRules:
    """How answers are read.

    Attributes
    ----------
    rule : {"best", "semantic"}
        Which mask is a segment's.
    said : SaidRule
        From its presence on an instance counts, too.
    processes : int
        Worker processes; 0 for one a core.
    """

    rule: SegmentRule
    said: SaidRule
    processes: int


def score_predictions(
    dataset: Path, truth: Path, predictions: Path, rules: AnswerRules
) -> SegmentScores:
    """Read and score the predictions of a model that names segments.

    Parameters
    ----------
    dataset : Path
        Written by ``split``.
    truth : Path
        ``data/truth``.
    predictions : Path
        Holds ``queries.json`` and ``results.json``.
    rules : AnswerRules

    Raises
    ------
    DataError
        The files are not valid or do not fit each other; with every fault.
    ConfigError
        The rule needs masks that the model did not give.
    """
    frames = read_segment_frames(dataset, truth, predictions)
    scored = score_frames(frames, rules.rule, rules.processes)
    return score_segments(scored, rules.rule, rules.said)


def score_segments(
    frames: Sequence[FrameScores], rule: SegmentRule, said: SaidRule
) -> SegmentScores:
    """Compute every figure of a model that names segments.

    Parameters
    ----------
    frames : sequence of FrameScores
    rule : {"best", "semantic"}
        By which the frames were scored.
    said : SaidRule
        From its presence on an instance counts, too.
    """
    true, named = name_frames(frames, said)
    patients = [scores.frame.patient for scores in frames]
    cases = [scores.frame for scores in frames]
    names = naming_figures(true, named, patients)
    rates = presence_figures(frames, said)
    published = _published(cases, said.presence)
    matches = {against: segment_matches(cases, against) for against in _references(frames)}
    return SegmentScores(
        rule=rule,
        said=said,
        frames=tuple(frames),
        true=true,
        named=named,
        weighted={
            **{(name, "annotated"): figure for name, figure in names.items()},
            **{_presence_key(name): figure for name, figure in rates.items()},
            **{key: figure for key, (figure, _) in published.items()},
            **_mask_figures(frames, matches),
        },
        published={key: value for key, (_, value) in published.items()},
        matches=matches,
    )


def _published(
    cases: Sequence[SegmentFrame], threshold: float
) -> dict[Key, tuple[WeightedFigure, float]]:
    """Return SAM 3's figures as functions of weights, and as its evaluator gives them."""
    figures = {}
    for reference in REFERENCES:
        pairs = pairs_of(cases, reference)
        if pairs:
            scored = score_pairs(pairs, threshold)
            for name, weighted in scored.weighted.items():
                figures[name, str(reference)] = weighted, scored.figures[name]
    return figures


def _mask_figures(
    frames: Sequence[FrameScores], matches: Mapping[Against, Matches]
) -> dict[Key, WeightedFigure]:
    patients = [scores.frame.patient for scores in frames]
    figures: dict[Key, WeightedFigure] = {}
    for against, matched in matches.items():
        for name, thresholds in _PRECISION.items():
            figures[name, against] = weighted_precision(matched, thresholds)
        for metric in MASK_METRICS:
            values = _mask_values(frames, against, metric)
            figures[metric, against] = weighted_mean(values, patients)
    return figures


def estimate_all(scores: SegmentScores, resampling: Resampling) -> dict[Key, Estimate]:
    """Return every figure over all frames with its interval."""
    estimates = {
        key: estimate_figure(figure, resampling)
        for key, figure in tracked(scores.weighted.items(), len(scores.weighted), _LABEL)
    }
    for key, value in scores.published.items():
        estimates[key] = replace(estimates[key], mean=value)
    return estimates


def estimate_groups(scores: SegmentScores, resampling: Resampling) -> tuple[GroupFigure, ...]:
    """Return naming, recall and mask scores by segment, artery and view, and AP by segment."""
    figures = {**_group_means(scores), **_segment_precision(scores)}
    return tuple(
        GroupFigure(
            name=name,
            against=against,
            group=group,
            value=value,
            estimate=estimate_figure(figure, resampling),
        )
        for (name, against, group, value), figure in tracked(figures.items(), len(figures), _LABEL)
    )


def frame_values(scores: SegmentScores) -> dict[Key, FloatArray]:
    """Return what is averaged over groups of frames: one value a frame, (N,)."""
    values: dict[Key, FloatArray] = {
        ("top1", "annotated"): (scores.true == scores.named).astype(np.float64),
        ("recall", "annotated"): _found(scores).astype(np.float64),
    }
    for against in _references(scores.frames):
        for metric in MASK_METRICS:
            values[metric, against] = _mask_values(scores.frames, against, metric)
    return values


def _found(scores: SegmentScores) -> BoolArray:
    """Return whether each frame's annotated segment is said to be there."""
    asked = [
        answer
        for frame in scores.frames
        for answer in frame.answers
        if answer.standing == "annotated"
    ]
    return scores.said.holds(
        np.array([answer.presence for answer in asked]),
        np.array([answer.agreement for answer in asked]),
    )


def segment_matches(frames: Sequence[SegmentFrame], against: Against) -> Matches:
    """Match the instances of all analysed segments with the annotated ones or with the truth."""
    numbered = list(enumerate(frames, 1))
    document = {
        "images": [
            {"id": number, "height": frame.shape_px[0], "width": frame.shape_px[1]}
            for number, frame in numbered
        ],
        "annotations": _annotations(numbered, against),
        "categories": [
            {"id": number, "name": segments()[number].phrase} for number in analysed_segments()
        ],
    }
    results = [
        coco_result(instance, number, query.category_id)
        for number, frame in numbered
        for query in frame.answers
        if query.category_id != NO_CATEGORY
        for instance in query.instances
    ]
    return detection_matches(
        document, results, {number: frame.patient for number, frame in numbered}
    )


def _annotations(
    numbered: Sequence[tuple[int, SegmentFrame]], against: Against
) -> list[dict[str, Any]]:
    analysed = frozenset(analysed_segments())
    marks = [
        asdict(mark) | {"image_id": number}
        for number, frame in numbered
        for mark in (
            [frame.annotated]
            if against == "annotated" or frame.visible is None
            else frame.visible.values()
        )
        if mark.category_id in analysed
    ]
    return [mark | {"id": number} for number, mark in enumerate(marks, 1)]


def _references(frames: Sequence[FrameScores]) -> tuple[Against, ...]:
    known = all(scores.frame.visible is not None for scores in frames)
    return ("annotated", "truth") if known else ("annotated",)


def _presence_key(name: str) -> Key:
    """Split the name of a rate over phrases: ``false_positives_pooled`` is one over wrong ones."""
    for prefix in ("false_positives", "recall"):
        what, found, over = name.partition(f"{prefix}_")
        if found:
            return f"{what}{prefix}", over
    return name, "phrases"


def _mask_values(frames: Sequence[FrameScores], against: Against, metric: str) -> FloatArray:
    return np.array(
        [
            getattr(scores.masks[against], metric) if against in scores.masks else math.nan
            for scores in frames
        ]
    )


def _groups(frames: Sequence[FrameScores]) -> Iterator[tuple[str, str, list[int]]]:
    for group in ("segment", "artery", "view"):
        kinds = [getattr(scores.frame, group) for scores in frames]
        for kind in sorted(set(kinds)):
            value = segments()[kind].phrase if group == "segment" else str(kind)
            yield group, value, [number for number, own in enumerate(kinds) if own == kind]


def _group_means(scores: SegmentScores) -> dict[GroupKey, WeightedFigure]:
    values, patients = frame_values(scores), scores.patients
    return {
        (name, against, group, value): weighted_mean(
            of_frames[members], [patients[number] for number in members]
        )
        for group, value, members in _groups(scores.frames)
        for (name, against), of_frames in values.items()
    }


def _segment_precision(scores: SegmentScores) -> dict[GroupKey, WeightedFigure]:
    return {
        (name, against, "segment", segments()[category.category].phrase): weighted_precision(
            replace(matches, categories=(category,)), thresholds
        )
        for against, matches in scores.matches.items()
        for category in matches.categories
        if category.references.any()
        for name, thresholds in _PRECISION.items()
    }
