"""From a diameter profile to stenoses: reference, MLD, %DS, lesion length.

Definitions: DICOM PS3.17 Annex T and the practice of core laboratories.

- The reference ("interpolated") diameter is a straight line through the healthy parts of the
  profile; RVD is its value at the MLD. It is neither the widest place nor the mean.
- %DS = 100 (1 − MLD/RVD); area stenosis, of circular sections, = 100 (1 − (MLD/RVD)²).
- A lesion runs from where the profile leaves the reference to where it rejoins it, both by a
  stated tolerance.
- Proximal and distal normal diameters are the reference where the lesion starts and ends.

Conventions
-----------
Lengths in millimetres along the centreline; fractions in 0…1 where a name has no unit, percent
where it ends in ``_pct``. Samples of NaN are passed over: between diameters they neither part a
lesion nor end it, and outside of them there is no profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from sam3_angio.errors import DataError
from sam3_angio.qca.profile import MIN_DIAMETERS, DiameterProfile

MAX_TAPER = 0.15
"""Steepest believable reference, mm of diameter a mm of length; arteries taper by about 0.02."""
REFERENCE_BAND = 0.06
"""A place is healthy while it keeps this near to the reference, as a fraction of it."""
SHOULDER = 1 / 3
"""Part of that band down to which the flanks of a narrowing count as its own."""
REFERENCE_ANCHORS = 16
"""Parts of the profile whose medians are tried, by pairs, as the reference's first guess."""
REFERENCE_ROUNDS = 20
MIN_STENOSIS = 0.2
"""A narrowing is a lesion from this depth on, as a fraction of the reference."""
LEAVE_TOLERANCE = 0.05
"""A lesion ends where the profile is this near to the reference, as a fraction of it."""
SPLIT_RECOVERY = 0.5
"""Two minima are two lesions where the profile between them regains this part of the lesser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionMeasurement:
    """One stenosis.

    Attributes
    ----------
    mld_mm, rvd_mm : float
        Smallest diameter in the lesion, and the reference there.
    mld_index : int
        Sample of the profile.
    mld_px, start_px, end_px : (x, y)
        On the centreline.
    diameter_stenosis_pct, area_stenosis_pct : float
    start_index, end_index : int
        Outermost samples of the lesion.
    start_mm, end_mm, length_mm : float
        Along the centreline.
    proximal_normal_mm, distal_normal_mm : float
        The reference where the lesion starts and ends.
    complete : bool
        False if the lesion reaches an end of the profile, so that its length is a lower bound.
    """

    mld_mm: float
    rvd_mm: float
    mld_index: int
    mld_px: tuple[float, float]
    diameter_stenosis_pct: float
    area_stenosis_pct: float
    start_index: int
    end_index: int
    start_px: tuple[float, float]
    end_px: tuple[float, float]
    start_mm: float
    end_mm: float
    length_mm: float
    proximal_normal_mm: float
    distal_normal_mm: float
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QcaResult:
    """Measurements of one segment; the single values are those of its most severe place.

    Attributes
    ----------
    mld_mm, rvd_mm : float
        In the lesion of the highest %DS; without a lesion, at the place that is narrowest
        relative to the reference.
    mld_index : int
        Sample of the profile.
    mld_px : (x, y)
        On the centreline.
    diameter_stenosis_pct, area_stenosis_pct : float
        Negative where the vessel is nowhere narrower than the reference.
    lesions : tuple of LesionMeasurement
        From proximal to distal; may be empty.
    proximal_normal_mm, distal_normal_mm : float
        The reference at the ends of that lesion; without a lesion, at those of the segment.
    segment_length_mm : float
        Length of the centreline.
    """

    mld_mm: float
    rvd_mm: float
    mld_index: int
    mld_px: tuple[float, float]
    diameter_stenosis_pct: float
    area_stenosis_pct: float
    lesions: tuple[LesionMeasurement, ...]
    proximal_normal_mm: float
    distal_normal_mm: float
    segment_length_mm: float


def reference_line(profile: DiameterProfile) -> NDArray[np.float64]:
    """Return the interpolated reference diameter along a profile.

    The straight line that most of the profile lies on while little of it lies above, out of the
    lines through the medians of any two parts; then, repeatedly, the least-squares line through
    what is healthy: near the line and not in a dip that falls below it. So neither the number nor
    the place of the lesions moves it, as long as some vessel proximal, between or distal is
    healthy.

    Parameters
    ----------
    profile : DiameterProfile

    Returns
    -------
    (N,) ndarray
        Millimetres at each sample of the profile, those without a diameter included.
    """
    seen = ~np.isnan(profile.diameter_mm)
    arc, diameter = profile.arc_mm[seen], profile.diameter_mm[seen]
    slope, intercept = _first_guess(arc, diameter)
    healthy = np.zeros(len(arc), dtype=np.bool_)
    for _ in range(REFERENCE_ROUNDS):
        before = healthy
        healthy = _healthy(diameter, intercept + slope * arc)
        if np.count_nonzero(healthy) < 3 or np.array_equal(before, healthy):
            break
        slope, intercept = _fitted(arc[healthy], diameter[healthy])
    return np.asarray(intercept + slope * profile.arc_mm)


def _first_guess(arc: NDArray[np.float64], diameter: NDArray[np.float64]) -> tuple[float, float]:
    parts = np.array_split(np.arange(len(arc)), min(REFERENCE_ANCHORS, len(arc)))
    place = np.array([np.median(arc[part]) for part in parts])
    height = np.array([np.median(diameter[part]) for part in parts])
    one, other = np.triu_indices(len(parts), k=1)
    slope = np.append((height[other] - height[one]) / (place[other] - place[one]), 0.0)
    intercept = np.append(height[one] - slope[:-1] * place[one], np.median(diameter))
    believable = np.abs(slope) <= MAX_TAPER
    slope, intercept = slope[believable], intercept[believable]
    lines = intercept[:, None] + slope[:, None] * arc[None, :]
    residual = diameter[None, :] - lines
    band = REFERENCE_BAND * np.maximum(lines, 0.0)
    support = np.sum(np.abs(residual) <= band, axis=1) - np.sum(residual > band, axis=1)
    best = int(np.argmax(support))
    return float(slope[best]), float(intercept[best])


def _healthy(diameter: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell what lies near the reference, shoulders of a dip or a bulge left out with it."""
    relative = np.abs(diameter / np.maximum(reference, np.finfo(np.float64).tiny) - 1)
    excursions, count = ndimage.label(relative > REFERENCE_BAND * SHOULDER)
    furthest = np.asarray(ndimage.maximum(relative, excursions, np.arange(count + 1)))
    furthest[0] = 0.0
    return np.asarray(furthest[excursions] <= REFERENCE_BAND)


