"""What a profile changes, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from sam3_angio.profiles import Change


def change_table(name: str, changes: Sequence[Change]) -> Table:
    """Return a row a changed value: its key, what it was and what it becomes.

    Parameters
    ----------
    name : str
        Of the profile.
    changes : sequence of Change
    """
    table = Table(title=f"Profile {name}", title_justify="left")
    table.add_column("params.yaml", overflow="fold")
    table.add_column("before", overflow="fold", style="red")
    table.add_column("after", overflow="fold", style="green")
    for change in changes:
        table.add_row(Text(change.key), _cell(change.before), _cell(change.after))
    return table


def _cell(value: object) -> Text:
    if isinstance(value, bool):
        return Text(str(value).lower())
    if isinstance(value, float):
        return Text(f"{value:g}")
    return Text("null" if value is None else str(value))
