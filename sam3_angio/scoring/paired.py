"""Whether two models differ on the same frames: exact McNemar, Holm, and what an interval can show.

Sources
-------
McNemar, Psychometrika 12:153 (1947), doi:10.1007/BF02295996, in its exact, two-sided binomial
form; Holm, Scandinavian Journal of Statistics 6:65 (1979).

Conventions
-----------
McNemar's test takes frames for independent; intervals that resample patients do not. A claim needs
both. Where the interval decides alone, the smallest difference that would have been found is that
which a two-sided test at its level would have found in four of five samples of the same size: the
standard error over resampled patients times the sum of both normal quantiles (2.80 at 95 %). Where
both decide, it is that of :mod:`sam3_angio.scoring.power`, and larger.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

#: Probability with which a true difference would have been found.
POWER = 0.8


def discordance(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Count the pairs in which only the first, and only the second, is right.

    Raises
    ------
    ValueError
        The lengths differ.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} answers are not pairs")
    return int((first & ~second).sum()), int((second & ~first).sum())


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p of McNemar's test; 1 where no pair differs.

    Examples
    --------
    >>> mcnemar_p(5, 0)
    0.0625
    """
    differing = only_first + only_second
    if not differing:
        return 1.0
    return float(stats.binomtest(only_first, differing, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p values adjusted for their number by Holm's step-down method.

    Examples
    --------
    >>> holm([0.25, 0.125, 0.0625])
    (0.25, 0.25, 0.1875)
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return tuple(adjusted)


def detectable_difference(standard_error: float, confidence: float) -> float:
    """Return the smallest true difference that an interval would have shown with `POWER`.

    Parameters
    ----------
    standard_error : float
        Of the paired difference.
    confidence : float
        Of the interval, such as 0.95.
    """
    quantiles = stats.norm.ppf((1 + confidence) / 2) + stats.norm.ppf(POWER)
    return float(quantiles * standard_error)
