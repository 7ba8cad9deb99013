"""The prompts for lesions beside those for segments.

Where one segment a frame was analysed, a frame whose segment is free of lesions shows others
elsewhere: "stenosis" would be denied where there is one. The phrase that the labels decide names
the segment, "proximal LAD stenosis", and is asked of what was analysed; there the absence of a
lesion is known, and so a true negative. Where all lesions of a frame are labelled, a phrase without
a segment is as true.

Conventions
-----------
A lesion's annotation has the category of :data:`~sam3_angio.lesion_labels.LESION_CATEGORY`, 100. So
has the prompt without a segment; one with a segment has 100 and its CASS number. All else is as in
:mod:`sam3_angio.prompts`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from sam3_angio.anatomy import segments
from sam3_angio.coco import ImageEntry
from sam3_angio.lesion_labels import LESION_CATEGORY, asks_for_lesions, segment_of
from sam3_angio.prompts import Prompt, Questions, Segments, segment_numbers

#: What a phrase for lesions may hold, to be replaced by a segment's.
SEGMENT = "{segment}"


def lesion_prompts(phrase: str, numbers: Iterable[int]) -> tuple[Prompt, ...]:
    """Return the prompts for the lesions of segments, or the one for any lesion.

    Parameters
    ----------
    phrase : str
        Holds :data:`SEGMENT`, or is asked once, whatever the segments are.
    numbers : iterable of int
        CASS numbers.

    Examples
    --------
    >>> [(one.phrase, one.category_id) for one in lesion_prompts("{segment} stenosis", [12, 13])]
    [('proximal LAD stenosis', 112), ('mid LAD stenosis', 113)]
    >>> [(one.phrase, one.category_id) for one in lesion_prompts("stenosis", [12, 13])]
    [('stenosis', 100)]
    """
    if SEGMENT not in phrase:
        return (Prompt(phrase=phrase, category_id=LESION_CATEGORY.id),)
    return tuple(
        Prompt(
            phrase=phrase.replace(SEGMENT, segments()[number].phrase),
            category_id=LESION_CATEGORY.id + number,
        )
        for number in numbers
    )


class WithLesions:
    """The questions for segments, and those for lesions after them.

    Parameters
    ----------
    questions : Questions
        Those for segments; they are not told of lesions.
    phrase : str
        See :func:`lesion_prompts`.
    asked : {"analysed", "all"} or None
        Segments of the frame's artery that are asked for their lesions, whatever is annotated;
        None for the annotated ones alone, of which it is known.
    """

    def __init__(self, questions: Questions, *, phrase: str, asked: Segments | None = None) -> None:
        self._questions = questions
        self._phrase = phrase
        self._asked = () if asked is None else segment_numbers(asked)

    def __call__(
        self, image: ImageEntry, annotated: Collection[int], epoch: int
    ) -> tuple[Prompt, ...]:
        """Return the prompts of a frame in an epoch, the lesions' last."""
        named = {category for category in annotated if not asks_for_lesions(category)}
        own = {number for number in self._asked if segments()[number].artery == image.artery}
        return (
            *self._questions(image, named, epoch),
            *(
                replace(prompt, answer_id=LESION_CATEGORY.id)
                if segment_of(prompt.category_id) in named
                else prompt
                for prompt in lesion_prompts(self._phrase, sorted(named | own))
            ),
        )
