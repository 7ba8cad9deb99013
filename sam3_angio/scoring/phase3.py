"""Whether the view angle helps: every arm against the one without an angle, on the same frames.

Conventions
-----------
An arm is a way of telling the model the view angle. ``none`` tells nothing and is what the others
are compared with; ``shuffled`` tells the angle of another frame, so that what an arm gains over
``shuffled`` comes from the angle and not from more numbers in the model. A difference is positive
where the arm's figure is higher; its interval resamples patients, with both arms' answers to all
their frames. McNemar's test compares the names of the frames; Holm's method adjusts it for the
number of arms that are compared with the same one.

A difference of top-1 is claimed by interval and test together, and what could have been claimed is
computed for both (:mod:`sam3_angio.scoring.power`). Of the other figures the interval decides
alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sam3_angio.errors import DataError, Fault
from sam3_angio.progress import tracked
from sam3_angio.scoring.paired import detectable_difference, discordance, holm, mcnemar_p
from sam3_angio.scoring.phase2 import (
    AnswerRules,
    Key,
    SegmentScores,
    estimate_all,
    frame_values,
    score_predictions,
)
from sam3_angio.scoring.power import (
    ClaimRule,
    NameCounts,
    declarable_difference,
    detectable_names,
)
from sam3_angio.scoring.statistics import (
    Estimate,
    FloatArray,
    Resampling,
    WeightedFigure,
    estimate_figure,
    figure_difference,
    standard_error,
    weighted_mean,
)

#: The arm that is told nothing, and the one that is told another frame's angle.
BASE, CONTROL = "none", "shuffled"

_ORDER = (BASE, "text", "exemplar", "embedding", CONTROL)

_LABEL = "Comparing arms"

#: The figure whose difference McNemar's test must confirm.
TESTED: Key = ("top1", "annotated")

#: What arms are compared by: names first, then how segments are drawn.
NAMING: tuple[Key, ...] = (
    TESTED,
    ("macro_f1", "annotated"),
    ("cgf1", "annotated"),
    ("cgf1", "known"),
    ("cgf1", "truth"),
    ("false_positives", "pooled"),
)
SEGMENTATION: tuple[Key, ...] = (
    ("dice", "annotated"),
    ("dice", "truth"),
    ("iou", "annotated"),
    ("iou", "truth"),
    ("ap50", "annotated"),
    ("ap50", "truth"),
)

#: What is compared within each artery, too.
_BY_ARTERY: tuple[Key, ...] = (("top1", "annotated"), ("dice", "annotated"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A paired difference of one figure between two arms.

    Attributes
    ----------
    arm, to : str
        The difference is the arm's figure less that of `to`.
    name, against : str
        Which figure.
    artery : str
        ``RCA``, ``LCA``, or ``all``.
    difference : Estimate
        With its interval by patient.
    detectable : float
        Smallest true difference that would have been claimed with probability 0.8, to one side;
        NaN where none would, and where the interval decides alone and the arms never differ.
    declarable : float
        Smallest difference that could have been claimed at all; NaN where none could, and where
        the interval decides alone.
    """

    arm: str
    to: str
    name: str
    against: str
    artery: str
    difference: Estimate
    detectable: float
    declarable: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NameTest:
    """McNemar's test of the names that two arms give.

    Attributes
    ----------
    arm, to : str
        Which arms.
    only_arm, only_other : int
        Frames that only the one, and only the other, names right.
    p, holm_p : float
        Exact, two-sided; and adjusted for the number of arms compared with `to`.
    """

    arm: str
    to: str
    only_arm: int
    only_other: int
    p: float
    holm_p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmScores:
    """The view-angle experiment.

    Attributes
    ----------
    confidence : float
        Of the intervals.
    arms : mapping of str to SegmentScores
        ``none`` first, ``shuffled`` last.
    estimates : mapping
        Every figure by arm.
    comparisons : tuple of Comparison
        With ``none``, and with ``shuffled`` where that arm was run.
    tests : tuple of NameTest
        Likewise.
    """

    confidence: float
    arms: Mapping[str, SegmentScores]
    estimates: Mapping[str, Mapping[Key, Estimate]]
    comparisons: tuple[Comparison, ...]
    tests: tuple[NameTest, ...]


def score_arms(
    dataset: Path, truth: Path, predictions: Path, rules: AnswerRules
) -> dict[str, SegmentScores]:
    """Read and score the predictions of every arm.

    Parameters
    ----------
    dataset : Path
        Written by ``split``.
    truth : Path
        ``data/truth``.
    predictions : Path
        Holds a folder an arm.
    rules : AnswerRules

    Raises
    ------
    DataError
        There is no arm, or its files are not valid.
    """
    names = [path.name for path in predictions.glob("*") if (path / "queries.json").is_file()]
    if not names:
        message = "no arm has predictions."
        raise DataError.at("predictions/phase3", message, "Run train_phase3.")
    return {
        name: score_predictions(dataset, truth, predictions / name, rules)
        for name in ordered_arms(names)
    }


