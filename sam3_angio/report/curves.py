"""Data of the pictures that ``dvc plots`` draws of Phase 1.

Conventions
-----------
Everything shows the headline's Dice: against the truth where it is known, else against the
pseudo-label. Frames where it is undefined are left out; their count is in ``metrics/phase1.json``.
"""

from __future__ import annotations

import math

import numpy as np

from sam3_angio.report.figures import DIGITS, Table
from sam3_angio.scoring.phase1 import Phase1Scores

#: Bars of the histogram, each this wide.
_BAR = 0.05


def all_curves(scores: Phase1Scores) -> dict[str, Table]:
    """Return every table of this module by the name of its file."""
    return {
        "dice_by_frame": dice_by_frame(scores),
        "dice_histogram": dice_histogram(scores),
        "dice_by_group": dice_by_group(scores),
    }


def dice_by_frame(scores: Phase1Scores) -> Table:
    """Return the frames from worst to best: rank, frame, Dice."""
    dice = scores.dice
    order = [index for index in np.argsort(dice, kind="stable") if not math.isnan(dice[index])]
    rows: list[tuple[str | float, ...]] = [
        (rank, scores.frames[index].case.frame_id, round(float(dice[index]), DIGITS))
        for rank, index in enumerate(order, 1)
    ]
    return ("rank", "frame_id", "dice"), rows


def dice_histogram(scores: Phase1Scores) -> Table:
    """Return how many frames fall into each bar of Dice; bars are named by their lower edge."""
    dice = scores.dice
    bars = round(1 / _BAR)
    counts, edges = np.histogram(dice[~np.isnan(dice)], bins=bars, range=(0, 1))
    rows: list[tuple[str | float, ...]] = [
        (f"{edge:.2f}", int(count)) for edge, count in zip(edges[:-1], counts, strict=True)
    ]
    return ("dice", "frames"), rows


def dice_by_group(scores: Phase1Scores) -> Table:
    """Return mean Dice with its interval by artery and by view."""
    rows: list[tuple[str | float, ...]] = [
        (
            row.value,
            row.estimate.n,
            round(row.estimate.mean, DIGITS),
            round(row.estimate.low, DIGITS),
            round(row.estimate.high, DIGITS),
        )
        for row in scores.groups
        if (row.source, row.reference, row.metric) == (scores.tree_from, scores.reference, "dice")
        and row.group != "all"
    ]
    return ("group", "n", "dice", "low", "high"), rows
