"""Means with confidence intervals that respect that frames of one patient resemble each other.

Source
------
Efron, "Better bootstrap confidence intervals", JASA 82:171 (1987),
doi:10.1080/01621459.1987.10478410 (BCa), by ``scipy.stats.bootstrap``; patients are resampled with
all their frames (cluster bootstrap: Field and Welsh, JRSS-B 69:369, 2007,
doi:10.1111/j.1467-9868.2007.00593.x).

Conventions
-----------
Every frame has the same weight in a mean, so a patient with more frames counts more. NaN is an
undefined value: it takes no part in the mean and is counted in ``undefined``. Where BCa is not
defined (all resamples agree, or leaving a patient out changes nothing) the percentile interval
stands in. One patient gives no interval: NaN.

A figure that is no mean (an F1 score, an area under a curve) is a function of the patients'
weights: 1 for every patient gives the figure itself, the numbers of times that each was drawn give
a resample, and 0 for one of them leaves that patient out. Resamples in which it is undefined take
no part in its interval.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import stats

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]


#: BCa counts the resamples below the estimate. With few patients many resamples equal it, and
#: must do so on every machine, whatever the order of a sum.
_EXACT_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """How intervals are computed.

    Attributes
    ----------
    samples : int
        Bootstrap samples.
    confidence : float
        Such as 0.95.
    seed : int
        The same seed gives the same interval.
    """

    samples: int
    confidence: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its confidence interval.

    Attributes
    ----------
    mean : float
        The figure; NaN where nothing is defined.
    low, high : float
        Bounds of the interval by patient; NaN where there is none.
    n, patients : int
        How many defined values of how many patients stand behind it.
    undefined : int
        How many values were NaN.
    """

    mean: float
    low: float
    high: float
    n: int
    patients: int
    undefined: int


def estimate_mean(
    values: Sequence[float] | FloatArray, patients: Sequence[str], resampling: Resampling
) -> Estimate:
    """Return the mean over values with its interval by patient.

    Parameters
    ----------
    values : (N,) sequence of float
        NaN where undefined.
    patients : (N,) sequence of str
        Whose value it is.
    resampling : Resampling

    Raises
    ------
    ValueError
        `values` and `patients` differ in length.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) != len(patients):
        raise ValueError(f"{len(array)} values of {len(patients)} patients")
    defined = ~np.isnan(array)
    _, codes = np.unique(np.asarray(patients, dtype=str)[defined], return_inverse=True)
    counts = np.bincount(codes)
    sums = np.array([math.fsum(array[defined][codes == one]) for one in range(len(counts))])

    def mean(drawn: IntArray, axis: int = -1) -> FloatArray:
        values = sums[drawn].sum(axis=axis) / counts[drawn].sum(axis=axis)
        return rounded(values)

    low, high = _interval(mean, len(counts), resampling, vectorized=True)
    return Estimate(
        mean=math.fsum(sums) / int(counts.sum()) if defined.any() else math.nan,
        low=low,
        high=high,
        n=int(defined.sum()),
        patients=len(counts),
        undefined=int((~defined).sum()),
    )


def estimate_difference(
    first: Sequence[float] | FloatArray,
    second: Sequence[float] | FloatArray,
    patients: Sequence[str],
    resampling: Resampling,
) -> Estimate:
    """Return the mean of ``first - second``, paired by frame, with its interval by patient.

    A pair with an undefined member is undefined.

    Raises
    ------
    ValueError
        The lengths differ.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values are not pairs")
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return estimate_mean(difference, patients, resampling)


