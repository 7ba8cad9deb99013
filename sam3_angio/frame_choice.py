"""Choosing the frame of a run that is fit for analysis: filled with contrast, and still.

Core laboratories take a well-filled, end-diastolic frame. Two signs are read off the pixels:
*filling*, how much narrow dark structure a frame has, and *motion*, how much of that changes from
a frame to the next. The frame sought is the last still one before the heart contracts: little
changed since the frame before, much changes until the next. Where the heart's phase is known,
frames away from end-diastole are passed over.

Conventions
-----------
Vessels are dark. Frames count from 0; the first one is never chosen by the pixels. A phase is 0 at
the R wave, which is end-diastole, and grows to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from pydicom.dataset import Dataset
from scipy import ndimage, signal

from sam3_angio.dicom.decode import Pixels, decode
from sam3_angio.dicom.reader import opened_run
from sam3_angio.dicom.tags import UnreadableError
from sam3_angio.errors import DataError

SIDE_PX = 128
"""Longer side to which frames are reduced: noise averages out, the larger vessels stay."""
STRUCTURE_PX = 7
"""Widest dark structure that counts, in reduced pixels: wider than any coronary artery."""
FILLED = 0.7
"""Part of the run's range of filling from which on a frame counts as filled."""
CONTRACTION = 0.3
"""Weight of the motion to come against the motion past."""
END_DIASTOLE = 0.12
"""Distance in phase from the R wave within which a frame counts as end-diastolic."""
FASTEST_BEAT_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameChoice:
    """The chosen frame and what it was chosen by.

    Attributes
    ----------
    frame_index : int
    reason : str
        For people.
    filling : (F,) ndarray
        Of each frame, 0 to 1 within the run.
    motion : (F,) ndarray
        Share of a frame's structure that changed since the frame before, less
        :data:`CONTRACTION` times the share that changes until the next; infinite for the first.
    """

    frame_index: int
    reason: str
    filling: NDArray[np.float64]
    motion: NDArray[np.float64]


def choose_frame(
    frames: Sequence[ArrayLike],
    *,
    wanted: int | None = None,
    phase: NDArray[np.float64] | None = None,
) -> FrameChoice:
    """Choose the frame to analyse.

    Parameters
    ----------
    frames : sequence of (R, C) array_like
        All frames of a run in their order, at least one.
    wanted : int, optional
        An explicit frame; overrides everything.
    phase : (F,) ndarray, optional
        Heart phase of each frame (:func:`frame_phases`).

    Raises
    ------
    DataError
        There is no frame, no such frame, or not one phase a frame.
    """
    count = len(frames)
    if count == 0 or (wanted is not None and not 0 <= wanted < count):
        raise DataError.at("run", f"there is no frame {wanted or 0}; the run has {count}.")
    if phase is not None and len(phase) != count:
        raise DataError.at("run", f"{len(phase)} phases were given for {count} frames.")
    filling, motion = _signs(frames)
    if wanted is not None:
        return FrameChoice(frame_index=wanted, reason="given", filling=filling, motion=motion)
    fit = (filling >= FILLED) & np.isfinite(motion)
    reason = "filled with contrast and little motion"
    if phase is not None:
        late = fit & (np.minimum(phase % 1, 1 - phase % 1) <= END_DIASTOLE)
        if late.any():
            fit, reason = late, "filled with contrast, end-diastolic by the ECG"
    if not fit.any():
        fit = np.ones(count, dtype=np.bool_)
    index = int(np.argmin(np.where(fit, np.minimum(motion, np.finfo(np.float64).max), np.inf)))
    return FrameChoice(frame_index=index, reason=reason, filling=filling, motion=motion)


