"""The command that analyses runs."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from sam3_angio.errors import DataError

if TYPE_CHECKING:
    from sam3_angio.analysis.analyses import Outcome

commands = typer.Typer()


class DeviceOption(StrEnum):
    """Where the models compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


@commands.command()
def analyze(
    runs: Annotated[list[Path], typer.Argument(help="Angiographic runs, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the results, a folder a run.")],
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            "--checkpoint",
            help="Folder that a training published, or the checkpoint in it: of Phase 1 for the "
            "tree, of Phase 2, 3 or 4 for names. Default: models/phase1 and models/phase4.",
        ),
    ] = None,
    frame: Annotated[
        int | None, typer.Option(help="Frame to analyse, from 0; default: chosen in each run.")
    ] = None,
    device: Annotated[DeviceOption, typer.Option(help="Where to compute.")] = DeviceOption.AUTO,
    tree_only: Annotated[
        bool, typer.Option("--tree-only", help="No segments, no measurements.")
    ] = False,
    identified: Annotated[
        bool, typer.Option("--identified", help="Keep patient and study in the DICOM objects.")
    ] = False,
) -> None:
    """Analyse whole runs: frame, vessel tree, named segments, stenoses, measurements.

    Research use only. Not a medical device. Every run gets a folder with a page, a picture, the
    numbers, a DICOM Segmentation and a DICOM report. A run that fails is named by its position,
    and the others are finished; exit code 1.

    Examples: sam3-angio analyze run.dcm --out results;
    sam3-angio analyze study1 study2 --out results --frame 7 --tree-only
    """
    from sam3_angio.analysis.analyses import Settings, analyse_runs
    from sam3_angio.analysis.findings import Rules
    from sam3_angio.analysis.inputs import find_runs
    from sam3_angio.analysis.models import Machine, load_models
    from sam3_angio.config import load_config
    from sam3_angio.dicom.burned_in import Blanking
    from sam3_angio.dicom.picture import PictureSettings

    config = load_config()
    found = find_runs(runs, out)
    machine = Machine(device=device.value, threads=config.train.threads)
    models = load_models(model or (), Path("models"), machine, names=not tree_only)
    settings = Settings(
        out=out,
        frame=frame,
        picture=PictureSettings(
            percentile_low=config.extract.percentile_low,
            percentile_high=config.extract.percentile_high,
            blanking=Blanking(regions=config.extract.blank, text=config.extract.blank_text),
        ),
        rules=Rules(
            tree_from=config.evaluate.tree_from,
            segment_from=config.evaluate.segment_from,
            threshold=config.evaluate.score_threshold,
            agreement=config.evaluate.agreement,
        ),
        identified=identified,
    )
    _report(list(analyse_runs(found, models, settings)))


def _report(outcomes: Sequence[Outcome]) -> None:
    """Print what was found in each run: lesions measured, those the model outlined, and doubts.

    Raises
    ------
    DataError
        Some runs failed; with what is wrong with each.
    """
    console = Console()
    console.print(_table(outcomes))
    for outcome in outcomes:
        if outcome.doubt:
            message = (
                f"Warning: {outcome.position}: {outcome.doubt} Check its window and rescaling."
            )
            console.print(message, markup=False, highlight=False, soft_wrap=True)
    console.print("Research use only. Not a medical device.")
    failed = [outcome for outcome in outcomes if outcome.analysis is None]
    if failed:
        faults = [fault for outcome in failed for fault in outcome.faults]
        done = len(outcomes) - len(failed)
        raise DataError(
            f"{len(failed)} of {len(outcomes)} runs could not be analysed; {done} were.", faults
        )


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table()
    for heading in ("", "results in", "frame", "segments", "lesions", "outlined", "%DS"):
        table.add_column(heading, no_wrap=heading in ("", "results in"))
    for outcome in outcomes:
        found = outcome.analysis
        if found is None:
            table.add_row(outcome.position, "failed")
            continue
        measured = [segment.qca for segment in found.segments if segment.qca is not None]
        lesions = [lesion for qca in measured for lesion in qca.lesions]
        worst = max((lesion.diameter_stenosis_pct for lesion in lesions), default=None)
        table.add_row(
            outcome.position,
            found.name,
            str(found.frame_index),
            str(len(found.segments)),
            str(len(lesions)),
            str(len(found.lesions)),
            "" if worst is None else f"{worst:.0f}",
        )
    return table
