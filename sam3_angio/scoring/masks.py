"""How well one binary mask covers another: overlap, centreline, border distance, topology.

Sources
-------
Dice (1945) and Jaccard (1912) for overlap; clDice: Shit et al., "clDice: a novel
topology-preserving loss function for tubular structure segmentation", CVPR 2021,
doi:10.1109/CVPR46437.2021.01629, eqs. 1 and 2; surface distances as in Taha and Hanbury, BMC
Medical Imaging 15:29 (2015), doi:10.1186/s12880-015-0068-x.

Conventions
-----------
Masks are boolean arrays ``[row, column]``. The border of a mask is the set of its pixels that touch
the background, or the picture's edge, at one of their four sides; distances run between centres of
border pixels, in millimetres by the spacing of rows and of columns. HD95 is the larger of the two
directed 95th percentiles; ASSD is the mean over the border pixels of both masks. Parts are
8-connected, holes are 4-connected background that the mask encloses.

Empty masks, one rule for all:

==================  ===================  ======================
which is empty      Dice, IoU, clDice    HD95, ASSD
==================  ===================  ======================
neither             as defined           as defined
one of them         0: nothing is right  NaN: there is no border
both                NaN: no vessel       NaN: there is no border
==================  ===================  ======================

The distances are NaN as well where the spacing is unknown. Errors of parts and holes are always
defined. Means count the NaN and report the count (:mod:`sam3_angio.scoring.statistics`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree
from skimage.morphology import skeletonize

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskScores:
    """What comparing a prediction with a reference gives.

    Attributes
    ----------
    dice, iou, cldice : float
        0 to 1; NaN where both masks are empty.
    hd95_mm, assd_mm : float
        NaN where a mask is empty or the spacing is unknown.
    parts_error, holes_error : float
        Absolute difference of the numbers of connected parts (Betti number 0) and of holes
        (Betti number 1).
    """

    dice: float
    iou: float
    cldice: float
    hd95_mm: float
    assd_mm: float
    parts_error: float
    holes_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredMask:
    """A mask with what every comparison needs of it, computed once.

    Attributes
    ----------
    mask : (M, N) bool ndarray
        The mask itself.
    centreline : (M, N) bool ndarray
        Its skeleton.
    border_mm : (K, 2) float ndarray
        Row and column coordinates of the border pixels' centres.
    parts, holes : int
        Number of connected parts and of holes.
    """

    mask: BoolArray
    centreline: BoolArray
    border_mm: FloatArray
    parts: int
    holes: int


def measure(mask: BoolArray, spacing_mm: tuple[float, float]) -> MeasuredMask:
    """Compute what comparisons need of a mask.

    Parameters
    ----------
    mask : (M, N) bool ndarray
    spacing_mm : tuple of float
        Distance between rows and between columns; NaN where unknown.
    """
    part = _extent(mask)
    inside = mask[part]
    centreline = np.zeros_like(mask)
    centreline[part] = skeletonize(inside)
    border = np.argwhere(_border(inside)) + np.array([part[0].start, part[1].start])
    return MeasuredMask(
        mask=mask,
        centreline=centreline,
        border_mm=border * np.asarray(spacing_mm, dtype=np.float64),
        parts=ndimage.label(inside, _EIGHT_NEIGHBOURS)[1],
        holes=ndimage.label(~np.pad(inside, 1))[1] - 1,
    )


def compare(reference: MeasuredMask, prediction: MeasuredMask) -> MaskScores:
    """Score a prediction against a reference; the module's rule holds for empty masks.

    Raises
    ------
    ValueError
        The masks have different shapes.
    """
    distances_mm = border_distances_mm(reference, prediction)
    return MaskScores(
        dice=dice(reference.mask, prediction.mask),
        iou=iou(reference.mask, prediction.mask),
        cldice=cldice(reference, prediction),
        hd95_mm=hd95_mm(*distances_mm),
        assd_mm=assd_mm(*distances_mm),
        parts_error=float(abs(reference.parts - prediction.parts)),
        holes_error=float(abs(reference.holes - prediction.holes)),
    )


def dice(reference: BoolArray, prediction: BoolArray) -> float:
    """Return twice the common area over the sum of both areas.

    Raises
    ------
    ValueError
        The masks have different shapes.

    Examples
    --------
    >>> dice(np.array([[True, True, False]]), np.array([[False, True, True]]))
    0.5
    """
    common, first, second = _areas(reference, prediction)
    return _ratio(2 * common, first + second)


def iou(reference: BoolArray, prediction: BoolArray) -> float:
    """Return the common area over the united area.

    Raises
    ------
    ValueError
        The masks have different shapes.
    """
    common, first, second = _areas(reference, prediction)
    return _ratio(common, first + second - common)


def cldice(reference: MeasuredMask, prediction: MeasuredMask) -> float:
    """Return the centreline Dice (Shit et al. 2021, eqs. 1 and 2)."""
    if not reference.mask.any() or not prediction.mask.any():
        return 0.0 if reference.mask.any() or prediction.mask.any() else math.nan
    precision = _covered(prediction.centreline, reference.mask)
    sensitivity = _covered(reference.centreline, prediction.mask)
    if precision + sensitivity == 0:
        return 0.0
    return 2 * precision * sensitivity / (precision + sensitivity)


def border_distances_mm(
    reference: MeasuredMask, prediction: MeasuredMask
) -> tuple[FloatArray, FloatArray]:
    """Return each border pixel's distance to the other mask's border.

    Returns
    -------
    tuple of ndarray
        From the reference's border to the prediction's, and back; both empty where a mask is
        empty or the spacing is unknown.
    """
    first, second = reference.border_mm, prediction.border_mm
    if not len(first) or not len(second) or np.isnan(first).any() or np.isnan(second).any():
        return np.empty(0), np.empty(0)
    there_mm, back_mm = KDTree(second).query(first)[0], KDTree(first).query(second)[0]
    return np.asarray(there_mm), np.asarray(back_mm)


def hd95_mm(there_mm: FloatArray, back_mm: FloatArray) -> float:
    """Return the larger of the two directed 95th percentiles; NaN without distances."""
    if not len(there_mm):
        return math.nan
    return float(max(np.percentile(there_mm, 95), np.percentile(back_mm, 95)))


def assd_mm(there_mm: FloatArray, back_mm: FloatArray) -> float:
    """Return the mean of all distances of both directions; NaN without distances."""
    if not len(there_mm):
        return math.nan
    return float(np.concatenate([there_mm, back_mm]).mean())


def _areas(reference: BoolArray, prediction: BoolArray) -> tuple[int, int, int]:
    if reference.shape != prediction.shape:
        raise ValueError(f"masks of different shapes: {reference.shape} and {prediction.shape}")
    common = np.count_nonzero(reference & prediction)
    return int(common), int(np.count_nonzero(reference)), int(np.count_nonzero(prediction))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _covered(centreline: BoolArray, mask: BoolArray) -> float:
    return np.count_nonzero(centreline & mask) / np.count_nonzero(centreline)


def _extent(mask: BoolArray) -> tuple[slice, slice]:
    """Return the bounding box of a mask; most of a frame is background."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _border(mask: BoolArray) -> BoolArray:
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