def estimate_statistic(
    statistic: Callable[[IntArray], float], patients: Sequence[str], resampling: Resampling
) -> Estimate:
    """Return a figure that is no mean of its rows, such as average precision, with its interval.

    Parameters
    ----------
    statistic : callable
        Gives the figure for row numbers, which repeat in a resample.
    patients : (N,) sequence of str
        Whose row it is.
    resampling : Resampling
    """
    _, codes = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    count = int(codes.max()) + 1 if len(codes) else 0
    rows = [np.flatnonzero(codes == patient) for patient in range(count)]

    def of_patients(drawn: IntArray) -> float:
        value = statistic(np.concatenate([rows[patient] for patient in drawn]))
        return round(value, _EXACT_DIGITS)

    value = statistic(np.arange(len(codes))) if len(codes) else math.nan
    low, high = math.nan, math.nan
    if not math.isnan(value):
        low, high = _interval(of_patients, count, resampling, vectorized=False)
    return Estimate(mean=value, low=low, high=high, n=len(codes), patients=count, undefined=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedFigure:
    """A figure as a function of how often each patient counts.

    Attributes
    ----------
    patients : tuple of str
        Distinct, in the order of the weights.
    n : int
        How many values (frames, queries) stand behind it.
    of_weights : callable
        Takes (B, P) weights and gives (B,) figures, NaN where undefined.
    undefined : int
        How many values were undefined and took no part.
    """

    patients: tuple[str, ...]
    n: int
    of_weights: Callable[[FloatArray], FloatArray]
    undefined: int = 0


def weighted_mean(values: Sequence[float] | FloatArray, patients: Sequence[str]) -> WeightedFigure:
    """Return the mean over values, NaN left out, as a function of patients' weights.

    Parameters
    ----------
    values : (N,) sequence of float
    patients : (N,) sequence of str
    """
    array = np.asarray(values, dtype=np.float64)
    defined = ~np.isnan(array)
    owners = np.asarray(patients, dtype=str)[defined]
    kept = array[defined]
    return weighted_totals(
        np.stack([kept, np.ones_like(kept)], axis=1),
        owners.tolist(),
        lambda totals: ratio(totals[:, 0], totals[:, 1]),
        undefined=int((~defined).sum()),
    )


def weighted_median(
    values: Sequence[float] | FloatArray, patients: Sequence[str]
) -> WeightedFigure:
    """Return the median of values, NaN left out, as a function of patients' weights.

    Of an even number it is the mean of the two in the middle, as in ``numpy.median``.

    Parameters
    ----------
    values : (N,) sequence of float
    patients : (N,) sequence of str
    """
    array = np.asarray(values, dtype=np.float64)
    defined = ~np.isnan(array)
    owners = np.asarray(patients, dtype=str)[defined]
    names, codes = np.unique(owners, return_inverse=True)
    order = np.argsort(array[defined], kind="stable")
    rising, ranked = array[defined][order], codes[order]

    def median(weights: FloatArray) -> FloatArray:
        if not len(rising):
            return np.full(len(weights), math.nan)
        reached = np.cumsum(weights[:, ranked], axis=1)
        half = reached[:, -1:] / 2
        lower, upper = (np.argmax(met, axis=1) for met in (reached >= half, reached > half))
        return np.where(half[:, 0] > 0, (rising[lower] + rising[upper]) / 2, math.nan)

    return WeightedFigure(
        patients=tuple(names.tolist()),
        n=len(rising),
        of_weights=median,
        undefined=int((~defined).sum()),
    )


def weighted_totals(
    counts: FloatArray,
    patients: Sequence[str],
    formula: Callable[[FloatArray], FloatArray],
    undefined: int = 0,
) -> WeightedFigure:
    """Return a formula of sums over rows as a function of patients' weights.

    Parameters
    ----------
    counts : (N, K) ndarray
        What each row adds to the sums.
    patients : (N,) sequence of str
        Whose row it is.
    formula : callable
        Takes (B, K) sums and gives (B,) figures.
    undefined : int
        How many rows were left out as undefined.
    """
    names, codes = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    totals = np.zeros((len(names), counts.shape[1]))
    np.add.at(totals, codes, counts)
    return WeightedFigure(
        patients=tuple(names.tolist()),
        n=len(counts),
        of_weights=lambda weights: formula(weights @ totals),
        undefined=undefined,
    )


def figure_difference(first: WeightedFigure, second: WeightedFigure) -> WeightedFigure:
    """Return ``first - second`` under the same weights: paired by patient.

    Raises
    ------
    ValueError
        The figures are of different patients.
    """
    if first.patients != second.patients:
        raise ValueError("figures of different patients are no pair")
    return WeightedFigure(
        patients=first.patients,
        n=min(first.n, second.n),
        of_weights=lambda weights: first.of_weights(weights) - second.of_weights(weights),
        undefined=max(first.undefined, second.undefined),
    )


def ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Return ``part / whole``, NaN where the whole is nothing."""
    quotient = np.full(np.shape(whole), math.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def estimate_figure(figure: WeightedFigure, resampling: Resampling) -> Estimate:
    """Return a figure with its interval by patient."""
    count = len(figure.patients)
    value = float(figure.of_weights(np.ones((1, count)))[0]) if count else math.nan
    low, high = math.nan, math.nan
    if count > 1 and not math.isnan(value):
        low, high = bca_interval(
            value,
            figure.of_weights(drawn_weights(count, resampling.samples, resampling.seed)),
            figure.of_weights(1 - np.eye(count)),
            resampling.confidence,
        )
    return Estimate(
        mean=value,
        low=low,
        high=high,
        n=figure.n,
        patients=count,
        undefined=figure.undefined,
    )


def standard_error(figure: WeightedFigure, resampling: Resampling) -> float:
    """Return the standard deviation of a figure over resamples of the patients; NaN for one."""
    count = len(figure.patients)
    if count < 2:
        return math.nan
    drawn = figure.of_weights(drawn_weights(count, resampling.samples, resampling.seed))
    defined = drawn[~np.isnan(drawn)]
    return float(defined.std(ddof=1)) if len(defined) > 1 else math.nan


def bca_interval(
    value: float, resampled: FloatArray, left_out: FloatArray, confidence: float
) -> tuple[float, float]:
    """Return bias-corrected and accelerated bounds (Efron 1987); percentiles where undefined.

    Parameters
    ----------
    value : float
        The figure itself.
    resampled : (B,) ndarray
        The figure of each resample; NaN takes no part.
    left_out : (P,) ndarray
        The figure without each of the patients; NaN takes no part.
    confidence : float
        Such as 0.95.
    """
    drawn = rounded(resampled[~np.isnan(resampled)])
    if not len(drawn):
        return math.nan, math.nan
    exact = round(value, _EXACT_DIGITS)
    below = (np.count_nonzero(drawn < exact) + np.count_nonzero(drawn <= exact)) / (2 * len(drawn))
    jackknife = rounded(left_out[~np.isnan(left_out)])
    levels = bca_levels(np.array([below]), jackknife[None], confidence)
    low, high = np.quantile(drawn, levels[0])
    return float(low), float(high)


def bca_levels(below: FloatArray, left_out: FloatArray, confidence: float) -> FloatArray:
    """Return at which quantiles of the resamples the BCa bounds lie, for R figures.

    Parameters
    ----------
    below : (R,) ndarray
        Part of the resamples that is below the figure, of its equals half.
    left_out : (R, P) ndarray
        The figure without each of the patients; with none, nothing is accelerated.
    confidence : float
        Such as 0.95.

    Returns
    -------
    (R, 2) ndarray
        Low and high; the percentile interval's where BCa is undefined.
    """
    influence = np.zeros((len(below), 1))
    if left_out.shape[1]:
        influence = left_out.mean(axis=1, keepdims=True) - left_out
    tail = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = (influence**2).sum(axis=1) ** 1.5
        acceleration = ((influence**3).sum(axis=1) / (6 * spread))[:, None]
        bias = stats.norm.ppf(below)[:, None]
        moved = bias + stats.norm.ppf(tail)
        levels = stats.norm.cdf(bias + moved / (1 - acceleration * moved))
    defined = np.isfinite(levels).all(axis=1, keepdims=True)
    return np.asarray(np.where(defined, levels, tail))


def rounded(figures: FloatArray) -> FloatArray:
    """Return figures to the digits in which the resamples of few patients may be equal."""
    return np.asarray(np.round(figures, _EXACT_DIGITS))


@lru_cache(maxsize=8)
def drawn_weights(patients: int, samples: int, seed: int) -> FloatArray:
    """Return how often each patient is drawn in each resample, (B, P), read-only."""
    drawn = np.random.default_rng(seed).integers(0, patients, (samples, patients))
    flat = drawn + patients * np.arange(samples)[:, None]
    counts = np.bincount(flat.ravel(), minlength=samples * patients)
    weights = counts.reshape(samples, patients).astype(np.float64)
    weights.flags.writeable = False
    return weights


def _interval(
    statistic: Callable[..., float] | Callable[..., FloatArray],
    patients: int,
    resampling: Resampling,
    *,
    vectorized: bool,
) -> tuple[float, float]:
    """Return BCa bounds for a statistic of patient numbers; percentiles where BCa is undefined."""
    if patients < 2:
        return math.nan, math.nan
    with warnings.catch_warnings():
        # Degenerate cases are answered below; scipy's warnings would say nothing more.
        warnings.simplefilter("ignore", category=stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", category=RuntimeWarning)
        result = stats.bootstrap(
            (np.arange(patients),),
            statistic,
            n_resamples=resampling.samples,
            confidence_level=resampling.confidence,
            vectorized=vectorized,
            method="BCa",
            rng=np.random.default_rng(resampling.seed),
        )
    low, high = result.confidence_interval.low, result.confidence_interval.high
    if not (math.isfinite(low) and math.isfinite(high)):
        tail = (1 - resampling.confidence) / 2
        low, high = np.quantile(result.bootstrap_distribution, [tail, 1 - tail])
    return float(low), float(high)
