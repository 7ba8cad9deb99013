"""Whole-tree masks as a segmentation network would draw them: good, not true.

The faults are those of the published network behind such labels (DeepSA, Dice 0.83 and 0.76 on
two public sets): borders that wander, thin branches that are broken or missing, a piece of the
catheter taken for vessel, small islands. How strong they are differs from frame to frame.

Conventions: masks are ``[row, column]``; a label is 512², whatever the frame's size. Lengths are
in pixels of the label.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import skeletonize

BoolMask = NDArray[np.bool_]
FloatImage = NDArray[np.float64]

#: Side of a label.
LABEL_SIZE_PX = 512

# Branches thinner than this are at risk of being broken or missed.
_THIN_RADIUS_PX = 2.6
_MISSED_AT_MOST = 0.75
_GAPS_PER_THIN_PX = 0.008
_CATHETER_TAKEN = 0.6
_ISLANDS = 4.0
_REACH_PX = 15
_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


def pseudo_label(
    tree: BoolMask, catheter: BoolMask, field: BoolMask, generator: np.random.Generator
) -> BoolMask:
    """Draw the label of a frame.

    Parameters
    ----------
    tree, catheter : (R, C) ndarray of bool
        True masks of the vessel tree and of the catheter, square frames.
    field : (R, C) ndarray of bool
        What the collimator leaves free; nothing is drawn outside.
    generator : numpy.random.Generator
        Source of the faults.

    Returns
    -------
    (512, 512) ndarray of bool
    """
    vessel, tube = _at_label_size(tree), _at_label_size(catheter)
    drawn = _without_missed_branches(vessel, generator)
    drawn = _with_wandering_border(drawn, generator)
    drawn |= _taken_catheter(tube, vessel, generator)
    drawn |= _islands(generator)
    return drawn & _at_label_size(field)


def _at_label_size(mask: BoolMask) -> BoolMask:
    """Resize by nearest neighbour: label pixel i looks at the frame at its own centre."""
    rows, columns = (
        np.floor((np.arange(LABEL_SIZE_PX) + 0.5) * size / LABEL_SIZE_PX).astype(int)
        for size in mask.shape
    )
    return mask[np.ix_(rows, columns)]


def _without_missed_branches(mask: BoolMask, generator: np.random.Generator) -> BoolMask:
    """Take out whole thin branches, and short pieces of the remaining thin ones."""
    if not mask.any():
        return mask.copy()
    skeleton = skeletonize(mask)
    radius_px = _depth(mask)
    branch = _branches(skeleton)
    count = int(branch.max())
    mean_radius_px = ndimage.mean(radius_px, branch, np.arange(1, count + 1))
    thinness = np.clip(1 - np.atleast_1d(mean_radius_px) / _THIN_RADIUS_PX, 0, 1)
    missed = generator.random(count) < _MISSED_AT_MOST * np.minimum(2 * thinness, 1)
    lost = missed[np.maximum(branch, 1) - 1] & (branch > 0)
    lost |= _gaps(skeleton & (radius_px < _THIN_RADIUS_PX), generator)
    # a pixel goes with the centre line's pixel that is nearest to it
    return np.asarray(mask & (_depth(~lost) >= _depth(~(skeleton & ~lost))), bool)


def _depth(mask: BoolMask) -> FloatImage:
    """Return the distance of each pixel of a mask to the nearest pixel outside, 0 outside."""
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # OpenCV takes another way, with other last digits, by processor and number of threads; the
    # square of a distance between pixels is a whole number
    return np.asarray(np.sqrt(np.rint(distance.astype(np.float64) ** 2)))


def _branches(skeleton: BoolMask) -> NDArray[np.int32]:
    """Return a number for each piece of a centre line between its forks, 0 elsewhere."""
    neighbours = ndimage.convolve(skeleton.astype(np.uint8), np.ones((3, 3), np.uint8)) - 1
    forks = skeleton & (neighbours > 2)
    pieces, _ = ndimage.label(skeleton & ~forks, _EIGHT_NEIGHBOURS)
    return np.asarray(pieces, np.int32)


def _gaps(thin: BoolMask, generator: np.random.Generator) -> BoolMask:
    rows, columns = np.nonzero(thin)
    lost = np.zeros_like(thin)
    if not rows.size:
        return lost
    chosen = generator.random(rows.size) < _GAPS_PER_THIN_PX
    for row, column in zip(rows[chosen], columns[chosen], strict=True):
        reach_px = int(generator.integers(3, 12))
        window = np.s_[
            max(row - reach_px, 0) : row + reach_px + 1,
            max(column - reach_px, 0) : column + reach_px + 1,
        ]
        lost[window] |= thin[window]
    return lost


def _with_wandering_border(mask: BoolMask, generator: np.random.Generator) -> BoolMask:
    """Move the border: by a constant for the frame, smoothly along it, and from pixel to pixel."""
    if not mask.any():
        return mask.copy()
    depth_px = _depth(mask) - _depth(~mask)
    wander_px = 1.0 * _smooth_field(generator, 7.0) + 0.5 * _smooth_field(generator, 1.0)
    shift_px = generator.normal(-0.05, 0.35) + wander_px
    return np.asarray(depth_px + shift_px > 0, bool)


def _smooth_field(generator: np.random.Generator, length_px: float) -> FloatImage:
    """Return a random field of unit variance whose correlation falls off over `length_px`."""
    noise = generator.standard_normal((LABEL_SIZE_PX, LABEL_SIZE_PX))
    field = ndimage.gaussian_filter(noise, length_px, mode="wrap")
    return np.asarray(field / field.std(), np.float64)


def _taken_catheter(tube: BoolMask, vessel: BoolMask, generator: np.random.Generator) -> BoolMask:
    """Take the catheter for vessel, from the ostium up to a random distance."""
    taken = generator.random() < _CATHETER_TAKEN
    reach_px = generator.uniform(10, 70)
    if not taken or not vessel.any():
        return np.zeros_like(tube)
    distance_px = _depth(~vessel)
    ostium = np.flatnonzero(tube)[np.argmin(distance_px[tube])] if tube.any() else 0
    row, column = np.unravel_index(ostium, tube.shape)
    rows, columns = np.indices(tube.shape)
    return np.asarray(tube & (np.hypot(rows - row, columns - column) < reach_px), bool)


def _islands(generator: np.random.Generator) -> BoolMask:
    """Draw small false vessels: short strokes anywhere."""
    mask = np.zeros((LABEL_SIZE_PX, LABEL_SIZE_PX), bool)
    y, x = np.mgrid[-_REACH_PX : _REACH_PX + 1, -_REACH_PX : _REACH_PX + 1]
    for _ in range(generator.poisson(_ISLANDS)):
        row, column = generator.integers(_REACH_PX, LABEL_SIZE_PX - _REACH_PX, 2)
        angle = generator.uniform(0, np.pi)
        length_px, width_px = generator.uniform(4, 14), generator.uniform(1.0, 2.5)
        along = x * np.cos(angle) + y * np.sin(angle)
        across = y * np.cos(angle) - x * np.sin(angle)
        window = np.s_[
            row - _REACH_PX : row + _REACH_PX + 1, column - _REACH_PX : column + _REACH_PX + 1
        ]
        mask[window] |= (along / length_px) ** 2 + (across / width_px) ** 2 < 1
    return mask
