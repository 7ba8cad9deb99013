"""Training and validation, by patient."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sam3_angio.config import load_config
from sam3_angio.manifest import read_manifest
from sam3_angio.recorded import run_stage
from sam3_angio.split import (
    group_by_patient,
    split_patients,
    split_table,
    split_warnings,
    write_dataset,
)


def main(
    manifest: Annotated[Path, typer.Option(help="File of the analysed frames.")],
    converted: Annotated[Path, typer.Option(help="Folder that convert wrote.")],
    frames: Annotated[Path, typer.Option(help="Folder that extract wrote.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
) -> None:
    """Split the frames by patient and write the data set."""
    config = load_config()
    groups = group_by_patient(read_manifest(manifest))
    split = split_patients(groups, config.split.val_fraction, config.split.seed)
    write_dataset(split, converted, frames, out)
    console = Console()
    console.print(split_table(split))
    for warning in split_warnings(split):
        console.print(f"Warning: {warning}", markup=False)


if __name__ == "__main__":
    run_stage(main, "split")
