"""Learning curves: DVCLive for ``dvc plots`` and Git, TensorBoard for a look while it runs.

``sam3``'s trainer has one slot for a logger; :class:`CurveLogger` fills it. Numbers of an epoch go
to both and into ``progress.png``, numbers of a step to TensorBoard. A validation's panel of frames
goes to TensorBoard and to DVCLive, there as one picture an epoch, ``panel/003.png``, which DVC's
tools show with a slider. Only the first worker writes.

Conventions
-----------
The epochs so far are kept in the checkpoint. A resumed training writes them again into fresh
files, so a curve never has an epoch twice, or one that was trained but not saved. Panels show
patients' frames: they have a folder of their own, apart from the curves, which Git keeps.
"""

from __future__ import annotations

import atexit
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from dvclive import Live
from numpy.typing import NDArray
from tensorboard.summary.writer import event_file_writer
from torch.utils.tensorboard import SummaryWriter

from sam3_angio.detector.progress_chart import write_progress

REDRAW_S = 20.0
"""Least time between two pictures of the curves, of which each takes up to a second."""


class CurveLogger:
    """Logger for the trainer's slot.

    Parameters
    ----------
    tensorboard : str
        Folder of the event files.
    curves : str
        DVCLive's folder; emptied.
    pictures : str
        DVCLive's folder for the pictures; kept, since a resumed training goes on.
    """

    def __init__(self, *, tensorboard: str, curves: str, pictures: str) -> None:
        self._live: Live | None = None
        self._pictures: Live | None = None
        self._history: list[Mapping[str, float]] = []
        self._drawn_s = -math.inf
        self._folder = Path(pictures)
        self._writer: SummaryWriter | None = None
        self._curves = curves
        if int(os.environ["RANK"]) == 0:
            Path(tensorboard).mkdir(parents=True, exist_ok=True)
            with _unnamed_machine():
                self._writer = SummaryWriter(log_dir=tensorboard)
            atexit.register(self._writer.close)

    def replay(self, history: Sequence[Mapping[str, float]]) -> None:
        """Start DVCLive's files with the epochs that are done."""
        if self._writer is None:
            return
        self._live = _live(Path(self._curves), resume=False)
        for record in history:
            self._log_epoch(record)

    def log_dict(self, payload: Mapping[str, float], step: int) -> None:
        """Log the numbers of an epoch."""
        if self._writer is None:
            return
        for name, value in payload.items():
            self._writer.add_scalar(name, value, global_step=step)
        self._log_epoch(payload)
        if time.monotonic() - self._drawn_s >= REDRAW_S:
            write_progress(self._history, self.progress_file)
            self._drawn_s = time.monotonic()

    def log(self, name: str, data: Any, step: int) -> None:
        """Log a number of a step."""
        if self._writer is not None:
            self._writer.add_scalar(name, data, global_step=step)

    @property
    def panel_folder(self) -> Path:
        """Folder of the panels, one file a validation."""
        return self._folder / "plots" / "images" / "panel"

    @property
    def progress_file(self) -> Path:
        """Picture of the curves; without the epochs that ended within :data:`REDRAW_S` of it."""
        return self._folder / "progress.png"

    def log_panel(self, picture: NDArray[np.uint8], epoch: int) -> None:
        """Log the panel of a validation.

        Parameters
        ----------
        picture : (rows, columns, 3) ndarray
        epoch : int
            From 0, as the curves count.
        """
        if self._writer is None:
            return
        self._writer.add_image("panel", picture, global_step=epoch, dataformats="HWC")
        if self._pictures is None:
            self._pictures = _live(self._folder, resume=True)
        self._pictures.log_image(f"panel/{epoch:03d}.png", picture)

    def close(self) -> None:
        """Finish the files, the picture of the curves among them."""
        if self._writer is not None:
            write_progress(self._history, self.progress_file)
        for live in (self._live, self._pictures):
            if live is not None:
                live.end()

    def _log_epoch(self, record: Mapping[str, float]) -> None:
        self._history.append(record)
        if self._live is None:
            return
        for name, value in record.items():
            self._live.log_metric(name, float(value))
        self._live.next_step()


@contextmanager
def _unnamed_machine() -> Iterator[None]:
    """Let TensorBoard name its file without the name of this machine."""
    real = event_file_writer.socket
    event_file_writer.socket = SimpleNamespace(gethostname=lambda: "machine")
    try:
        yield
    finally:
        event_file_writer.socket = real


def _live(folder: Path, *, resume: bool) -> Live:
    # The defaults would rewrite dvc.yaml and save an experiment of DVC's.
    return Live(
        str(folder),
        resume=resume,
        dvcyaml=None,
        report=None,
        save_dvc_exp=False,
        monitor_system=False,
    )
