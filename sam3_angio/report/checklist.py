"""``metrics/checklist.md``: what reporting guidelines ask, filled in where this run knows.

CLAIM (2024 update), TRIPOD+AI and STARD 2015, which STARD-AI extends. Their items stand in
``templates/checklist.csv`` in this project's words, with their numbers; read the guidelines for
what each asks in full. STARD-AI's own items have no number here.

Conventions
-----------
An answer is text with names of facts in braces. It is given where the run knows all of them, and
only for what the pipeline does; everything else is left to the author as a marked blank.

References
----------
CLAIM: https://doi.org/10.1148/ryai.240300. TRIPOD+AI: https://doi.org/10.1136/bmj-2023-078378.
STARD 2015: https://doi.org/10.1136/bmj.h5527.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from string import Formatter
from typing import Any

from sam3_angio.report.composition import CountTable
from sam3_angio.report.figures import cell

#: What stands where the run knows nothing.
BLANK = "**[author]** ________"

_HEADER = """# Reporting checklist

Filled in by `evaluate` where the run knows; the rest is the author's. An item with text is not an
item that is done: read it against the guideline. Research use only.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a guideline.

    Attributes
    ----------
    guideline, number, topic : str
        What it asks; the number may be empty.
    answer : str
        Text with names of facts in braces; empty where it is the author's.
    """

    guideline: str
    number: str
    topic: str
    answer: str


def read_items() -> tuple[Item, ...]:
    """Return the items of all guidelines in their order."""
    folder = resources.files("sam3_angio.report").joinpath("templates")
    text = folder.joinpath("checklist.csv").read_text(encoding="utf-8")
    return tuple(Item(**row) for row in csv.DictReader(text.splitlines()))


def fill_checklist(
    documents: Mapping[str, Mapping[str, Any]], composition: Iterable[CountTable]
) -> str:
    """Return the checklist as Markdown.

    Parameters
    ----------
    documents : mapping
        ``metrics/phase….json`` by name.
    composition : iterable of CountTable
        Of the data set.
    """
    facts = _facts(documents, composition)
    lines = [_HEADER]
    guideline = ""
    for item in read_items():
        if item.guideline != guideline:
            guideline = item.guideline
            lines += ["", f"## {guideline}", "", "| item | asks for | this run |", "|---|---|---|"]
        lines.append(f"| {item.number} | {item.topic} | {answer_item(item, facts)} |")
    return "\n".join(lines) + "\n"


def answer_item(item: Item, facts: Mapping[str, str]) -> str:
    """Return an item's answer; a blank unless every fact that it names is known.

    Examples
    --------
    >>> item = Item(guideline="CLAIM", number="35", topic="Numbers", answer="{frames} frames.")
    >>> answer_item(item, {"frames": "82"})
    '82 frames.'
    >>> answer_item(item, {})
    '**[author]** ________'
    """
    names = {name for _, name, _, _ in Formatter().parse(item.answer) if name}
    if not item.answer or not names <= facts.keys():
        return BLANK
    return item.answer.format_map(facts)


def _facts(
    documents: Mapping[str, Mapping[str, Any]], composition: Iterable[CountTable]
) -> dict[str, str]:
    """Return what the run knows, by the names that answers use."""
    found = dict(_figures(documents))
    tables = {table.title: dict(table.rows) for table in composition}
    for name, counts in tables["Total"].items():
        found[f"train_{name.lower()}"], found[f"val_{name.lower()}"] = map(str, counts)
    for name, title in (("syntaxes", "Transfer syntax"), ("arteries", "Artery"), ("views", "View")):
        found[name] = "; ".join(f"{value} {sum(counts)}" for value, counts in tables[title].items())
    return found


def _figures(documents: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    tree = documents["phase1"]
    yield "confidence", f"{tree['confidence']:.0%}"
    for against in ("truth", "pseudo"):
        if text := cell(tree["dice"].get(against)):
            yield f"dice_{against}", text
    names = documents.get("phase2", {})
    for key, against in (("top1", "annotated"), ("false_positives", "pooled")):
        if text := cell(names.get(key, {}).get(against)):
            yield key, text
    if "phase3" in documents:
        yield "verdict", documents["phase3"]["verdict"]
    lesions = documents.get("phase4", {})
    if bias := cell(lesions.get("mld_mm", {}).get("expert", {}).get("bias")):
        yield "mld_bias", bias
        yield "lesion_frames", str(lesions["count"]["lesion"])
        yield "free_frames", str(lesions["count"]["free"])
