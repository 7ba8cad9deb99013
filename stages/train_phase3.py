"""Phase 3, segments by name told the view angle; run under ``torchrun``, one process a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from torch.distributed.elastic.multiprocessing.errors import record

from sam3_angio.command import run
from sam3_angio.detector.training import Outs
from sam3_angio.detector.view_training import train_arms


def main(
    dataset: Annotated[Path, typer.Option(help="Folder that split wrote.")],
    from_model: Annotated[Path, typer.Option(help="Folder of the model of Phase 2.")],
    out: Annotated[Path, typer.Option(help="Folder to make for the models, one an arm.")],
    predictions: Annotated[Path, typer.Option(help="Folder to make for the answers.")],
    curves: Annotated[Path, typer.Option(help="Folder to make for the learning curves.")],
) -> None:
    """Train each arm on the named segments and write its answers for the validation frames."""
    outs = Outs(model=out, predictions=predictions, curves=curves)
    train_arms(dataset=dataset, start=from_model, outs=outs)


if __name__ == "__main__":
    record(run)(main)  # the launcher shows the traceback of the worker that failed first
