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
from pathlib import Path

from sam3_angio.acquisition import ViewAngle
from sam3_angio.coco import ImageEntry
from sam3_angio.view_table import load_table

#: Asks the plain phrase.
SILENT = "{phrase}"


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


class ViewWording:
    """Asks a phrase together with the view that a frame is said to have.

    Every phrase of a frame is asked with the same view, whether it is there or not: the words
    about the view must not tell the answer.

    Parameters
    ----------
    table : str
        File of a :class:`~sam3_angio.view_table.ViewTable`.
    template : str
        Holds ``{phrase}`` and, to say the view, ``{view}``.
    round_deg : int
    """

    def __init__(self, *, table: str, template: str, round_deg: int) -> None:
        self._views = load_table(Path(table)).angles
        self._template = template
        self._round_deg = round_deg

    def __call__(self, image: ImageEntry, phrase: str) -> str:
        """Return what is asked of a frame."""
        view = spell_view(self._views[image.id], self._round_deg)
        return phrase_with_view(phrase, view, self._template)
