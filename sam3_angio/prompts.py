"""What the detector is asked about a frame, and what it is told is not there.

A prompt is a phrase and the category whose masks answer it. Category ids are those of the COCO
documents: 1 for the whole vessel tree, else a segment's CASS number; 0 is nothing's.

Questions are drawn for training, fixed for the validations in between, and complete for the
predictions. The objects here are named in the packaged configurations; each is called with a
frame, the categories that are annotated in it, and the epoch.

Which phrases are absent
------------------------
Where one segment a frame is labelled, the absence of a label says nothing. Of the policies for
negatives (:data:`Policy`) only ``other_artery`` is then always true: one injection shows one
artery. ``similar`` (the neighbours of what is annotated) and ``all`` (every segment that is not
annotated) also deny segments that are visible, and so teach which segment is the analysed one.
Where every visible segment is labelled all of them are true.

Truth is meant by CASS number. The left coronary artery of a left-dominant heart ends in a
posterior descending artery, which is number 27 with a phrase of its own; number 4 is the right
artery's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, Protocol

import numpy as np

from sam3_angio.anatomy import TREE_PHRASE, Artery, analysed_segments, segments
from sam3_angio.coco import ImageEntry

TREE_CATEGORY = 1
NO_CATEGORY = 0

#: How segments are chosen whose phrases are asked as negatives.
Policy = Literal["none", "similar", "other_artery", "similar+other_artery", "all"]
#: Which segments are asked for: those that core laboratories analyse, or all of the CASS map.
Segments = Literal["analysed", "all"]

# Keep these draws apart from each other and from those of the augmentation.
_TRAINING, _VALIDATION = 7001, 7002
_NEGATIVES_IN_VALIDATION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A phrase to ask a frame for.

    Attributes
    ----------
    phrase : str
        What is meant, in plain words.
    category_id : int
        What is asked for.
    asked : str or None
        Words for the text encoder where they are others than the phrase.
    certain : bool
        Whether a frame without an annotation that answers it does not show it.
    answer_id : int or None
        Category of the annotations that answer it, where that is not its own.
    """

    phrase: str
    category_id: int
    asked: str | None = None
    certain: bool = True
    answer_id: int | None = None

    @property
    def answer_category(self) -> int:
        """Category of the annotations that answer it; a frame without any does not show it."""
        return self.category_id if self.answer_id is None else self.answer_id

    @property
    def text(self) -> str:
        """Words for the text encoder."""
        return self.phrase if self.asked is None else self.asked


class Questions(Protocol):
    """Chooses the prompts of a frame."""

    def __call__(
        self, image: ImageEntry, annotated: Collection[int], epoch: int
    ) -> tuple[Prompt, ...]:
        """Return the prompts of a frame, the annotated ones first.

        Parameters
        ----------
        image : ImageEntry
        annotated : collection of int
            Categories with an annotation in the frame.
        epoch : int
        """


class Wording(Protocol):
    """Puts a phrase into the words that the text encoder is given."""

    def __call__(self, image: ImageEntry, phrase: str) -> str:
        """Return what is asked of a frame, given the plain phrase."""


def segment_prompt(number: int) -> Prompt:
    """Return the prompt of a segment.

    Examples
    --------
    >>> segment_prompt(12).phrase
    'proximal LAD'
    """
    return Prompt(phrase=segments()[number].phrase, category_id=number)


def segment_numbers(which: Segments) -> tuple[int, ...]:
    """Return the CASS numbers that are asked for, ascending."""
    return analysed_segments() if which == "analysed" else tuple(segments())


def similar_segments(annotated: Iterable[int], asked: Sequence[int]) -> tuple[int, ...]:
    """Return the segments that are easily mistaken for annotated ones, ascending.

    Examples
    --------
    >>> similar_segments([13], analysed_segments())
    (12, 14, 15)
    """
    marked = frozenset(annotated)
    near = {number for mark in marked for number in segments()[mark].similar}
    return tuple(number for number in asked if number in near - marked)


def other_artery_segments(
    artery: Artery, annotated: Collection[int], asked: Sequence[int]
) -> tuple[int, ...]:
    """Return the segments that an injection of `artery` does not show, ascending.

    Examples
    --------
    >>> other_artery_segments("LCA", [13], analysed_segments())
    (1, 2, 3, 4)
    """
    return tuple(
        number
        for number in asked
        if segments()[number].artery != artery and number not in annotated
    )


