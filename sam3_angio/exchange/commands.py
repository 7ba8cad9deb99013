"""Commands that take in what others made and hand on what is here."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sam3_angio.errors import ConfigError

commands = typer.Typer()


class ToolOption(StrEnum):
    """Annotation tools."""

    CVAT = "cvat"
    LABEL_STUDIO = "label-studio"
    FIFTYONE = "fiftyone"


_Threshold = Annotated[float, typer.Option(min=0, max=1, help="Presence that counts as found.")]


@commands.command("import-arcade")
def import_arcade(
    arcade: Annotated[Path, typer.Option(help="Folder of 'syntax' and 'stenosis'.", exists=True)],
    out: Annotated[Path, typer.Option(help="Data set to make.")] = Path("public/arcade"),
    processes: Annotated[int, typer.Option(min=0, help="Frames at once; 0 = all cores.")] = 0,
) -> None:
    """Turn ARCADE into a data set that the training stages read, with its own split.

    Example: sam3-angio import-arcade --arcade ~/arcade --out public/arcade
    """
    from sam3_angio.exchange.public_data import arcade_sets, import_sets

    imported = import_sets(arcade_sets(arcade), out, processes=processes)
    Console().print(f"Frames: {dict(imported.frames)}; annotations: {dict(imported.annotations)}")


@commands.command("import-coco")
def import_coco(
    coco: Annotated[Path, typer.Option(help="Holds SPLIT/annotations and SPLIT/images.")],
    mapping: Annotated[Path, typer.Option(help="CSV: category,means.", exists=True)],
    out: Annotated[Path, typer.Option(help="Data set to make.")],
    processes: Annotated[int, typer.Option(min=0, help="Frames at once; 0 = all cores.")] = 0,
) -> None:
    """Turn any COCO set into a data set that the training stages read, with its own split.

    Example: sam3-angio import-coco --coco ~/set --mapping mapping.csv --out public/set
    """
    from sam3_angio.exchange.public_data import PublicSet, import_sets, read_mapping

    one = PublicSet(name="coco", folder=coco, meanings=read_mapping(mapping))
    imported = import_sets([one], out, processes=processes)
    Console().print(f"Frames: {dict(imported.frames)}; annotations: {dict(imported.annotations)}")


@commands.command("export-coco")
def export_coco(
    format_: Annotated[ToolOption, typer.Option("--format", help="Annotation tool.")],
    labels: Annotated[bool, typer.Option("--labels", help="Hand over the pseudo-labels.")] = False,
    phase: Annotated[int | None, typer.Option(help="Hand over what this phase found.")] = None,
    import_: Annotated[
        Path | None, typer.Option("--import", help="Take corrected pseudo-labels back.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("annotate"),
    threshold: _Threshold = 0.5,
    data: Annotated[Path, typer.Option(help="Data folder.")] = Path("data"),
) -> None:
    """Hand masks to an annotation tool, or take corrected pseudo-labels back.

    Examples: sam3-angio export-coco --labels --format cvat --out annotate;
    sam3-angio export-coco --import instances_default.json --format cvat
    """
    if sum((labels, phase is not None, import_ is not None)) != 1:
        raise ConfigError("Give exactly one of --labels, --phase and --import.")
    if import_ is not None:
        _take_back(import_, format_, data)
        return
    from sam3_angio.exchange.annotation_tools import (
        export_masks,
        labels_handover,
        predictions_handover,
    )

    handover = (
        labels_handover(Path("converted"))
        if phase is None
        else predictions_handover(Path("dataset"), Path("predictions"), phase, threshold)
    )
    lowest = export_masks(handover, Path("frames"), out, format_.value)
    Console().print(
        f"{len(handover.sizes_px)} frames, {len(handover.marks)} masks in {out.name}; "
        f"lowest IoU with what they were: {lowest:.3f}. The pictures are patients'."
    )


def _take_back(path: Path, form: ToolOption, data: Path) -> None:
    from sam3_angio.exchange.corrections import import_corrections

    report = Path("corrections.csv")
    done = import_corrections(path, form.value, data / "labels" / "pseudo", report)
    Console().print(
        f"{len(done.changed)} labels changed (listed in {report}), {done.unchanged} as they were, "
        f"{done.skipped} frames without an annotation kept; {done.crowds} crowd marks reset."
    )


@commands.command("export-nnunet")
def export_nnunet(
    out: Annotated[Path, typer.Option(help="Such as nnUNet_raw/Dataset501_Coronary.")],
    dataset: Annotated[Path, typer.Option(help="Written by split.")] = Path("dataset"),
) -> None:
    """Write the vessel trees as nnU-Net's raw data set, with this project's split.

    Example: sam3-angio export-nnunet --out nnUNet_raw/Dataset501_Coronary
    """
    from sam3_angio.exchange.nnunet import export_nnunet as export

    Console().print(f"Frames: {export(dataset, out)}")


@commands.command("score-arcade")
def score_arcade(
    reference: Annotated[Path, typer.Option(help="ARCADE's document.", exists=True)],
    prediction: Annotated[Path, typer.Option(help="Answers, as COCO polygons.", exists=True)],
    stenosis: Annotated[bool, typer.Option(help="Stenoses, not segments.")] = False,
) -> None:
    """Print ARCADE's official score and a sane one.

    Example: sam3-angio score-arcade --reference val.json --prediction answers.json
    """
    from sam3_angio.exchange.arcade_answers import read_outlines
    from sam3_angio.scoring import arcade

    images, wanted, given = read_outlines(reference, prediction)
    official, sane = (
        (arcade.official_stenoses, arcade.sane_stenoses)
        if stenosis
        else (arcade.official_segments, arcade.sane_segments)
    )
    fair = sane(images, wanted, given)
    Console().print(f"official {official(images, wanted, given).mean:.4f}")
    Console().print(f"sane     {fair.mean:.4f} ({len(images) - fair.undefined} images)")
    if stenosis:
        found = arcade.found_stenoses(images, wanted, given)
        Console().print(f"F1 of stenoses at IoU 0.5: {found.f1:.4f}")
