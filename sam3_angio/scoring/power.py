"""Which differences of names could have been claimed, by the very rule that claims them.

An arm is claimed to name more segments right where the interval of the paired difference lies above
0 and McNemar's exact p, adjusted for the number of arms, is below the interval's level
(:mod:`sam3_angio.scoring.paired`). With few frames the second is the higher bar: 7 frames that only
the arm names right, and none that only the other does, give p = 0.016: with four arms no claim.

Conventions
-----------
A frame counts +1 where only the arm is right, -1 where only the other is. Holm's method is taken by
its first step, p times the number of arms: the arm is the one that differs. Where others differ
too, less can do.

Repetitions draw as many patients as there are, with their frames, from those that were seen
(cluster bootstrap). As many of a patient's frames differ between the arms as were seen to; which
arm is right in them is drawn anew, with the chance that gives the true difference. Where the
difference needs more frames than differ, all of these favour the arm, and of the others a part
does. Within a patient these draws are independent; what runs in patients needs a larger difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from sam3_angio.scoring.paired import POWER
from sam3_angio.scoring.statistics import (
    FloatArray,
    IntArray,
    Resampling,
    bca_levels,
    drawn_weights,
    rounded,
)

BoolArray = npt.NDArray[np.bool_]

#: Repetitions; their share has a standard error of 0.02 at a power of 0.8.
REPETITIONS = 400

#: Patients from which on there is an interval.
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRule:
    """When an arm is said to name more segments right.

    Attributes
    ----------
    resampling : Resampling
        Of the interval; 1 less its confidence is the level of McNemar's test.
    arms : int
        How many arms are compared with the same one.
    """

    resampling: Resampling
    arms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NameCounts:
    """What two arms name right, by patient; equal shapes, patients last.

    Attributes
    ----------
    frames : (…, P) int ndarray
        Frames of the patient; at least one.
    only_arm, only_other : (…, P) int ndarray
        Frames that only the one, and only the other, names right.
    """

    frames: IntArray
    only_arm: IntArray
    only_other: IntArray


def declarable_difference(frames: IntArray, rule: ClaimRule) -> float:
    """Return the smallest difference that could be claimed at all; NaN where none could.

    All frames in which the arms differ favour one arm, and they are spread over the patients.

    Parameters
    ----------
    frames : (P,) int ndarray
        By patient.
    rule : ClaimRule
    """
    patient = np.repeat(np.arange(len(frames)), frames)
    turn = np.concatenate([np.arange(count) for count in frames])
    spread = patient[np.lexsort((patient, turn))]
    for net in range(1, len(spread) + 1):
        gained = np.bincount(spread[:net], minlength=len(frames))
        counts = NameCounts(
            frames=frames[None], only_arm=gained[None], only_other=np.zeros_like(gained[None])
        )
        if claimed(counts, rule)[0]:
            return net / len(spread)
    return math.nan


def detectable_names(seen: NameCounts, rule: ClaimRule) -> float:
    """Return the smallest true difference that would be claimed with probability `POWER`.

    It is sought in steps of one frame of those seen. NaN where no difference would.

    Parameters
    ----------
    seen : NameCounts
        (P,) of each patient.
    rule : ClaimRule
    """
    total = int(seen.frames.sum())
    repeat = _Repetitions(seen, rule.resampling.seed)

    def enough(net: int, judge: Callable[[NameCounts, ClaimRule], BoolArray]) -> bool:
        return bool(judge(repeat.tables(net / total), rule).mean() >= POWER)

    # A claim needs the test, which costs nothing: what it does not find, the rule does not.
    tested = _first(1, total, lambda net: enough(net, _tested))
    net = _first(tested, total, lambda net: enough(net, claimed))
    return net / total if net <= total else math.nan


def claimed(counts: NameCounts, rule: ClaimRule) -> BoolArray:
    """Return in which of R tables the arm is claimed to name more right.

    Parameters
    ----------
    counts : NameCounts
        (R, P).
    rule : ClaimRule

    Returns
    -------
    (R,) bool ndarray
    """
    answer = _tested(counts, rule)
    if counts.frames.shape[1] < _FEWEST or not answer.any():
        return np.zeros_like(answer)
    gains = (counts.only_arm - counts.only_other)[answer].astype(np.float64)
    frames = counts.frames[answer].astype(np.float64)
    answer[answer] = _above_zero(gains, frames, rule.resampling)
    return answer


def _tested(counts: NameCounts, rule: ClaimRule) -> BoolArray:
    """Return where McNemar's test, adjusted, speaks for the arm."""
    arm, other = counts.only_arm.sum(axis=-1), counts.only_other.sum(axis=-1)
    p = 2 * stats.binom.cdf(np.minimum(arm, other), arm + other, 0.5)
    answer: BoolArray = (arm > other) & (rule.arms * p < 1 - rule.resampling.confidence)
    return answer


