"""The truth of an analysed frame: masks, contours and lesions, from geometry alone.

A mask holds the pixels whose centre lies inside the projected lumen; where two segments overlap, a
pixel belongs to both. A segment's mask ends straight across the vessel, the tree's ends are round.
Contours are the lumen's (and the healthy vessel's) axis, projected, and half a diameter to either
side of it. Only what the collimator's blades leave free is true of a picture: masks end at the
field's edge, and a contour is the longest piece of its segment that lies inside with its whole
width.

Conventions: masks are ``[row, column]``; points are ``[x, y]`` in frame pixels, (0, 0) the centre
of the first pixel; "left" is the left hand of somebody who walks down the vessel in the picture.
Diameters and arc lengths are three-dimensional unless their name says "projected".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam3_angio.phantom.heart import Branch, Points
from sam3_angio.phantom.lesion import LesionPlan, centre_index
from sam3_angio.phantom.scene import Scene
from sam3_angio.phantom.xray import ProjectionGeometry, project

BoolMask = NDArray[np.bool_]
_WINDOWS = (6, 9, 13, 18, 25, 36, 52, 76, 110, 160)  # sides of the squares that pieces fit in


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentContour:
    """The analysed segment as a contour, proximal to distal, 100 to 400 points.

    Attributes
    ----------
    centreline_px : (N, 2) ndarray
        Axis of the lumen.
    left_px, right_px : (N, 2) ndarray
        Borders of the lumen.
    ideal_left_px, ideal_right_px : (N, 2) ndarray
        Borders of the healthy vessel.
    diameter_mm, reference_mm : (N,) ndarray
        Diameter of the lumen and of the healthy vessel, three-dimensional.
    arc_mm : (N,) ndarray
        Arc length along the healthy vessel's axis, three-dimensional, from the segment's proximal
        border, even if that is outside the field.
    projected_arc_mm : (N,) ndarray
        Arc length along the projected centreline at the isocentre's scale: what a core laboratory
        reads off the picture.
    """

    centreline_px: NDArray[np.float64]
    left_px: NDArray[np.float64]
    right_px: NDArray[np.float64]
    ideal_left_px: NDArray[np.float64]
    ideal_right_px: NDArray[np.float64]
    diameter_mm: NDArray[np.float64]
    reference_mm: NDArray[np.float64]
    arc_mm: NDArray[np.float64]
    projected_arc_mm: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionTruth:
    """A lesion that the picture shows.

    Attributes
    ----------
    cass : int
    start_px, end_px, centre_px : tuple of float
        Projected ``(x, y)`` of its proximal end, distal end and tightest point.
    start_mm, end_mm, centre_mm : float
        The same along the segment, three-dimensional arc length from its proximal border.
    length_mm : float
    mld_mm, rvd_mm : float
        Diameter of the lumen and of the healthy vessel at the tightest point.
    stenosis_pct : float
        Diameter stenosis.
    eccentricity : float
        0 concentric, 1 with the lumen at one wall.
    """

    cass: int
    start_px: tuple[float, float]
    end_px: tuple[float, float]
    centre_px: tuple[float, float]
    start_mm: float
    end_mm: float
    centre_mm: float
    length_mm: float
    mld_mm: float
    rvd_mm: float
    stenosis_pct: float
    eccentricity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTruth:
    """Everything that is true of an analysed frame.

    Attributes
    ----------
    frame_index : int
        0-based.
    analysed_cass : int
        Segment that the core laboratory analyses.
    tree_mask : (R, C) ndarray of bool
        All vessels of the injected artery, with or without a number.
    segment_masks : dict of int to (R, C) ndarray of bool
        Each numbered segment that the field shows, the left main included.
    catheter_mask : (R, C) ndarray of bool
    field_mask : (R, C) ndarray of bool
        What the collimator leaves free; the other masks lie inside it.
    contour : SegmentContour
        Of the analysed segment.
    lesions : tuple of LesionTruth
        Of all segments of the injected artery whose tightest point is inside the field.
    """

    frame_index: int
    analysed_cass: int
    tree_mask: BoolMask
    segment_masks: dict[int, BoolMask]
    catheter_mask: BoolMask
    field_mask: BoolMask
    contour: SegmentContour
    lesions: tuple[LesionTruth, ...]


def silhouette(
    axis_mm: Points, radius_mm: NDArray[np.float64], geometry: ProjectionGeometry
) -> BoolMask:
    """Return which pixel centres lie inside a projected tube, round at its ends.

    Parameters
    ----------
    axis_mm : (N, 3) ndarray
    radius_mm : (N,) ndarray
    geometry : ProjectionGeometry

    Returns
    -------
    (R, C) ndarray of bool
    """
    axis_px, magnification = project(axis_mm, geometry)
    radius_px = radius_mm * magnification / geometry.detector_spacing_mm
    start, step = axis_px[:-1], np.diff(axis_px, axis=0)
    width = 2 * np.maximum(radius_px[:-1], radius_px[1:]) + np.abs(step).max(axis=1) + 2
    mask = np.zeros((geometry.size_px, geometry.size_px), dtype=np.bool_)
    window = np.searchsorted(np.array(_WINDOWS[:-1]), width)
    for index, side in enumerate(_WINDOWS):
        chosen = window == index
        if chosen.any():
            _fill(mask, side, start[chosen], step[chosen], _pairs(radius_px)[chosen])
    return mask


def _cut_straight(
    mask: BoolMask, axis_mm: Points, radius_mm: NDArray[np.float64], geometry: ProjectionGeometry
) -> BoolMask:
    """Return a silhouette without its round ends: a segment's border runs across the vessel."""
    axis_px, magnification = project(axis_mm, geometry)
    radius_px = radius_mm * magnification / geometry.detector_spacing_mm
    cut = mask.copy()
    for end, inner in ((0, 3), (-1, -4)):
        outward = axis_px[end] - axis_px[inner]
        reach = int(radius_px[end]) + 2
        rows, columns = (_window(axis_px[end, axis], reach, len(mask)) for axis in (1, 0))
        dx = columns - axis_px[end, 0]
        dy = (rows - axis_px[end, 1])[:, None]
        beyond = (dx * outward[0] + dy * outward[1] > 0) & (dx**2 + dy**2 <= radius_px[end] ** 2)
        cut[rows[:, None], columns] &= ~beyond
    return cut


