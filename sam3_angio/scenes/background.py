"""What lies behind the figures: gradients, clouds, bands like ribs, stripes, and the noise on top.

Conventions
-----------
A background is a map of absorption (natural logarithm, dark is positive) that is added to that of
the figures. Its details are either wider and softer than any figure or weaker than the faintest.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]
Rng = np.random.Generator

_COARSE = 8
STRIPES_ABSORPTION = 0.05


def gradient(rng: Rng, size_px: int) -> Picture:
    """Return a plane plus a paraboloid, as of a body that is thicker in the middle."""
    axis = np.linspace(-1.0, 1.0, size_px, dtype=np.float32)
    slope_x, slope_y = rng.uniform(-0.25, 0.25, 2).astype(np.float32)
    bow = np.float32(rng.uniform(-0.3, 0.3))
    result: Picture = (slope_x * axis + bow * axis**2)[None, :] + (slope_y * axis + bow * axis**2)[
        :, None
    ]
    return result


def clouds(rng: Rng, size_px: int) -> Picture:
    """Return smooth random blobs without a border."""
    cells = int(rng.integers(4, 9))
    coarse = rng.standard_normal((cells, cells), dtype=np.float32) * np.float32(
        rng.uniform(0.03, 0.13)
    )
    result: Picture = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    return result


def bands(rng: Rng, size_px: int) -> Picture:
    """Return wide, soft, bowed bands side by side, as ribs lie in an X-ray picture."""
    side = size_px // _COARSE
    canvas = np.zeros((side, side), np.float32)
    spacing = side * rng.uniform(0.16, 0.3)
    along = np.linspace(-0.9, 0.9, 24) * side
    bow = rng.uniform(-0.35, 0.35) / side * along**2
    angle = rng.uniform(0.0, np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    for number in range(-5, 6):
        across = bow + spacing * (number + rng.uniform(-0.15, 0.15))
        points = np.stack([cos * along - sin * across, sin * along + cos * across], axis=1)
        line = np.rint((points + side / 2.0) * 16).astype(np.int32)
        cv2.polylines(canvas, [line], False, 1.0, max(round(0.35 * spacing), 2), cv2.LINE_8, 4)
    canvas = cv2.GaussianBlur(canvas, (0, 0), 0.09 * spacing + 0.6)
    strength = np.float32(rng.uniform(0.06, 0.22) * rng.choice([-1.0, 1.0]))
    result: Picture = cv2.resize(
        canvas * strength, (size_px, size_px), interpolation=cv2.INTER_CUBIC
    )
    return result


def stripes(rng: Rng, size_px: int) -> Picture:
    """Return a fine sinusoidal grating, weaker than any figure."""
    period_px = size_px * rng.uniform(0.02, 0.07)
    angle = rng.uniform(0.0, np.pi)
    axis = (2.0 * np.pi / period_px * np.arange(size_px)).astype(np.float32)
    phase_x, phase_y = np.cos(angle) * axis, np.sin(angle) * axis
    strength = np.float32(rng.uniform(0.4, 1.0) * STRIPES_ABSORPTION)
    # sin(a + b) from the outer products of one-dimensional waves
    wave = np.outer(np.cos(phase_y), np.sin(phase_x)) + np.outer(np.sin(phase_y), np.cos(phase_x))
    result: Picture = (strength * wave).astype(np.float32)
    return result


def background(rng: Rng, size_px: int, *, ribs: bool, striped: bool) -> Picture:
    """Return the sum of a random choice of textures.

    Parameters
    ----------
    rng : Generator
    size_px : int
    ribs, striped : bool
        Whether there are bands, and a grating.

    Returns
    -------
    (S, S) ndarray of float32
        Absorption.
    """
    total = gradient(rng, size_px)
    if rng.random() < 0.8:
        total += clouds(rng, size_px)
    if ribs:
        total += bands(rng, size_px)
    if striped:
        total += stripes(rng, size_px)
    return total


def exposed(rng: Rng, absorption: Picture) -> NDArray[np.uint8]:
    """Expose an absorption map: quantum noise, sometimes blurred, and a display window.

    Parameters
    ----------
    rng : Generator
    absorption : (S, S) ndarray of float32

    Returns
    -------
    (S, S) ndarray of uint8
    """
    light = cv2.exp(-absorption)
    low, high = np.percentile(light[::4, ::4], [0.5, 99.5])
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    sigma = rng.uniform(0.01, 0.075)
    if rng.random() < 0.5:
        # grains of more than a pixel: blurring divides white noise by 2 σ √π
        grain_px = rng.uniform(0.5, 0.9)
        noise = cv2.GaussianBlur(noise, (0, 0), grain_px)
        sigma *= min(2.0 * grain_px * np.sqrt(np.pi), 2.0)
    light += cv2.sqrt(light) * noise * np.float32(sigma * np.sqrt(high))
    low = min(low, 0.6 * high)
    black, white = rng.uniform(5.0, 55.0), rng.uniform(195.0, 250.0)
    gain = (white - black) / (high - low)
    light *= np.float32(gain)
    light += np.float32(black - gain * low)
    image: NDArray[np.uint8] = np.clip(light, 0, 255, out=light).astype(np.uint8)
    return image
