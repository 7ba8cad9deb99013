"""Pseudo-labels and expert contours to COCO documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sam3_angio.command import run
from sam3_angio.config import load_config
from sam3_angio.conversion import LabelRules, convert, overlap_table
from sam3_angio.geometry_table import read_geometry
from sam3_angio.manifest import read_manifest


def main(
    manifest: Annotated[Path, typer.Option(help="File of the analysed frames.")],
    labels: Annotated[Path, typer.Option(help="Folder of the labels.")],
    geometry: Annotated[Path, typer.Option(help="Table that extract wrote.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
) -> None:
    """Convert the labels of all frames; list masks that hardly fit their polygon."""
    config = load_config()
    conversion = convert(
        read_manifest(manifest),
        read_geometry(geometry),
        labels.parent,
        out,
        rules=LabelRules(
            segment_source=config.convert.segment_source,
            min_stenosis_pct=config.convert.min_stenosis_pct,
        ),
        min_mask_iou=config.convert.min_mask_iou,
        processes=config.machine.processes,
    )
    console = Console()
    if conversion.low_overlaps:
        console.print(overlap_table(conversion.low_overlaps))
    console.print(
        f"{conversion.frames} frames: {conversion.trees} vessel trees, {conversion.segments} "
        f"segments, {conversion.empty_labels} empty labels, "
        f"{len(conversion.low_overlaps)} low overlaps"
    )
    console.print(f"{conversion.lesions} lesions, {conversion.lesion_free} frames without one")


if __name__ == "__main__":
    run(main)