def _window(middle: float, reach: int, size: int) -> NDArray[np.int64]:
    return np.arange(max(0, round(middle) - reach), min(size, round(middle) + reach + 1))


def _pairs(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([values[:-1], np.diff(values)], axis=1)


def _fill(
    mask: BoolMask,
    side: int,
    start: NDArray[np.float64],
    step: NDArray[np.float64],
    radius: NDArray[np.float64],
) -> None:
    """Set the pixels of tapering pieces that each fit into a square of `side` pixels."""
    corner = np.floor(start + step / 2 - side / 2).astype(np.int64) + 1
    offset = np.arange(side)
    x = (corner[:, 0, None] + offset)[:, None, :]
    y = (corner[:, 1, None] + offset)[:, :, None]
    dx, dy = x - start[:, 0, None, None], y - start[:, 1, None, None]
    sx, sy = step[:, 0, None, None], step[:, 1, None, None]
    along = np.clip((dx * sx + dy * sy) / np.maximum(sx * sx + sy * sy, 1e-12), 0, 1)
    limit = radius[:, 0, None, None] + along * radius[:, 1, None, None]
    inside = (dx - along * sx) ** 2 + (dy - along * sy) ** 2 <= limit**2
    inside &= (x >= 0) & (x < mask.shape[1]) & (y >= 0) & (y < mask.shape[0])
    piece, row, column = np.nonzero(inside)
    mask[corner[piece, 1] + row, corner[piece, 0] + column] = True


def segment_contour(branch: Branch, geometry: ProjectionGeometry) -> SegmentContour:
    """Return the contour of a segment's visible piece, evenly spaced along the projected lumen.

    Parameters
    ----------
    branch : Branch
        Where it is in the frame.
    geometry : ProjectionGeometry

    Raises
    ------
    ValueError
        No piece of the segment lies inside the field.
    """
    whole, branch = branch, branch.part(_visible_piece(branch, geometry))
    lumen_px, magnification = project(branch.lumen_mm, geometry)
    vessel_px, _ = project(branch.centreline_mm, geometry)
    scale = magnification / geometry.detector_spacing_mm
    along = _along(lumen_px)
    count = int(np.clip(round(along[-1]), 100, 400))
    even = np.linspace(0.0, along[-1], count)

    def at(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.interp(even, along, values))

    def at_points(points: Points) -> NDArray[np.float64]:
        return np.stack([at(points[:, 0]), at(points[:, 1])], axis=1)

    centre, ideal = at_points(lumen_px), at_points(vessel_px)
    left, right = _borders(centre, at(branch.radius_mm * scale))
    ideal_left, ideal_right = _borders(ideal, at(branch.reference_radius_mm * scale))
    return SegmentContour(
        centreline_px=centre,
        left_px=left,
        right_px=right,
        ideal_left_px=ideal_left,
        ideal_right_px=ideal_right,
        diameter_mm=2 * at(branch.radius_mm),
        reference_mm=2 * at(branch.reference_radius_mm),
        arc_mm=at(branch.path_mm - whole.path_mm[0]),
        projected_arc_mm=even * geometry.object_spacing_mm,
    )


def _visible_piece(branch: Branch, geometry: ProjectionGeometry) -> slice:
    """Return the longest run of samples that are inside the field with the vessel's whole width."""
    points_px, magnification = project(branch.lumen_mm, geometry)
    radius_px = branch.radius_mm * magnification / geometry.detector_spacing_mm
    inside = geometry.field.contains(points_px, radius_px).astype(np.int8)
    edges = np.diff(inside, prepend=np.int8(0), append=np.int8(0))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not starts.size or (ends - starts).max() < 2:
        raise ValueError(f"No piece of segment {branch.cass} lies inside the field.")
    longest = int(np.argmax(ends - starts))
    return slice(int(starts[longest]), int(ends[longest]))


def _along(points: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1))
    return np.concatenate([[0.0], np.cumsum(steps)])


