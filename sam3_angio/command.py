"""Running a command: a user's error becomes a short message and an exit code.

Exit codes: 0 success, 1 a fault that the user can mend (:class:`~sam3_angio.errors.AngioError`),
2 wrong options (typer's own), anything else a defect of ours, with its traceback. A disk that is
full or must not be written is the user's to mend wherever it is met; paths are never told, since
they may hold patients' names.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from sam3_angio.errors import AngioError

#: What the disk can have against a file.
_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES})
#: Where PyTorch fails to write a checkpoint, it says so in an error of its own.
_PYTORCH_WRITER = ("inline_container", "PytorchStreamWriter")


@contextmanager
def reporting() -> Iterator[None]:
    """Print a user's error to standard error and leave with exit code 1."""
    try:
        with _disk_named():
            yield
    except AngioError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"[bold red]Error:[/] {_plain(error.headline)}", markup=True)
        for fault in error.faults:
            if str(fault) != error.headline:
                console.print(f"  - {fault}", markup=False)
        raise SystemExit(1) from None


@contextmanager
def _disk_named() -> Iterator[None]:
    """Turn what the operating system has against a file into an error without its path.

    Raises
    ------
    AngioError
        The disk is full, or a file must not be read or written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        raise _disk_error(os.strerror(error.errno)) from None
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _PYTORCH_WRITER):
            raise
        raise _disk_error("a checkpoint could not be written") from None


def _disk_error(reason: str) -> AngioError:
    return AngioError(
        f"The disk is full, or a file must not be used ({reason}). What was finished before is "
        "kept. Make room, or give the permission, and run the same command again."
    )


def run(function: Callable[..., None]) -> None:
    """Run `function` as a command whose options are its parameters."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    with reporting():
        app()


def _plain(text: str) -> str:
    """Keep rich from reading brackets of a message as its own markup."""
    return text.replace("[", r"\[")
