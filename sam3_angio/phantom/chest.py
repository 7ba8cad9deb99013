"""What lies behind the vessels: chest wall, lungs, heart, liver, ribs, spine, and the catheter.

Bodies are ellipsoids, ribs and spine are tubes; the result is the attenuation of the beam, in
natural logarithms, at a coarser grid than the picture, since nothing here is sharper.

Conventions: as in ``xray``; attenuations are effective ones of a filtered 80 kV beam, softened as
the dynamic-range compression of an angiography unit does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from sam3_angio.anatomy import Artery
from sam3_angio.phantom.heart import Heart, Points
from sam3_angio.phantom.xray import ProjectionGeometry, Tube, path_lengths

_MIDLINE_MM = -28.0  # of the body; the heart, at the origin, lies to the left of it
_GRID = 128
_COMPRESSION = 0.5  # of the slow differences, as an angiography unit does


@dataclass(frozen=True, slots=True, kw_only=True)
class Ellipsoid:
    """A body of one tissue.

    Attributes
    ----------
    centre_mm, half_mm : tuple of float
        Along the patient's axes.
    per_mm : float
        Attenuation relative to what it replaces.
    """

    centre_mm: tuple[float, float, float]
    half_mm: tuple[float, float, float]
    per_mm: float


_BODIES = (
    Ellipsoid(centre_mm=(_MIDLINE_MM, 25, 0), half_mm=(165, 108, 900), per_mm=0.0075),
    Ellipsoid(centre_mm=(-108, 32, 15), half_mm=(60, 84, 125), per_mm=-0.0065),
    Ellipsoid(centre_mm=(52, 38, 20), half_mm=(62, 84, 120), per_mm=-0.0065),
    Ellipsoid(centre_mm=(4, -4, -4), half_mm=(58, 50, 52), per_mm=0.0035),
    Ellipsoid(centre_mm=(-25, 20, 75), half_mm=(28, 30, 60), per_mm=0.004),
    Ellipsoid(centre_mm=(-95, 30, -158), half_mm=(88, 96, 100), per_mm=0.007),
    Ellipsoid(centre_mm=(55, 30, -160), half_mm=(78, 90, 92), per_mm=0.006),
)


def background(geometry: ProjectionGeometry, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the attenuation of everything but contrast and catheter, (R, C)."""
    small = _coarser(geometry, _GRID)
    bodies = sum(
        (_attenuation(_varied(body, rng), small) for body in _BODIES),
        start=np.zeros((_GRID, _GRID)),
    )
    for sigma, amount in ((9.0, 0.9), (2.5, 0.18)):
        bodies += amount * gaussian_filter(rng.standard_normal((_GRID, _GRID)), sigma)
    bodies -= _COMPRESSION * gaussian_filter(bodies, _GRID / 8)
    fine = _coarser(geometry, 2 * _GRID)
    tubes = [*_bones(rng), *_lung_vessels(rng), *_wires(rng)]
    small_parts = gaussian_filter(path_lengths(tubes, fine), 0.8)
    return _enlarged(bodies, geometry.size_px) + _enlarged(small_parts, geometry.size_px)


def _coarser(geometry: ProjectionGeometry, size_px: int) -> ProjectionGeometry:
    factor = geometry.size_px / size_px
    return replace(
        geometry, size_px=size_px, detector_spacing_mm=geometry.detector_spacing_mm * factor
    )


def _varied(body: Ellipsoid, rng: np.random.Generator) -> Ellipsoid:
    x, y, z = (float(c + rng.uniform(-6, 6)) for c in body.centre_mm)
    a, b, c = (float(half * rng.uniform(0.95, 1.05)) for half in body.half_mm)
    return replace(body, centre_mm=(x, y, z), half_mm=(a, b, c))


def _attenuation(body: Ellipsoid, geometry: ProjectionGeometry) -> NDArray[np.float64]:
    """Return length of each ray inside the ellipsoid times its attenuation, (R, C)."""
    right, down, ahead = geometry.axes
    offset = np.arange(geometry.size_px) - (geometry.size_px - 1) / 2
    offset = offset * geometry.detector_spacing_mm
    half = np.array(body.half_mm)
    ray = geometry.sid_mm * ahead + offset[None, :, None] * right + offset[:, None, None] * down
    ray = ray / np.sqrt((ray**2).sum(axis=2))[:, :, None]
    start = (
        -geometry.sod_mm * ahead - np.array(geometry.table_mm) - np.array(body.centre_mm)
    ) / half
    scaled = ray / half
    a = (scaled**2).sum(axis=2)
    b = (scaled * start).sum(axis=2)
    inside = b * b - a * ((start**2).sum() - 1)
    return np.asarray(body.per_mm * 2 * np.sqrt(np.maximum(inside, 0)) / a)


def _bones(rng: np.random.Generator) -> list[Tube]:
    height = np.arange(-220.0, 221.0, 2.0)
    period, phase = 27.0, rng.uniform(0, 27)
    disc = 0.5 + 0.5 * np.cos(2 * np.pi * (height + phase) / period)
    spine = np.stack(
        [np.full_like(height, _MIDLINE_MM), 88 + 0.0012 * height**2 * 0.3, height], axis=1
    )
    tubes = [
        Tube(axis_mm=spine, radius_mm=16 + 2.5 * disc, weight=0.011 * (1 - 0.55 * disc**6)),
        Tube(
            axis_mm=spine + np.array([0, 27, 0]),
            radius_mm=np.full_like(height, 7.0),
            weight=0.012 * (1 - disc),
        ),
    ]
    start = rng.uniform(0, 32)
    for side in (-1.0, 1.0):
        for level in np.arange(-130, 260, 32):
            tubes.extend(_rib(side, float(level + start), rng))
    return tubes


