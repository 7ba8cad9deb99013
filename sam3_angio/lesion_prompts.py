"""The prompt "stenosis" beside those for segments.

It is asked of every frame: where there is no lesion, its absence is known and so a true negative.
Conventions are those of :mod:`sam3_angio.prompts`.
"""

from __future__ import annotations

from collections.abc import Collection

from sam3_angio.coco import ImageEntry
from sam3_angio.lesion_labels import LESION_CATEGORY
from sam3_angio.prompts import Prompt, Questions

LESION_PROMPT = Prompt(phrase=LESION_CATEGORY.name, category_id=LESION_CATEGORY.id)


class WithLesions:
    """The questions for segments, and the one for lesions.

    Parameters
    ----------
    questions : Questions
        Those for segments; they are not told of lesions.
    """

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    def __call__(
        self, image: ImageEntry, annotated: Collection[int], epoch: int
    ) -> tuple[Prompt, ...]:
        """Return the prompts of a frame in an epoch, the lesion's last."""
        named = {category for category in annotated if category != LESION_CATEGORY.id}
        return (*self._questions(image, named, epoch), LESION_PROMPT)
