"""Waiting for other workers as long as they work, and no longer.

A worker that waits for another one cannot see whether that one works or hangs. So each counts, in
the store that all of them reach, and says how long it may be silent: in a loop, a few times its
slowest round; elsewhere, as in writing a checkpoint to a slow disk, :data:`SILENT_S`.

One that leaves with an error says so. The launcher of a machine ends all of its workers once one is
dead, but on other machines nobody tells: there a thread of each says that its process lives.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import psutil
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore

from sam3_angio.errors import AngioError

Item = TypeVar("Item")

#: How long a worker may be silent outside of loops and steps.
SILENT_S = 900.0
#: How long nothing may be heard of a process on another machine, whatever its worker does.
GONE_S = 50.0
_BETWEEN_BREATHS_S = 5.0
#: How many times as long as its slowest round so far a loop's round may take.
_SLOWER = 5.0
_BETWEEN_BEATS_S = 1.0
#: Instead of a time: the worker ended before its work was done.
_LEFT = "left"
_RESUMES = "Training resumes from the last finished epoch when the stage is run again."
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.001, 0.05


@dataclass(slots=True)
class Pulse:
    """The counts of all workers.

    Attributes
    ----------
    store : Store
    rank, workers : int
    timeout_s : float
        The least that a loop's round is given, and what a waiting worker is.
    here : range
        The workers of this machine.
    silent_s : float
        How long this worker may be silent where it is now.
    """

    store: Any
    rank: int
    workers: int
    timeout_s: float
    here: range
    silent_s: float = SILENT_S
    _meetings: int = field(default=0, init=False)
    _last_s: float = field(default=float("-inf"), init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def beat(self, silent_s: float) -> None:
        """Say that this worker works, and may be silent for so long; at most once a second."""
        with self._lock:
            if time.monotonic() - self._last_s >= _BETWEEN_BEATS_S:
                self._say(silent_s)

    def enter(self, silent_s: float) -> None:
        """Say that this worker may be silent for so long from now on."""
        self.silent_s = silent_s
        with self._lock:
            self._say(silent_s)

    def _say(self, silent_s: float) -> None:
        self._last_s = time.monotonic()
        self.store.set(self._own, f"{self._last_s!r} {silent_s!r}")

    @property
    def _own(self) -> str:
        return f"pulse/{self.rank}"

    def leave(self) -> None:
        """Say that this worker ends before its work is done."""
        with self._lock, suppress(RuntimeError):  # the store ends with the worker that holds it
            self.store.set(self._own, f"{time.monotonic()!r} {_LEFT}")

    @contextmanager
    def breathing(self) -> Iterator[None]:
        """Say from a thread that this process lives."""
        store, ended = self.store.clone(), threading.Event()

        self.store.set(f"process/{self.rank}", str(os.getpid()))

        def say() -> None:
            store.set(f"breath/{self.rank}", repr(time.monotonic()))

        def breathe() -> None:
            with suppress(RuntimeError):  # the store ends with the worker that holds it
                while not ended.wait(_BETWEEN_BREATHS_S):
                    say()

        say()
        breath = threading.Thread(target=breathe, daemon=True)
        breath.start()
        try:
            yield
        finally:
            ended.set()
            breath.join()

    def end_at_last(self, rank: int) -> None:
        """End a worker of this machine that hangs, once this one has told it and ends.

        The launcher, which ends all then, would wait half a minute for it.
        """
        if rank in self.here:
            atexit.register(_kill, int(self.store.get(f"process/{rank}")))

    def meet(self) -> None:
        """Wait for the others; see :func:`all_here`."""
        self._meetings += 1
        place, pause = f"meeting/{self._meetings}", _SHORTEST_PAUSE_S
        heard = _Heard(self)
        here = self.store.add(place, 1)
        while here < self.workers:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            heard.require_all()
            here = self.store.add(place, 0)
        self.enter(self.silent_s)

    def said(self, what: str = "pulse") -> list[str]:
        """Return what each worker said last, or its process by its ``breath``."""
        said = self.store.multi_get([f"{what}/{rank}" for rank in range(self.workers)])
        return [text.decode() for text in said]


def _kill(pid: int) -> None:
    with suppress(psutil.Error):
        psutil.Process(pid).kill()


class _Heard:
    """What a waiting worker hears of all, itself included, and when it heard it first."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._last: dict[str, tuple[str, float]] = {}
        self._listened_s = float("-inf")

    def require_all(self) -> None:
        """Listen, at most once a second.

        Raises
        ------
        AngioError
            A worker has been silent for longer than it said that it might be, or is gone from
            another machine.
        SystemExit
            One is gone from this machine, and has said why.
        """
        now, pulse = time.monotonic(), self._pulse
        if now - self._listened_s < _BETWEEN_BEATS_S:
            return
        self._listened_s = now
        pulse.beat(pulse.timeout_s)
        for rank, text in enumerate(pulse.said()):
            silent_s, says = self._unchanged_s(f"pulse/{rank}", text), text.split()[1]
            if says == _LEFT:
                self._end_after(rank)
            if silent_s > float(says):
                pulse.end_at_last(rank)
                raise AngioError(
                    f"Worker {rank} hangs: the others have waited for it for {float(says):.0f} s "
                    f"and not heard of it. {_RESUMES}"
                )
        for rank, text in enumerate(pulse.said("breath")):
            if rank not in pulse.here and self._unchanged_s(f"breath/{rank}", text) > GONE_S:
                self._end_after(rank)

    def _end_after(self, rank: int) -> NoReturn:
        if rank in self._pulse.here:
            raise SystemExit(0)
        raise AngioError(
            f"Worker {rank} ended on another machine, which says why, if anything does. {_RESUMES}"
        )

    def _unchanged_s(self, key: str, text: str) -> float:
        now = time.monotonic()
        before, since = self._last.get(key, ("", now))
        self._last[key] = (text, since if text == before else now)
        return now - since if text == before else 0.0


