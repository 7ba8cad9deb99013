"""What stands in the beam in one frame: the injected tree and the catheter, where they are then.

Conventions: patient coordinates in millimetres, as in ``heart``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sam3_angio.anatomy import Artery
from sam3_angio.phantom.beat import Beat, moved
from sam3_angio.phantom.heart import Branch, Heart, HeartAxes, Points
from sam3_angio.phantom.lesion import LesionPlan

_SLACK_MM = 35.0  # length over which the catheter's shaft gives way to its moving tip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The injected tree and the catheter.

    Attributes
    ----------
    branches : tuple of Branch
    outside : tuple of (N,) ndarray
        For each branch, the part of each sample that is not inside its parent.
    lesions : tuple of LesionPlan
        All lesions of the heart.
    catheter_mm : (N, 3) ndarray
        Axis of the catheter from its tip.
    catheter_french : int
        Outer diameter; 1 F is a third of a millimetre.
    """

    branches: tuple[Branch, ...]
    outside: tuple[NDArray[np.float64], ...]
    lesions: tuple[LesionPlan, ...]
    catheter_mm: Points
    catheter_french: int

    @property
    def catheter_radius_mm(self) -> NDArray[np.float64]:
        """Return the outer radius, (N,)."""
        return np.full(len(self.catheter_mm), self.catheter_french / 6)


def set_up(heart: Heart, artery: Artery, catheter_mm: Points, catheter_french: int) -> Scene:
    """Return the scene at end-diastole, between two breaths."""
    return Scene(
        branches=heart.tree(artery),
        outside=heart.outside(artery),
        lesions=heart.lesions,
        catheter_mm=catheter_mm,
        catheter_french=catheter_french,
    )


def in_frame(scene: Scene, axes: HeartAxes, beat: Beat, frame: int) -> Scene:
    """Return the scene as heartbeat and breathing have moved it; the tip stays in the ostium."""
    tip = scene.catheter_mm[:1]
    follow = np.exp(-np.arange(len(scene.catheter_mm)) / _SLACK_MM)[:, None]
    return replace(
        scene,
        branches=tuple(_moved(branch, axes, beat, frame) for branch in scene.branches),
        catheter_mm=scene.catheter_mm + follow * (moved(tip, axes, beat, frame) - tip),
    )


def _moved(branch: Branch, axes: HeartAxes, beat: Beat, frame: int) -> Branch:
    centreline = moved(branch.centreline_mm, axes, beat, frame)
    if branch.lumen_mm is branch.centreline_mm:
        return replace(branch, centreline_mm=centreline, lumen_mm=centreline)
    return replace(
        branch, centreline_mm=centreline, lumen_mm=moved(branch.lumen_mm, axes, beat, frame)
    )
