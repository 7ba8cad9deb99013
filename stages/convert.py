"""Pseudo-labels and expert contours to COCO documents."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sam3_angio.checking.gate import require_sound
from sam3_angio.checking.labels import check_labels
from sam3_angio.config import load_config
from sam3_angio.conversion import LabelRules, convert, overlap_table
from sam3_angio.geometry_table import read_geometry
from sam3_angio.manifest import read_manifest
from sam3_angio.recorded import run_stage


def main(
    manifest: Annotated[Path, typer.Option(help="File of the analysed frames.")],
    labels: Annotated[Path, typer.Option(help="Folder of the labels.")],
    geometry: Annotated[Path, typer.Option(help="Table that extract wrote.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    findings: Annotated[Path, typer.Option(help="Where to list what was found in the labels.")],
) -> None:
    """Convert the labels of all frames; list masks that hardly fit their polygon."""
    config, rows, frames = load_config(), read_manifest(manifest), read_geometry(geometry)
    params, processes = config.convert, config.machine.processes
    warnings = require_sound(check_labels(rows, frames, labels.parent, processes), findings)
    conversion = convert(
        rows,
        frames,
        labels.parent,
        out,
        rules=LabelRules(
            segment_source=params.segment_source, min_stenosis_pct=params.min_stenosis_pct
        ),
        min_mask_iou=params.min_mask_iou,
        processes=processes,
    )
    if conversion.low_overlaps:
        Console().print(overlap_table(conversion.low_overlaps))
    typer.echo(
        f"{conversion.frames} frames: {conversion.trees} vessel trees, {conversion.segments} "
        f"segments, {conversion.empty_labels} empty labels, "
        f"{len(conversion.low_overlaps)} low overlaps; {warnings} warnings in {findings}\n"
        f"{conversion.lesions} lesions, {conversion.lesion_free} frames without one"
    )


if __name__ == "__main__":
    run_stage(main, "convert")