class _Current:
    """The pulse of the group that this process is in; none for one worker alone."""

    pulse: Pulse | None = None


@contextmanager
def heard(store: Any, timeout_s: float, here: range) -> Iterator[None]:
    """Let this worker be heard by the others of its group.

    Parameters
    ----------
    store : Store
        That all workers reach.
    timeout_s : float
        The least that a round of a loop is given.
    here : range
        The workers of this machine.
    """
    if dist.get_world_size() == 1:
        yield
        return
    store = PrefixStore("sam3-angio", store)
    pulse = Pulse(store, dist.get_rank(), dist.get_world_size(), timeout_s, here)
    try:
        with pulse.breathing():
            pulse.enter(SILENT_S)
            _Current.pulse = pulse
            yield
    except BaseException:
        pulse.leave()
        raise
    finally:
        _Current.pulse = None


def beating(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items, and let the other workers hear each round.

    Parameters
    ----------
    items : iterable
    """
    pulse = _Current.pulse
    if pulse is None:
        yield from items
        return
    slowest, begun = 0.0, None
    try:
        for item in items:
            now = time.monotonic()
            if begun is not None:
                slowest = max(slowest, now - begun)
                pulse.silent_s = max(pulse.timeout_s, _SLOWER * slowest)
                pulse.beat(pulse.silent_s)
            begun = now
            yield item
    finally:
        pulse.enter(SILENT_S)


@contextmanager
def alive() -> Iterator[None]:
    """Be heard by the others during what may take hours and ends by itself, as a download."""
    pulse, ended = _Current.pulse, threading.Event()
    if pulse is None:
        yield
        return

    def tell() -> None:
        while not ended.wait(_BETWEEN_BEATS_S):
            pulse.beat(SILENT_S)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def all_here() -> None:
    """Wait until all workers have come here, as long as those that have not are heard.

    What follows and takes part of all of them need not wait then.

    Raises
    ------
    AngioError
        A worker has been silent for longer than it said that it might be, or is gone from another
        machine.
    SystemExit
        One is gone from this machine, and has said why.
    """
    pulse = _Current.pulse
    if pulse is not None:
        pulse.meet()
