"""How far a training is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 15.0
_SHOWN = ("train/loss", "val/dice_semantic", "val/dice_instance", "val/presence_accuracy")


class TrainingProgress:
    """Progress and time left of a training, on standard error.

    Parameters
    ----------
    label : str
        Name of the phase.
    epochs, steps : int
        Epochs of the training, steps of an epoch.
    shown : bool
        Whether this worker is the one that reports.
    """

    def __init__(self, *, label: str, epochs: int, steps: int, shown: bool) -> None:
        self._label, self._epochs, self._steps = label, epochs, steps
        self._console = Console(stderr=True, quiet=not shown, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self._console,
            disable=not (shown and self._console.is_terminal),
        )
        self._task = self._bar.add_task(label, total=epochs * steps)
        self._done = self._first = self._epoch = 0
        self._started = self._line = time.monotonic()

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        self._started = self._line = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def resume(self, epoch: int) -> None:
        """Begin after `epoch` finished epochs."""
        self._done = self._first = epoch * self._steps
        self._console.print(f"{self._label}: resuming after epoch {epoch} of {self._epochs}")

    def begin_epoch(self, epoch: int) -> None:
        """Announce an epoch, counted from 0."""
        self._epoch = epoch + 1
        self._bar.update(
            self._task,
            description=f"{self._label}, epoch {self._epoch} of {self._epochs}",
            completed=self._done,
        )

    def step(self) -> None:
        """Count one step."""
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._line > _SECONDS_BETWEEN_LINES:
            self._line = now
            self._console.print(
                f"{self._label}, epoch {self._epoch} of {self._epochs}, "
                f"step {self._done} of {self._epochs * self._steps}, {self._left_s():.0f} s left"
            )

    def end_epoch(self, record: dict[str, float]) -> None:
        """Report an epoch's numbers."""
        numbers = ", ".join(
            f"{name.split('/')[1].replace('_', ' ')} {record[name]:.3f}"
            for name in _SHOWN
            if name in record
        )
        self._console.print(f"{self._label}, epoch {self._epoch} of {self._epochs}: {numbers}")

    def end_early(self, epochs: int, why: str) -> None:
        """Say that the training ends after `epochs` epochs, and why."""
        if epochs < self._epochs:
            self._console.print(f"{self._label}: {why}, ends after epoch {epochs}")

    def _left_s(self) -> float:
        pace_s = (time.monotonic() - self._started) / max(1, self._done - self._first)
        return pace_s * (self._epochs * self._steps - self._done)
