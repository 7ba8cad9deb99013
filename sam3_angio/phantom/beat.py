"""When things happen in a run: heartbeat, breathing, arrival and wash-out of the contrast.

Everything follows from the run's seed and its number of frames, so that the frames that are fit
for analysis are known before anything is simulated.

Conventions: 15 frames a second; the phase of the heartbeat is 0 at end-diastole and grows to 1;
contraction is 0 at end-diastole and 1 at end-systole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam3_angio.phantom.axes import HeartAxes, Points, generator

FRAME_TIME_MS = 1000 / 15
_REACH_MM = 240.0  # path from the ostium to the farthest twig
_FRONT_MM = 60.0  # length over which the contrast's front rises
_WASH_OUT_S = 0.9
_TWIST_DEG = 7.0
_DESCENT_MM = 9.0
_SHRINKAGE = 0.11


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The timing of one run.

    Attributes
    ----------
    heart_rate_bpm : float
    end_diastole : int
        Frame at end-diastole with the tree filled; never the first.
    breath_mm, breath_phase : float
        Amplitude along the body and phase of the breathing at the first frame.
    inflow_s, outflow_s : float
        When contrast begins and ends to leave the catheter; 0 is the first frame.
    speed_mm_s : float
        Of the contrast along the vessels.
    """

    heart_rate_bpm: float
    end_diastole: int
    breath_mm: float
    breath_phase: float
    inflow_s: float
    outflow_s: float
    speed_mm_s: float

    def contraction(self, frame: int) -> float:
        """Return how far the heart has contracted, 0 to 1."""
        seconds = (frame - self.end_diastole) * FRAME_TIME_MS / 1000
        phase = (seconds * self.heart_rate_bpm / 60) % 1.0
        if phase < 0.38:
            return float(0.5 - 0.5 * np.cos(np.pi * phase / 0.38))
        return float(0.5 + 0.5 * np.cos(np.pi * min(1.0, (phase - 0.38) / 0.42)))

    def contrast(self, frame: int, path_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the concentration, 0 to 1, at these distances from the ostium."""
        seconds = frame * FRAME_TIME_MS / 1000
        travelled_mm = (seconds - self.inflow_s) * self.speed_mm_s
        risen = np.clip((travelled_mm - path_mm) / _FRONT_MM, 0, 1)
        washed_s = seconds - self.outflow_s - path_mm / self.speed_mm_s
        gone = np.clip(washed_s / _WASH_OUT_S, 0, 1)
        return np.asarray(risen**2 * (3 - 2 * risen) * (1 - 0.85 * gone))


def draw_beat(n_frames: int, seed: int) -> Beat:
    """Draw the timing of a run.

    Raises
    ------
    ValueError
        Fewer than 4 frames leave no room for contrast to come in.
    """
    if n_frames < 4:
        raise ValueError(f"n_frames is {n_frames}; a run needs 4 at least.")
    rng = generator(seed, 11)
    end_diastole = int(rng.integers(max(2, round(0.55 * n_frames)), n_frames - 1))
    second = 1000 / FRAME_TIME_MS
    inflow_s = float(rng.uniform(-0.12, 0.02))
    filled_s = max(1.0, end_diastole - float(rng.uniform(1.0, 2.0))) / second
    return Beat(
        heart_rate_bpm=round(float(rng.uniform(60, 90)), 1),
        end_diastole=end_diastole,
        breath_mm=float(rng.uniform(0, 4)),
        breath_phase=float(rng.uniform(0, 2 * np.pi)),
        inflow_s=inflow_s,
        outflow_s=float((end_diastole + rng.uniform(0.5, 4)) / second),
        speed_mm_s=(_REACH_MM + _FRONT_MM) / (filled_s - inflow_s),
    )


def best_frames(n_frames: int, seed: int) -> tuple[int, ...]:
    """Return the frames that a core laboratory could choose, the best one first.

    A frame is fit when the contrast has reached the farthest twig and the heart has contracted by
    a twentieth at most (end-diastole). There is one at least, and the first frame is never one.
    """
    beat = draw_beat(n_frames, seed)
    far = np.array([0.0, _REACH_MM])
    fit = [
        frame
        for frame in range(1, n_frames)
        if beat.contraction(frame) <= 0.05 and beat.contrast(frame, far).min() >= 0.9
    ]
    return tuple(
        sorted(fit, key=lambda frame: (beat.contraction(frame), abs(frame - beat.end_diastole)))
    )


def moved(points_mm: Points, axes: HeartAxes, beat: Beat, frame: int) -> Points:
    """Return points of the heart where they are in a frame.

    The ring sinks towards the apex, the heart narrows and twists round its long axis, and the
    diaphragm moves all of it along the body.
    """
    contraction = beat.contraction(frame)
    local = points_mm - axes.base_mm
    left, top, deep = local @ axes.left, local @ axes.top, local @ axes.apex
    depth = np.clip(deep / axes.apex_mm, -0.2, 1)
    twist = np.radians(_TWIST_DEG) * contraction * depth
    narrow = 1 - _SHRINKAGE * contraction * np.clip(depth + 0.3, 0, 1)
    across = narrow * (left * np.cos(twist) - top * np.sin(twist))
    above = narrow * (left * np.sin(twist) + top * np.cos(twist))
    deeper = deep + _DESCENT_MM * contraction * (1 - depth)
    seconds = frame * FRAME_TIME_MS / 1000
    breath_mm = beat.breath_mm * np.sin(2 * np.pi * seconds / 4 + beat.breath_phase)
    return np.asarray(
        axes.base_mm
        + across[:, None] * axes.left
        + above[:, None] * axes.top
        + deeper[:, None] * axes.apex
        + np.array([0.0, 0.0, breath_mm])
    )
