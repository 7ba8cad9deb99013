"""Phase 2, segments by name; run under ``torchrun``, one process a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from torch.distributed.elastic.multiprocessing.errors import record

from sam3_angio.command import run
from sam3_angio.detector.training import Outs, segments_job, session, train_phase


def main(
    dataset: Annotated[Path, typer.Option(help="Folder that split wrote.")],
    from_model: Annotated[Path, typer.Option(help="Folder of the model of Phase 1.")],
    out: Annotated[Path, typer.Option(help="Folder to make for the model.")],
    predictions: Annotated[Path, typer.Option(help="Folder to make for the answers.")],
    curves: Annotated[Path, typer.Option(help="Folder to make for the learning curves.")],
) -> None:
    """Train on the named segments and write the answers for the validation frames."""
    outs = Outs(model=out, predictions=predictions, curves=curves)
    with session():
        train_phase(segments_job(from_model), dataset=dataset, outs=outs)


if __name__ == "__main__":
    record(run)(main)  # the launcher shows the traceback of the worker that failed first
