"""Other segments of the injected artery, of which one thing is known: where they are not.

Where one segment a frame is labelled, nobody can say whether another segment of that artery is in
the picture. That it is not where the labelled one is, is certain. A *rival* is such a segment,
asked as a prompt that is not certain: its mask must leave the label alone, and it counts as absent
with a small weight.

The weight
----------
Rivals are drawn as often as they are labelled in the frames of that artery. Of a segment that is in
the picture, labels and draws then stand in the ratio of one to the weight, which lowers the
presence of all such segments alike; a segment that is out of the picture is drawn and never
labelled. This is learning from positive and unlabelled examples.

References
----------
Elkan and Noto, Learning classifiers from only positive and unlabeled data, KDD 2008,
doi:10.1145/1401890.1401920.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

from sam3_angio.anatomy import Artery, segments
from sam3_angio.coco import Document, ImageEntry, load_document
from sam3_angio.prompts import (
    Prompt,
    Questions,
    Segments,
    segment_numbers,
    segment_prompt,
    times,
)

# Keeps these draws apart from those of the other questions.
_STREAM = 7004


def label_frequencies(document: Document, asked: Collection[int]) -> dict[Artery, dict[int, float]]:
    """Return how often each segment is labelled, as shares of its artery's labels.

    Parameters
    ----------
    document : Document
        Frames with labelled segments.
    asked : collection of int
        Segments that count.
    """
    counts = Counter(mark.category_id for mark in document.annotations)
    shares: dict[Artery, dict[int, float]] = {}
    for artery in get_args(Artery):
        own = {n: counts[n] for n in asked if segments()[n].artery == artery and counts[n]}
        shares[artery] = {number: count / sum(own.values()) for number, count in own.items()}
    return shares


def draw_rivals(
    frequencies: Mapping[int, float],
    others: Collection[int],
    count: int,
    rng: np.random.Generator,
) -> tuple[int, ...]:
    """Draw segments in proportion to their frequencies, without repetition.

    Parameters
    ----------
    frequencies : mapping
        Of the labels of the injected artery.
    others : collection of int
        Segments that are asked for already.
    count : int
        How many, at most.
    rng : numpy.random.Generator

    Examples
    --------
    >>> draw_rivals({12: 0.5, 13: 0.5}, [12], 2, np.random.default_rng(0))
    (13,)
    """
    left = {number: share for number, share in frequencies.items() if number not in others}
    if not left:
        return ()
    odds = np.array(list(left.values()))
    drawn = rng.choice(list(left), min(count, len(left)), replace=False, p=odds / odds.sum())
    return tuple(drawn.tolist())


class WithRivals:
    """Other questions, and rivals of what is annotated.

    What is drawn depends on seed, epoch and frame alone, so a resumed training draws the same.

    Parameters
    ----------
    questions : Questions
    asked : {"analysed", "all"}
        Segments that are asked for.
    document_path : str
        The training frames' labels, which say how often a rival is drawn.
    per_image : float
        How many are asked, at most and on average (see :func:`~sam3_angio.prompts.times`).
    seed : int
    """

    def __init__(
        self,
        *,
        questions: Questions,
        asked: Segments,
        document_path: str,
        per_image: float,
        seed: int,
    ) -> None:
        self._questions = questions
        self._frequencies = label_frequencies(
            load_document(Path(document_path)), segment_numbers(asked)
        )
        self._per_image = per_image
        self._seed = seed

    def __call__(
        self, image: ImageEntry, annotated: Collection[int], epoch: int
    ) -> tuple[Prompt, ...]:
        """Return the other questions' prompts of a frame in an epoch, then its rivals."""
        prompts = self._questions(image, annotated, epoch)
        others = {prompt.category_id for prompt in prompts}
        rng = np.random.default_rng([_STREAM, self._seed, epoch, image.id])
        count = times(self._per_image, rng)
        drawn = draw_rivals(self._frequencies[image.artery], others, count, rng)
        return (*prompts, *(replace(segment_prompt(number), certain=False) for number in drawn))
