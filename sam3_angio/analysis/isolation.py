"""Work on files that cannot be trusted, in a child process with limits of time and memory.

A file that crashes a decoder, or sends it round in circles, then costs that file alone. On Windows
there are no such limits, and only a crash is caught.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from types import TracebackType
from typing import ParamSpec, TypeVar

from sam3_angio.children import end_with_parent
from sam3_angio.errors import DataError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

#: A run of hundreds of frames takes half a minute.
SECONDS, MEMORY_BYTES = 300, 8 << 30


class Isolated:
    """A child process that does one thing after another; within ``with``.

    Parameters
    ----------
    seconds : int
        Longest time for one thing.
    """

    def __init__(self, seconds: int = SECONDS) -> None:
        self._seconds = seconds
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Isolated:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def do(
        self,
        position: str,
        work: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Return what `work` returns, or raise what it raises.

        Parameters
        ----------
        position : str
            What the file is called in errors.
        work : callable
            A function of a module; arguments and result are pickled.

        Raises
        ------
        DataError
            The child process crashed, or took too long or too much memory.
        """
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_limit)
        timed = partial(_within, self._seconds, partial(work, *args, **kwargs))
        try:
            return self._pool.submit(timed).result()
        except (BrokenProcessPool, MemoryError):
            self._end()
            raise DataError.at(
                position,
                f"reading it crashed, or took over {self._seconds} seconds or "
                f"{MEMORY_BYTES >> 30} GiB.",
                "Export the run again.",
            ) from None

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _limit() -> None:
    """Let the child die with its parent, and of a decompression bomb before the machine does."""
    end_with_parent()
    if sys.platform != "win32":
        import resource  # does not exist on Windows

        _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _within(seconds: int, work: Callable[[], Result]) -> Result:
    """Do something, and die if it takes longer."""
    if sys.platform == "win32":
        return work()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
