"""Narrowings of the lumen, and what stays of them after a stent.

A narrowing is a smooth cosine bump: the diameter is ``reference · (1 − stenosis · w)`` with
``w = (1 + cos(2π x / length)) / 2`` over the lesion's length, so that the stated diameter stenosis
is met exactly at its centre. Where two overlap, the tighter one counts.

An eccentric narrowing moves the lumen's axis towards one wall: with eccentricity 1 the lumen
touches the healthy contour on that side.

Conventions: millimetres along the vessel; fractions of a segment run from its proximal border (0)
to its distal border (1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sam3_angio.phantom.heart import Branch, Heart, Points


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionPlan:
    """A narrowing to be put into a segment.

    Attributes
    ----------
    cass : int
        CASS number of the segment.
    centre : float
        Place of the tightest point, 0 (proximal border) to 1 (distal border). It is moved to the
        nearest sample of the centreline.
    length_mm : float
        From where the lumen leaves the reference to where it rejoins it.
    stenosis_pct : float
        Diameter stenosis at the centre, 0 to 95.
    eccentricity : float
        0 concentric, 1 with the lumen at one wall.
    azimuth_deg : float
        Towards which side of the vessel the lumen is moved.

    Raises
    ------
    ValueError
        A number is outside its range.
    """

    cass: int
    centre: float
    length_mm: float
    stenosis_pct: float
    eccentricity: float = 0.0
    azimuth_deg: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("centre", 0, 1),
            ("length_mm", 1, 60),
            ("stenosis_pct", 0, 95),
            ("eccentricity", 0, 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; {low} to {high} is possible.")


def treated(plan: LesionPlan, residual_pct: float) -> LesionPlan:
    """Return what stays of a lesion after a stent: the same place, little stenosis, concentric.

    Parameters
    ----------
    plan : LesionPlan
        Before treatment.
    residual_pct : float
        Diameter stenosis that stays, 0 to 15.

    Raises
    ------
    ValueError
        More than 15 % is no success, and more than before is no treatment.
    """
    if not 0 <= residual_pct <= min(15.0, plan.stenosis_pct):
        raise ValueError(
            f"residual_pct is {residual_pct}; 0 to {min(15.0, plan.stenosis_pct)} is possible."
        )
    return replace(plan, stenosis_pct=residual_pct, eccentricity=0.0)


def with_lesions(heart: Heart, plans: Sequence[LesionPlan]) -> Heart:
    """Return the heart with its lumen narrowed.

    Parameters
    ----------
    heart : Heart
        Without lesions.
    plans : sequence of LesionPlan
        Any number, in any segments that the heart has.

    Raises
    ------
    ValueError
        The heart has lesions already, or lacks a segment.
    """
    if heart.lesions:
        raise ValueError("The heart has lesions already; start from the healthy one.")
    if missing := {plan.cass for plan in plans} - set(heart.cass):
        raise ValueError(f"The heart has no segment {sorted(missing)}; it has {heart.cass}.")
    branches = list(heart.branches)
    for plan in plans:
        index = next(i for i, branch in enumerate(branches) if branch.cass == plan.cass)
        branches[index] = _narrowed(branches[index], plan)
    return replace(heart, branches=tuple(branches), lesions=tuple(plans))


def centre_index(branch: Branch, plan: LesionPlan) -> int:
    """Return the sample of the segment that carries the plan's tightest point."""
    arc_mm = branch.arc_mm
    return int(np.argmin(np.abs(arc_mm - plan.centre * arc_mm[-1])))


def _narrowed(branch: Branch, plan: LesionPlan) -> Branch:
    centre = centre_index(branch, plan)
    offset = (branch.arc_mm - branch.arc_mm[centre]) / plan.length_mm
    bump = np.where(np.abs(offset) < 0.5, 0.5 * (1 + np.cos(2 * np.pi * offset)), 0.0)
    lumen = branch.reference_radius_mm * (1 - plan.stenosis_pct / 100 * bump)
    tighter = lumen < branch.radius_mm
    free_mm = plan.eccentricity * (branch.reference_radius_mm - lumen)
    shifted = branch.centreline_mm + free_mm[:, None] * _sideways(
        branch.centreline_mm, centre, plan
    )
    return replace(
        branch,
        radius_mm=np.where(tighter, lumen, branch.radius_mm),
        lumen_mm=np.where(tighter[:, None], shifted, branch.lumen_mm),
    )


def _sideways(points: Points, centre: int, plan: LesionPlan) -> NDArray[np.float64]:
    """Return unit vectors across the vessel that keep to one side of it, (N, 3)."""
    along = np.gradient(points, axis=0)
    along = along / np.sqrt((along**2).sum(axis=1))[:, None]
    axis = along[centre]
    first = np.cross(axis, np.eye(3)[int(np.argmin(np.abs(axis)))])
    first = first / np.sqrt((first**2).sum())
    azimuth = np.radians(plan.azimuth_deg)
    wanted = np.cos(azimuth) * first + np.sin(azimuth) * np.cross(axis, first)
    across = wanted - (along @ wanted)[:, None] * along
    return np.asarray(across / np.maximum(np.sqrt((across**2).sum(axis=1)), 1e-6)[:, None])
