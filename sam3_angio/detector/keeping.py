"""Which epoch of a training is the best, and when another one is not worth its time.

Conventions
-----------
A history is a list of epochs, each with its numbers by name; those that were followed by a
validation have scores, named ``val/...``. All is decided from the history alone, so a resumed
training decides as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: What a validation scores; each is between 0 and 1, and more is better.
SCORES = ("val/dice_semantic", "val/dice_instance", "val/presence_accuracy")

Record = Mapping[str, float]


def mean_score(record: Record) -> float:
    """Return the mean of an epoch's validation scores.

    Examples
    --------
    >>> scores = {"val/dice_semantic": 0.6, "val/dice_instance": 0.3, "val/presence_accuracy": 0.9}
    >>> round(mean_score(scores), 3)
    0.6
    """
    return sum(record[name] for name in SCORES) / len(SCORES)


def best_epoch(history: Sequence[Record]) -> int | None:
    """Return the place of the best validated epoch, the first of equals; None if there is none.

    Parameters
    ----------
    history : sequence of mapping
    """
    return max(_validated(history), key=lambda place: mean_score(history[place]), default=None)


def is_exhausted(history: Sequence[Record], patience: int) -> bool:
    """Whether so many validations in a row brought nothing better that a training ends.

    Parameters
    ----------
    history : sequence of mapping
    patience : int
        Validations without a better score that end it; 0 never ends it.
    """
    best = best_epoch(history)
    if not patience or best is None:
        return False
    return sum(place > best for place in _validated(history)) >= patience


def is_out_of_time(history: Sequence[Record], max_minutes: float) -> bool:
    """Whether a training ends because it took long enough; only after a validation.

    Parameters
    ----------
    history : sequence of mapping
        Each epoch's ``minutes`` are those since the start, over all resumptions.
    max_minutes : float
        0 never ends it.

    Examples
    --------
    >>> epochs = [{"minutes": 4.0, "val/dice_semantic": 0.5}, {"minutes": 8.0}]
    >>> is_out_of_time(epochs[:1], 3.5), is_out_of_time(epochs, 3.5), is_out_of_time(epochs, 0)
    (True, False, False)
    """
    if not max_minutes or not history or SCORES[0] not in history[-1]:
        return False
    return history[-1]["minutes"] >= max_minutes


def _validated(history: Sequence[Record]) -> list[int]:
    return [place for place, record in enumerate(history) if SCORES[0] in record]
