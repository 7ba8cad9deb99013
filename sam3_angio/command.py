"""Running a command: a user's error becomes a short message and an exit code.

Exit codes: 0 success, 1 a fault that the user can mend (:class:`~sam3_angio.errors.AngioError`),
2 wrong options (typer's own), anything else a defect of ours, with its traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from sam3_angio.errors import AngioError


@contextmanager
def reporting() -> Iterator[None]:
    """Print an :class:`AngioError` to standard error and leave with exit code 1."""
    try:
        yield
    except AngioError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"[bold red]Error:[/] {_plain(error.headline)}", markup=True)
        for fault in error.faults:
            if str(fault) != error.headline:
                console.print(f"  - {fault}", markup=False)
        raise SystemExit(1) from None


def run(function: Callable[..., None]) -> None:
    """Run `function` as a command whose options are its parameters."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    with reporting():
        app()


def _plain(text: str) -> str:
    """Keep rich from reading brackets of a message as its own markup."""
    return text.replace("[", r"\[")
