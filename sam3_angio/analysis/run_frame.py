"""The frame of a run that is analysed: chosen, read and displayed as ``extract`` does.

Conventions
-----------
A run goes by the name that the caller gives it, never by its path, which may name a patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from sam3_angio.acquisition import PixelSpacing, ViewAngle
from sam3_angio.dicom import read_frame
from sam3_angio.dicom.picture import PictureSettings, display_doubt, frame_picture
from sam3_angio.dicom.reader import read_run_header
from sam3_angio.dicom.spacing import object_spacing
from sam3_angio.errors import DataError
from sam3_angio.frame_choice import choose_frame, header_phases, read_run
from sam3_angio.results import read_source


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunFrame:
    """One frame of a run, with what the run's header says of it.

    Attributes
    ----------
    source : Dataset
        The run's header.
    index : int
        0-based.
    reason : str
        How the frame was chosen, for people.
    picture : (R, C) ndarray of uint8
        As displayed.
    doubt : str
        What is odd about how the run is displayed; empty where nothing is.
    view : ViewAngle or None
    spacing : PixelSpacing
        At the object; from the header alone, since a run carries no calibration on the catheter.
    """

    source: Dataset
    index: int
    reason: str
    picture: NDArray[np.uint8]
    doubt: str
    view: ViewAngle | None
    spacing: PixelSpacing


def read_run_frame(
    path: Path, *, name: str, wanted: int | None, settings: PictureSettings
) -> RunFrame:
    """Choose a run's frame and read it.

    Parameters
    ----------
    path : Path
    name : str
        What the run is called in errors.
    wanted : int or None
        An explicit frame, from 0; None to choose.
    settings : PictureSettings
        As ``extract`` has them.

    Raises
    ------
    DataError
        The file is no angiographic run, is damaged, or has no such frame.
    """
    index, reason, source = _choice(path, name, wanted)
    frame = read_frame(path, index, name=name)
    return RunFrame(
        source=source,
        index=index,
        reason=reason,
        picture=frame_picture(path, frame, settings, name=name).picture,
        doubt=display_doubt(frame, settings),
        view=frame.view,
        spacing=object_spacing(frame.header.geometry, None),
    )


def _choice(path: Path, name: str, wanted: int | None) -> tuple[int, str, Dataset]:
    """Return the frame, why it is that one, and the run's header."""
    header = read_run_header(path, name=name)
    if wanted is not None and not 0 <= wanted < header.frames:
        message = f"there is no frame {wanted}; the run has {header.frames}, counted from 0."
        raise DataError.at(name, message, "Give another --frame.")
    source = read_source(path, name=name)
    if wanted is not None:
        return wanted, "given", source
    frames = read_run(path, name=name)
    if header.display.inverted:  # contrast is bright as stored
        frames = [np.iinfo(pixels.dtype).max - pixels for pixels in frames]
    choice = choose_frame(frames, phase=header_phases(source))
    return choice.frame_index, choice.reason, source
