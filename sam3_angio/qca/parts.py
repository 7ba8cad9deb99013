"""From a mask in pieces to the mask of one vessel.

A predicted mask is often torn at a tight lesion, and has specks elsewhere. What is measured is the
largest part together with the parts that lie on within a short gap; the gap is bridged, so that
the tightest place is measured and not left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree
from skimage.draw import line

from sam3_angio.errors import DataError

LONGEST_GAP_MM = 10.0
"""Most that may be missing between two parts of one vessel."""
LEAST_PART = 0.05
"""A part this small relative to the largest is a speck."""
_AROUND = np.ones((3, 3), dtype=np.bool_)


def one_vessel(
    mask: NDArray[np.bool_], scale_mm: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], int]:
    """Return the main part of a mask with the parts that belong to it, holes filled.

    Parameters
    ----------
    mask : (M, N) ndarray of bool
    scale_mm : (2,) ndarray
        Column and row spacing.

    Returns
    -------
    vessel : (M, N) ndarray of bool
        Connected.
    parts : int
        How many parts the mask had.

    Raises
    ------
    DataError
        The mask is empty.
    """
    labels, count = ndimage.label(mask, structure=_AROUND)
    if count == 0:
        raise DataError.at("mask", "it is empty.", "Without a vessel nothing can be measured.")
    sizes = np.bincount(labels.ravel())[1:]
    main = 1 + int(sizes.argmax())
    vessel = labels == main
    others = [part for part in range(1, count + 1) if part != main]
    left = {part for part in others if sizes[part - 1] >= LEAST_PART * sizes[main - 1]}
    while left:
        bridges = {part: _bridge(vessel, labels == part, scale_mm) for part in left}
        nearest = min(left, key=lambda part: (bridges[part][0], part))
        gap_mm, ends = bridges[nearest]
        if gap_mm > LONGEST_GAP_MM:
            break
        vessel |= (labels == nearest) | _drawn(ends, mask.shape)
        left.remove(nearest)
    return np.asarray(ndimage.binary_fill_holes(vessel)), count


def _bridge(
    vessel: NDArray[np.bool_], part: NDArray[np.bool_], scale_mm: NDArray[np.float64]
) -> tuple[float, NDArray[np.intp]]:
    """Return the gap between two parts, and its ends as ``[row, column]``, (2, 2)."""
    ours, theirs = np.argwhere(vessel), np.argwhere(part)
    found = KDTree(ours * scale_mm[::-1]).query(theirs * scale_mm[::-1])
    distance, index = (np.asarray(part) for part in found)
    nearest = int(np.argmin(distance))
    return float(distance[nearest]), np.stack([theirs[nearest], ours[index[nearest]]])


def _drawn(ends: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    bridge = np.zeros(shape, dtype=np.bool_)
    bridge[line(*ends[0], *ends[1])] = True
    return np.asarray(ndimage.binary_dilation(bridge, structure=_AROUND))
