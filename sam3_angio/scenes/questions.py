"""Questions to a scene: phrases that are true of it with their masks, and phrases that are false.

Each phrase is checked against the scene's description; one that the scene leaves undecided is not
asked.

Conventions
-----------
A query's masks are one an instance; a phrase that is false has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sam3_angio.scenes.phrases import Description, Family, Phrase, answer, family_of
from sam3_angio.scenes.raster import mask_of
from sam3_angio.scenes.sampling import false_phrase, phrase_about
from sam3_angio.scenes.scene import Scene, draw_scene
from sam3_angio.scenes.truth import LINE_NOUNS, SHAPE_NOUNS, TUBE_NOUNS
from sam3_angio.scenes.tubes import REFERENCE_SIZE_PX
from sam3_angio.scenes.wording import MAX_WORDS, wording

Rng = np.random.Generator
#: What is asked: bare nouns ("ring", "tree"), for a beginner, or all kinds of phrases.
Lesson = Literal["nouns", "all"]

_NOUNS = (*SHAPE_NOUNS, *LINE_NOUNS, *TUBE_NOUNS)
_MIN_AREA_PX = 14.0
_ATTEMPTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneQuery:
    """A phrase and what it names.

    Attributes
    ----------
    phrase : str
    masks : tuple of (S, S) ndarray of bool
        One an instance; none when the phrase is false of the scene.
    present : bool
    family : Family
        What kind of thing is asked for, to break scores down by.
    """

    phrase: str
    masks: tuple[NDArray[np.bool_], ...]
    present: bool
    family: Family


def _asked(rng: Rng, scene: Scene, phrase: Phrase, *, present: bool) -> SceneQuery | None:
    """Make a query of a phrase, or None where its answer is not the wanted one."""
    found = answer(scene, phrase)
    if found is None or bool(found) != present:
        return None
    masks = tuple(mask_of(patches, scene.size_px) for patches in found)
    least_px = _MIN_AREA_PX * (scene.size_px / REFERENCE_SIZE_PX) ** 2
    if any(np.count_nonzero(mask) < least_px for mask in masks):
        return None
    words = wording(phrase, rng)
    if len(words.split()) > MAX_WORDS:
        return None
    return SceneQuery(phrase=words, masks=masks, present=present, family=family_of(phrase))


def _collect(
    rng: Rng, scene: Scene, draw: Callable[[Rng, Scene], Phrase], count: int, *, present: bool
) -> list[SceneQuery]:
    """Ask until `count` different phrases are found, with a limit on the attempts."""
    found: dict[Phrase, SceneQuery] = {}
    for _ in range(_ATTEMPTS * count):
        if len(found) == count:
            break
        phrase = draw(rng, scene)
        if phrase in found:
            continue
        query = _asked(rng, scene, phrase, present=present)
        if query is not None:
            found[phrase] = query
    return list(found.values())


def queries(scene: Scene, rng: Rng, n_positive: int, n_negative: int) -> tuple[SceneQuery, ...]:
    """Draw true and false phrases of a scene.

    Parameters
    ----------
    scene : Scene
    rng : Generator
    n_positive, n_negative : int
        At most so many of each, the true ones first; a poor scene may give fewer true ones.

    Returns
    -------
    tuple of SceneQuery
        No two of one kind mean the same.
    """
    return (
        *_collect(rng, scene, phrase_about, n_positive, present=True),
        *_collect(rng, scene, false_phrase, n_negative, present=False),
    )


def noun_queries(
    scene: Scene, rng: Rng, n_positive: int, n_negative: int
) -> tuple[SceneQuery, ...]:
    """Draw bare nouns that name something in a scene, and such that name nothing in it.

    Parameters and result are those of `queries`.
    """
    order = [Description(noun=_NOUNS[place]) for place in rng.permutation(len(_NOUNS))]
    found: list[SceneQuery] = []
    for present, count in ((True, n_positive), (False, n_negative)):
        asked = (_asked(rng, scene, phrase, present=present) for phrase in order)
        found.extend(islice((query for query in asked if query is not None), count))
    return tuple(found)


def scene_queries(
    seed: int, size_px: int, n_positive: int, n_negative: int, lesson: Lesson = "all"
) -> tuple[Scene, tuple[SceneQuery, ...]]:
    """Draw scene number `seed` with its queries: the same for ever.

    Parameters
    ----------
    seed, size_px : int
        As in `sam3_angio.scenes.scene.draw_scene`.
    n_positive, n_negative : int
        As in `queries`.
    lesson : {"nouns", "all"}
        What kinds of phrases are asked.

    See Also
    --------
    sam3_angio.scenes.scene.draw_scene : what may be raised.
    """
    scene = draw_scene(seed, size_px)
    rng = np.random.default_rng([seed, 1])
    draw = noun_queries if lesson == "nouns" else queries
    return scene, draw(scene, rng, n_positive, n_negative)
