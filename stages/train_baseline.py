"""The baseline beside Phase 1: a U-Net on the same frames; one process, no launcher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam3_angio.command import run
from sam3_angio.detector.baseline import train_baseline


def main(
    dataset: Annotated[Path, typer.Option(help="Folder that split wrote.")],
    out: Annotated[Path, typer.Option(help="Folder to make for the network.")],
    predictions: Annotated[Path, typer.Option(help="Folder to make for the answers.")],
    curves: Annotated[Path, typer.Option(help="Folder to make for the learning curves.")],
) -> None:
    """Train on the vessel trees and write the answers for the validation frames."""
    train_baseline(dataset=dataset, model=out, predictions=predictions, curves=curves)


if __name__ == "__main__":
    run(main)
