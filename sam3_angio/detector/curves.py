"""Learning curves: DVCLive for ``dvc plots`` and Git, TensorBoard for a look while it runs.

``sam3``'s trainer has one slot for a logger; :class:`CurveLogger` fills it. Numbers of an epoch go
to both, numbers of a step to TensorBoard. Only the first worker writes.

Conventions
-----------
The epochs so far are kept in the checkpoint. A resumed training writes them again into fresh
files, so a curve never has an epoch twice, or one that was trained but not saved.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dvclive import Live
from torch.utils.tensorboard import SummaryWriter


class CurveLogger:
    """Logger for the trainer's slot.

    Parameters
    ----------
    tensorboard : str
        Folder of the event files.
    curves : str
        DVCLive's folder; emptied.
    """

    def __init__(self, *, tensorboard: str, curves: str) -> None:
        self._live: Live | None = None
        self._writer: SummaryWriter | None = None
        self._curves = curves
        if int(os.environ["RANK"]) == 0:
            Path(tensorboard).mkdir(parents=True, exist_ok=True)
            self._writer = SummaryWriter(log_dir=tensorboard)
            atexit.register(self._writer.close)

    def replay(self, history: Sequence[Mapping[str, float]]) -> None:
        """Start DVCLive's files with the epochs that are done."""
        if self._writer is None:
            return
        # The defaults would rewrite dvc.yaml and save an experiment of DVC's.
        self._live = Live(
            self._curves, dvcyaml=None, report=None, save_dvc_exp=False, monitor_system=False
        )
        for record in history:
            self._log_epoch(record)

    def log_dict(self, payload: Mapping[str, float], step: int) -> None:
        """Log the numbers of an epoch."""
        if self._writer is None:
            return
        for name, value in payload.items():
            self._writer.add_scalar(name, value, global_step=step)
        self._log_epoch(payload)

    def log(self, name: str, data: Any, step: int) -> None:
        """Log a number of a step."""
        if self._writer is not None:
            self._writer.add_scalar(name, data, global_step=step)

    def close(self) -> None:
        """Finish the files."""
        if self._live is not None:
            self._live.end()

    def _log_epoch(self, record: Mapping[str, float]) -> None:
        if self._live is None:
            return
        for name, value in record.items():
            self._live.log_metric(name, float(value))
        self._live.next_step()
