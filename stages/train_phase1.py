"""Phase 1, the vessel tree from one phrase; run under ``torchrun``, one process a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from torch.distributed.elastic.multiprocessing.errors import record

from sam3_angio.command import run
from sam3_angio.detector.training import TREE, Outs, session, train_phase


def main(
    dataset: Annotated[Path, typer.Option(help="Folder that split wrote.")],
    out: Annotated[Path, typer.Option(help="Folder to make for the model.")],
    predictions: Annotated[Path, typer.Option(help="Folder to make for the answers.")],
    curves: Annotated[Path, typer.Option(help="Folder to make for the learning curves.")],
) -> None:
    """Train on the vessel trees and write the answers for the validation frames."""
    outs = Outs(model=out, predictions=predictions, curves=curves)
    with session():
        train_phase(TREE, dataset=dataset, outs=outs)


if __name__ == "__main__":
    record(run)(main)  # the launcher shows the traceback of the worker that failed first
