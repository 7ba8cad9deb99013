"""What could have been claimed of names: by hand, against the rule itself, and by enumeration."""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy import stats

from sam3_angio.scoring.paired import POWER, holm, mcnemar_p
from sam3_angio.scoring.power import (
    REPETITIONS,
    ClaimRule,
    NameCounts,
    claimed,
    declarable_difference,
    detectable_names,
)
from sam3_angio.scoring.statistics import Resampling, estimate_figure, weighted_mean

RESAMPLING = Resampling(samples=200, confidence=0.95, seed=0)


def rule(arms: int = 1) -> ClaimRule:
    return ClaimRule(resampling=RESAMPLING, arms=arms)


def said_to_raise(gains: list[list[int]], arms: int) -> bool:
    """Apply the rule as the evaluation does: a list of -1, 0 and 1 a patient, a value a frame."""
    values = [value for patient in gains for value in patient]
    owners = [f"p{number}" for number, patient in enumerate(gains) for _ in patient]
    interval = estimate_figure(weighted_mean(values, owners), RESAMPLING)
    p = mcnemar_p(values.count(1), values.count(-1))
    return interval.low > 0 and holm([p] + [1.0] * (arms - 1))[0] < 1 - RESAMPLING.confidence


def counts(gains: list[list[int]]) -> NameCounts:
    return NameCounts(
        frames=np.array([[len(patient) for patient in gains]]),
        only_arm=np.array([[patient.count(1) for patient in gains]]),
        only_other=np.array([[patient.count(-1) for patient in gains]]),
    )


def test_the_rule_is_that_of_the_evaluation() -> None:
    rng = np.random.default_rng(0)
    claims = []
    for number in range(400):
        patients = [int(size) for size in rng.integers(1, 6, rng.integers(2, 14))]
        likely = rng.dirichlet((0.5, 4, 6))
        gains = [rng.choice((-1, 0, 1), size, p=likely).tolist() for size in patients]
        arms = 1 + number % 4
        claims.append(said_to_raise(gains, arms))
        assert claimed(counts(gains), rule(arms)).tolist() == [claims[-1]], gains
    assert 50 < sum(claims) < 350


@pytest.mark.parametrize(("arms", "net"), [(1, 6), (2, 7), (3, 7), (4, 8)])
def test_frames_to_none_that_a_claim_needs(arms: int, net: int) -> None:
    # p of k to 0 is 2 / 2^k: 1 / 32, 1 / 64 and 1 / 128 for 6, 7 and 8.
    frames = np.array([4] * 20 + [3])
    assert declarable_difference(frames, rule(arms)) == pytest.approx(net / 83)


def test_too_few_frames_or_patients_allow_no_claim() -> None:
    for frames in (np.array([5]), np.array([40]), np.array([3, 2])):
        assert math.isnan(declarable_difference(frames, rule()))
        seen = NameCounts(frames=frames, only_arm=0 * frames, only_other=0 * frames)
        assert math.isnan(detectable_names(seen, rule()))


def test_no_smaller_difference_than_the_declarable_one_is_ever_claimed() -> None:
    p = cache(mcnemar_p)
    for sizes in ((2, 2, 2, 2), (1, 1, 5), (4, 4)):
        frames = [value for value in product((-1, 0, 1), repeat=sum(sizes)) if sum(value) > 0]
        claims = []
        for value in frames:
            if p(value.count(1), value.count(-1)) < 0.05:
                parts = np.split(np.array(value), np.cumsum(sizes)[:-1])
                if said_to_raise([part.tolist() for part in parts], 1):
                    claims.append(sum(value) / len(value))
        least = min(claims, default=math.nan)
        assert declarable_difference(np.array(sizes), rule()) == pytest.approx(least, nan_ok=True)


def exact_power(seen: NameCounts, difference: float) -> float:
    """Return the probability of a claim over all draws of patients and all outcomes."""
    share = (seen.only_arm + seen.only_other).sum() / seen.frames.sum()
    favoured = (1 + min(difference / share, 1)) / 2
    gaining = max((difference - share) / (1 - share), 0)
    outcomes: dict[tuple[int, int, int], float] = {}
    for size, differing in zip(seen.frames, seen.only_arm + seen.only_other, strict=True):
        for arm, more in product(range(differing + 1), range(size - differing + 1)):
            key = (size, arm + more, differing - arm)
            chance = stats.binom.pmf(arm, differing, favoured)
            chance *= stats.binom.pmf(more, size - differing, gaining) / len(seen.frames)
            outcomes[key] = outcomes.get(key, 0.0) + chance
    drawn = list(product(outcomes.items(), repeat=len(seen.frames)))
    table = np.array([[key for key, _ in one] for one in drawn])
    chances = np.array([[chance for _, chance in one] for one in drawn]).prod(axis=1)
    assert chances.sum() == pytest.approx(1)
    found = NameCounts(frames=table[..., 0], only_arm=table[..., 1], only_other=table[..., 2])
    return float(chances[claimed(found, rule())].sum())


@pytest.mark.parametrize(
    "differing", [(1, 0, 0, 0, 0), (1, 1, 0, 0, 1), (3, 0, 0, 0, 0)], ids=("few", "many", "one")
)
def test_the_detectable_difference_is_that_of_enumeration(differing: tuple[int, ...]) -> None:
    seen = NameCounts(
        frames=np.array([3, 3, 3, 3, 3]), only_arm=np.array(differing), only_other=np.zeros(5, int)
    )
    found = detectable_names(seen, rule())
    doubt = 3 * math.sqrt(POWER * (1 - POWER) / REPETITIONS)
    assert exact_power(seen, found) > POWER - doubt
    assert exact_power(seen, found - 1 / 15) < POWER + doubt


def test_more_frames_that_differ_need_a_larger_difference() -> None:
    frames = np.array([4] * 20 + [3])
    few, many = np.zeros((2, 21), int)
    few[:5], many[:] = 1, 1
    found = [
        detectable_names(NameCounts(frames=frames, only_arm=one, only_other=one), rule(4))
        for one in (few, many)
    ]
    assert 8 / 83 < found[0] < found[1] < 0.35


def test_the_same_counts_give_the_same_difference() -> None:
    frames = np.array([4] * 20 + [3])
    seen = NameCounts(frames=frames, only_arm=frames // 4, only_other=0 * frames)
    assert detectable_names(seen, rule(4)) == detectable_names(seen, rule(4))
