"""The catheter: from its tip in the ostium, through the aorta, to where it leaves the chest.

From the groin it comes up the descending aorta, in front of the spine, and round the arch; from
the wrist it comes down the right subclavian artery. Either way it comes down the ascending aorta,
bends in the root, and its tip lies a few millimetres inside the ostium.

Conventions: patient coordinates in millimetres, as in ``heart``; samples are 1 mm apart, from the
tip.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from sam3_angio.anatomy import Artery
from sam3_angio.phantom.courses import along_mm
from sam3_angio.phantom.heart import Heart, Points

_ASCENDING_MM = np.array([[-20.0, 12, 60], [-18, 24, 85]])
_FROM_GROIN_MM = np.array(
    [[-8.0, 50, 98], [-4, 70, 80], [-6, 74, 20], [-10, 74, -60], [-14, 74, -220]]
)
_FROM_WRIST_MM = np.array([[-40.0, 20, 112], [-80, 25, 128], [-140, 30, 130]])
_TIP_SAMPLE = 6  # of the vessel, 3 mm from the ostium
_BEND_MM = 9.0


def catheter_axis(heart: Heart, artery: Artery, rng: np.random.Generator) -> Points:
    """Return the axis of a catheter in this ostium at end-diastole, (N, 3)."""
    vessel_mm = heart.tree(artery)[0].centreline_mm
    tip = vessel_mm[_TIP_SAMPLE]
    into = vessel_mm[_TIP_SAMPLE + 4] - vessel_mm[0]
    bend = tip - _BEND_MM * into / np.sqrt((into**2).sum()) + np.array([0, 0, 3.0])
    ascending = _ASCENDING_MM + rng.uniform(-4, 4, (2, 3))
    rest = _FROM_GROIN_MM if rng.random() < 0.5 else _FROM_WRIST_MM
    elbow = bend + (ascending[0] - bend) * 0.35 + rng.uniform(-3, 3, 3)
    knots = np.concatenate([[tip, bend, elbow], ascending, rest + rng.uniform(-5, 5, 3)])
    along = along_mm(knots)
    even = np.arange(0.0, along[-1], 1.0)
    smooth = gaussian_filter1d(PchipInterpolator(along, knots)(even), 6.0, axis=0, mode="nearest")
    # smoothing rounds the bends but draws the tip back: put it into the ostium again
    return np.asarray(smooth + (tip - smooth[0]) * np.exp(-even / 4)[:, None])
