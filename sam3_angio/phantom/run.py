"""A run: contrast flows into a beating heart in front of a chest, filmed with noise and blur.

Conventions: stored values grow with the intensity, vessels are dark (MONOCHROME2). The same plan
gives the same bytes on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from sam3_angio.anatomy import Artery
from sam3_angio.phantom.axes import generator
from sam3_angio.phantom.beat import FRAME_TIME_MS, Beat, best_frames, draw_beat
from sam3_angio.phantom.catheter import catheter_axis
from sam3_angio.phantom.chest import background
from sam3_angio.phantom.collimator import transmission
from sam3_angio.phantom.film import Exposure, Pixels, stored_frames
from sam3_angio.phantom.heart import Heart
from sam3_angio.phantom.labels import FrameTruth, frame_truths
from sam3_angio.phantom.scene import Scene, in_frame, set_up
from sam3_angio.phantom.views import analysable
from sam3_angio.phantom.xray import ProjectionGeometry, Tube, path_lengths

__all__ = ["RunPlan", "SimulatedRun", "analysable", "best_frames", "simulate_run"]

_IODINE_PER_MM = (0.19, 0.29)  # effective attenuation of contrast medium, by run
_REFLUX_PER_MM = (-0.01, 0.022)  # of contrast in the aortic root, by run; below 0: none
_WALL_PER_MM = 0.16  # of the catheter's braided wall
_BORE = 0.72  # inner over outer diameter of the catheter
# Quanta in a pixel of 512², by run: 0.17 µGy a frame at the detector, 30 000 quanta per mm² and µGy
# (IEC 62220-1, RQA 5), pixels of 0.12 mm², of which 65 % are detected, and a recursive filter that
# averages one to two and a half frames. Smaller pixels get fewer.
_QUANTA = (400, 640, 1000)


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

    pixels: Pixels
    geometry: ProjectionGeometry
    truths: tuple[FrameTruth, ...]
    window_centre: float
    window_width: float
    frame_time_ms: float
    heart_rate_bpm: float
    catheter_french: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contrast:
    """Attenuation of the contrast medium, per mm."""

    vessel_per_mm: float
    root_per_mm: float


def simulate_run(plan: RunPlan) -> SimulatedRun:
    """Simulate a run and keep the truth of its analysed frames."""
    rng, noise_rng = generator(plan.seed, 21), generator(plan.seed, 22)
    beat = draw_beat(plan.n_frames, plan.seed)
    exposure = _expose(plan, rng)
    catheter_mm = catheter_axis(plan.heart, plan.artery, rng)
    still = set_up(plan.heart, plan.artery, catheter_mm, int(rng.integers(5, 9)))
    contrast = _Contrast(
        vessel_per_mm=float(rng.uniform(*_IODINE_PER_MM)),
        root_per_mm=max(0.0, float(rng.uniform(*_REFLUX_PER_MM))),
    )
    scenes = [in_frame(still, plan.heart.axes, beat, frame) for frame in range(plan.n_frames)]
    shadows = (
        path_lengths(_tubes(scene, contrast, beat, frame), plan.geometry)
        for frame, scene in enumerate(scenes)
    )
    pixels = stored_frames(shadows, exposure, noise_rng)
    low, high = np.percentile(pixels[-1][exposure.field], (0.5, 99.5))
    return SimulatedRun(
        pixels=pixels,
        geometry=plan.geometry,
        truths=_truths(plan, scenes),
        window_centre=float(round((low + high) / 2)),
        window_width=float(round(high - low)),
        frame_time_ms=FRAME_TIME_MS,
        heart_rate_bpm=beat.heart_rate_bpm,
        catheter_french=still.catheter_french,
    )


def _expose(plan: RunPlan, rng: np.random.Generator) -> Exposure:
    behind = background(plan.geometry, rng)
    field = plan.geometry.field.mask(plan.geometry.size_px)
    return Exposure(
        intensity=np.exp(np.median(behind[field]) - behind) * transmission(plan.geometry, rng),
        quanta=_QUANTA[int(rng.integers(0, len(_QUANTA)))] * 512**2 // plan.geometry.size_px**2,
        bits=plan.bits,
        field=field,
    )


def _tubes(scene: Scene, contrast: _Contrast, beat: Beat, frame: int) -> list[Tube]:
    """Return everything in a frame that contrast fills, and the catheter's wall."""
    filled = float(beat.contrast(frame, np.zeros(1))[0])
    shaft = Tube(
        axis_mm=scene.catheter_mm,
        radius_mm=scene.catheter_radius_mm,
        weight=np.full(len(scene.catheter_mm), _WALL_PER_MM),
    )
    bore = replace(
        shaft,
        radius_mm=_BORE * shaft.radius_mm,
        weight=np.full(len(scene.catheter_mm), filled * contrast.vessel_per_mm - _WALL_PER_MM),
    )
    vessels = [
        Tube(
            axis_mm=branch.lumen_mm,
            radius_mm=branch.radius_mm,
            weight=contrast.vessel_per_mm * beat.contrast(frame, branch.path_mm) * outside,
        )
        for branch, outside in zip(scene.branches, scene.outside, strict=True)
    ]
    return [shaft, bore, _root(scene, filled * contrast.root_per_mm), *vessels]


def _root(scene: Scene, per_mm: float) -> Tube:
    """Return the cloud of contrast that flows back into the aortic root beside the ostium."""
    ostium = scene.branches[0].lumen_mm[0]
    back = ostium - scene.branches[0].lumen_mm[10]
    middle = ostium + 9 * back / np.sqrt((back**2).sum())
    height = np.linspace(-1, 1, 25)
    return Tube(
        axis_mm=middle + height[:, None] * np.array([-3.0, 2.0, 15.0]),
        radius_mm=12 * (1 - height**2) ** 0.75 + 1,
        weight=per_mm * (1 - height**2),
    )


def _truths(plan: RunPlan, scenes: list[Scene]) -> tuple[FrameTruth, ...]:
    found: dict[tuple[int, int], FrameTruth] = {}
    for frame, pairs in groupby(sorted(set(plan.analysed)), key=lambda pair: pair[0]):
        wanted = [cass for _, cass in pairs]
        truths = frame_truths(frame, wanted, scenes[frame], plan.geometry)
        found.update({(frame, truth.analysed_cass): truth for truth in truths})
    return tuple(found[pair] for pair in plan.analysed)
