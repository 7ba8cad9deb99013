"""Phase 4, segments and their lesions; run under ``torchrun``, one process a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from torch.distributed.elastic.multiprocessing.errors import record

from sam3_angio.command import run
from sam3_angio.detector.lesion_training import train_findings
from sam3_angio.detector.training import Outs


def main(
    dataset: Annotated[Path, typer.Option(help="Folder that split wrote.")],
    models: Annotated[Path, typer.Option(help="Holds the models of Phases 2 and 3.")],
    out: Annotated[Path, typer.Option(help="Folder to make for the model.")],
    predictions: Annotated[Path, typer.Option(help="Folder to make for the answers.")],
    curves: Annotated[Path, typer.Option(help="Folder to make for the learning curves.")],
) -> None:
    """Train on the expert's contours and lesions; write the answers for the validation frames."""
    outs = Outs(model=out, predictions=predictions, curves=curves)
    train_findings(dataset=dataset, models=models, outs=outs)


if __name__ == "__main__":
    record(run)(main)  # the launcher shows the traceback of the worker that failed first
