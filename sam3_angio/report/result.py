"""The results of the phases as tables on the terminal, from the documents in ``metrics/``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
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
#: Rows of Phases 2 and 3: what a person reads, the key, and what it was taken against.
_SEGMENT_ROWS = (
    ("Top-1 name (chance {chance:.2f})", "top1", "annotated"),
    ("Macro-F1", "macro_f1", "annotated"),
    ("Wrong phrases said to be there", "false_positives", "pooled"),
    ("  segments of the other artery", "false_positives", "other_artery"),
    ("  absent segments", "false_positives", "absent"),
    ("  words that name nothing", "false_positives", "nonsense"),
    ("Annotated segments said to be there", "recall", "annotated"),
    ("Wrong phrases, by the presence alone", "presence_false_positives", "pooled"),
    ("Annotated segments, likewise", "presence_recall", "annotated"),
    ("cgF1, all phrases, labels", "cgf1", "annotated"),
    ("cgF1, phrases that labels decide", "cgf1", "known"),
    ("cgF1, truth", "cgf1", "truth"),
    ("Mask AP50, truth", "ap50", "truth"),
    ("Dice, expert's segment", "dice", "annotated"),
    ("Dice, true segment", "dice", "truth"),
    ("HD95 (mm), true segment", "hd95_mm", "truth"),
)
_ARM_COLUMNS = (
    ("top-1", "top1", "annotated"),
    ("macro-F1", "macro_f1", "annotated"),
    ("cgF1", "cgf1", "known"),
    ("Dice", "dice", "annotated"),
)
_COLUMNS = (("against truth", "truth"), ("against pseudo-label", "pseudo"))


def render_result(metrics: Mapping[str, Any], baseline: Mapping[str, Any] | None = None) -> Table:
    """Return the figures of ``metrics/phase1.json`` as a table, beside those of the baseline.

    Parameters
    ----------
    metrics : mapping
        The document that ``evaluate`` writes.
    baseline : mapping or None
        ``metrics/baseline.json``, of the same frames.
    """
    count = metrics["count"]
    table = Table(
        title=f"Phase 1: vessel tree in {count['frames']} frames of {count['patients']} patients "
        "unseen in training",
        caption="\n".join((_caption(metrics), *_beside(baseline))),
    )
    columns = [(title, metrics, key) for title, key in _COLUMNS if key in metrics["dice"]]
    if baseline is not None:
        columns += [(f"U-Net {title}", baseline, key) for title, _, key in columns]
    table.add_column("")
    for title, _, _ in columns:
        table.add_column(title, justify="right")
    for name, key in _ROWS:
        if key in metrics:
            table.add_row(name, *(cell(of.get(key, {}).get(side)) for _, of, side in columns))
    return table


def render_segments(metrics: Mapping[str, Any]) -> Table:
    """Return the figures of ``metrics/phase2.json`` as a table."""
    count = metrics["count"]
    table = Table(
        title=f"Phase 2: named segments in {count['frames']} frames of {count['patients']} "
        f"patients unseen in training, {count['queries']} questions",
        caption=f"Mean and {metrics['confidence']:.0%} interval by patient. Research use only.",
    )
    table.add_column("")
    table.add_column("", justify="right")
    for name, key, against in _SEGMENT_ROWS:
        figure = metrics.get(key, {}).get(against)
        if figure is not None:
            table.add_row(name.format(chance=metrics["chance"]), cell(figure))
    return table


def render_arms(metrics: Mapping[str, Any]) -> Table:
    """Return the figures of ``metrics/phase3.json`` as a table, an arm a row."""
    table = Table(
        title="Phase 3: what telling the view angle changes",
        caption=f"{metrics['verdict']}\n{metrics['confidence']:.0%} intervals by patient.",
    )
    table.add_column("arm", no_wrap=True)
    for title, _, _ in _ARM_COLUMNS:
        table.add_column(title, justify="right")
    table.add_column("top-1 less none", justify="right", no_wrap=True)
    table.add_column("p (Holm)", justify="right")
    for arm, figures in metrics["arms"].items():
        cells = [_mean(figures[key].get(against)) for _, key, against in _ARM_COLUMNS]
        table.add_row(arm, *cells, *_against_base(metrics, arm))
    return table


def _mean(figure: Mapping[str, Any] | None) -> str:
    return "" if figure is None or figure["mean"] is None else f"{figure['mean']:.3f}"


def _against_base(metrics: Mapping[str, Any], arm: str) -> tuple[str, str]:
    difference = metrics["difference"].get(arm, {}).get("none")
    if difference is None:
        return "", ""
    top1 = difference["top1"]["annotated"]
    interval = "" if top1["low"] is None else f" ({top1['low']:+.2f} to {top1['high']:+.2f})"
    p = metrics["mcnemar"][arm]["none"]["holm_p"]
    return f"{top1['mean']:+.2f}{interval}", f"{p:.3f}"


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


def _beside(baseline: Mapping[str, Any] | None) -> Iterator[str]:
    difference = (baseline or {}).get("phase1_less_baseline", {}).get("dice", {})
    for against, figure in difference.items():
        reference = "truth" if against == "truth" else "pseudo-label"
        yield f"SAM 3 less U-Net, Dice against the {reference}: {cell(figure)}, paired."


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


#: Documents in ``metrics/`` and what makes tables of them.
_RENDERERS = {"phase2": render_segments, "phase3": render_arms}


def result_tables(folder: Path) -> Iterator[Table]:
    """Yield the table of every phase whose metrics are there."""
    names = ("phase1", "baseline", *_RENDERERS)
    documents = {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in names
        if (folder / f"{name}.json").is_file()
    }
    if "phase1" in documents:
        yield render_result(documents["phase1"], documents.get("baseline"))
    for name, render in _RENDERERS.items():
        if name in documents:
            yield render(documents[name])
