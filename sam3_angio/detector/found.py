"""What a detector said about one frame, in plain arrays: the record that others work with.

Conventions
-----------
Masks are ``[row, column]`` at the frame's own size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam3_angio.prompts import Prompt

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredMask:
    """One instance.

    Attributes
    ----------
    score : float
        Presence of the phrase times the instance's own score, 0 to 1.
    mask : (R, C) ndarray of bool
    """

    score: float
    mask: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhraseAnswer:
    """The answer to one phrase.

    Attributes
    ----------
    prompt : Prompt
    presence : float
        Probability that the phrase is in the picture.
    instances : tuple of ScoredMask
        Best first, without a threshold; some may be empty.
    semantic : (R, C) ndarray of bool
        Mask of the semantic head.
    """

    prompt: Prompt
    presence: float
    instances: tuple[ScoredMask, ...]
    semantic: BoolArray
