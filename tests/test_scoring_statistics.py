"""Intervals by patient: by hand, against scipy used directly, and properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sam3_angio.scoring.statistics import (
    Resampling,
    estimate_difference,
    estimate_figure,
    estimate_mean,
    estimate_statistic,
    figure_difference,
    standard_error,
    weighted_mean,
    weighted_median,
    weighted_totals,
)

RESAMPLING = Resampling(samples=500, confidence=0.95, seed=3)
NAN = math.nan


def of_patients(*sizes: int) -> list[str]:
    return [f"p{number:02}" for number, size in enumerate(sizes) for _ in range(size)]


# ---- by hand -----------------------------------------------------------------------------------


def test_the_mean_weighs_frames_and_counts_frames_patients_and_undefined_values():
    estimate = estimate_mean([1, 2, 3, NAN, NAN, 6], of_patients(3, 1, 2), RESAMPLING)
    assert estimate.mean == 3
    assert (estimate.n, estimate.patients, estimate.undefined) == (4, 2, 2)


def test_one_patient_gives_a_mean_without_an_interval():
    estimate = estimate_mean([0.2, 0.4], ["p00", "p00"], RESAMPLING)
    assert estimate.mean == pytest.approx(0.3)
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)


@pytest.mark.parametrize("values", [[], [NAN, NAN]])
def test_nothing_defined_gives_nan_and_its_count(values):
    estimate = estimate_mean(values, of_patients(*[1] * len(values)), RESAMPLING)
    assert all(math.isnan(value) for value in (estimate.mean, estimate.low, estimate.high))
    assert (estimate.n, estimate.patients, estimate.undefined) == (0, 0, len(values))


def test_equal_values_give_an_interval_of_no_width():
    estimate = estimate_mean([0.7] * 6, of_patients(2, 2, 2), RESAMPLING)
    assert (estimate.low, estimate.high) == (pytest.approx(0.7), pytest.approx(0.7))


def test_frames_of_a_patient_stay_together():
    # Two patients, each of one mind: a resample has mean 0, ½ or 1, so the interval is [0, 1].
    # Resampling frames would give about ½ ± 0.1.
    values = [0.0] * 50 + [1.0] * 50
    estimate = estimate_mean(values, of_patients(50, 50), RESAMPLING)
    assert (estimate.low, estimate.high) == (0, 1)


def test_a_pair_with_an_undefined_member_is_undefined():
    estimate = estimate_difference([1, 2, NAN], [0.5, NAN, 1], of_patients(1, 1, 1), RESAMPLING)
    assert (estimate.mean, estimate.n, estimate.undefined) == (0.5, 1, 2)


def test_pairing_finds_a_small_steady_difference_between_noisy_scores():
    rng = np.random.default_rng(0)
    second = rng.uniform(0.3, 0.9, 60)
    first = second + 0.02 + rng.normal(0, 0.005, 60)
    estimate = estimate_difference(first, second, of_patients(*[3] * 20), RESAMPLING)
    assert 0.01 < estimate.low < estimate.mean < estimate.high < 0.03


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 values of 1"):
        estimate_mean([1, 2], ["p0"], RESAMPLING)
    with pytest.raises(ValueError, match="not pairs"):
        estimate_difference([1, 2], [1], ["p0", "p1"], RESAMPLING)


# ---- against scipy used directly -----------------------------------------------------------------


def test_one_frame_a_patient_is_scipys_bootstrap_of_the_mean():
    values = np.random.default_rng(5).beta(8, 2, 40)
    estimate = estimate_mean(values, of_patients(*[1] * 40), RESAMPLING)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=500, method="BCa", rng=np.random.default_rng(3)
    ).confidence_interval
    assert (estimate.low, estimate.high) == (
        pytest.approx(expected.low),
        pytest.approx(expected.high),
    )


def test_many_frames_a_patient_agree_with_resampled_lists_of_frames():
    rng = np.random.default_rng(6)
    groups = [rng.normal(rng.normal(), 1, rng.integers(1, 6)) for _ in range(25)]
    patients = of_patients(*map(len, groups))
    estimate = estimate_mean(np.concatenate(groups), patients, RESAMPLING)
    expected = stats.bootstrap(
        (np.arange(25),),
        lambda drawn: np.concatenate([groups[patient] for patient in drawn]).mean(),
        vectorized=False,
        n_resamples=500,
        method="BCa",
        rng=np.random.default_rng(3),
    ).confidence_interval
    assert estimate.low == pytest.approx(expected.low)
    assert estimate.high == pytest.approx(expected.high)


def test_a_statistic_of_rows_that_is_a_mean_equals_the_mean():
    values = np.random.default_rng(7).uniform(size=30)
    patients = of_patients(*[2] * 15)
    mean = estimate_mean(values, patients, RESAMPLING)
    statistic = estimate_statistic(lambda rows: float(values[rows].mean()), patients, RESAMPLING)
    assert statistic.mean == pytest.approx(mean.mean)
    assert statistic.low == pytest.approx(mean.low)
    assert statistic.high == pytest.approx(mean.high)


def test_a_figure_of_weights_has_scipys_interval():
    rng = np.random.default_rng(9)
    values = rng.beta(8, 2, 90)
    patients = [f"p{number:02}" for number in rng.integers(0, 25, 90)]
    by_scipy, ours = (
        estimate_mean(values, patients, RESAMPLING),
        estimate_figure(weighted_mean(values, patients), RESAMPLING),
    )
    assert (ours.n, ours.patients) == (by_scipy.n, by_scipy.patients)
    np.testing.assert_allclose(
        [ours.mean, ours.low, ours.high], [by_scipy.mean, by_scipy.low, by_scipy.high]
    )


def test_a_figure_that_is_no_mean_has_the_interval_of_resampled_rows():
    rng = np.random.default_rng(10)
    counts = rng.integers(0, 4, (60, 2)).astype(float)
    patients = of_patients(*[3] * 20)

    def formula(totals: np.ndarray) -> np.ndarray:
        return totals[:, 0] ** 2 / (1 + totals[:, 1])

    figure = weighted_totals(counts, patients, formula)
    expected = estimate_statistic(
        lambda rows: float(formula(counts[rows].sum(axis=0)[None])[0]), patients, RESAMPLING
    )
    ours = estimate_figure(figure, RESAMPLING)
    np.testing.assert_allclose(
        [ours.mean, ours.low, ours.high], [expected.mean, expected.low, expected.high]
    )


def test_the_difference_of_figures_is_paired():
    values = np.random.default_rng(11).uniform(size=30)
    patients = of_patients(*[2] * 15)
    first, second = weighted_mean(values + 0.25, patients), weighted_mean(values, patients)
    estimate = estimate_figure(figure_difference(first, second), RESAMPLING)
    assert estimate.low == pytest.approx(0.25)
    assert estimate.high == pytest.approx(0.25)
    with pytest.raises(ValueError, match="different patients"):
        figure_difference(first, weighted_mean([1.0], ["p99"]))


def test_resamples_without_a_value_take_no_part():
    # Only the first patient has a value; a resample without that patient has none.
    figure = weighted_mean([0.5, NAN, NAN], ["p0", "p1", "p2"])
    whole = weighted_totals(
        np.array([[0.5, 1.0], [0.0, 0.0], [0.0, 0.0]]),
        ["p0", "p1", "p2"],
        lambda totals: np.where(totals[:, 1] > 0, 0.5, NAN),
    )
    assert figure.undefined == 2
    estimate = estimate_figure(whole, RESAMPLING)
    assert (estimate.mean, estimate.low, estimate.high) == (0.5, 0.5, 0.5)


def test_the_standard_error_of_a_mean_is_the_textbooks():
    values = np.random.default_rng(12).normal(0, 1, 400)
    figure = weighted_mean(values, of_patients(*[1] * 400))
    many = Resampling(samples=4000, confidence=0.95, seed=0)
    assert standard_error(figure, many) == pytest.approx(values.std(ddof=1) / 20, rel=0.05)
    assert math.isnan(standard_error(weighted_mean([1.0, 2.0], ["p0", "p0"]), many))


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(8)
    resampling = Resampling(samples=400, confidence=0.9, seed=0)
    patients = of_patients(*[4] * 30)
    covered = 0
    for _ in range(300):
        values = np.repeat(rng.normal(size=30), 4) + rng.normal(0, 0.5, 120)
        estimate = estimate_mean(values, patients, resampling)
        covered += estimate.low <= 0 <= estimate.high
    assert 0.84 <= covered / 300 <= 0.95


# ---- properties --------------------------------------------------------------------------------

frames = st.lists(
    st.tuples(st.floats(0, 1) | st.just(NAN), st.sampled_from("abcde")), min_size=1, max_size=25
)


@settings(deadline=None, max_examples=40)
@given(frames)
def test_the_interval_lies_within_the_values_whatever_they_are(rows):
    values, patients = zip(*rows, strict=True)
    estimate = estimate_mean(values, patients, Resampling(samples=100, confidence=0.9, seed=0))
    assert estimate.n + estimate.undefined == len(rows)
    defined = [value for value in values if not math.isnan(value)]
    if estimate.patients > 1:
        assert min(defined) - 1e-9 <= estimate.low <= estimate.high <= max(defined) + 1e-9
    else:
        assert math.isnan(estimate.low)


@settings(deadline=None, max_examples=20)
@given(frames, st.randoms())
def test_the_order_of_frames_does_not_matter(rows, random):
    shuffled = rows.copy()
    random.shuffle(shuffled)
    there, back = (
        estimate_mean(*zip(*order, strict=True), Resampling(samples=100, confidence=0.9, seed=0))
        for order in (rows, shuffled)
    )
    np.testing.assert_allclose(
        [there.mean, there.low, there.high], [back.mean, back.low, back.high], atol=1e-9
    )


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 2.0, NAN]), st.integers(0, 3)), min_size=1),
    st.lists(st.integers(0, 4), min_size=4, max_size=4),
)
def test_a_weighted_median_is_that_of_repeated_patients(rows, times):
    values = [value for value, _ in rows]
    figure = weighted_median(values, [f"p{patient}" for _, patient in rows])
    count = {f"p{patient}": number for patient, number in enumerate(times)}
    weights = np.array([[float(count[patient]) for patient in figure.patients]])
    repeated = [v for v, patient in rows for _ in range(times[patient]) if not math.isnan(v)]
    expected = np.median(repeated) if repeated else NAN
    np.testing.assert_allclose(figure.of_weights(weights), [expected])
    assert figure.n + figure.undefined == len(rows)
