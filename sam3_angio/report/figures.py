"""Figures as JSON and as cells of a table.

Conventions
-----------
A figure carries ``mean``, ``low`` and ``high`` (interval by patient) and ``n``. Values have four
digits after the point; undefined ones are null in JSON and empty in tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sam3_angio.scoring.statistics import Estimate

#: Header and rows.
Table = tuple[tuple[str, ...], list[tuple[str | float, ...]]]

#: Digits after the point in everything that is written.
DIGITS = 4

#: Columns of an estimate in the tables.
ESTIMATE_COLUMNS = tuple(field.name for field in fields(Estimate))


def figures(estimate: Estimate) -> dict[str, float | int | None]:
    """Return an estimate for a JSON document."""
    return {
        "mean": rounded(estimate.mean),
        "low": rounded(estimate.low),
        "high": rounded(estimate.high),
        "n": estimate.n,
    }


def estimate_cells(estimate: Estimate) -> tuple[float, ...]:
    """Return an estimate for a table, by `ESTIMATE_COLUMNS`."""
    return tuple(round(getattr(estimate, name), DIGITS) for name in ESTIMATE_COLUMNS)


def rounded(value: float) -> float | None:
    """Return a value with the digits of this project; None for NaN."""
    return None if math.isnan(value) else round(value, DIGITS)


def cell(figure: Mapping[str, Any] | None) -> str:
    """Return a figure of a JSON document for people: mean and, where there is one, interval."""
    if figure is None or figure["mean"] is None:
        return ""
    if figure["low"] is None:
        return f"{figure['mean']:.3f}"
    return f"{figure['mean']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
