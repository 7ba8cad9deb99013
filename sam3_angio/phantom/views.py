"""How well a view shows each segment: what a core laboratory would choose to analyse.

Conventions: as in ``xray``; a quality is 0 (not shown) to 1 (whole, unforeshortened, uncovered).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam3_angio.anatomy import Artery, analysed_segments
from sam3_angio.phantom.heart import Branch, Heart
from sam3_angio.phantom.xray import ProjectionGeometry, project


def analysable(
    heart: Heart, artery: Artery, geometry: ProjectionGeometry
) -> list[tuple[int, float]]:
    """Return which analysed segments a view shows well.

    The quality is the product of the share inside the field, the foreshortening (projected over
    true length), and the share that no other vessel crosses; segments shorter than 10 mm or
    thinner than 1 mm have none. A core laboratory would analyse those of 0.5 and more.

    Parameters
    ----------
    heart : Heart
    artery : {"RCA", "LCA"}
    geometry : ProjectionGeometry
        With the table in place.

    Returns
    -------
    list of (int, float)
        CASS number and quality 0 to 1, best first.
    """
    tree = heart.tree(artery)
    shown = [_Shown.of(branch, geometry) for branch in tree]
    qualities = [
        (branch.cass, _quality(index, tree, shown, geometry))
        for index, branch in enumerate(tree)
        if branch.cass in analysed_segments()
    ]
    return sorted(
        ((cass, quality) for cass, quality in qualities if cass is not None),
        key=lambda pair: (-pair[1], pair[0]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A branch in the picture."""

    points_px: NDArray[np.float64]
    radius_px: NDArray[np.float64]

    @classmethod
    def of(cls, branch: Branch, geometry: ProjectionGeometry) -> _Shown:
        points_px, magnification = project(branch.lumen_mm, geometry)
        return cls(
            points_px=points_px,
            radius_px=branch.radius_mm * magnification / geometry.detector_spacing_mm,
        )


def _quality(
    index: int, tree: Sequence[Branch], shown: Sequence[_Shown], geometry: ProjectionGeometry
) -> float:
    branch, here = tree[index], shown[index]
    steps_px = np.sqrt((np.diff(here.points_px, axis=0) ** 2).sum(axis=1))
    length_mm = float(steps_px.sum()) * geometry.object_spacing_mm
    if length_mm < 10 or 2 * float(np.median(branch.radius_mm)) < 1:
        return 0.0
    inside = geometry.field.contains(here.points_px, here.radius_px + 2)
    crossed = np.zeros(len(here.points_px), dtype=np.bool_)
    for other, there in zip(tree, shown, strict=True):
        if other is not branch:
            crossed |= _crossed(branch, here, other, there)
    foreshortening = min(1.0, length_mm / float(branch.arc_mm[-1]))
    return float(inside.mean()) * foreshortening * float(1 - crossed.mean())


def _crossed(branch: Branch, here: _Shown, other: Branch, there: _Shown) -> NDArray[np.bool_]:
    """Return where another vessel lies over the branch without touching it in space."""
    if _apart(here, there):
        return np.zeros(len(here.points_px), dtype=np.bool_)
    gap_px = ((here.points_px[:, None] - there.points_px[None]) ** 2).sum(axis=2)
    reach_px = here.radius_px[:, None] + there.radius_px[None]
    gap_mm = ((branch.lumen_mm[:, None] - other.lumen_mm[None]) ** 2).sum(axis=2)
    reach_mm = branch.radius_mm[:, None] + other.radius_mm[None] + 3
    return np.asarray(((gap_px < reach_px**2) & (gap_mm > reach_mm**2)).any(axis=1))


def _apart(here: _Shown, there: _Shown) -> bool:
    """Return whether two branches are too far from each other in the picture to touch."""
    reach_px = float(here.radius_px.max() + there.radius_px.max())
    after = here.points_px.min(axis=0) > there.points_px.max(axis=0) + reach_px
    before = there.points_px.min(axis=0) > here.points_px.max(axis=0) + reach_px
    return bool((after | before).any())
