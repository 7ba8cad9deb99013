"""Cone-beam projection: points, and the length of the rays inside tubes.

Sources: DICOM PS3.3 C.8.7.5 (positioner angles, distances); Beer–Lambert attenuation along the
ray. A tube's projected length is summed from volume elements: every short piece of its axis is a
disc, sampled at equal angles, so that the weights are those of a circle's chords; a sample's
volume is spread over the four nearest pixels. So foreshortened, crossing and looping vessels add
up as they do on a detector.

Conventions: patient coordinates of DICOM (+x left, +y back, +z head) in millimetres from the
isocentre. The viewer looks from the detector to the source: in AP the patient's left is the
picture's right. Points are ``[x, y]`` in pixels, (0, 0) the centre of the first pixel; the ray
through the isocentre meets the middle of the detector. All numbers are 64-bit floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sam3_angio.acquisition import ViewAngle
from sam3_angio.anatomy import Artery
from sam3_angio.phantom.heart import Heart, Points

_NODES = (4, 6, 9, 13, 19, 28, 40, 60, 90)  # samples across a disc, by its size


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The rectangle of the picture that the beam reaches.

    Attributes
    ----------
    left_px, top_px : int
        First column and row inside.
    right_px, bottom_px : int
        First column and row beyond.
    """

    left_px: int
    top_px: int
    right_px: int
    bottom_px: int

    def contains(
        self, points_px: NDArray[np.float64], margin_px: NDArray[np.float64] | float = 0.0
    ) -> NDArray[np.bool_]:
        """Return which points lie inside, a margin away from every edge.

        Parameters
        ----------
        points_px : (N, 2) ndarray
            ``[x, y]``.
        margin_px : (N,) ndarray or float

        Returns
        -------
        (N,) ndarray of bool
        """
        x, y = points_px[:, 0], points_px[:, 1]
        across = (x - margin_px >= self.left_px - 0.5) & (x + margin_px < self.right_px - 0.5)
        down = (y - margin_px >= self.top_px - 0.5) & (y + margin_px < self.bottom_px - 0.5)
        return np.asarray(across & down)

    def mask(self, size_px: int) -> NDArray[np.bool_]:
        """Return which pixels of a square picture lie inside, (R, C)."""
        inside = np.zeros((size_px, size_px), dtype=np.bool_)
        inside[self.top_px : self.bottom_px, self.left_px : self.right_px] = True
        return inside


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionGeometry:
    """Where source, patient, detector and collimator stand.

    Attributes
    ----------
    view : ViewAngle
        Direction of the detector as seen from the isocentre, DICOM's signs.
    sid_mm, sod_mm : float
        Source to detector, source to isocentre.
    detector_spacing_mm : float
        Pixel of the detector, square.
    size_px : int
        Rows and columns of the detector.
    table_mm : tuple of float
        How far the table has moved the patient, patient coordinates.
    collimated : Field or None
        What the collimator's blades leave free; None: no blade is in the picture.
    """

    view: ViewAngle
    sid_mm: float
    sod_mm: float
    detector_spacing_mm: float
    size_px: int
    table_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    collimated: Field | None = None

    @property
    def field(self) -> Field:
        """Return the part of the picture that shows anything."""
        whole = Field(left_px=0, top_px=0, right_px=self.size_px, bottom_px=self.size_px)
        return self.collimated or whole

    @property
    def object_spacing_mm(self) -> float:
        """Return the pixel's size at the isocentre."""
        return self.detector_spacing_mm * self.sod_mm / self.sid_mm

    @property
    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return unit vectors to the picture's right, down it, and to the detector."""
        primary = np.radians(self.view.primary_deg)
        secondary = np.radians(self.view.secondary_deg)
        ca, sa = np.cos(primary), np.sin(primary)
        cb, sb = np.cos(secondary), np.sin(secondary)
        right = np.array([ca, sa, 0.0])
        down = np.array([sa * sb, -ca * sb, -cb])
        return right, down, np.array([sa * cb, -ca * cb, sb])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tube:
    """A round tube.

    Attributes
    ----------
    axis_mm : (N, 3) ndarray
    radius_mm : (N,) ndarray
    weight : (N,) ndarray
        What a millimetre of it counts, such as the concentration of contrast.
    """

    axis_mm: Points
    radius_mm: NDArray[np.float64]
    weight: NDArray[np.float64]


