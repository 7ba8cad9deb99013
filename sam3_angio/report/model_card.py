"""What goes with an exported model: a card, a record for programs, and the licence.

Fine-tuned weights are derivatives under the SAM License: whoever gets the weights gets its text, a
notice, and a card that names it. The card has the form of the Hugging Face hub [1]_.

Conventions
-----------
The files stand beside the weights and share their name: ``m.pt`` has ``m.md`` (the card),
``m.json`` (the record), ``m.LICENSE.txt`` and ``m.NOTICE.txt``.

References
----------
.. [1] https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from sam3_angio import __version__
from sam3_angio.errors import ConfigError
from sam3_angio.files import sha256, write_json, write_text
from sam3_angio.report.page_figures import (
    ARM_FIGURES,
    interval_text,
    read_documents,
    result_rows,
    value_text,
)

LICENSE_NAME = "sam-license"
INTENDED_USE = "Research use only. Not a medical device."

_TASKS = {
    1: "the vessel tree of a coronary angiogram, asked for as “coronary artery”",
    2: "coronary segments by name, such as “proximal LAD”",
    3: "coronary segments by name, in a model that was trained to compare ways of telling the view",
    4: "coronary segments by name, and their lesions, as `train_phase4.lesion_phrase` says",
}

_LIMITS = (
    "A score against pseudo-labels measures imitation of their maker, not truth.",
    "It was validated on patients of the same source as those that it learned from, no others.",
    "A model that learned from patients can give away parts of what it saw. Hand it on only as the "
    "agreements on those data allow.",
)

_NOTICE = """\
{name}

These weights are a derivative of SAM 3 and are distributed under the SAM License, whose text stands
in {license}. SAM 3 is Copyright (c) Meta Platforms, Inc. and affiliates.

Publications that use these weights must acknowledge the use of SAM Materials.

{use}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The model that a card is about.

    Attributes
    ----------
    phase : int
        1 to 4.
    arm : str or None
        Of Phase 3.
    folder : Path
        That the phase published.
    weights : Path
        Exported file.
    remarks : tuple of str
        What to know before it is used.
    """

    phase: int
    arm: str | None
    folder: Path
    weights: Path
    remarks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name for people."""
        arm = f", arm “{self.arm}”" if self.arm else ""
        return f"SAM 3 on coronary angiograms, Phase {self.phase}{arm}"


def write_companions(subject: Subject, metrics: Path) -> tuple[Path, ...]:
    """Write card, record, licence and notice beside exported weights.

    Parameters
    ----------
    subject : Subject
    metrics : Path
        Written by ``evaluate``; figures that are not there are left out.

    Returns
    -------
    tuple of Path
        The files.

    Raises
    ------
    ConfigError
        The installed ``sam3`` came without its licence.
    """
    card, record, terms, notice = (
        subject.weights.with_suffix(suffix)
        for suffix in (".md", ".json", ".LICENSE.txt", ".NOTICE.txt")
    )
    licence = sam_license()
    figures = list(_figures(subject, metrics))
    content = record_of(subject, figures)
    write_text(card, card_text(subject, content))
    write_json(record, content)
    write_text(terms, licence)
    text = _NOTICE.format(name=subject.name, license=terms.name, use=INTENDED_USE)
    write_text(notice, text)
    return card, record, terms, notice


def sam_license() -> str:
    """Return the licence that the installed ``sam3`` came with.

    Raises
    ------
    ConfigError
        There is none.
    """
    for path in metadata.files("sam3") or ():
        if path.name == "LICENSE":
            return path.read_text(encoding="utf-8")
    raise ConfigError("The installed sam3 has no LICENSE, which an exported model must carry.")


def record_of(subject: Subject, figures: list[dict[str, str]]) -> dict[str, Any]:
    """Return what programs want to know of an exported model.

    Parameters
    ----------
    subject : Subject
    figures : list of dict
        Rows of the result table.
    """
    trained = subject.folder / "metadata.json"
    return {
        "name": subject.name,
        "version": __version__,
        "task": _TASKS[subject.phase],
        "intended_use": INTENDED_USE,
        "license": LICENSE_NAME,
        "file": subject.weights.name,
        "sha256": sha256(subject.weights),
        "remarks": list(subject.remarks),
        "limits": list(_LIMITS),
        "results": figures,
        "training": json.loads(trained.read_text(encoding="utf-8")) if trained.is_file() else None,
    }


def card_text(subject: Subject, record: Mapping[str, Any]) -> str:
    """Return a card as the Hugging Face hub reads it.

    Parameters
    ----------
    subject : Subject
    record : mapping
        Of :func:`record_of`.
    """
    data = ModelCardData(
        license="other",
        license_name=LICENSE_NAME,
        license_link=subject.weights.with_suffix(".LICENSE.txt").name,
        library_name="sam3",
        pipeline_tag="image-segmentation",
        tags=["medical", "coronary-angiography", "research-use-only"],
    )
    body = "\n".join(_body(record))
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n"))


def _body(record: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"# {record['name']}", "", f"**{record['intended_use']}**", "")
    yield f"It finds {record['task']}."
    yield from ("", "## Limits", "")
    yield from (f"- {line}" for line in (*record["remarks"], *record["limits"]))
    yield from ("", "## Results on patients that training never saw", "")
    yield from _result_lines(record["results"])
    training = record["training"]
    if training:
        yield from ("", "## Training", "")
        yield f"- {training['steps']} steps, {training['seconds'] / 60:.1f} minutes"
        yield f"- {training['parameters_trained']:,} of {training['parameters']:,} weights trained"
        yield "- " + ", ".join(f"{name} {of}" for name, of in training["versions"].items())
    yield from ("", "## Licence", "")
    yield (
        "A derivative of SAM 3 under the SAM License, which stands beside this file. Publications "
        "must acknowledge the use of SAM Materials."
    )


def _result_lines(rows: list[dict[str, str]]) -> Iterator[str]:
    if not rows:
        yield "Not evaluated."
        return
    yield "| figure | against | value | interval by patient | n |"
    yield "|---|---|---|---|---|"
    for row in rows:
        cells = (row[key] for key in ("title", "against", "value", "interval", "n"))
        yield f"| {' | '.join(cells)} |"


def _figures(subject: Subject, metrics: Path) -> Iterator[dict[str, str]]:
    documents = read_documents(metrics)
    name = f"phase{subject.phase}"
    if name not in documents:
        return
    if subject.phase == 3:
        yield from _arm_figures(documents[name], subject.arm)
        return
    for group in result_rows({name: documents[name]}):
        for row in group.rows:
            yield {key: getattr(row, key) for key in ("title", "against", "value", "interval", "n")}


def _arm_figures(document: Mapping[str, Any], arm: str | None) -> Iterator[dict[str, str]]:
    figures = document["arms"].get(arm, {})
    for key, against, title in ARM_FIGURES:
        figure = figures.get(key, {}).get(against)
        if figure is not None:
            yield {
                "title": title,
                "against": against,
                "value": value_text(figure),
                "interval": interval_text(figure),
                "n": str(figure["n"]),
            }
