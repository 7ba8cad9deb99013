"""Phase 4, segments and their lesions; run under ``torchrun``, one process a device."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from torch.distributed.elastic.multiprocessing.errors import record

from sam3_angio.command import run
from sam3_angio.config import load_config
from sam3_angio.detector.lesion_training import findings_job
from sam3_angio.detector.training import Outs, session, train_phase
from sam3_angio.detector.workers import first_worker_does
from sam3_angio.files import write_json
from sam3_angio.scoring.start_choice import choose_start


def main(
    dataset: Annotated[Path, typer.Option(help="Folder that split wrote.")],
    truth: Annotated[Path, typer.Option(help="The folder data/truth.")],
    models: Annotated[Path, typer.Option(help="Holds the models of Phases 2 and 3.")],
    answers: Annotated[Path, typer.Option(help="Holds their answers, a folder a phase.")],
    out: Annotated[Path, typer.Option(help="Folder to make for the model.")],
    predictions: Annotated[Path, typer.Option(help="Folder to make for the answers.")],
    curves: Annotated[Path, typer.Option(help="Folder to make for the learning curves.")],
) -> None:
    """Train on the expert's contours and lesions; write the answers for the validation frames."""
    choice = choose_start(load_config(), dataset, truth, answers)
    outs = Outs(model=out, predictions=predictions, curves=curves)
    with session():
        train_phase(findings_job(models / choice.folder), dataset=dataset, outs=outs)
        first_worker_does(lambda: write_json(predictions / "choice.json", asdict(choice)))


if __name__ == "__main__":
    record(run)(main)  # the launcher shows the traceback of the worker that failed first
