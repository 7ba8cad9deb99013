"""The line along a vessel: traced in a mask, resampled, smoothed, with its normals.

Conventions
-----------
Points are ``(x, y)``. Everything but :func:`trace_mask` works in **object millimetres**, pixels
times the spacing, so that "perpendicular" and "length" mean the same with unequal spacings.
The left side of a line is that of the normal (t_y, −t_x): left as seen on the screen, where y
points down, when looking along the line.

The trace is the longest path of the mask's skeleton, which forks into the corners of a cut end;
those forks are dropped and the ends are continued straight to the tips afterwards. The thinning is
that of Guo and Hall 1989, doi:10.1145/62065.62074: Zhang and Suen's can eat up a straight band at
45° to a single pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal, sparse
from scipy.sparse import csgraph
from skimage.morphology import thin

from sam3_angio.errors import DataError

Points = NDArray[np.float64]

FORK_RADII = 1.5
"""Reach of a fork into a corner, in radii: √2 in a square end, and a little more."""


def arc_length(points: Points) -> NDArray[np.float64]:
    """Return the distance of each point from the first one along the line, shape (N,).

    Examples
    --------
    >>> arc_length(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 6.0]]))
    array([0., 5., 7.])
    """
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def resample(points: Points, step: float) -> Points:
    """Return points at equal distances of about `step` along the line, ends included."""
    arc = arc_length(points)
    count = max(2, round(arc[-1] / step) + 1)
    wanted = np.linspace(0.0, arc[-1], count)
    return np.column_stack([np.interp(wanted, arc, points[:, axis]) for axis in (0, 1)])


def smooth(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Fit a parabola in a running window; unlike a mean it keeps the depth of a narrowing.

    Savitzky and Golay 1964, doi:10.1021/ac60214a047. A window beyond the number of values is cut
    to it; one too short for a parabola leaves the values as they are.

    Parameters
    ----------
    values : (N,) or (N, 2) ndarray
        Equally spaced samples.
    window : int
        Full width in samples.
    """
    fitting = min(window, len(values))
    odd = fitting - 1 + fitting % 2
    if odd < 5:
        return values
    return np.asarray(signal.savgol_filter(values, odd, 2, axis=0, mode="interp"), dtype=np.float64)


def normals(points: Points, window: int) -> Points:
    """Return unit normals pointing left, shape (N, 2).

    Parameters
    ----------
    points : (N, 2) ndarray
        In millimetres.
    window : int
        Samples over which the direction is taken.
    """
    along = np.gradient(smooth(points, window), axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return np.column_stack([along[:, 1], -along[:, 0]])


def trace_mask(inside: NDArray[np.bool_], scale_mm: NDArray[np.float64]) -> tuple[Points, float]:
    """Return the longest path of a mask's medial axis without the forks at its ends.

    Parameters
    ----------
    inside : (M, N) ndarray of bool
        One component without holes.
    scale_mm : (2,) ndarray
        Column and row spacing.

    Returns
    -------
    points : (K, 2) ndarray
        Pixel centres on the path in millimetres, in no particular direction.
    width_mm : float
        Typical width: twice the median distance of the path to the border.

    Raises
    ------
    DataError
        The mask is too short for its width to have a direction.
    """
    row, column = ndimage.find_objects(inside.astype(np.uint8))[0]
    cropped = np.pad(inside[row, column], 1)
    spacing = (float(scale_mm[1]), float(scale_mm[0]))
    radius = ndimage.distance_transform_edt(cropped, sampling=spacing)
    pixels = _longest_path(thin(cropped), spacing)
    arc = arc_length(pixels * np.asarray(spacing))
    thickness = radius[pixels[:, 0], pixels[:, 1]]
    keep = (arc >= _fork(arc, thickness)) & (arc[-1] - arc >= _fork(arc, thickness[::-1]))
    if np.count_nonzero(keep) < 3 or np.ptp(arc[keep]) < np.median(thickness):
        raise DataError.at(
            "mask",
            "it is too short for its width to have a centreline.",
            "A segment has to be at least twice as long as wide.",
        )
    origin = np.array([column.start - 1, row.start - 1])
    return (pixels[keep][:, ::-1] + origin) * scale_mm, 2 * float(np.median(thickness[keep]))


def _fork(arc: NDArray[np.float64], thickness: NDArray[np.float64]) -> float:
    """Return how long the fork into a corner at the first end may be.

    Going into a square corner, the distance to the wall falls by 1/√2 per unit of length.
    """
    inner = np.interp(FORK_RADII * np.median(thickness), arc, thickness)
    return float(FORK_RADII * max(inner - thickness[0], 0.0))


def _longest_path(skeleton: NDArray[np.bool_], spacing: tuple[float, float]) -> NDArray[np.intp]:
    """Return the ``[row, column]`` pixels between the two ends that are furthest apart."""
    pixels = np.argwhere(skeleton)
    graph = _pixel_graph(skeleton, pixels, spacing)
    first = int(np.argmax(csgraph.dijkstra(graph, indices=np.array([0]))))
    distance, previous = csgraph.dijkstra(
        graph, indices=np.array([first]), return_predecessors=True
    )
    path = [int(np.argmax(distance))]
    while path[-1] != first:
        path.append(int(previous[0, path[-1]]))
    return pixels[path]


def _pixel_graph(
    skeleton: NDArray[np.bool_], pixels: NDArray[np.intp], spacing: tuple[float, float]
) -> sparse.csr_array:
    """Return the 8-neighbourhood graph of a skeleton, weighted by distance."""
    number = np.full(skeleton.shape, -1)
    number[tuple(pixels.T)] = np.arange(len(pixels))
    heads, tails, weights = [], [], []
    for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
        neighbour = number[pixels[:, 0] + down, pixels[:, 1] + right]
        found = np.flatnonzero(neighbour >= 0)
        heads.append(found)
        tails.append(neighbour[found])
        weights.append(np.full(len(found), np.hypot(down * spacing[0], right * spacing[1])))
    head, tail, weight = (np.concatenate(part) for part in (heads, tails, weights))
    graph = sparse.coo_array((weight, (head, tail)), shape=(len(pixels), len(pixels)))
    return sparse.csr_array(graph + graph.T)
