"""The view angle in words: "RAO 30 cranial 20", as a part of what the detector is asked.

Source: how cardiologists name views; signs are DICOM's (PS3.3 C.8.7.5.1.2) by way of
:class:`~sam3_angio.acquisition.ViewAngle`.

Conventions
-----------
Angles are rounded to a step, halves away from the middle, so that RAO and LAO round alike. An
angle that rounds to zero is not said; without a primary angle the view is "AP", anteroposterior.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

from sam3_angio.acquisition import ViewAngle
from sam3_angio.coco import ImageEntry
from sam3_angio.prompts import Prompt, Questions

#: What a template must hold, each once.
PLACEHOLDERS = ("{phrase}", "{view}")


def spell_view(view: ViewAngle, round_deg: int) -> str:
    """Return a view in words.

    Parameters
    ----------
    view : ViewAngle
    round_deg : int
        Step to which both angles are rounded.

    Examples
    --------
    >>> spell_view(ViewAngle(primary_deg=-29.8, secondary_deg=20.4), 10)
    'RAO 30 cranial 20'
    >>> spell_view(ViewAngle(primary_deg=2.0, secondary_deg=-25.0), 10)
    'AP caudal 30'
    """
    side = _rounded(view.primary_deg, round_deg)
    tilt = _rounded(view.secondary_deg, round_deg)
    first = f"{'LAO' if side > 0 else 'RAO'} {abs(side)}" if side else "AP"
    second = f" {'cranial' if tilt > 0 else 'caudal'} {abs(tilt)}" if tilt else ""
    return first + second


def _rounded(angle_deg: float, step_deg: int) -> int:
    size = step_deg * math.floor(abs(angle_deg) / step_deg + 0.5)
    return size if angle_deg > 0 else -size


def phrase_with_view(phrase: str, view: str, template: str) -> str:
    """Return what is asked: a template with the phrase and the view put in.

    Examples
    --------
    >>> phrase_with_view("proximal LAD", "RAO 30 cranial 20", "{phrase}, {view}")
    'proximal LAD, RAO 30 cranial 20'
    """
    before, _, after = template.partition("{phrase}")
    return before.replace("{view}", view) + phrase + after.replace("{view}", view)


class ViewQuestions:
    """Questions that also say the view.

    Every phrase of a frame is asked with the same view, whether it is there or not: the words
    about the view must not tell the answer.

    Parameters
    ----------
    questions : Questions
        Chooses the phrases.
    views : mapping of int to ViewAngle
        What is said of each frame, by the image's id.
    template : str
        Holds ``{phrase}`` and ``{view}``.
    round_deg : int
    """

    def __init__(
        self,
        *,
        questions: Questions,
        views: Mapping[int, ViewAngle],
        template: str,
        round_deg: int,
    ) -> None:
        self._questions = questions
        self._views = views
        self._template = template
        self._round_deg = round_deg

    def __call__(
        self, image: ImageEntry, annotated: Collection[int], epoch: int
    ) -> tuple[Prompt, ...]:
        """Return the prompts of a frame, in the words that tell its view."""
        view = spell_view(self._views[image.id], self._round_deg)
        return tuple(
            replace(prompt, asked=phrase_with_view(prompt.phrase, view, self._template))
            for prompt in self._questions(image, annotated, epoch)
        )
