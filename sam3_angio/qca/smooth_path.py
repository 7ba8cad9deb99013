"""The smoothest cheap way through a table of costs, and values smoothed by their precision.

Sources: dynamic programming over cross-sections as in quantitative angiography's contour
detection (Reiber et al., Circulation 71:280, 1985, doi:10.1161/01.CIR.71.2.280); the smoother of
Whittaker (Eilers, Anal. Chem. 75:3631, 2003, doi:10.1021/ac034173t).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, ndimage

FloatArray = NDArray[np.float64]

ADAPTING_ROUNDS = 10


def cheapest_path(
    cost: FloatArray, steps: tuple[int, int], stiffness: tuple[float, float]
) -> NDArray[np.intp]:
    """Return the way through a table, row by row, of least cost and least movement.

    Parameters
    ----------
    cost : (N, A, B) ndarray
        Of each state of each row.
    steps : tuple of int
        Largest change of either coordinate from one row to the next.
    stiffness : tuple of float
        Price of a squared change of one, of either coordinate.

    Returns
    -------
    (N, 2) ndarray of int
        The state at each row.

    Examples
    --------
    >>> table = np.ones((3, 2, 1))
    >>> table[[0, 1, 2], [0, 1, 0], 0] = 0.0
    >>> cheapest_path(table, (1, 0), stiffness=(0.1, 0.1))[:, 0]
    array([0, 1, 0])
    >>> cheapest_path(table, (1, 0), stiffness=(2.0, 2.0))[:, 0]
    array([0, 0, 0])
    """
    totals = np.empty_like(cost)
    totals[0] = cost[0]
    for row in range(1, len(cost)):
        # The price is a sum over the coordinates, so each may move by itself.
        reached = totals[row - 1]
        for axis in (0, 1):
            reached = _reached(reached, axis, steps[axis], stiffness[axis])
        np.add(reached, cost[row], out=totals[row])
    path = np.zeros((len(cost), 2), dtype=np.intp)
    path[-1] = np.unravel_index(int(totals[-1].argmin()), totals[-1].shape)
    for row in range(len(cost) - 1, 0, -1):
        path[row - 1] = _come_from(totals[row - 1], path[row], steps, stiffness)
    return path


def _reached(table: FloatArray, axis: int, most: int, stiffness: float) -> FloatArray:
    """Return the cost of each state after the best move along an axis."""
    best = table.copy()
    ways = best.swapaxes(0, axis), table.swapaxes(0, axis)
    for by in range(1, min(most, table.shape[axis] - 1) + 1):
        price = stiffness * by**2
        for to, come in ((slice(by, None), slice(None, -by)), (slice(None, -by), slice(by, None))):
            np.minimum(ways[0][to], ways[1][come] + price, out=ways[0][to])
    return best


def _come_from(
    table: FloatArray,
    place: NDArray[np.intp],
    steps: tuple[int, int],
    stiffness: tuple[float, float],
) -> NDArray[np.intp]:
    """Return the state from which a place of the next row is reached at least cost."""
    first = np.maximum(place - steps, 0)
    window = table[first[0] : place[0] + steps[0] + 1, first[1] : place[1] + steps[1] + 1]
    moves = (np.indices(window.shape).T + first - place).T
    price = stiffness[0] * moves[0] ** 2 + stiffness[1] * moves[1] ** 2
    best = np.unravel_index(int((window + price).argmin()), window.shape)
    return np.asarray(first + best, dtype=np.intp)


def smoothed(
    values: FloatArray, precision: FloatArray, stiffness: float | FloatArray
) -> FloatArray:
    """Return the curve that is near to values where they are precise, and bends little.

    Minimises ``Σ precision (curve - values)² + Σ stiffness (second difference)²``.

    Parameters
    ----------
    values, precision : (N,) ndarray
        Equally spaced; a precision is positive.
    stiffness : float or (N - 2,) ndarray
    """
    count = len(values)
    if count < 3:
        return values
    price = np.broadcast_to(np.asarray(stiffness, dtype=np.float64), count - 2)
    bands = np.zeros((3, count))
    bands[2] = precision
    for row, shift, products in ((2, 0, (1, 4, 1)), (1, 1, (-2, -2)), (0, 2, (1,))):
        for first, product in enumerate(products):
            bands[row, shift + first : shift + first + count - 2] += product * price
    return np.asarray(linalg.solveh_banded(bands, precision * values))


def adapted(
    values: FloatArray,
    precision: FloatArray,
    stiffness: tuple[float, float],
    noise: tuple[float, float],
) -> FloatArray:
    """Smooth values strongly but for where they clearly bend.

    Where the curve's second difference x is large, the stiffness is divided by ``1 + (x / bend)²``
    and the curve is found anew: a healthy stretch is as smooth as the stiffness makes it, and a
    short lesion keeps its depth. That is half-quadratic minimisation (Charbonnier et al. 1997,
    doi:10.1109/83.551699) but for one thing: the squares are averaged over a few samples, since a
    single soft sample would turn the floor of a lesion into a kink.

    Parameters
    ----------
    values, precision : (N,) ndarray
        Equally spaced; a precision is positive.
    stiffness : tuple of float
        That with which bends are looked for at first, and that of what does not bend.
    noise : tuple of float
        Second difference that noise may have, ``bend``, in the unit of the values; and over how
        many samples squares are averaged, the standard deviation of a Gaussian.
    """
    if len(values) < 3:
        return values
    (first, last), (bend, spread) = stiffness, noise
    curve = smoothed(values, precision, first)
    for _ in range(ADAPTING_ROUNDS):
        excess = (np.diff(curve, 2) / bend) ** 2
        nearby = ndimage.gaussian_filter1d(excess, spread, mode="nearest")
        curve = smoothed(values, precision, last / (1 + nearby))
    return curve
