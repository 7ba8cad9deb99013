"""Running a command: a user's error becomes a short message and an exit code.

Exit codes: 0 success, 1 a fault that the user can mend (:class:`~sam3_angio.errors.AngioError`),
2 wrong options (typer's own), anything else a defect of ours, with its traceback. What the
operating system has against a file is the user's to mend wherever it is met. It is told without
the path, which may hold a patient's name, and so without a traceback: instead, with the line of
this project where it was met.
"""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import typer
from rich.console import Console

from sam3_angio.errors import AngioError

#: What the disk can have against a file.
_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES})
_ADVICE: Mapping[int, str] = {
    errno.ENOENT: "Something is missing, or was removed meanwhile.",
    errno.EISDIR: "A folder stands where a file is expected.",
    errno.ENOTDIR: "A file stands where a folder is expected.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n), or lower machine.processes.",
}
_GENERAL_ADVICE = "Look at the paths in the options, in params.yaml and in the table."
#: Errors of these packages name files, but have no number.
_WITHOUT_NUMBER = ("PIL", "shutil")
#: Where PyTorch fails to write a checkpoint, it says so in an error of its own.
_PYTORCH_WRITER = ("inline_container", "PytorchStreamWriter")


@contextmanager
def reporting() -> Iterator[None]:
    """Print a user's error to standard error and leave with exit code 1."""
    try:
        with _paths_left_out():
            yield
    except AngioError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"[bold red]Error:[/] {_plain(error.headline)}", markup=True)
        for fault in error.faults:
            if str(fault) != error.headline:
                console.print(f"  - {fault}", markup=False)
        raise SystemExit(1) from None


@contextmanager
def _paths_left_out() -> Iterator[None]:
    """Turn what the operating system has against a file into an error without its path.

    Raises
    ------
    AngioError
        The disk is full, or a file cannot be used.
    """
    try:
        yield
    except OSError as error:
        raise _told(error) from None
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _PYTORCH_WRITER):
            raise
        raise _disk_error("a checkpoint could not be written") from None


def _told(error: OSError) -> Exception:
    """Return what to raise for an error: itself where it has no number, and so no path."""
    if error.errno is None:
        package = type(error).__module__.partition(".")[0]
        return _file_error(type(error).__name__, error) if package in _WITHOUT_NUMBER else error
    if error.errno in _REFUSALS:
        return _disk_error(os.strerror(error.errno))
    return _file_error(os.strerror(error.errno), error)


def _disk_error(reason: str) -> AngioError:
    return AngioError(
        f"The disk is full, or a file must not be used ({reason}). What was finished before is "
        "kept. Make room, or give the permission, and run the same command again."
    )


def _file_error(reason: str, error: OSError) -> AngioError:
    advice = _ADVICE.get(error.errno or 0, _GENERAL_ADVICE)
    return AngioError(f"A file or folder cannot be used ({reason}). {advice} Met in {_met(error)}.")


def _met(error: OSError) -> str:
    """Return the module and line of this project in which an error was met."""
    places = [
        f"{frame.f_globals.get('__name__', '')}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").startswith(("sam3_angio", "stages"))
    ]
    return places[-1] if places else "another package"


def run(function: Callable[..., None]) -> None:
    """Run `function` as a command whose options are its parameters."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    with reporting():
        app()


def _plain(text: str) -> str:
    """Keep rich from reading brackets of a message as its own markup."""
    return text.replace("[", r"\[")
