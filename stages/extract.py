"""Extract the analysed frame of each run: ``frames/{frame_id}.png`` and ``frames/geometry.csv``."""

from pathlib import Path
from typing import Annotated

import typer

from sam3_angio.checking.gate import require_sound
from sam3_angio.checking.runs import check_runs
from sam3_angio.config import load_config
from sam3_angio.dicom.burned_in import Blanking
from sam3_angio.extraction import ExtractionSettings, extract_frames
from sam3_angio.manifest import read_manifest
from sam3_angio.recorded import run_stage


def extract(
    manifest: Annotated[Path, typer.Option(help="data/manifest.csv")],
    labels: Annotated[Path, typer.Option(help="data/labels, for the contours' calibration.")],
    out: Annotated[Path, typer.Option(help="Folder to write; replaced as a whole.")],
    findings: Annotated[Path, typer.Option(help="Where to list what was found in the data.")],
) -> None:
    """Extract the analysed frame of each DICOM run to 8-bit PNG, and its geometry."""
    config = load_config()
    settings = ExtractionSettings(
        dicom_root=Path(config.data.dicom_root),
        data_folder=labels.parent,
        percentile_low=config.extract.percentile_low,
        percentile_high=config.extract.percentile_high,
        shards=config.extract.shards,
        blanking=Blanking(regions=config.extract.blank, text=config.extract.blank_text),
    )
    rows, processes = read_manifest(manifest), config.machine.processes
    checked = check_runs(rows, settings.data_folder, settings.dicom_root, processes)
    suspect = require_sound(checked, findings)
    found = extract_frames(rows, out, settings, processes)
    for warning in found.warnings[:20]:  # the count below is of all
        typer.echo(f"Warning: {warning}", err=True)
    typer.echo(
        f"{found.frames} frames of {found.runs} runs; table and header differ by more than 2° in "
        f"{found.different_angles} of {found.compared_angles} view angles; "
        f"{len(found.warnings)} warnings, and {suspect} in {findings}."
    )


if __name__ == "__main__":
    run_stage(extract, "extract")