def project(
    points_mm: Points, geometry: ProjectionGeometry
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project points onto the detector.

    Parameters
    ----------
    points_mm : (N, 3) ndarray
        Patient coordinates before the table moved.
    geometry : ProjectionGeometry

    Returns
    -------
    points_px : (N, 2) ndarray
        ``[x, y]``.
    magnification : (N,) ndarray
        Size on the detector relative to the object's.
    """
    right, down, ahead = geometry.axes
    points = points_mm + np.array(geometry.table_mm)
    magnification = geometry.sid_mm / (geometry.sod_mm + points @ ahead)
    scale = (magnification / geometry.detector_spacing_mm)[:, None]
    middle = (geometry.size_px - 1) / 2
    return middle + scale * np.stack([points @ right, points @ down], axis=1), magnification


def aimed(geometry: ProjectionGeometry, heart: Heart, artery: Artery) -> ProjectionGeometry:
    """Return the geometry with the table moved so that the artery's tree is in the middle."""
    still = replace(geometry, table_mm=(0.0, 0.0, 0.0))
    points = np.concatenate([branch.centreline_mm for branch in heart.tree(artery)])
    points_px, _ = project(points, still)
    middle_px = (points_px.min(axis=0) + points_px.max(axis=0)) / 2
    shift_mm = ((geometry.size_px - 1) / 2 - middle_px) * geometry.object_spacing_mm
    right, down, _ = geometry.axes
    table = shift_mm[0] * right + shift_mm[1] * down
    return replace(geometry, table_mm=(float(table[0]), float(table[1]), float(table[2])))


def path_lengths(tubes: Sequence[Tube], geometry: ProjectionGeometry) -> NDArray[np.float64]:
    """Return for each pixel the weighted length of its ray inside the tubes.

    Parameters
    ----------
    tubes : sequence of Tube
        One at least; overlapping ones add up.
    geometry : ProjectionGeometry

    Returns
    -------
    (R, C) ndarray
        Millimetres times weight.
    """
    width = geometry.size_px + 2  # a frame of a pixel on each side takes what falls outside
    elements = [_elements(tube, geometry) for tube in tubes]
    samples = [_samples(*group, width) for group in _by_size(_joined(elements), geometry)]
    if not samples:
        return np.zeros((geometry.size_px, geometry.size_px))
    x, y, value = (np.concatenate(parts) for parts in zip(*samples, strict=True))
    return _spread(x, y, value, width)[1:-1, 1:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Discs:
    """Short pieces of tubes, projected."""

    centre_px: NDArray[np.float64]  # (N, 2)
    across_px: NDArray[np.float64]  # (N, 2), a radius across the tube and the ray
    along_px: NDArray[np.float64]  # (N, 2), a radius across the tube in the plane of the ray
    length_mm: NDArray[np.float64]  # (N,), weighted length of ray, summed over the pixels

    def chosen(self, which: NDArray[np.bool_]) -> _Discs:
        return _Discs(
            centre_px=self.centre_px[which],
            across_px=self.across_px[which],
            along_px=self.along_px[which],
            length_mm=self.length_mm[which],
        )


def _elements(tube: Tube, geometry: ProjectionGeometry) -> _Discs:
    """Cut a tube into discs that lie less than a pixel apart."""
    steps_mm = np.sqrt((np.diff(tube.axis_mm, axis=0) ** 2).sum(axis=1))
    finest = max(1, int(np.ceil(steps_mm.max() / (0.95 * geometry.object_spacing_mm))))
    samples = np.arange((len(tube.axis_mm) - 1) * finest) + 0.5
    nodes = np.arange(len(tube.axis_mm)) * finest
    axis = np.stack([np.interp(samples, nodes, column) for column in tube.axis_mm.T], axis=1)
    radius = np.interp(samples, nodes, tube.radius_mm)
    weight = np.interp(samples, nodes, tube.weight)
    tangent = np.repeat(np.diff(tube.axis_mm, axis=0) / steps_mm[:, None], finest, axis=0)
    length_mm = np.repeat(steps_mm / finest, finest)
    return _projected(axis, tangent, radius, weight * length_mm, geometry)


def _projected(
    axis: Points,
    tangent: Points,
    radius: NDArray[np.float64],
    weighted_mm: NDArray[np.float64],
    geometry: ProjectionGeometry,
) -> _Discs:
    right, _, ahead = geometry.axes
    points_px, magnification = project(axis, geometry)
    ray = axis + np.array(geometry.table_mm) + geometry.sod_mm * ahead
    ray = ray / np.sqrt((ray**2).sum(axis=1))[:, None]
    across = np.cross(ray, tangent)
    size = np.sqrt((across**2).sum(axis=1))[:, None]
    across = np.where(size > 1e-9, across / np.maximum(size, 1e-9), right)
    slope = _derivative(axis, geometry) * radius[:, None, None]
    per_mm = magnification / geometry.detector_spacing_mm
    return _Discs(
        centre_px=points_px,
        across_px=(slope * across[:, None]).sum(axis=2),
        along_px=(slope * np.cross(tangent, across)[:, None]).sum(axis=2),
        # volume over the area of a pixel, taken across the ray
        length_mm=np.pi * radius**2 * weighted_mm * per_mm**2 / (ray @ ahead),
    )


def _derivative(points_mm: Points, geometry: ProjectionGeometry) -> NDArray[np.float64]:
    """Return how x and y in pixels change with each patient coordinate, (N, 2, 3)."""
    right, down, ahead = geometry.axes
    points = points_mm + np.array(geometry.table_mm)
    depth = geometry.sod_mm + points @ ahead
    sideways = np.stack([points @ right, points @ down], axis=1) / depth[:, None]
    per_mm = geometry.sid_mm / depth / geometry.detector_spacing_mm
    direct = np.stack([right, down]) - sideways[:, :, None] * ahead
    return np.asarray(per_mm[:, None, None] * direct)


def _joined(parts: Sequence[_Discs]) -> _Discs:
    return _Discs(
        centre_px=np.concatenate([part.centre_px for part in parts]),
        across_px=np.concatenate([part.across_px for part in parts]),
        along_px=np.concatenate([part.along_px for part in parts]),
        length_mm=np.concatenate([part.length_mm for part in parts]),
    )


def _by_size(discs: _Discs, geometry: ProjectionGeometry) -> list[tuple[int, _Discs]]:
    """Sort out discs that cannot reach the picture and group the rest by number of samples."""
    radius_px = np.sqrt((discs.across_px**2).sum(axis=1))
    reach = radius_px[:, None] + 2
    inside = (discs.centre_px > -reach) & (discs.centre_px < geometry.size_px + reach)
    seen = inside.all(axis=1) & (discs.length_mm != 0)
    size = np.searchsorted(np.array(_NODES[:-1]), 2 * radius_px / 0.7)
    return [
        (count, discs.chosen(seen & (size == index)))
        for index, count in enumerate(_NODES)
        if (seen & (size == index)).any()
    ]


def _samples(
    count: int, discs: _Discs, width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return x, y and share of `count` × 2 samples of each disc, flat."""
    # the rule is exact from any first angle; changing it from disc to disc avoids moiré patterns
    angles = np.pi * (np.arange(count) + (np.arange(8)[:, None] + 0.5) / 8) / count
    turn = np.arange(len(discs.length_mm)) * 5 % 8
    across, chord = np.cos(angles)[turn], np.sin(angles)[turn]
    value = discs.length_mm[:, None] * chord**2 / count  # of one half of a chord: all sum to 1
    chord /= np.sqrt(3)  # its two Gauss points

    def coordinates(axis: int) -> NDArray[np.float64]:
        middle = 1 + discs.centre_px[:, axis, None] + discs.across_px[:, axis, None] * across
        half = discs.along_px[:, axis, None] * chord
        return np.clip(np.stack([middle - half, middle + half]), 0, width - 1.001).ravel()

    return coordinates(0), coordinates(1), np.stack([value, value]).ravel()


def _spread(
    x: NDArray[np.float64], y: NDArray[np.float64], value: NDArray[np.float64], width: int
) -> NDArray[np.float64]:
    """Share each sample out among its four nearest pixels, (width, width)."""
    column, row = x.astype(np.int32), y.astype(np.int32)
    right, lower = x - column, y - row
    first = row * width + column
    below = value * lower
    beside = value - below
    below_right, beside_right = below * right, beside * right
    corners = np.concatenate([first, first + 1, first + width, first + width + 1])
    shares = np.concatenate([beside - beside_right, beside_right, below - below_right, below_right])
    picture = np.bincount(corners, weights=shares, minlength=width * width)
    return picture.astype(np.float64, copy=False).reshape(width, width)