def _fitted(arc: NDArray[np.float64], diameter: NDArray[np.float64]) -> tuple[float, float]:
    """Return slope and intercept of the least-squares line with a believable slope."""
    centred = arc - arc.mean()
    slope = float(centred @ diameter / max(centred @ centred, np.finfo(np.float64).tiny))
    slope = float(np.clip(slope, -MAX_TAPER, MAX_TAPER))
    return slope, float(diameter.mean() - slope * arc.mean())


def measure(
    profile: DiameterProfile,
    reference_mm: NDArray[np.float64] | None = None,
    *,
    min_stenosis: float = MIN_STENOSIS,
    leave_tolerance: float = LEAVE_TOLERANCE,
) -> QcaResult:
    """Measure the stenoses of a segment.

    Parameters
    ----------
    profile : DiameterProfile
    reference_mm : (N,) ndarray, optional
        Reference diameter at each sample, as from an expert's ideal borders
        (:func:`sam3_angio.qca.reference_from_edges`); by default :func:`reference_line`.
    min_stenosis : float
        Depth from which on a narrowing is a lesion, as a fraction of the reference.
    leave_tolerance : float
        Depth at which a lesion starts and ends.

    Returns
    -------
    QcaResult

    Raises
    ------
    DataError
        The profile has too few diameters, or the reference does not fit it or is not
        positive.
    """
    reference = _checked_reference(profile, reference_mm)
    depth = _gaps_filled(profile.arc_mm, 1 - profile.diameter_mm / reference)
    spans = _lesion_spans(np.nan_to_num(depth), min_stenosis, leave_tolerance)
    lesions = tuple(_lesion(profile, reference, depth, span, leave_tolerance) for span in spans)
    worst = max(lesions, key=lambda lesion: lesion.diameter_stenosis_pct, default=None)
    if worst is None:
        index = int(np.nanargmax(1 - profile.diameter_mm / reference))
        proximal_mm, distal_mm = float(reference[0]), float(reference[-1])
    else:
        index = worst.mld_index
        proximal_mm, distal_mm = worst.proximal_normal_mm, worst.distal_normal_mm
    mld, rvd = float(profile.diameter_mm[index]), float(reference[index])
    return QcaResult(
        mld_mm=mld,
        rvd_mm=rvd,
        mld_index=index,
        mld_px=_point(profile, profile.arc_mm[index]),
        diameter_stenosis_pct=100 * (1 - mld / rvd),
        area_stenosis_pct=100 * (1 - (mld / rvd) ** 2),
        lesions=lesions,
        proximal_normal_mm=proximal_mm,
        distal_normal_mm=distal_mm,
        segment_length_mm=float(profile.arc_mm[-1]),
    )


