"""From stored values to eight bits, as a viewer shows them.

Rescale, then VOI LUT or window (PS3.3 C.11.1 and C.11.2), then inversion for MONOCHROME1. An XA
run's Modality LUT is not for display, see :class:`~sam3_angio.dicom.header.Display`. A run without
any display information gets a fixed percentile stretch, the same in training and prediction.

Conventions
-----------
The first VOI LUT or window counts; a LUT goes before a window. 0 is black.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sam3_angio.dicom.decode import Pixels
from sam3_angio.dicom.header import Display, Lut, Window
from sam3_angio.dicom.reader import XAFrame

DisplayKind = Literal["window", "voi_lut", "percentile"]


def display_kind(display: Display) -> DisplayKind:
    """Return what maps the run's values to grey levels."""
    if display.voi_lut is not None:
        return "voi_lut"
    return "percentile" if display.window is None else "window"


def display_8bit(
    frame: XAFrame, percentile_low: float, percentile_high: float
) -> NDArray[np.uint8]:
    """Map a frame to eight bits.

    Parameters
    ----------
    frame : XAFrame
    percentile_low, percentile_high : float
        Percentiles of the frame's values that become black and white where the run carries no
        display information.

    Returns
    -------
    (R, C) ndarray of uint8
    """
    display = frame.header.display
    table = _grey_levels(display, frame.header.bits_stored)
    if table is None:
        table = _stretch(frame.pixels, display, percentile_low, percentile_high)
    if display.inverted:
        table = 255 - table
    return table[frame.pixels]


def _grey_levels(display: Display, bits_stored: int) -> NDArray[np.uint8] | None:
    """Return the grey level of every stored value; None without display information."""
    values = _rescaled(np.arange(1 << bits_stored), display)
    if display.voi_lut is not None:
        looked_up = _look_up(np.rint(values).astype(np.int64), display.voi_lut)
        return _eight_bits(looked_up / ((1 << display.voi_lut.bits) - 1))
    if display.window is not None:
        return _eight_bits(_windowed(values, display.window))
    return None


def _rescaled(stored: NDArray[np.int64], display: Display) -> NDArray[np.float64]:
    return stored.astype(np.float64) * display.slope + display.intercept


def _look_up(values: NDArray[np.int64], lut: Lut) -> NDArray[np.uint16]:
    """Look values up; those beyond the table's ends get its first or last entry."""
    return lut.entries[np.clip(values - lut.first, 0, len(lut.entries) - 1)]


def _windowed(values: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Apply a window; black is 0, white is 1 (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    center, width = window.center, window.width
    if window.function == "SIGMOID":
        exponent = np.clip(-4 * (values - center) / width, -700, 700)
        return np.asarray(1 / (1 + np.exp(exponent)), dtype=np.float64)
    if window.function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width == 1:
        return np.where(values > center - 0.5, 1.0, 0.0)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _stretch(
    pixels: Pixels, display: Display, percentile_low: float, percentile_high: float
) -> NDArray[np.uint8]:
    """Return grey levels that stretch the frame between two of its percentiles."""
    counts = np.bincount(pixels.ravel(), minlength=1 << (8 * pixels.dtype.itemsize))
    values = _rescaled(np.arange(len(counts)), display)
    shares = np.cumsum(counts) / pixels.size * 100
    first = int(np.searchsorted(shares, percentile_low))
    last = int(np.searchsorted(shares, percentile_high))
    low, high = sorted((float(values[first]), float(values[last])))
    return _eight_bits(np.clip((values - low) / max(high - low, 1e-9), 0, 1))


def _eight_bits(fraction: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(fraction * 255).astype(np.uint8)
