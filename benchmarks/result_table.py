"""A benchmark's table: on the terminal, or as Markdown for a document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import typer
from rich.console import Console
from rich.table import Table


def show_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, markdown: bool
) -> None:
    """Print rows under their columns."""
    if markdown:
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        typer.echo(f"{title}\n\n{text}")
        return
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