def _rib(side: float, level_mm: float, rng: np.random.Generator) -> tuple[Tube, Tube]:
    turn = np.radians(np.linspace(12, 150, 90))
    axis = np.stack(
        [
            _MIDLINE_MM + side * 138 * np.sin(turn),
            25 + 93 * np.cos(turn),
            level_mm - 55 * (1 - np.cos(turn)) + rng.uniform(-2, 2),
        ],
        axis=1,
    )
    radius = np.full(len(axis), float(rng.uniform(4.8, 6.2)))
    bone = np.clip((np.radians(150) - turn) / 1.2, 0, 1) * float(rng.uniform(0.6, 1.0))
    return (
        Tube(axis_mm=axis, radius_mm=radius, weight=0.016 * bone),
        Tube(axis_mm=axis, radius_mm=radius - 1.2, weight=-0.009 * bone),
    )


def _lung_vessels(rng: np.random.Generator) -> list[Tube]:
    """Return faint wavy tubes all over the chest: what a network must not take for coronaries."""
    tubes = []
    for _ in range(70):
        start = np.array([_MIDLINE_MM, 30.0, 10.0]) + rng.uniform(-1, 1, 3) * (130, 70, 100)
        heading = np.cumsum(rng.standard_normal((40, 3)) * 0.12, axis=0) + rng.standard_normal(3)
        heading = heading / np.sqrt((heading**2).sum(axis=1))[:, None]
        axis = start + np.cumsum(heading * float(rng.uniform(0.5, 1.8)), axis=0)
        radius = np.linspace(1.0, 0.4, 40) * float(rng.uniform(0.7, 2.6))
        tubes.append(Tube(axis_mm=axis, radius_mm=radius, weight=np.full(40, 0.014)))
    return tubes


def _wires(rng: np.random.Generator) -> list[Tube]:
    """Return the leads of the electrocardiogram on the skin, in every third run."""
    if rng.random() > 0.35:
        return []
    tubes = []
    for _ in range(int(rng.integers(1, 3))):
        ends = np.array([[-90.0, -84, 0], [90.0, -84, 0]]) + rng.uniform(-1, 1, (2, 3)) * (
            60,
            4,
            90,
        )
        share = np.linspace(0, 1, 60)[:, None]
        sag = np.sin(np.pi * share) * rng.uniform(-1, 1, 3) * (20, 3, 35)
        axis = ends[0] + share * (ends[1] - ends[0]) + sag
        tubes.append(Tube(axis_mm=axis, radius_mm=np.full(60, 0.55), weight=np.full(60, 0.28)))
    return tubes


def _enlarged(coarse: NDArray[np.float64], size_px: int) -> NDArray[np.float64]:
    """Interpolate linearly to a finer grid that covers the same area."""
    count = len(coarse)
    at = np.clip((np.arange(size_px) + 0.5) * count / size_px - 0.5, 0, count - 1.000001)
    low = at.astype(np.int64)
    share = at - low
    rows = coarse[low] * (1 - share)[:, None] + coarse[low + 1] * share[:, None]
    return np.asarray(rows[:, low] * (1 - share) + rows[:, low + 1] * share)


def catheter_axis(heart: Heart, artery: Artery, rng: np.random.Generator) -> Points:
    """Return the catheter from its tip in the ostium to where it leaves the chest, (N, 3).

    From the groin it comes up the aorta in front of the spine and round the arch; from the wrist
    it comes down the right subclavian artery.
    """
    vessel_mm = heart.tree(artery)[0].centreline_mm
    ostium = vessel_mm[6]
    into = vessel_mm[10] - vessel_mm[0]
    into = into / np.sqrt((into**2).sum())
    root = ostium - 9 * into + np.array([0, 0, 3.0])
    rise = np.array([[-20, 12, 60], [-18, 24, 85]]) + rng.uniform(-4, 4, (2, 3))
    if rng.random() < 0.5:
        rest = np.array([[-8, 50, 98], [-4, 70, 80], [-6, 74, 20], [-10, 74, -60], [-14, 74, -220]])
    else:
        rest = np.array([[-40, 20, 112], [-80, 25, 128], [-140, 30, 130]])
    rest = rest + rng.uniform(-5, 5, (1, 3))
    elbow = root + (rise[0] - root) * 0.35 + rng.uniform(-3, 3, 3)
    knots = np.concatenate([[ostium, root, elbow], rise, rest])
    along = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(knots, axis=0) ** 2).sum(axis=1)))])
    even = np.arange(0.0, along[-1], 1.0)
    axis = PchipInterpolator(along, knots, axis=0)(even)
    smooth = gaussian_filter1d(axis, 6.0, axis=0, mode="nearest")
    return np.asarray(smooth + (ostium - smooth[0]) * np.exp(-even / 4)[:, None])
