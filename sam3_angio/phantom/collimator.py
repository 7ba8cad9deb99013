"""The collimator: blades that keep the beam to what is looked at, and a wedge filter over the lung.

Sources: a unit's collimator has four lead blades, parallel to the picture's sides, and filters
with a slanting edge that dim the bright lung in a corner. The blades stand a third of the way to
the detector, so that a focal spot of 0.6 mm blurs their edge by 1.2 mm there.

Conventions: as in ``xray``; transmissions are 0 to 1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam3_angio.anatomy import Artery
from sam3_angio.phantom.heart import Heart
from sam3_angio.phantom.xray import Field, ProjectionGeometry, project

_BLADE_SHARE = 0.85  # of the sides that a blade stands at, if there is room
_TREE_GAP_MM = (-3.0, 17.0)  # from the tree's outermost point to the blade, at the isocentre
_DEEPEST = 0.22  # of the picture's side, how far a blade comes in at most
_SEGMENT_GAP_MM = 8.0  # that the analysed segment keeps at least: the heart beats and breathes
_PENUMBRA_MM = 1.2
_WEDGE_SHARE = 0.4
_WEDGE_RAMP_MM = 18.0  # at the detector, over which the filter grows to its full thickness
_WEDGE_ATTENUATION = (0.15, 0.45)


def collimated(
    geometry: ProjectionGeometry,
    heart: Heart,
    artery: Artery,
    cass: int,
    generator: np.random.Generator,
) -> ProjectionGeometry:
    """Return the geometry with blades around the artery's tree.

    They may cut off the tips of the tree but keep away from the segment that is to be analysed.

    Parameters
    ----------
    geometry : ProjectionGeometry
        With the table in place.
    heart : Heart
    artery : {"RCA", "LCA"}
        Which one is injected.
    cass : int
        The segment.
    generator : numpy.random.Generator
        Of the blades.
    """
    standing = generator.random(4) < _BLADE_SHARE
    gap_px = generator.uniform(*_TREE_GAP_MM, 4) / geometry.object_spacing_mm
    free_px = _SEGMENT_GAP_MM / geometry.object_spacing_mm
    branches = heart.tree(artery)
    tree_px, _ = project(np.concatenate([b.centreline_mm for b in branches]), geometry)
    segment_px, _ = project(
        np.concatenate([b.centreline_mm for b in branches if b.cass == cass]), geometry
    )
    low = np.minimum(tree_px.min(axis=0) - gap_px[:2], segment_px.min(axis=0) - free_px)
    high = np.maximum(tree_px.max(axis=0) + gap_px[2:], segment_px.max(axis=0) + free_px)
    deepest_px = _DEEPEST * geometry.size_px
    low = np.where(standing[:2], np.clip(low, 0, deepest_px), 0)
    inset = np.where(standing[2:], np.clip(geometry.size_px - high, 0, deepest_px), 0)
    left, top, right, bottom = np.rint([*low, *(geometry.size_px - inset)]).astype(int).tolist()
    field = Field(left_px=left, top_px=top, right_px=right, bottom_px=bottom)
    return geometry if field == geometry.field else replace(geometry, collimated=field)


def transmission(
    geometry: ProjectionGeometry, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return how much of the beam blades and wedge filter let through, (R, C)."""
    field, penumbra_px = geometry.field, _PENUMBRA_MM / geometry.detector_spacing_mm
    along_x = _between(field.left_px, field.right_px, geometry.size_px, penumbra_px)
    along_y = _between(field.top_px, field.bottom_px, geometry.size_px, penumbra_px)
    return along_y[:, None] * along_x * _wedge(geometry, generator)


def _between(first: int, beyond: int, size_px: int, penumbra_px: float) -> NDArray[np.float64]:
    """Return what passes between two blades; one that is not in the picture dims nothing."""
    at = np.arange(size_px) + 0.5
    near = (at - first) / penumbra_px if first > 0 else np.ones(size_px)
    far = (beyond - at) / penumbra_px if beyond < size_px else np.ones(size_px)
    return np.clip(0.5 + near, 0, 1) * np.clip(0.5 + far, 0, 1)


def _wedge(geometry: ProjectionGeometry, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return what a filter lets through that is pushed in over a corner, in some runs."""
    pushed_in = generator.random() < _WEDGE_SHARE
    corner = generator.choice([-1.0, 1.0], 2) * generator.uniform(0.4, 1.0, 2)
    reach, attenuation = generator.uniform(0.35, 0.7), generator.uniform(*_WEDGE_ATTENUATION)
    if not pushed_in:
        return np.ones((geometry.size_px, geometry.size_px))
    middle = (geometry.size_px - 1) / 2
    offset_px = np.arange(geometry.size_px) - middle
    across = corner / np.sqrt((corner**2).sum())
    depth_px = across[1] * offset_px[:, None] + across[0] * offset_px - reach * middle
    thickness = np.clip(depth_px * geometry.detector_spacing_mm / _WEDGE_RAMP_MM, 0, 1)
    return np.asarray(np.exp(-attenuation * thickness))
