"""Phrases that name nothing in an angiogram, drawn anew each time.

A model that has heard "proximal LAD" and a dozen wrong phrases tells those apart by their words and
believes every other phrase. What is drawn here is open: everyday things (``unrelated.csv``) and
words that do not exist, alone or behind a modifier of the segments' own phrases ("proximal
umbrella"), so that the modifier alone is no evidence. No thing in the table is anatomy, equipment
of the laboratory, a shape, or thin and branching.

Conventions
-----------
Phrases are lower case. Their last word is never a word of a segment's phrase.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from functools import cache
from importlib import resources

import numpy as np

from sam3_angio.anatomy import TREE_PHRASE, segments
from sam3_angio.coco import ImageEntry
from sam3_angio.prompts import NO_CATEGORY, Prompt, Questions, times

_EXISTS = 0.75
_MODIFIED = 0.5
# Keep these draws apart from those of the other questions.
_STREAM = 7003
_ONSETS = (
    "b",
    "bl",
    "br",
    "d",
    "dr",
    "f",
    "fl",
    "fr",
    "g",
    "gl",
    "gr",
    "k",
    "kl",
    "kr",
    "m",
    "n",
    "p",
    "pl",
    "pr",
    "s",
    "sk",
    "sl",
    "t",
    "tr",
    "v",
    "w",
    "z",
)
_VOWELS = ("a", "e", "i", "o", "u", "ee", "oo")  # fmt: skip
_CODAS = (
    "b",
    "d",
    "ft",
    "g",
    "k",
    "lk",
    "lp",
    "m",
    "mp",
    "n",
    "nk",
    "p",
    "rf",
    "rp",
    "sk",
    "t",
    "x",
    "zz",
)


@cache
def unrelated_nouns() -> tuple[str, ...]:
    """Return the everyday things of the packaged table, in its order."""
    text = resources.files("sam3_angio").joinpath("unrelated.csv").read_text(encoding="utf-8")
    return tuple(row["noun"] for row in csv.DictReader(text.splitlines()))


@cache
def anatomical_words() -> frozenset[str]:
    """Return every word of a segment's phrase and of the tree's, in lower case."""
    phrases = (TREE_PHRASE, *(segment.phrase for segment in segments().values()))
    return frozenset(word.lower() for phrase in phrases for word in phrase.split())


@cache
def modifiers() -> tuple[str, ...]:
    """Return the words that stand before the last one of a segment's phrase, sorted.

    Examples
    --------
    >>> "proximal" in modifiers(), "LAD" in modifiers()
    (True, False)
    """
    words = (segment.phrase.split()[:-1] for segment in segments().values())
    return tuple(sorted({word for phrase in words for word in phrase}))


def words_of(phrases: Collection[str]) -> frozenset[str]:
    """Return the words of phrases, in lower case."""
    return frozenset(word.lower() for phrase in phrases for word in phrase.split())


def invented_word(rng: np.random.Generator) -> str:
    """Return a syllable that can be spoken and hardly means anything.

    Examples
    --------
    >>> invented_word(np.random.default_rng(1))
    'klorp'
    """
    return "".join(_one_of(sounds, rng) for sounds in (_ONSETS, _VOWELS, _CODAS))


def _one_of(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def draw_unrelated(count: int, never: Collection[str], rng: np.random.Generator) -> tuple[str, ...]:
    """Draw phrases that name nothing in an angiogram, without repetition.

    Parameters
    ----------
    count : int
        At most 100.
    never : collection of str
        Words, in lower case, that no phrase may end with: those that the scores hold out.
    rng : numpy.random.Generator

    Returns
    -------
    tuple of str
        Three in four name a thing, the others are invented; half of them have a modifier.
    """
    drawn: dict[str, None] = {}
    while len(drawn) < count:
        exists = rng.random() < _EXISTS
        word = _one_of(unrelated_nouns(), rng) if exists else invented_word(rng)
        before = f"{_one_of(modifiers(), rng)} " if rng.random() < _MODIFIED else ""
        if word not in never and word not in anatomical_words():
            drawn[f"{before}{word}"] = None
    return tuple(drawn)


class WithUnrelated:
    """Other questions, and phrases besides that name nothing in any frame.

    What is drawn depends on seed, epoch and frame alone, so a resumed training draws the same.

    Parameters
    ----------
    questions : Questions
    per_image : float
        How many phrases are drawn for a frame, on average (see :func:`~sam3_angio.prompts.times`).
    held_out : sequence of str
        Phrases whose words no drawn phrase ends with: those that the scores ask for.
    seed : int
    """

    def __init__(
        self, *, questions: Questions, per_image: float, held_out: Sequence[str], seed: int
    ) -> None:
        self._questions = questions
        self._per_image = per_image
        self._never = words_of(held_out)
        self._seed = seed

    def __call__(
        self, image: ImageEntry, annotated: Collection[int], epoch: int
    ) -> tuple[Prompt, ...]:
        """Return the other questions' prompts of a frame in an epoch, then the drawn ones."""
        prompts = self._questions(image, annotated, epoch)
        rng = np.random.default_rng([_STREAM, self._seed, epoch, image.id])
        # The fixed phrases are among the others' prompts: none may be asked twice.
        never = self._never | words_of([prompt.phrase for prompt in prompts])
        return (
            *prompts,
            *(
                Prompt(phrase=phrase, category_id=NO_CATEGORY)
                for phrase in draw_unrelated(times(self._per_image, rng), never, rng)
            ),
        )
