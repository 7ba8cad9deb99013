"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")

_SECONDS_BETWEEN_LINES = 15.0


def tracked(items: Iterable[Item], total: int, label: str) -> Iterator[Item]:
    """Yield `items` and show how far they are, on standard error.

    Parameters
    ----------
    items : iterable
        What is waited for.
    total : int
        How many there will be.
    label : str
        What is being done.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, description=label, total=total, console=console, transient=True)
        return
    started = shown = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - shown > _SECONDS_BETWEEN_LINES:
            left_s = (now - started) / count * (total - count)
            console.print(f"{label}: {count} of {total}, {left_s:.0f} s left", highlight=False)
            shown = now


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, label: str
) -> list[Result]:
    """Return ``work(item)`` of every item, in order, with progress.

    Threads, because the work that this is for (hashing, inflating, reading files) releases
    Python's lock.

    Parameters
    ----------
    work : callable
        Applied to each item.
    items : sequence
        All items.
    workers : int
        Number of threads; 0 for one a core.
    label : str
        What is being done.
    """
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        return list(tracked(pool.map(work, items), len(items), label))
