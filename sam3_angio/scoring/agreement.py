"""How well measurements agree with a reference: bias, scatter, limits, ICC, kappa.

Sources
-------
Limits of agreement: Bland and Altman, Lancet 327:307 (1986), doi:10.1016/S0140-6736(86)90837-8.
ICC(A,1), two-way, absolute agreement, single measurement: McGraw and Wong, Psychological Methods
1:30 (1996), doi:10.1037/1082-989X.1.1.30. Kappa: Cohen 1960, doi:10.1177/001316446002000104.

Conventions
-----------
Differences are measured minus reference. A pair with a NaN member takes no part and is counted as
undefined. Every figure is a formula of sums over pairs, so that its interval by patient
(:func:`sam3_angio.scoring.statistics.estimate_figure`) needs the sums alone. NaN where undefined.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sam3_angio.scoring.statistics import WeightedFigure, ratio, weighted_totals

FloatArray = npt.NDArray[np.float64]

#: Normal quantile of the 95 % limits of agreement.
LIMIT = 1.96

#: %DS at which a stenosis is called significant, and severe.
SEVERITY_PCT = (50.0, 70.0)


def agreement_figures(
    measured: FloatArray, reference: FloatArray, patients: Sequence[str]
) -> dict[str, WeightedFigure]:
    """Return how two columns agree, figure by figure.

    Parameters
    ----------
    measured, reference : (N,) ndarray
        Pairs, in one unit.
    patients : (N,) sequence of str

    Returns
    -------
    dict of str to WeightedFigure
        ``bias``, ``sd``, ``limit_low``, ``limit_high``, ``mae``, ``slope`` (of the difference
        against the pair's mean: proportional bias), ``icc``.
    """
    pair = ~(np.isnan(measured) | np.isnan(reference))
    x, y = measured[pair], reference[pair]
    owners = np.asarray(patients, dtype=str)[pair].tolist()
    difference, mean = x - y, (x + y) / 2
    ones = np.ones_like(x)
    sums = np.stack(
        [ones, difference, difference**2, mean, mean**2, mean * difference, np.abs(difference)],
        axis=1,
    )
    formulas = {
        "bias": _bias,
        "sd": _sd,
        "limit_low": lambda totals: _bias(totals) - LIMIT * _sd(totals),
        "limit_high": lambda totals: _bias(totals) + LIMIT * _sd(totals),
        "mae": lambda totals: ratio(totals[:, 6], totals[:, 0]),
        "slope": _slope,
        "icc": _icc,
    }
    undefined = int((~pair).sum())
    return {
        name: weighted_totals(sums, owners, formula, undefined)
        for name, formula in formulas.items()
    }


def severity_kappa(
    measured_pct: FloatArray, reference_pct: FloatArray, patients: Sequence[str], limit_pct: float
) -> WeightedFigure:
    """Return Cohen's kappa of "at least `limit_pct` %DS".

    Parameters
    ----------
    measured_pct, reference_pct : (N,) ndarray
    patients : (N,) sequence of str
    limit_pct : float
    """
    pair = ~(np.isnan(measured_pct) | np.isnan(reference_pct))
    said, true = measured_pct[pair] >= limit_pct, reference_pct[pair] >= limit_pct
    owners = np.asarray(patients, dtype=str)[pair].tolist()
    counts = np.stack([said & true, said & ~true, ~said & true, ~said & ~true], axis=1)
    return weighted_totals(counts.astype(np.float64), owners, _kappa, int((~pair).sum()))


def _bias(totals: FloatArray) -> FloatArray:
    return ratio(totals[:, 1], totals[:, 0])


def _sd(totals: FloatArray) -> FloatArray:
    count, total, squares = totals[:, 0], totals[:, 1], totals[:, 2]
    spread = np.maximum(squares - ratio(total**2, count), 0.0)
    return np.sqrt(ratio(spread, count - 1))


def _slope(totals: FloatArray) -> FloatArray:
    count, difference, _, mean, mean_squares, products, _ = totals.T
    return ratio(products - ratio(mean * difference, count), mean_squares - ratio(mean**2, count))


def _icc(totals: FloatArray) -> FloatArray:
    """Return ICC(A,1) of two columns from the mean squares of rows, columns and error."""
    count, difference, squares, mean, mean_squares, _, _ = totals.T
    rows = ratio(2 * (mean_squares - ratio(mean**2, count)), count - 1)
    columns = ratio(difference**2, count) / 2
    error = ratio(squares / 2 - columns, count - 1)
    whole = rows + error + 2 * ratio(columns - error, count)
    return ratio(rows - error, whole)


def _kappa(totals: FloatArray) -> FloatArray:
    both, said, true, neither = totals.T
    count = totals.sum(axis=1)
    observed = ratio(both + neither, count)
    by_chance = ratio((both + said) * (both + true) + (neither + said) * (neither + true), count**2)
    return ratio(observed - by_chance, 1 - by_chance)
