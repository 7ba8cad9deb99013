"""The command line: ``sam3-angio …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam3_angio import __version__
from sam3_angio.command import reporting

_commands = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="SAM 3 on coronary angiograms. Research use only; not a medical device.",
)


def app() -> None:
    """Run the command line; what a user can mend is printed without a traceback."""
    with reporting():
        _commands()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@_commands.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    pass


@_commands.command()
def phantom(
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("data"),
    patients: Annotated[int, typer.Option(min=1, help="Number of patients.")] = 120,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other patients.")] = 0,
    processes: Annotated[int, typer.Option(min=0, help="Worker processes; 0 = all cores.")] = 0,
    force: Annotated[bool, typer.Option(help="Replace the folder if it exists.")] = False,
) -> None:
    """Simulate a data set: DICOM runs, table, labels, and the truth beside them.

    Example: sam3-angio phantom --out data --patients 12 --seed 7
    """
    from sam3_angio.phantom.dataset import write_phantom

    write_phantom(out, patients=patients, seed=seed, processes=processes, force=force)
