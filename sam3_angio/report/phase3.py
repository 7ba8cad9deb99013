"""The view-angle experiment as files: ``metrics/phase3.json``, its table and its plots.

Conventions
-----------
``phase3.json`` has ``verdict`` first, then ``arms.{arm}.{figure}.{against}``,
``difference.{arm}.{to}.{figure}.{against}`` with ``detectable`` (and, for top-1, ``declarable``),
``mcnemar.{arm}.{to}``, and ``count``, the budget on which the verdict rests.

The verdict is made of the intervals. An arm names more, or fewer, segments right than ``none``
where the interval of the paired difference of top-1 leaves out 0 and McNemar's p, adjusted by
Holm's method, is below the interval's level. It draws segments better or worse where the interval
of the difference of Dice leaves out 0. What is not claimed is not denied: the verdict says beside
it how long the arms were trained, on how many frames they were compared, and how large a difference
must have been.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sam3_angio.files import write_json
from sam3_angio.report.figures import (
    DIGITS,
    ESTIMATE_COLUMNS,
    Table,
    estimate_cells,
    figures,
    rounded,
)
from sam3_angio.report.phase2 import interval_table, segment_document
from sam3_angio.scoring.paired import POWER
from sam3_angio.scoring.phase2 import Key
from sam3_angio.scoring.phase3 import BASE, CONTROL, TESTED, ArmScores, Comparison, NameTest
from sam3_angio.table import write_table

#: Plots by arm: name of the figure, and what it is taken against.
_PLOTTED: tuple[Key, ...] = (
    TESTED,
    ("macro_f1", "annotated"),
    ("cgf1", "annotated"),
    ("dice", "annotated"),
)


def write_phase3(folder: Path, scores: ArmScores, epochs: int) -> dict[str, Any]:
    """Write ``phase3.json``, ``phase3_arms.csv`` and ``phase3_plots/``.

    Parameters
    ----------
    folder : Path
        ``metrics``.
    scores : ArmScores
    epochs : int
        For which each arm was trained.

    Returns
    -------
    dict
        The content of ``phase3.json``.
    """
    document = arms_document(scores, epochs)
    write_json(folder / "phase3.json", document)
    write_table(folder / "phase3_arms.csv", *arm_table(scores))
    for name, table in all_plots(scores).items():
        write_table(folder / "phase3_plots" / f"{name}.csv", *table)
    return document


def arms_document(scores: ArmScores, epochs: int) -> dict[str, Any]:
    """Return the content of ``phase3.json``; each arm was trained for `epochs`."""
    difference: dict[str, Any] = {}
    for row in scores.comparisons:
        if row.artery == "all":
            place = difference.setdefault(row.arm, {}).setdefault(row.to, {})
            figure: dict[str, Any] = figures(row.difference)
            figure["detectable"] = rounded(row.detectable)
            if (row.name, row.against) == TESTED:
                figure["declarable"] = rounded(row.declarable)
            place.setdefault(row.name, {})[row.against] = figure
    mcnemar: dict[str, Any] = {}
    for test in scores.tests:
        mcnemar.setdefault(test.arm, {})[test.to] = {
            "only_arm": test.only_arm,
            "only_other": test.only_other,
            "p": rounded(test.p),
            "holm_p": rounded(test.holm_p),
        }
    arms = {name: segment_document(of, scores.estimates[name]) for name, of in scores.arms.items()}
    first = next(iter(scores.arms.values()))
    return {
        "verdict": verdict(scores, epochs),
        "arms": arms,
        "difference": difference,
        "mcnemar": mcnemar,
        "count": {
            "epochs": epochs,
            "frames": len(first.frames),
            "patients": len(set(first.patients)),
        },
        "confidence": scores.confidence,
    }


def arm_table(scores: ArmScores) -> Table:
    """Return header and rows of ``phase3_arms.csv``.

    A row with an empty ``to`` is an arm's own figure, the others are paired differences.
    """
    rows: list[tuple[str | float, ...]] = [
        (arm, "", "all", *key, *estimate_cells(estimate), "", "")
        for arm, estimates in scores.estimates.items()
        for key, estimate in estimates.items()
    ]
    rows += [
        (
            *(row.arm, row.to, row.artery, row.name, row.against),
            *estimate_cells(row.difference),
            *(round(value, DIGITS) for value in (row.detectable, row.declarable)),
        )
        for row in scores.comparisons
    ]
    header = ("arm", "to", "artery", "name", "against", *ESTIMATE_COLUMNS)
    return (*header, "detectable", "declarable"), rows


def all_plots(scores: ArmScores) -> dict[str, Table]:
    """Return the data of ``dvc plots`` by the name of its file."""
    tables = {
        f"{name}_by_arm": interval_table(
            name, {arm: of[name, against] for arm, of in scores.estimates.items()}
        )
        for name, against in _PLOTTED
    }
    for name, against in _PLOTTED:
        tables[f"{name}_difference"] = interval_table(
            "difference",
            {
                f"{row.arm} − {row.to}": row.difference
                for row in scores.comparisons
                if (row.name, row.against, row.artery) == (name, against, "all")
            },
        )
    return tables


def verdict(scores: ArmScores, epochs: int) -> str:
    """Say in one sentence whether the view angle helps, from the intervals.

    Parameters
    ----------
    scores : ArmScores
    epochs : int
        For which each arm was trained.
    """
    rows = [
        row
        for row in scores.comparisons
        if row.to == BASE and row.arm != CONTROL and row.artery == "all"
    ]
    if not rows:
        return "Without the arm none and another one, nothing can be said about the view angle."
    named = [row for row in rows if (row.name, row.against) == TESTED]
    drawn = [row for row in rows if (row.name, row.against) == _drawn(scores)]
    said = (
        _said(named, "top-1", scores, f"{epochs} epoch{'s' if epochs != 1 else ''}, "),
        _said(drawn, "Dice", scores),
        *(_control(scores, of, figure) for of, figure in ((named, "top-1"), (drawn, "Dice"))),
    )
    return f"{'; '.join(part for part in said if part)}."


def _drawn(scores: ArmScores) -> Key:
    estimates = next(iter(scores.estimates.values()))
    return ("dice", "truth") if ("dice", "truth") in estimates else ("dice", "annotated")


def _said(rows: Iterable[Comparison], figure: str, scores: ArmScores, trained: str = "") -> str:
    """Say which arms differ from ``none`` in a figure, and of which this is not shown, and why."""
    told = {row.arm: (row, direction(row, scores)) for row in rows}
    phrases = []
    for word in ("raises", "lowers"):
        arms = [f"{arm} ({_interval(row)})" for arm, (row, found) in told.items() if found == word]
        if arms:
            verb = word if len(arms) == 1 else word.removesuffix("s")
            phrases.append(f"{_listed(arms)} {verb} {figure} over {BASE}")
    alike = [row for row, found in told.values() if not found]
    if alike:
        names = _listed([f"{row.arm} ({_interval(row)}{_objection(row, scores)})" for row in alike])
        verb = "is" if len(alike) == 1 else "are"
        budget = f"at this budget ({_limits(alike, trained)})"
        phrases.append(f"{names} {verb} not shown to differ from {BASE} in {figure} {budget}")
    return ", and ".join(phrases)


def _limits(rows: Sequence[Comparison], trained: str) -> str:
    """Say on what a comparison rests, and how large a difference must have been."""
    estimate = rows[0].difference
    words = [f"{trained}{estimate.n} frames of {estimate.patients} patients"]
    if trained:
        low = min(row.declarable for row in rows)
        words.append(
            "no difference could be declared"
            if math.isnan(low)
            else f"no difference below {low:.3f} could be declared"
        )
    found = sorted(row.detectable for row in rows if not math.isnan(row.detectable))
    if found:
        sizes = f"{found[0]:.3f}"
        if rounded(found[0]) != rounded(found[-1]):
            sizes += f" to {found[-1]:.3f}, by the arm,"
        words.append(
            f"a difference of {sizes} would be found in {100 * POWER:.0f} % of repetitions"
        )
    return "; ".join(words)


def direction(row: Comparison, scores: ArmScores) -> str:
    """Return ``raises``, ``lowers``, or nothing where a difference cannot be told from 0."""
    estimate = row.difference
    if (row.name, row.against) == TESTED and _p_value(scores.tests, row) >= 1 - scores.confidence:
        return ""
    if estimate.low > 0:
        return "raises"
    return "lowers" if estimate.high < 0 else ""


def _objection(row: Comparison, scores: ArmScores) -> str:
    """Say what speaks against a difference whose interval alone would tell it from 0."""
    low, high = row.difference.low, row.difference.high
    if math.isnan(low) or low <= 0 <= high:
        return ""
    return f", but p = {_p_value(scores.tests, row):.2f} by McNemar's test after Holm"


def _p_value(tests: Iterable[NameTest], row: Comparison) -> float:
    return next(test.holm_p for test in tests if (test.arm, test.to) == (row.arm, row.to))


def _control(scores: ArmScores, rows: Iterable[Comparison], figure: str) -> str:
    """Say whether what an arm gains in a figure is more than what wrong angles give."""
    gaining = {
        (row.arm, row.name, row.against) for row in rows if direction(row, scores) == "raises"
    }
    said = [
        f"{row.arm} {'exceeds' if direction(row, scores) == 'raises' else 'is not shown to exceed'}"
        f" {CONTROL} in {figure} ({_interval(row)})"
        for row in scores.comparisons
        if (row.to, row.artery) == (CONTROL, "all") and (row.arm, row.name, row.against) in gaining
    ]
    return _listed(said) if said else ""


def _interval(row: Comparison) -> str:
    estimate = row.difference
    if math.isnan(estimate.low):
        return f"{estimate.mean:+.3f}, too few patients for an interval"
    return f"{estimate.mean:+.3f}, {estimate.low:+.3f} to {estimate.high:+.3f}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