def ordered_arms(names: Sequence[str]) -> tuple[str, ...]:
    """Return arms in the order in which they are told, unknown ones before the control.

    Examples
    --------
    >>> ordered_arms(["embedding", "shuffled", "none", "text"])
    ('none', 'text', 'embedding', 'shuffled')
    """
    place = {name: number for number, name in enumerate(_ORDER)}
    return tuple(sorted(names, key=lambda name: (place.get(name, len(_ORDER) - 1.5), name)))


def compare_arms(arms: Mapping[str, SegmentScores], resampling: Resampling) -> ArmScores:
    """Compare arms with the one that is told nothing, and with the control.

    Parameters
    ----------
    arms : mapping of str to SegmentScores
        By name.
    resampling : Resampling

    Raises
    ------
    DataError
        Arms answered other frames or were asked for other phrases.
    """
    names = ordered_arms(list(arms))
    faults = list(_faults(names, arms))
    if faults:
        raise DataError("The arms cannot be compared:", faults)
    references = [name for name in (BASE, CONTROL) if name in arms]
    pairs = [(arm, to) for to in references for arm in names if arm not in {to, BASE}]
    rules = {
        to: ClaimRule(resampling=resampling, arms=sum(other == to for _, other in pairs))
        for to in references
    }
    return ArmScores(
        confidence=resampling.confidence,
        arms={name: arms[name] for name in names},
        estimates={name: estimate_all(arms[name], resampling) for name in names},
        comparisons=tuple(
            comparison
            for arm, to in tracked(pairs, len(pairs), _LABEL)
            for comparison in _comparisons(arm, to, arms, rules[to])
        ),
        tests=tuple(test for to in references for test in _tests(to, pairs, arms)),
    )


def _faults(names: Sequence[str], arms: Mapping[str, SegmentScores]) -> Iterator[Fault]:
    def asked(name: str) -> list[tuple[str, str]]:
        return [
            (scores.frame.frame_id, answer.phrase)
            for scores in arms[name].frames
            for answer in scores.answers
        ]

    for name in names[1:]:
        if asked(name) != asked(names[0]):
            yield Fault(
                file=f"{name}/queries.json",
                message=f"other frames or phrases were asked than of the arm {names[0]}.",
                fix="Run train_phase3 again with all arms.",
            )


def _comparisons(
    arm: str, to: str, arms: Mapping[str, SegmentScores], rule: ClaimRule
) -> Iterator[Comparison]:
    resampling = rule.resampling
    for key in (*NAMING, *SEGMENTATION):
        if key in arms[arm].weighted and key in arms[to].weighted:
            difference = figure_difference(arms[arm].weighted[key], arms[to].weighted[key])
            found = _comparison(arm, to, key, "all", difference, resampling)
            yield found if key != TESTED else _by_rule(found, arms[arm], arms[to], rule)
    arteries = np.array([scores.frame.artery for scores in arms[arm].frames])
    for artery in sorted(set(arteries.tolist())):
        for key in _BY_ARTERY:
            values = frame_values(arms[arm])[key] - frame_values(arms[to])[key]
            within = _within(values, arms[arm].patients, arteries == artery)
            yield _comparison(arm, to, key, artery, within, resampling)


def _within(
    values: FloatArray, patients: Sequence[str], chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> WeightedFigure:
    return weighted_mean(values[chosen], np.asarray(patients, dtype=str)[chosen].tolist())


def _comparison(
    arm: str, to: str, key: Key, artery: str, difference: WeightedFigure, resampling: Resampling
) -> Comparison:
    error = standard_error(difference, resampling)
    return Comparison(
        arm=arm,
        to=to,
        name=key[0],
        against=key[1],
        artery=artery,
        difference=estimate_figure(difference, resampling),
        detectable=(detectable_difference(error, resampling.confidence) if error > 0 else math.nan),
        declarable=math.nan,
    )


def _by_rule(
    row: Comparison, arm: SegmentScores, other: SegmentScores, rule: ClaimRule
) -> Comparison:
    """Return a comparison of names with what interval and test together could have claimed."""
    seen = _name_counts(arm, other)
    return replace(
        row,
        detectable=detectable_names(seen, rule),
        declarable=declarable_difference(seen.frames, rule),
    )


def _name_counts(arm: SegmentScores, other: SegmentScores) -> NameCounts:
    _, owners = np.unique(np.asarray(arm.patients, dtype=str), return_inverse=True)
    right, other_right = arm.true == arm.named, other.true == other.named
    count = int(owners.max()) + 1
    return NameCounts(
        frames=np.bincount(owners, minlength=count),
        only_arm=np.bincount(owners[right & ~other_right], minlength=count),
        only_other=np.bincount(owners[other_right & ~right], minlength=count),
    )


def _tests(
    to: str, pairs: Sequence[tuple[str, str]], arms: Mapping[str, SegmentScores]
) -> Iterator[NameTest]:
    compared = [arm for arm, other in pairs if other == to]
    right = {name: arms[name].true == arms[name].named for name in (*compared, to)}
    counts = [discordance(right[arm], right[to]) for arm in compared]
    p_values = [mcnemar_p(*pair) for pair in counts]
    for arm, (only_arm, only_other), p, adjusted in zip(
        compared, counts, p_values, holm(p_values), strict=True
    ):
        yield NameTest(
            arm=arm, to=to, only_arm=only_arm, only_other=only_other, p=p, holm_p=adjusted
        )
