"""Child processes that do not outlive the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Make a pool's process end when the one that started it is killed; a pool's initializer.

    A process of a pool waits for work, and waits for ever where nobody is left to give it any: it
    then holds its memory and its open files.
    """
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