def frame_phases(
    ecg: ArrayLike, sampling_hz: float, frame_time_s: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the heart phase of each frame from an ECG that starts with the run.

    Parameters
    ----------
    ecg : (N,) array_like
        One lead.
    sampling_hz : float
    frame_time_s : (F,) ndarray
        When each frame was taken.

    Returns
    -------
    (F,) ndarray or None
        From one R wave to the next, continued at both ends with the nearest beat's length; None
        with fewer than two R waves.
    """
    slope = np.gradient(np.asarray(ecg, dtype=np.float64)) ** 2
    width = max(1, round(0.08 * sampling_hz))
    energy = ndimage.uniform_filter1d(slope, width)
    distance = max(1, round(FASTEST_BEAT_S * sampling_hz))
    peaks, _ = signal.find_peaks(energy, height=0.4 * energy.max(), distance=distance)
    if len(peaks) < 2:
        return None
    beats_s = peaks / sampling_hz
    first, last = beats_s[1] - beats_s[0], beats_s[-1] - beats_s[-2]
    before = beats_s[0] - first * np.arange(np.ceil(beats_s[0] / first) + 1, 0, -1)
    missing = max(0.0, float(np.max(frame_time_s)) - beats_s[-1])
    after = beats_s[-1] + last * np.arange(1, np.ceil(missing / last) + 2)
    waves = np.concatenate([before, beats_s, after])
    return np.asarray(np.interp(frame_time_s, waves, np.arange(len(waves))) % 1.0)


def read_run(path: Path, *, name: str) -> list[Pixels]:
    """Return all frames of a run as stored.

    Parameters
    ----------
    path : Path
    name : str
        What the file is called in errors, since paths carry patients' names.

    Raises
    ------
    DataError
        The file is no angiographic run, or a frame cannot be decoded.
    """
    try:
        with opened_run(path) as run:
            return [decode(run.code(index), run.header) for index in range(run.header.frames)]
    except UnreadableError as error:
        raise DataError.at(name, error.message, error.fix, field=error.field) from None
    except OSError as error:
        reason = error.strerror or "input or output error"
        raise DataError.at(name, f"the file cannot be read ({reason}).") from None


def header_phases(header: Dataset) -> NDArray[np.float64] | None:
    """Return the heart phase of each frame from the ECG curve of a run's header.

    The curve (retired groups 50xx, PS3.3-2004 C.10.2) is taken to span the run, whose frames are
    Frame Time apart. None without a curve, a frame time or two R waves, or where an element of
    these is no number.
    """
    try:
        frames, step_ms = int(header.get("NumberOfFrames", 1)), float(header.get("FrameTime") or 0)
        ecg = _ecg_curve(header)
    except (TypeError, ValueError, OverflowError):  # of pydicom, when it is asked for the value
        return None
    if ecg is None or not 0 < step_ms < math.inf:
        return None
    times_s = np.arange(frames) * step_ms / 1000
    return frame_phases(ecg, len(ecg) / (frames * step_ms / 1000), times_s)


def _ecg_curve(header: Dataset) -> NDArray[np.float64] | None:
    """Return the first one-dimensional ECG curve."""
    kinds = {0: "<u2", 1: "<i2", 2: "<f4", 3: "<f8"}
    for group in range(0x5000, 0x5020, 2):
        if (group, 0x3000) not in header or (group, 0x0103) not in header:
            continue
        kind = kinds.get(int(header[group, 0x0103].value))
        data, type_of_data = header[group, 0x3000].value, header.get((group, 0x0020))
        is_ecg = type_of_data is not None and str(type_of_data.value).strip() == "ECG"
        if is_ecg and kind and isinstance(data, bytes) and len(data) % int(kind[-1]) == 0:
            samples = np.frombuffer(data, kind).astype(np.float64)
            if len(samples) >= 3 and np.isfinite(samples).all():
                return samples
    return None


def _signs(frames: Sequence[ArrayLike]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return filling and motion of each frame."""
    structure = np.stack([_structure(np.asarray(frame, dtype=np.float32)) for frame in frames])
    amount = structure.mean(axis=(1, 2))
    low, high = float(amount.min()), float(amount.max())
    filling = (amount - low) / (high - low) if high > low else np.ones(len(amount))
    change = np.abs(np.diff(structure, axis=0)).mean(axis=(1, 2))
    tiny = np.finfo(np.float32).tiny
    past = change / np.maximum(amount[1:], tiny)
    to_come = np.append(change[1:] / np.maximum(amount[1:-1], tiny), 0.0)[: len(past)]
    motion = past - CONTRACTION * np.minimum(to_come, 1.0)
    return np.asarray(filling, dtype=np.float64), np.concatenate([[np.inf], motion])


def _structure(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much darker each reduced pixel is than what surrounds it."""
    scale = SIDE_PX / max(frame.shape)
    size = max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))
    small = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
    return np.asarray(
        ndimage.black_tophat(small, size=(STRUCTURE_PX, STRUCTURE_PX)), dtype=np.float32
    )
