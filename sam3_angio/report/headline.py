"""The figures that stand for a run where many runs are compared: ``metrics/headline.json``.

It is what ``dvc exp show``, ``dvc metrics diff`` and VS Code's table of experiments show: few
columns with short names. Intervals, numbers and everything else are in the phases' own documents.

Conventions
-----------
Trees and diameters are against the truth where it is known, else against the pseudo-label and the
expert; names against the expert's segment. What was not scored, or is undefined, is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TREE = ("truth", "pseudo")
_LESION = ("truth", "expert")
_NAME = ("annotated",)

#: Name, document, the way to the figure in it, references of which the first known one counts, and
#: what of the figure.
_FIGURES = (
    ("tree_dice", "phase1", "dice", _TREE, "mean"),
    ("tree_cldice", "phase1", "cldice", _TREE, "mean"),
    ("tree_hd95_mm", "phase1", "hd95_mm", _TREE, "mean"),
    ("unet_dice", "baseline", "dice", _TREE, "mean"),
    ("name_top1", "phase2", "top1", _NAME, "mean"),
    ("name_dice", "phase2", "dice", _NAME, "mean"),
    ("name_recall", "phase2", "recall", _NAME, "mean"),
    ("name_false_positives", "phase2", "false_positives", ("pooled",), "mean"),
    ("view_text_top1", "phase3", "difference.text.none.top1", _NAME, "mean"),
    ("view_exemplar_top1", "phase3", "difference.exemplar.none.top1", _NAME, "mean"),
    ("view_embedding_top1", "phase3", "difference.embedding.none.top1", _NAME, "mean"),
    ("mld_bias_mm", "phase4", "mld_mm", _LESION, "bias.mean"),
    ("mld_sd_mm", "phase4", "mld_mm", _LESION, "sd.mean"),
    ("stenosis_sd_pct", "phase4", "stenosis_pct", _LESION, "sd.mean"),
)


def headline(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the figures by name.

    Parameters
    ----------
    documents : mapping
        The phases' documents by name, as `read_documents` gives them.

    Examples
    --------
    >>> found = headline({"phase1": {"dice": {"pseudo": {"mean": 0.8}}}})
    >>> found["tree_dice"], found["name_top1"]
    (0.8, None)
    """
    return {
        name: _figure(documents.get(document, {}), way, references, part)
        for name, document, way, references, part in _FIGURES
    }


def _figure(
    document: Mapping[str, Any], way: str, references: tuple[str, ...], part: str
) -> float | None:
    by_reference = _at(document, way) or {}
    known: Any = next((by_reference[name] for name in references if name in by_reference), {})
    value = _at(known, part)
    return None if value is None else float(value)


def _at(document: Any, way: str) -> Any:
    for key in way.split("."):
        if not isinstance(document, Mapping):
            return None
        document = document.get(key)
    return document
