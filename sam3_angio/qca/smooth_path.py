"""The smoothest cheap way through a table of costs, and values smoothed by their precision.

Sources: dynamic programming over cross-sections as in quantitative angiography's contour
detection (Reiber et al., Circulation 71:280, 1985, doi:10.1161/01.CIR.71.2.280); the smoother of
Whittaker (Eilers, Anal. Chem. 75:3631, 2003, doi:10.1021/ac034173t).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import linalg

FloatArray = NDArray[np.float64]


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
    moves = [(a, b) for a in range(-steps[0], steps[0] + 1) for b in range(-steps[1], steps[1] + 1)]
    total = cost[0]
    came_by = np.zeros(cost.shape, dtype=np.intp)
    for row in range(1, len(cost)):
        arriving = np.stack([_moved(total, move) + _price(move, stiffness) for move in moves])
        came_by[row] = arriving.argmin(axis=0)
        total = cost[row] + arriving.min(axis=0)
    path = np.zeros((len(cost), 2), dtype=np.intp)
    path[-1] = np.unravel_index(int(total.argmin()), total.shape)
    for row in range(len(cost) - 1, 0, -1):
        path[row - 1] = path[row] - moves[came_by[row, path[row, 0], path[row, 1]]]
    return path


def _moved(table: FloatArray, move: tuple[int, int]) -> FloatArray:
    """Return a table shifted by a move; what comes from outside is infinite."""
    result = np.full(table.shape, np.inf)
    (a, b), (rows, columns) = move, table.shape
    result[max(a, 0) : rows + min(a, 0), max(b, 0) : columns + min(b, 0)] = table[
        max(-a, 0) : rows - max(a, 0), max(-b, 0) : columns - max(b, 0)
    ]
    return result


def _price(move: tuple[int, int], stiffness: tuple[float, float]) -> float:
    return stiffness[0] * move[0] ** 2 + stiffness[1] * move[1] ** 2


def smoothed(values: FloatArray, precision: FloatArray, stiffness: float) -> FloatArray:
    """Return the curve that is near to values where they are precise, and bends little.

    Minimises ``Σ precision (curve - values)² + stiffness Σ (second difference)²``.

    Parameters
    ----------
    values, precision : (N,) ndarray
        Equally spaced; a precision is positive.
    stiffness : float
    """
    if len(values) < 3:
        return values
    bend = sparse.diags_array(
        [1.0, -2.0, 1.0], offsets=[0, 1, 2], shape=(len(values) - 2, len(values))
    )
    system = sparse.diags_array(precision) + stiffness * bend.T @ bend
    return np.asarray(linalg.spsolve(sparse.csc_array(system), precision * values))