def _checked_reference(
    profile: DiameterProfile, reference_mm: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    if np.count_nonzero(~np.isnan(profile.diameter_mm)) < MIN_DIAMETERS:
        raise DataError.at(
            "vessel", f"fewer than {MIN_DIAMETERS} places of the segment have a diameter."
        )
    reference = reference_line(profile) if reference_mm is None else np.asarray(reference_mm)
    if reference.shape != profile.diameter_mm.shape:
        raise DataError.at(
            "reference",
            f"it has {reference.size} values for {profile.diameter_mm.size} diameters.",
        )
    if not np.all(reference > 0):
        raise DataError.at(
            "reference",
            "it is not positive everywhere.",
            "The segment may be too short or too irregular to have a reference of its own.",
        )
    return reference


def _lesion_spans(
    depth: NDArray[np.float64], min_stenosis: float, leave_tolerance: float
) -> list[tuple[int, int]]:
    """Return first and last sample of each lesion, proximal first; `depth` is NaN-free."""
    deepest = _deepest_places(depth, min_stenosis)
    if not deepest:
        return []
    parting = [0, *(_valley(depth, *pair) for pair in pairwise(deepest)), len(depth) - 1]
    spans = []
    for place, (lowest, highest) in zip(deepest, pairwise(parting), strict=True):
        stretches, _ = ndimage.label(depth[lowest : highest + 1] > leave_tolerance)
        (own,) = ndimage.find_objects(stretches)[stretches[place - lowest] - 1]
        spans.append((lowest + own.start, lowest + own.stop - 1))
    return spans


def _deepest_places(depth: NDArray[np.float64], min_stenosis: float) -> list[int]:
    """Return the samples of minima that the profile between them tells apart."""
    padded = np.concatenate([[0.0], depth, [0.0]])
    candidates = signal.find_peaks(padded, height=min_stenosis)[0] - 1
    places: list[int] = []
    for place in candidates[np.argsort(-depth[candidates], kind="stable")]:
        regained = (1 - SPLIT_RECOVERY) * depth[place]
        if all(depth[_valley(depth, *sorted((place, other)))] <= regained for other in places):
            places.append(int(place))
    return sorted(places)


def _valley(depth: NDArray[np.float64], first: int, second: int) -> int:
    """Return the healthiest sample between two minima of the lumen."""
    return int(first + np.argmin(depth[first : second + 1]))


def _lesion(
    profile: DiameterProfile,
    reference: NDArray[np.float64],
    depth: NDArray[np.float64],
    span: tuple[int, int],
    leave_tolerance: float,
) -> LesionMeasurement:
    start, end = span
    index = start + int(np.nanargmin(profile.diameter_mm[start : end + 1]))
    mld, rvd = float(profile.diameter_mm[index]), float(reference[index])
    start_mm = _crossing(profile.arc_mm, depth, (start, start - 1), leave_tolerance)
    end_mm = _crossing(profile.arc_mm, depth, (end, end + 1), leave_tolerance)
    proximal_mm, distal_mm = np.interp([start_mm, end_mm], profile.arc_mm, reference)
    return LesionMeasurement(
        mld_mm=mld,
        rvd_mm=rvd,
        mld_index=index,
        mld_px=_point(profile, profile.arc_mm[index]),
        diameter_stenosis_pct=100 * (1 - mld / rvd),
        area_stenosis_pct=100 * (1 - (mld / rvd) ** 2),
        start_index=start,
        end_index=end,
        start_px=_point(profile, start_mm),
        end_px=_point(profile, end_mm),
        start_mm=start_mm,
        end_mm=end_mm,
        length_mm=end_mm - start_mm,
        proximal_normal_mm=float(proximal_mm),
        distal_normal_mm=float(distal_mm),
        complete=_is_known(depth, start - 1) and _is_known(depth, end + 1),
    )


def _gaps_filled(arc_mm: NDArray[np.float64], depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate between the first and the last value; what lies outside stays NaN."""
    seen = ~np.isnan(depth)
    return np.asarray(np.interp(arc_mm, arc_mm[seen], depth[seen], left=np.nan, right=np.nan))


def _is_known(depth: NDArray[np.float64], index: int) -> bool:
    return 0 <= index < len(depth) and not np.isnan(depth[index])


def _crossing(
    arc_mm: NDArray[np.float64],
    depth: NDArray[np.float64],
    inside_outside: tuple[int, int],
    leave_tolerance: float,
) -> float:
    """Return where the depth passes the tolerance between a lesion's last sample and the next."""
    inside, outside = inside_outside
    if not 0 <= outside < len(arc_mm) or not depth[outside] <= leave_tolerance:
        return float(arc_mm[inside])
    part = (depth[inside] - leave_tolerance) / (depth[inside] - depth[outside])
    return float(arc_mm[inside] + part * (arc_mm[outside] - arc_mm[inside]))


def _point(profile: DiameterProfile, place_mm: float) -> tuple[float, float]:
    x, y = (np.interp(place_mm, profile.arc_mm, profile.centreline_px[:, axis]) for axis in (0, 1))
    return float(x), float(y)
