"""The result of Phase 1 as a table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from sam3_angio.report.figures import cell

#: Rows: what a person reads, and the key in ``metrics/phase1.json``.
_ROWS = (
    ("Dice", "dice"),
    ("Dice, pseudo-label", "teacher_dice"),
    ("IoU", "iou"),
    ("clDice", "cldice"),
    ("HD95 (mm)", "hd95_mm"),
    ("ASSD (mm)", "assd_mm"),
    ("Mask AP", "ap"),
    ("Mask AP50", "ap50"),
)
_COLUMNS = (("against truth", "truth"), ("against pseudo-label", "pseudo"))


def render_result(metrics: Mapping[str, Any]) -> Table:
    """Return the figures of ``metrics/phase1.json`` as a table.

    Parameters
    ----------
    metrics : mapping
        The document that ``evaluate`` writes.
    """
    count = metrics["count"]
    table = Table(
        title=f"Phase 1: vessel tree in {count['frames']} frames of {count['patients']} patients "
        "unseen in training",
        caption=_caption(metrics),
    )
    columns = [(title, key) for title, key in _COLUMNS if key in metrics["dice"]]
    table.add_column("")
    for title, _ in columns:
        table.add_column(title, justify="right")
    for name, key in _ROWS:
        if key in metrics:
            table.add_row(name, *(cell(metrics[key].get(column)) for _, column in columns))
    return table


def _caption(metrics: Mapping[str, Any]) -> str:
    lines = [f"Mean and {metrics['confidence']:.0%} interval by patient. Research use only."]
    recall = metrics["presence"]["recall"]["mean"] if "recall" in metrics["presence"] else None
    if recall is not None:
        lines.append(f"The phrase is found in {recall:.1%} of the frames.")
    if "beats_teacher" in metrics:
        lines.append(_verdict(metrics["beats_teacher"]["dice"]))
    undefined = sum(count for of in metrics["undefined"].values() for count in of.values())
    if undefined:
        lines.append(f"{undefined} undefined values took no part; see 'undefined' in the file.")
    return "\n".join(lines)


def _verdict(difference: Mapping[str, Any]) -> str:
    if difference["low"] is None:
        return "Too few patients to say whether training beats its teacher."
    if difference["low"] > 0:
        verdict = "Training beats its teacher, the pseudo-label"
    elif difference["high"] < 0:
        verdict = "Training falls short of its teacher, the pseudo-label"
    else:
        verdict = "Training and its teacher, the pseudo-label, cannot be told apart"
    return f"{verdict}: paired difference of Dice {cell(difference)}."