def negative_pools(
    policy: Policy, artery: Artery, annotated: Collection[int], asked: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """Return the groups of segments that negatives are drawn from, in turns.

    Parameters
    ----------
    policy : Policy
    artery : {"RCA", "LCA"}
        Of the frame.
    annotated : collection of int
    asked : sequence of int
        All segments that are asked for anywhere.
    """
    similar = similar_segments(annotated, asked)
    other = other_artery_segments(artery, annotated, asked)
    rest = tuple(number for number in asked if number not in annotated)
    pools: dict[Policy, tuple[tuple[int, ...], ...]] = {
        "none": (),
        "similar": (similar,),
        "other_artery": (other,),
        "similar+other_artery": (similar, other),
        "all": (rest,),
    }
    return pools[policy]


def times(rate: float, rng: np.random.Generator) -> int:
    """Return how many to draw this time: a rate of 1.5 is one and two in turns, at random.

    A whole rate draws nothing from `rng`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> times(2, rng), sum(times(0.25, rng) for _ in range(1000))
    (2, 231)
    """
    whole = int(rate)
    return whole + int(rate > whole and rng.random() < rate - whole)


def draw_in_turns(
    pools: Sequence[Sequence[int]], count: int, rng: np.random.Generator
) -> tuple[int, ...]:
    """Draw from shuffled pools in turns, without repetition, until `count` or nothing is left.

    Examples
    --------
    >>> draw_in_turns([[1], [12, 13]], 2, np.random.default_rng(0))[0]
    1
    """
    shuffled = [[int(number) for number in rng.permutation(pool)] for pool in pools]
    turns = (number for turn in zip_longest(*shuffled) for number in turn if number is not None)
    return tuple(dict.fromkeys(turns))[:count]


def _annotated_prompts(annotated: Iterable[int]) -> Iterator[Prompt]:
    return (segment_prompt(number) for number in sorted(annotated))


class TreeQuestions:
    """The one question of Phase 1: the whole vessel tree."""

    def __call__(
        self, image: ImageEntry, annotated: Collection[int], epoch: int
    ) -> tuple[Prompt, ...]:
        """Return the prompt of the tree."""
        del image, annotated, epoch
        return (Prompt(phrase=TREE_PHRASE, category_id=TREE_CATEGORY),)


class TrainingQuestions:
    """What is annotated, and negatives drawn anew in each epoch.

    What is drawn depends on seed, epoch and frame alone, so a resumed training draws the same.

    Parameters
    ----------
    asked : {"analysed", "all"}
        Segments that are asked for.
    policy : Policy
    per_image : float
        Segments that are asked for as negatives, at most and on average (see :func:`times`).
    phrases : sequence of str
        Phrases that name nothing in any frame.
    phrases_per_image : float
        How many of them are asked, on average.
    seed : int
    """

    def __init__(
        self,
        *,
        asked: Segments,
        policy: Policy,
        per_image: float,
        phrases: Sequence[str],
        phrases_per_image: float,
        seed: int,
    ) -> None:
        self._asked = segment_numbers(asked)
        self._policy: Policy = policy
        self._per_image = per_image
        self._phrases = tuple(phrases)
        self._phrases_per_image = phrases_per_image
        self._seed = seed

    def __call__(
        self, image: ImageEntry, annotated: Collection[int], epoch: int
    ) -> tuple[Prompt, ...]:
        """Return the prompts of a frame in an epoch."""
        rng = np.random.default_rng([_TRAINING, self._seed, epoch, image.id])
        pools = negative_pools(self._policy, image.artery, annotated, self._asked)
        absent = draw_in_turns(pools, times(self._per_image, rng), rng)
        strange = rng.permutation(len(self._phrases))[: times(self._phrases_per_image, rng)]
        return (
            *_annotated_prompts(annotated),
            *(segment_prompt(number) for number in absent),
            *(Prompt(phrase=self._phrases[k], category_id=NO_CATEGORY) for k in strange),
        )


class ValidationQuestions:
    """What is annotated, and two segments of the other artery: few, true, the same each time.

    They are the same whatever negatives are trained with, so that curves compare.

    Parameters
    ----------
    asked : {"analysed", "all"}
    """

    def __init__(self, *, asked: Segments) -> None:
        self._asked = segment_numbers(asked)

    def __call__(
        self, image: ImageEntry, annotated: Collection[int], epoch: int
    ) -> tuple[Prompt, ...]:
        """Return the prompts of a frame, the same in all epochs."""
        del epoch
        rng = np.random.default_rng([_VALIDATION, image.id])
        other = other_artery_segments(image.artery, annotated, self._asked)
        absent = draw_in_turns([other], _NEGATIVES_IN_VALIDATION, rng)
        return (*_annotated_prompts(annotated), *(segment_prompt(number) for number in absent))


class AllQuestions:
    """Every segment, and phrases that name nothing in any frame.

    Parameters
    ----------
    asked : {"analysed", "all"}
    wrong : sequence of str
    """

    def __init__(self, *, asked: Segments, wrong: Sequence[str]) -> None:
        self._prompts = (
            *(segment_prompt(number) for number in segment_numbers(asked)),
            *(Prompt(phrase=phrase, category_id=NO_CATEGORY) for phrase in wrong),
        )

    def __call__(
        self, image: ImageEntry, annotated: Collection[int], epoch: int
    ) -> tuple[Prompt, ...]:
        """Return the prompts, the same for all frames."""
        del image, annotated, epoch
        return self._prompts
