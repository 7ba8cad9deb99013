"""What lies behind the vessels: chest wall, lungs, heart, liver, ribs, spine, lung vessels, leads.

Organs are ellipsoids, bones and the rest are tubes; the result is the attenuation of the beam, in
natural logarithms. It is computed on coarser grids than the picture's, since nothing here is
sharper. Sizes are those of an adult, 22 cm from breast bone to back; places and sizes vary by run.

Conventions: as in ``xray``; attenuations are effective ones of a filtered 80 kV beam after the
dynamic-range compression of an angiography unit, which takes out half of the slow differences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sam3_angio.phantom.xray import ProjectionGeometry, Tube, path_lengths

_MIDLINE_MM = -28.0  # of the body; the heart, at the origin, lies to the left of it
_GRID = 128
_COMPRESSION = 0.5
_TEXTURE = ((9.0, 0.9), (2.5, 0.18))  # soft tissue: blur in pixels of the grid, amount
_RIB_SPACING_MM = 32.0
_VERTEBRA_MM = 27.0


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


_ORGANS = {
    "trunk": Ellipsoid(centre_mm=(_MIDLINE_MM, 25, 0), half_mm=(165, 108, 900), per_mm=0.0075),
    "right lung": Ellipsoid(centre_mm=(-108, 32, 15), half_mm=(60, 84, 125), per_mm=-0.0065),
    "left lung": Ellipsoid(centre_mm=(52, 38, 20), half_mm=(62, 84, 120), per_mm=-0.0065),
    "heart": Ellipsoid(centre_mm=(4, -4, -4), half_mm=(58, 50, 52), per_mm=0.0035),
    "great vessels": Ellipsoid(centre_mm=(-25, 20, 75), half_mm=(28, 30, 60), per_mm=0.004),
    "liver": Ellipsoid(centre_mm=(-95, 30, -158), half_mm=(88, 96, 100), per_mm=0.007),
    "left diaphragm": Ellipsoid(centre_mm=(55, 30, -160), half_mm=(78, 90, 92), per_mm=0.006),
}


def background(geometry: ProjectionGeometry, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the attenuation of everything but contrast and catheter, (R, C)."""
    coarse, fine = _coarser(geometry, _GRID), _coarser(geometry, 2 * _GRID)
    slow = np.zeros((_GRID, _GRID))
    for organ in _ORGANS.values():
        slow += _attenuation(_varied(organ, rng), coarse)
    for sigma_px, amount in _TEXTURE:
        slow += amount * gaussian_filter(rng.standard_normal(slow.shape), sigma_px)
    slow -= _COMPRESSION * gaussian_filter(slow, _GRID / 8)
    tubes = [*_spine(rng), *_ribs(rng), *_lung_vessels(rng), *_leads(rng)]
    quick = gaussian_filter(path_lengths(tubes, fine), 0.8)
    return _enlarged(slow, geometry.size_px) + _enlarged(quick, geometry.size_px)


def _coarser(geometry: ProjectionGeometry, size_px: int) -> ProjectionGeometry:
    factor = geometry.size_px / size_px
    return replace(
        geometry,
        size_px=size_px,
        detector_spacing_mm=geometry.detector_spacing_mm * factor,
        collimated=None,
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


def _spine(rng: np.random.Generator) -> list[Tube]:
    """Return the vertebral bodies with their discs, and the spinous processes behind them."""
    height = np.arange(-220.0, 221.0, 2.0)
    disc = 0.5 + 0.5 * np.cos(2 * np.pi * (height / _VERTEBRA_MM + rng.random()))
    axis = np.stack([np.full_like(height, _MIDLINE_MM), 88 + 0.00036 * height**2, height], axis=1)
    return [
        Tube(axis_mm=axis, radius_mm=16 + 2.5 * disc, weight=0.011 * (1 - 0.55 * disc**6)),
        Tube(
            axis_mm=axis + np.array([0, 27, 0]),
            radius_mm=np.full_like(height, 7.0),
            weight=0.012 * (1 - disc),
        ),
    ]


def _ribs(rng: np.random.Generator) -> list[Tube]:
    first_mm = -130 + rng.uniform(0, _RIB_SPACING_MM)
    return [
        part
        for side in (-1.0, 1.0)
        for number in range(13)
        for part in _rib(side, first_mm + number * _RIB_SPACING_MM, rng)
    ]


def _rib(side: float, level_mm: float, rng: np.random.Generator) -> tuple[Tube, Tube]:
    """Return a rib from the spine forward and down, fading into its cartilage: bone less marrow."""
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


def _leads(rng: np.random.Generator) -> list[Tube]:
    """Return leads of the electrocardiogram across the breast, in every third run."""
    if rng.random() > 0.35:
        return []
    share = np.linspace(0, 1, 80)[:, None]
    tubes = []
    for _ in range(int(rng.integers(1, 3))):
        right, left = rng.uniform((-190, -84, -120), (-150, -76, 120), (2, 3))
        left[0] += 320
        sag = np.sin(np.pi * share) * rng.uniform((-20, -3, -35), (20, 3, 35))
        axis = right + share * (left - right) + sag
        tubes.append(Tube(axis_mm=axis, radius_mm=np.full(80, 0.55), weight=np.full(80, 0.28)))
    return tubes


def _enlarged(coarse: NDArray[np.float64], size_px: int) -> NDArray[np.float64]:
    """Interpolate linearly to a finer grid that covers the same area."""
    count = len(coarse)
    at = np.clip((np.arange(size_px) + 0.5) * count / size_px - 0.5, 0, count - 1.000001)
    low = at.astype(np.int64)
    share = at - low
    rows = coarse[low] * (1 - share)[:, None] + coarse[low + 1] * share[:, None]
    return np.asarray(rows[:, low] * (1 - share) + rows[:, low + 1] * share)
