"""The model that Phase 4 starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sam3_angio.command import run
from sam3_angio.config import load_config
from sam3_angio.phase4_start import write_choice
from sam3_angio.scoring.start_choice import choose_start


def main(
    dataset: Annotated[Path, typer.Option(help="Folder that split wrote.")],
    truth: Annotated[Path, typer.Option(help="The folder data/truth.")],
    answers: Annotated[Path, typer.Option(help="Holds the answers of Phases 2 and 3.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
) -> None:
    """Choose by the scores on the validation frames, and write them down."""
    choice = choose_start(load_config(), dataset, truth, answers)
    write_choice(out, choice)
    Console().print(f"Phase 4 starts from {choice.folder}")


if __name__ == "__main__":
    run(main)
