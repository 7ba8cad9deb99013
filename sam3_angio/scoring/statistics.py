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
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
        return np.asarray(np.round(values, _EXACT_DIGITS))

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
