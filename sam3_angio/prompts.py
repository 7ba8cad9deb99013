"""What the detector is asked about a frame.

A prompt is a phrase and the category whose masks answer it. Category ids are those of the COCO
documents: 1 for the whole vessel tree, else a segment's CASS number.
"""

from __future__ import annotations

from dataclasses import dataclass

from sam3_angio.anatomy import TREE_PHRASE

TREE_CATEGORY = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A phrase to ask a frame for.

    Attributes
    ----------
    phrase : str
        Words for the text encoder.
    category_id : int
        Category of the annotations that answer it; a frame without any does not show it.
    """

    phrase: str
    category_id: int


def tree_prompts() -> tuple[Prompt, ...]:
    """Return the one prompt of Phase 1, the whole vessel tree."""
    return (Prompt(phrase=TREE_PHRASE, category_id=TREE_CATEGORY),)