def _borders(
    centre: NDArray[np.float64], radius: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    along = np.gradient(centre, axis=0)
    along = along / np.maximum(np.sqrt((along**2).sum(axis=1)), 1e-9)[:, None]
    # y points down: turning (x, y) into (y, -x) is a turn to the walker's left in the picture
    across = radius[:, None] * np.stack([along[:, 1], -along[:, 0]], axis=1)
    return centre + across, centre - across


def lesion_truth(
    branch: Branch, from_wall: Branch, plan: LesionPlan, geometry: ProjectionGeometry
) -> LesionTruth:
    """Return where a lesion is in the picture and how tight it is; it ends where the field ends.

    Parameters
    ----------
    branch : Branch
        The lesion's segment where it is in the frame.
    from_wall : Branch
        The same from its ostium, where arc lengths begin.
    plan : LesionPlan
    geometry : ProjectionGeometry
    """
    centre = centre_index(branch, plan)
    arc_mm = branch.path_mm - from_wall.path_mm[0]
    first, last = _shown_around(centre, branch, geometry)
    places_mm = np.clip(
        arc_mm[centre] + np.array([-0.5, 0.5, 0.0]) * plan.length_mm, arc_mm[first], arc_mm[last]
    )
    points = np.stack([np.interp(places_mm, arc_mm, axis) for axis in branch.lumen_mm.T], axis=1)
    start, end, middle = ((float(x), float(y)) for x, y in project(points, geometry)[0])
    mld_mm, rvd_mm = 2 * branch.radius_mm[centre], 2 * branch.reference_radius_mm[centre]
    return LesionTruth(
        cass=plan.cass,
        start_px=start,
        end_px=end,
        centre_px=middle,
        start_mm=float(places_mm[0]),
        end_mm=float(places_mm[1]),
        centre_mm=float(places_mm[2]),
        length_mm=float(places_mm[1] - places_mm[0]),
        mld_mm=float(mld_mm),
        rvd_mm=float(rvd_mm),
        stenosis_pct=float(100 * (1 - mld_mm / rvd_mm)),
        eccentricity=plan.eccentricity,
    )


def _shown_around(centre: int, branch: Branch, geometry: ProjectionGeometry) -> tuple[int, int]:
    """Return the first and the last sample of the piece around a sample that the field shows."""
    hidden = np.flatnonzero(~geometry.field.contains(project(branch.lumen_mm, geometry)[0]))
    before, after = hidden[hidden < centre], hidden[hidden > centre]
    first = int(before[-1]) + 1 if before.size else 0
    last = int(after[0]) - 1 if after.size else len(branch.lumen_mm) - 1
    return first, last


def frame_truths(
    frame_index: int, analysed: Sequence[int], scene: Scene, geometry: ProjectionGeometry
) -> tuple[FrameTruth, ...]:
    """Return the truth of one frame for each segment that is analysed in it.

    Parameters
    ----------
    frame_index : int
    analysed : sequence of int
        CASS numbers.
    scene : Scene
        The injected tree and the catheter where they are in the frame.
    geometry : ProjectionGeometry
    """
    branches = [
        _from_wall(branch, outside)
        for branch, outside in zip(scene.branches, scene.outside, strict=True)
    ]
    tree, masks = _masks(branches, geometry)
    field = geometry.field.mask(geometry.size_px)
    catheter = field & silhouette(scene.catheter_mm, scene.catheter_radius_mm, geometry)
    lesions = _lesions(scene, branches, geometry)
    return tuple(
        FrameTruth(
            frame_index=frame_index,
            analysed_cass=cass,
            tree_mask=tree,
            segment_masks=masks,
            catheter_mask=catheter,
            field_mask=field,
            contour=segment_contour(_named(branches, cass), geometry),
            lesions=lesions,
        )
        for cass in analysed
    )


def _from_wall(branch: Branch, outside: NDArray[np.float64]) -> Branch:
    """Cut off what lies inside the parent: a segment begins at its ostium, not on an axis."""
    first = min(int(np.argmax(outside >= 0.5)), len(outside) - 8)
    return branch.part(slice(max(0, first), None))


def _named(branches: Sequence[Branch], cass: int) -> Branch:
    return next(branch for branch in branches if branch.cass == cass)


def _masks(
    branches: Sequence[Branch], geometry: ProjectionGeometry
) -> tuple[BoolMask, dict[int, BoolMask]]:
    """Return the mask of all branches, and of each segment that is inside the field."""
    field = geometry.field.mask(geometry.size_px)
    tree = np.zeros_like(field)
    masks: dict[int, BoolMask] = {}
    for branch in branches:
        mask = field & silhouette(branch.lumen_mm, branch.radius_mm, geometry)
        tree |= mask
        if branch.cass is not None and mask.any():
            straight = _cut_straight(mask, branch.lumen_mm, branch.radius_mm, geometry)
            masks[branch.cass] = masks.get(branch.cass, np.False_) | straight
    return tree, masks


def _lesions(
    scene: Scene, from_wall: Sequence[Branch], geometry: ProjectionGeometry
) -> tuple[LesionTruth, ...]:
    """Return the lesions of the injected tree whose tightest point is inside the field."""
    numbers = {branch.cass for branch in scene.branches}
    truths = (
        lesion_truth(
            _named(scene.branches, plan.cass), _named(from_wall, plan.cass), plan, geometry
        )
        for plan in scene.lesions
        if plan.cass in numbers
    )
    return tuple(
        truth for truth in truths if geometry.field.contains(np.array([truth.centre_px]))[0]
    )
