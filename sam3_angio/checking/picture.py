"""The pseudo-label against the frame's own pixels: shifted, mirrored, of another or inverted frame.

Vessels full of contrast are darker than what is beside them, and a pseudo-label was drawn from the
picture. So the pixels that it marks are darker than their surroundings, more so than those that
any mirror image or translation of it marks, and by much of what the picture varies by at all. On
the phantom this holds for every frame, to the pixel; another patient's label is as dark as its
surroundings.

Conventions
-----------
Pictures are as displayed, 8 bits, at any size; labels at their own. A shift is (columns, rows) by
which the label lies right of and below the vessels, in the label's pixels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import uniform_filter

from sam3_angio.checking.finding import Notes
from sam3_angio.checking.overlap import LOW_COVERAGE, symmetries
from sam3_angio.label_mask import Mask
from sam3_angio.path_columns import DICOM, PSEUDO_LABEL

#: Side of the square that darkness is taken against, as a share of the label's: 33 of 512 pixels.
_AROUND_SHARE = 33 / 512
#: Grey levels by which a vessel tree is darker, at the least, to be compared at all.
_LEAST_DARKNESS = 3.0
#: Standard deviation of darkness below which a picture shows nothing; frames have 8 to 30.
_LEAST_VARIATION = 2.0
#: Darkness of a label as a share of that deviation, whatever window and contrast are. Below
#: the first a label is another frame's; below the second it is where it misses the segment, too.
#: Of 441 right labels of a phantom the least has 0.40; of 2646 of other patients 99.5 % are told.
_LEAST_SHARE, _LEAST_SHARE_BESIDE = 0.25, 0.8
_GAIN = 1.5
#: Translations that are tried, and those that are told.
_REACH_PX, _SHIFTED_PX = 16, 2
_SHIFT_GAIN = 1.05
_FIX = "Check that pseudo-label, run and frame_index belong together, or make the label again."


def picture_findings(
    picture: NDArray[np.uint8], tree: Mask, notes: Notes, *, covered: float = math.nan
) -> None:
    """Note a pseudo-label that does not lie on the dark vessels of its frame.

    Parameters
    ----------
    picture : (R, C) ndarray of uint8
    tree : (r, c) ndarray of bool
        Of the same proportions.
    notes : Notes
    covered : float
        Share of the analysed segment's centre line that the label covers; NaN where unknown.
    """
    if not tree.any() or tree.all():
        return
    dark = _darkness(picture, tree.shape)
    own, varies = float(dark[tree].mean()), float(dark.std())
    expected = f"vessels darker than what is beside them (these are by {own:.1f} grey levels)"
    how, best = max(
        ((name, float(dark[other].mean())) for name, other in symmetries(tree)),
        key=lambda one: one[1],
        default=("", 0.0),
    )
    if own < -max(_LEAST_DARKNESS, _LEAST_SHARE * varies):
        fix = "MONOCHROME1 and MONOCHROME2 may be exchanged in the header."
        notes.warning(DICOM, "the picture looks inverted.", expected, fix)
    elif best > max(_GAIN * own, _LEAST_DARKNESS):
        notes.error(PSEUDO_LABEL, f"the pseudo-label looks {how}.", expected, _FIX)
    elif (shift := _shift(dark, tree)) is not None:
        found = f"the pseudo-label is shifted by {shift} px against the picture."
        notes.warning(PSEUDO_LABEL, found, "a label that lies on the vessels", _FIX)
    elif varies > _LEAST_VARIATION and own < _least(covered) * varies:
        found = "the pseudo-label does not lie on the vessels of this frame."
        notes.warning(PSEUDO_LABEL, found, expected, _FIX)


def _least(covered: float) -> float:
    return _LEAST_SHARE_BESIDE if covered < LOW_COVERAGE else _LEAST_SHARE


def _darkness(picture: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return by how many grey levels each pixel is darker than the mean around it."""
    small = Image.fromarray(picture).resize((shape[1], shape[0]), Image.Resampling.BOX)
    values = np.asarray(small, np.float32)
    around = max(round(_AROUND_SHARE * shape[0]), 3)
    darkness: NDArray[np.float32] = uniform_filter(values, around) - uniform_filter(values, 3)
    return darkness


def _shift(dark: NDArray[np.float32], tree: Mask) -> tuple[int, int] | None:
    """Return the translation that a label can be told to have; None where there is none."""
    size = tuple(next_fast_len(side + _REACH_PX, real=True) for side in tree.shape)
    product = np.conj(rfft2(dark, size)) * rfft2(tree.astype(np.float32), size)
    near = np.roll(irfft2(product, size), (_REACH_PX, _REACH_PX), (0, 1))
    near = near[: 2 * _REACH_PX + 1, : 2 * _REACH_PX + 1]
    down, right = (int(k) - _REACH_PX for k in np.unravel_index(near.argmax(), near.shape))
    own, best = float(near[_REACH_PX, _REACH_PX]), float(near.max())
    is_seen = best > _LEAST_DARKNESS * int(tree.sum())
    is_far = max(abs(down), abs(right)) >= _SHIFTED_PX
    return (right, down) if is_seen and is_far and best > _SHIFT_GAIN * own else None