def _above_zero(gains: FloatArray, frames: FloatArray, resampling: Resampling) -> BoolArray:
    """Return where the lower bound of the mean's BCa interval is above 0; (R, P) gives (R,)."""
    weights = drawn_weights(gains.shape[1], resampling.samples, resampling.seed)
    mean = rounded(gains.sum(axis=1) / frames.sum(axis=1))[:, None]
    drawn = np.sort(rounded((gains @ weights.T) / (frames @ weights.T)), axis=1)
    below = ((drawn < mean).mean(axis=1) + (drawn <= mean).mean(axis=1)) / 2
    net, count = (sums.sum(axis=1, keepdims=True) - sums for sums in (gains, frames))
    level = bca_levels(below, rounded(net / count), resampling.confidence)[:, 0]
    place = level * (drawn.shape[1] - 1)
    under = np.floor(place).astype(np.intp)
    row, over = np.arange(len(drawn)), np.minimum(under + 1, drawn.shape[1] - 1)
    part = place - under
    bound: FloatArray = (1 - part) * drawn[row, under] + part * drawn[row, over]
    return bound > 0


class _Repetitions:
    """The same draws for every true difference, so that a larger one never gains less."""

    def __init__(self, seen: NameCounts, seed: int) -> None:
        draw = np.random.default_rng(seed)
        shape = (REPETITIONS, len(seen.frames))
        patients = draw.integers(0, shape[1], shape)
        self._frames = seen.frames[patients]
        self._differing = (seen.only_arm + seen.only_other)[patients]
        self._share = float((seen.only_arm + seen.only_other).sum() / seen.frames.sum())
        self._side, self._more = draw.random(shape), draw.random(shape)

    def tables(self, difference: float) -> NameCounts:
        """Return (R, P) counts under a true difference between 0 and 1."""
        within = min(difference / self._share, 1.0) if self._share else 1.0
        beyond = (difference - self._share) / (1 - self._share) if self._share < 1 else 0.0
        arm = _binomial(self._differing, (1 + within) / 2, self._side)
        more = _binomial(self._frames - self._differing, max(beyond, 0.0), self._more)
        return NameCounts(
            frames=self._frames, only_arm=arm + more, only_other=self._differing - arm
        )


def _binomial(sizes: IntArray, chance: float, quantiles: FloatArray) -> IntArray:
    """Return the binomial counts at some quantiles."""
    counts = np.zeros(sizes.shape, dtype=np.intp)
    for size in np.unique(sizes):
        own = sizes == size
        below = stats.binom.cdf(np.arange(size), size, chance)
        counts[own] = np.searchsorted(below, quantiles[own])
    return counts


def _first(start: int, end: int, holds: Callable[[int], bool]) -> int:
    """Return the first of `start` … `end` from which on something holds, else ``end + 1``.

    Steps double from `start` on, since it is near, and are then halved.
    """
    low, high, step = start, start, 1
    while high <= end and not holds(high):
        low, high, step = high + 1, high + step, 2 * step
    high = min(high, end + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
