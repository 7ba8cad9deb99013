"""The half ellipsoid that carries the coronary tree: its place, direction and size.

A point on it is given by `ring_deg` round the long axis (0 the obtuse margin, 90 the top, 180 the
right side, 270 the crux), `descent_deg` from the atrioventricular ring (0) to the apex (90), and a
factor of depth (1 on the surface).

Conventions: millimetres; patient coordinates of DICOM (+x to the patient's left, +y to the back,
+z to the head), with the middle of the heart at the origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Dominance = Literal["right", "left", "balanced"]
Sex = Literal["female", "male"]
Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartAxes:
    """Place, direction and size of the half ellipsoid that carries the tree.

    Attributes
    ----------
    base_mm : (3,) ndarray
        Middle of the atrioventricular ring.
    left, top, apex : (3,) ndarray
        Unit vectors: to the obtuse margin, to the upper border, down the long axis.
    left_mm, top_mm, apex_mm : float
        Half axes of the ring and length from the ring to the apex.
    """

    base_mm: NDArray[np.float64]
    left: NDArray[np.float64]
    top: NDArray[np.float64]
    apex: NDArray[np.float64]
    left_mm: float
    top_mm: float
    apex_mm: float

    def surface(self, knots: Points) -> Points:
        """Return the points of (N, 3) `ring_deg`, `descent_deg`, depth factor."""
        ring, descent = np.radians(knots[:, 0]), np.radians(knots[:, 1])
        out = np.cos(descent) * knots[:, 2]
        lean = (
            0.12 * self.left_mm * np.clip(np.sin(descent), 0, 1)
        )  # the left ventricle has the apex
        points: Points = (
            self.base_mm
            + (out * np.cos(ring) * self.left_mm + lean)[:, None] * self.left
            + (out * np.sin(ring) * self.top_mm)[:, None] * self.top
            + (np.sin(descent) * knots[:, 2] * self.apex_mm)[:, None] * self.apex
        )
        return points

    def place(self, left_mm: float, top_mm: float, apex_mm: float) -> NDArray[np.float64]:
        """Return the point at these distances from the ring's middle."""
        return self.base_mm + left_mm * self.left + top_mm * self.top + apex_mm * self.apex


def generator(*key: int) -> np.random.Generator:
    """Return the random numbers of a key, the same on every machine."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def bounded(rng: np.random.Generator, mean: float, sd: float, limit: float = 2.0) -> float:
    """Draw from a normal distribution, cut at `limit` standard deviations."""
    return mean + sd * float(np.clip(rng.standard_normal(), -limit, limit))


def draw_axes(rng: np.random.Generator, sex: Sex) -> HeartAxes:
    """Draw the direction and size of one patient's heart."""
    turn = np.radians(bounded(rng, 45, 5))  # of the long axis to the left
    dip = np.radians(bounded(rng, 33, 5))  # of the long axis to the feet
    roll = np.radians(bounded(rng, 0, 5))  # round the long axis
    apex = np.array([np.cos(dip) * np.sin(turn), -np.cos(dip) * np.cos(turn), -np.sin(dip)])
    level = np.array([np.cos(turn), np.sin(turn), 0.0])
    rise = np.array([np.sin(dip) * np.sin(turn), -np.sin(dip) * np.cos(turn), np.cos(dip)])
    size = bounded(rng, 0.95 if sex == "female" else 1.0, 0.05)
    length_mm = size * bounded(rng, 84, 4)
    return HeartAxes(
        base_mm=-0.35 * length_mm * apex,
        left=np.cos(roll) * level + np.sin(roll) * rise,
        top=np.cos(roll) * rise - np.sin(roll) * level,
        apex=apex,
        left_mm=size * bounded(rng, 46, 2),
        top_mm=size * bounded(rng, 40, 2),
        apex_mm=length_mm,
    )
