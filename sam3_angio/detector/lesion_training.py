"""Phase 4: segments by name and their lesions, from a model that names segments.

It starts from the model of Phase 2 or from Phase 3's arm ``none``, which differ in how long they
were trained; the arms that are told the view are other models and no start for this one.
"""

from __future__ import annotations

from pathlib import Path

from sam3_angio.config import Config, load_config
from sam3_angio.detector.sharing import told_by_first
from sam3_angio.detector.training import Job, Outs, session, train_phase
from sam3_angio.detector.workers import first_worker_does
from sam3_angio.lesion_prompts import lesion_prompts
from sam3_angio.phase4_start import choose_start, write_choice
from sam3_angio.prompts import segment_numbers


def findings_job(start: Path, config: Config) -> Job:
    """Return the training of Phase 4.

    Parameters
    ----------
    start : Path
        Folder of the model to start from.
    config : Config
    """
    numbers = segment_numbers(config.prompts.segments)
    lesions = lesion_prompts(config.train_phase4.lesion_phrase, numbers)
    return Job(
        recipe="phase4",
        label="Phase 4",
        sections=("model", "prompts", "train", "train_phase4"),
        labels="findings",
        start=start / "checkpoint.pt",
        ignored=("start",),
        phrases=tuple(prompt.phrase for prompt in lesions),
    )


def train_findings(*, dataset: Path, models: Path, outs: Outs) -> None:
    """Train Phase 4 and publish it, with the choice of its start beside the answers.

    Parameters
    ----------
    dataset : Path
        Folder written by the ``split`` stage.
    models : Path
        Folder of the models of Phases 2 and 3.
    outs : Outs

    Raises
    ------
    AngioError
        Parameters, data or weights are wrong, the loss stopped being finite, or parameters or
        code were edited meanwhile.
    """
    with session():
        config = load_config()
        choice = first_worker_does(lambda: choose_start(config.train_phase4.start, models))
        folder = told_by_first(lambda: choice and choice.folder)
        train_phase(findings_job(models / folder, config), dataset=dataset, outs=outs)
        if choice is not None:
            write_choice(outs.predictions / "choice.json", choice)
