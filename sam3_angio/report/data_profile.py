"""``metrics/data_profile.json``: what the data set is made of, for programs.

Conventions
-----------
Counts are those of the page. A quantity is summarised over the frames that have it; those that have
it not are counted as unknown, and a summary of none is null.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sam3_angio.geometry_table import FrameGeometry, read_geometry
from sam3_angio.report.composition import PARTITIONS, CountTable, read_members

_DIGITS = 4

_QUANTITIES: dict[str, Callable[[FrameGeometry], float]] = {
    "spacing_mm": lambda row: row.spacing.row_mm if row.spacing.source != "none" else math.nan,
    "frames_in_run": lambda row: row.frames,
    "primary_deg": lambda row: row.view.primary_deg,
    "secondary_deg": lambda row: row.view.secondary_deg,
}


def data_profile(composition: Sequence[CountTable], dataset: Path, frames: Path) -> dict[str, Any]:
    """Return the counts and the spread of what is measured, by partition.

    Parameters
    ----------
    composition : sequence of CountTable
        Of the same frames.
    dataset : Path
        Written by ``split``.
    frames : Path
        Written by ``extract``; holds ``geometry.csv``.

    Raises
    ------
    DataError
        A table is not valid.
    """
    geometry = read_geometry(frames / "geometry.csv")
    members = read_members(dataset / "split.csv")
    rows = {
        partition: [geometry[of.frame_id] for of in members if of.split == partition]
        for partition in PARTITIONS
    }
    return {
        "count": {
            table.title: {
                value: dict(zip(PARTITIONS, counts, strict=True)) for value, counts in table.rows
            }
            for table in composition
        },
        "quantity": {
            name: {
                partition: summarise([value_of(row) for row in rows[partition]])
                for partition in PARTITIONS
            }
            for name, value_of in _QUANTITIES.items()
        },
    }


def summarise(values: Sequence[float]) -> dict[str, float | int | None]:
    """Return minimum, median, maximum and number of the values that are known.

    Parameters
    ----------
    values : sequence of float
        NaN where unknown.

    Examples
    --------
    >>> summarise([3.0, float("nan"), 1.0])
    {'min': 1.0, 'median': 2.0, 'max': 3.0, 'n': 2, 'unknown': 1}
    """
    known = [value for value in values if not math.isnan(value)]
    return {
        "min": round(min(known), _DIGITS) if known else None,
        "median": round(statistics.median(known), _DIGITS) if known else None,
        "max": round(max(known), _DIGITS) if known else None,
        "n": len(known),
        "unknown": len(values) - len(known),
    }
