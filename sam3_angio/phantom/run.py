"""A run: contrast flows into a beating heart in front of a chest, filmed with noise and blur.

The picture is Beer–Lambert: background intensity times ``exp(-μ · iodine)``, plus scatter, blurred
by focal spot and detector, with quantum noise. The noise is drawn by whole numbers: the expected
intensity is rounded to 14 bits, and a random 12-bit number selects the deviation from a table of
the Poisson distribution's quantiles. So the stored values are the same on every machine: floating
point (64 bits) ends at the rounding.

Conventions: stored values grow with the intensity, vessels are dark (MONOCHROME2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import gammaln

from sam3_angio.anatomy import Artery, analysed_segments
from sam3_angio.phantom.beat import FRAME_TIME_MS, Beat, best_frames, draw_beat, moved
from sam3_angio.phantom.chest import background, catheter_axis
from sam3_angio.phantom.heart import Branch, Heart
from sam3_angio.phantom.labels import FrameTruth, frame_truths, silhouette
from sam3_angio.phantom.xray import ProjectionGeometry, Tube, path_lengths, project

__all__ = ["RunPlan", "SimulatedRun", "analysable", "best_frames", "simulate_run"]

_IODINE_PER_MM = 0.27  # effective attenuation of undiluted contrast medium
_WALL_PER_MM = 0.16  # of the catheter's braided wall
_SCATTER = 0.28  # share of scattered intensity
_MIDDLE = 1 << 13  # 14-bit intensity of the background's median
_LEVEL_BITS = 5
_DRAW_BITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What is to be simulated.

    Attributes
    ----------
    heart : Heart
    artery : {"RCA", "LCA"}
        Which artery is injected.
    geometry : ProjectionGeometry
        With the table in place (:func:`sam3_angio.phantom.xray.aimed`).
    bits : int
        8 or 12 stored bits.
    n_frames : int
    analysed : tuple of (int, int)
        Frame index and CASS number, for each truth that is wanted.
    seed : int
        Timing, catheter, background and noise.

    Raises
    ------
    ValueError
        The depth is another one, or a frame or segment does not exist.
    """

    heart: Heart
    artery: Artery
    geometry: ProjectionGeometry
    bits: int
    n_frames: int
    analysed: tuple[tuple[int, int], ...]
    seed: int

    def __post_init__(self) -> None:
        if self.bits not in (8, 12):
            raise ValueError(f"bits is {self.bits}; 8 or 12 is possible.")
        known = {branch.cass for branch in self.heart.tree(self.artery)}
        for frame, cass in self.analysed:
            if not 0 < frame < self.n_frames:
                raise ValueError(f"Frame {frame} cannot be analysed; 1 to {self.n_frames - 1} can.")
            if cass not in known:
                raise ValueError(f"This heart's {self.artery} has no segment {cass}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRun:
    """A run with its truth.

    Attributes
    ----------
    pixels : (F, R, C) ndarray of uint8 or uint16
        Stored values, MONOCHROME2.
    geometry : ProjectionGeometry
    truths : tuple of FrameTruth
        One for each of the plan's analysed pairs, in the same order.
    window_centre, window_width : float
        Display window in stored values.
    frame_time_ms : float
    heart_rate_bpm : float
    catheter_french : int
        Outer diameter; 1 F is a third of a millimetre.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    geometry: ProjectionGeometry
    truths: tuple[FrameTruth, ...]
    window_centre: float
    window_width: float
    frame_time_ms: float
    heart_rate_bpm: float
    catheter_french: int


def simulate_run(plan: RunPlan) -> SimulatedRun:
    """Simulate a run and keep the truth of its analysed frames."""
    scene_rng, noise_rng = (
        np.random.Generator(np.random.PCG64(np.random.SeedSequence((plan.seed, part))))
        for part in (21, 22)
    )
    beat = draw_beat(plan.n_frames, plan.seed)
    still = background(plan.geometry, scene_rng)
    intensity = np.exp(np.median(still) - still)
    catheter = _Catheter(
        axis_mm=catheter_axis(plan.heart, plan.artery, scene_rng),
        french=int(scene_rng.integers(5, 9)),
    )
    quanta = (500, 800, 1200)[int(scene_rng.integers(0, 3))]
    frames = [
        _exposed(intensity, _shadow(plan, beat, catheter, frame), quanta, plan.bits, noise_rng)
        for frame in range(plan.n_frames)
    ]
    pixels = np.stack(frames)
    low, high = (float(np.percentile(pixels[-1], q)) for q in (0.5, 99.5))
    return SimulatedRun(
        pixels=pixels,
        geometry=plan.geometry,
        truths=_truths(plan, beat, catheter),
        window_centre=round((low + high) / 2),
        window_width=round(high - low),
        frame_time_ms=FRAME_TIME_MS,
        heart_rate_bpm=beat.heart_rate_bpm,
        catheter_french=catheter.french,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Catheter:
    axis_mm: NDArray[np.float64]
    french: int

    @property
    def radius_mm(self) -> float:
        return self.french / 6


def _in_frame(branch: Branch, heart: Heart, beat: Beat, frame: int) -> Branch:
    centreline = moved(branch.centreline_mm, heart.axes, beat, frame)
    if branch.lumen_mm is branch.centreline_mm:
        return replace(branch, centreline_mm=centreline, lumen_mm=centreline)
    lumen = moved(branch.lumen_mm, heart.axes, beat, frame)
    return replace(branch, centreline_mm=centreline, lumen_mm=lumen)


def _catheter_in_frame(plan: RunPlan, beat: Beat, catheter: _Catheter, frame: int) -> Tube:
    """Return the catheter with its tip kept in the moving ostium."""
    tip = catheter.axis_mm[:1]
    shift = moved(tip, plan.heart.axes, beat, frame) - tip
    share = np.exp(-np.arange(len(catheter.axis_mm)) / 35.0)
    count = len(catheter.axis_mm)
    return Tube(
        axis_mm=catheter.axis_mm + share[:, None] * shift,
        radius_mm=np.full(count, catheter.radius_mm),
        weight=np.full(count, _WALL_PER_MM),
    )


def _shadow(plan: RunPlan, beat: Beat, catheter: _Catheter, frame: int) -> NDArray[np.float64]:
    """Return the attenuation of contrast and catheter in a frame, (R, C)."""
    shaft = _catheter_in_frame(plan, beat, catheter, frame)
    filled = float(beat.contrast(frame, np.zeros(1))[0])
    bore = replace(
        shaft,
        radius_mm=shaft.radius_mm * 0.72,
        weight=np.full(len(shaft.axis_mm), filled * _IODINE_PER_MM - _WALL_PER_MM),
    )
    vessels = [
        Tube(
            axis_mm=branch.lumen_mm,
            radius_mm=branch.radius_mm,
            weight=_IODINE_PER_MM * beat.contrast(frame, branch.path_mm),
        )
        for branch in (_in_frame(b, plan.heart, beat, frame) for b in plan.heart.tree(plan.artery))
    ]
    return path_lengths([shaft, bore, *vessels], plan.geometry)


def _exposed(
    intensity: NDArray[np.float64],
    shadow: NDArray[np.float64],
    quanta: int,
    bits: int,
    rng: np.random.Generator,
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return a frame's stored values."""
    sharp = np.exp(-shadow)
    blurred = gaussian_filter(sharp, 0.8 * intensity.shape[0] / 512, truncate=3.0)
    primary = intensity * ((1 - _SCATTER) * blurred + _SCATTER)
    level = np.clip(np.rint(primary * _MIDDLE), 0, (1 << 14) - 1).astype(np.int32)
    draw = rng.integers(0, 1 << 16, level.shape, dtype=np.uint16) >> (16 - _DRAW_BITS)
    noise = _grain(_noise_table(quanta)[((level >> _LEVEL_BITS) << _DRAW_BITS) + draw])
    return _stored_values(bits)[np.clip(level + noise, 0, (1 << 14) - 1)]


def _grain(noise: NDArray[np.int16]) -> NDArray[np.int32]:
    """Blur white noise a little, (1 4 1) / 5 both ways, as the detector does."""
    wide = noise.astype(np.int32)
    rows = 4 * wide
    rows[1:] += wide[:-1]
    rows[:-1] += wide[1:]
    both = 4 * rows
    both[:, 1:] += rows[:, :-1]
    both[:, :-1] += rows[:, 1:]
    return both // 25


@cache
def _stored_values(bits: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the stored value of each 14-bit intensity: the background's median at 60 %."""
    relative = np.arange(1 << 14) / _MIDDLE
    values = np.clip(np.rint(((1 << bits) - 1) * 0.6 * relative**0.8), 0, (1 << bits) - 1)
    return values.astype(np.uint8 if bits == 8 else np.uint16)


@cache
def _noise_table(quanta: int) -> NDArray[np.int16]:
    """Return the quantum noise of each intensity, 512 × 4096 flat, in 14-bit intensities.

    `quanta` is the expected number in a pixel of the background's median intensity.
    """
    draws = (np.arange(1 << _DRAW_BITS) + 0.5) / (1 << _DRAW_BITS)
    rows = []
    for level in range(1 << (14 - _LEVEL_BITS)):
        mean = (level + 0.5) * (1 << _LEVEL_BITS) * quanta / _MIDDLE
        count = np.arange(int(mean + 8 * np.sqrt(mean) + 12))
        distribution = np.cumsum(np.exp(count * np.log(mean) - mean - gammaln(count + 1)))
        quantile = np.searchsorted(distribution, draws)
        rows.append(np.rint((quantile - mean) * _MIDDLE / quanta))
    return np.concatenate(rows).astype(np.int16)


def _truths(plan: RunPlan, beat: Beat, catheter: _Catheter) -> tuple[FrameTruth, ...]:
    by_frame: dict[int, dict[int, FrameTruth]] = {}
    for frame, pairs in groupby(sorted(plan.analysed), key=lambda pair: pair[0]):
        wanted = [cass for _, cass in pairs]
        branches = [_in_frame(b, plan.heart, beat, frame) for b in plan.heart.tree(plan.artery)]
        shaft = _catheter_in_frame(plan, beat, catheter, frame)
        mask = silhouette(shaft.axis_mm, shaft.radius_mm, plan.geometry)
        truths = frame_truths(frame, wanted, branches, mask, plan.heart.lesions, plan.geometry)
        by_frame[frame] = dict(zip(wanted, truths, strict=True))
    return tuple(by_frame[frame][cass] for frame, cass in plan.analysed)


def analysable(
    heart: Heart, artery: Artery, geometry: ProjectionGeometry
) -> list[tuple[int, float]]:
    """Return which analysed segments a view shows well.

    The quality is the product of the share inside the picture, the foreshortening (projected over
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
    edge = here.radius_px[:, None] + 2
    inside = (here.points_px > edge) & (here.points_px < geometry.size_px - 1 - edge)
    crossed = np.zeros(len(here.points_px), dtype=np.bool_)
    for other, there in zip(tree, shown, strict=True):
        if other is not branch:
            crossed |= _crossed(branch, here, other, there)
    foreshortening = min(1.0, length_mm / float(branch.arc_mm[-1]))
    return float(inside.all(axis=1).mean()) * foreshortening * float(1 - crossed.mean())


def _crossed(branch: Branch, here: _Shown, other: Branch, there: _Shown) -> NDArray[np.bool_]:
    """Return where another vessel lies over the branch without touching it in space."""
    gap_px = ((here.points_px[:, None] - there.points_px[None]) ** 2).sum(axis=2)
    reach_px = here.radius_px[:, None] + there.radius_px[None]
    gap_mm = ((branch.lumen_mm[:, None] - other.lumen_mm[None]) ** 2).sum(axis=2)
    reach_mm = branch.radius_mm[:, None] + other.radius_mm[None] + 3
    return np.asarray(((gap_px < reach_px**2) & (gap_mm > reach_mm**2)).any(axis=1))
