"""Phrases put into words, with synonyms and different word orders.

Conventions
-----------
Words are generic and English: no anatomy, whatever the phrase is later used for. Phrases are lower
case, without punctuation, and have at most `MAX_WORDS` words: `wording` may give a longer one, and
whoever asks decides whether to ask for another. Numbers go up to `MAX_NUMBER`.
"""

from __future__ import annotations

import numpy as np

from sam3_angio.scenes.phrases import ALL, LAST, Description, Part, PartKind, Phrase, Rank, Relation
from sam3_angio.scenes.truth import TUBE_NOUNS, Attribute, Noun, Side

Rng = np.random.Generator
MAX_WORDS = 12
MAX_NUMBER = 5

NOUN_WORDS: dict[Noun, tuple[str, ...]] = {
    "disc": ("disc", "filled circle"),
    "ring": ("ring", "hollow circle"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "bar": ("bar", "stick"),
    "cross": ("cross", "plus sign"),
    "ellipse": ("ellipse", "oval"),
    "shape": ("shape", "figure"),
    "straight line": ("straight line", "straight stroke"),
    "curve": ("curve", "curved line", "bent line"),
    "wavy line": ("wavy line", "wave", "wiggly line"),
    "line": ("line", "stroke"),
    "tube": ("tube", "pipe"),
    "branching tube": ("branching tube", "tree", "tree", "branched tube"),
    "plain tube": ("plain tube", "unbranched tube", "tube without branches"),
    "forked tube": ("forked tube", "forking tube", "tube with a fork"),
}
ADJECTIVES: dict[str, tuple[str, ...]] = {
    "dark": ("dark", "dark", "black"),
    "bright": ("bright", "bright", "white", "light"),
    "faint": ("faint", "pale", "weak"),
    "small": ("small", "little", "tiny"),
    "large": ("large", "big"),
    "thin": ("thin", "fine", "slender"),
    "thick": ("thick", "wide", "broad"),
    "short": ("short",),
    "long": ("long",),
    "horizontal": ("horizontal", "lying"),
    "vertical": ("vertical", "upright"),
    "diagonal": ("diagonal", "slanted"),
    "left": ("left",),
    "right": ("right",),
    "upper": ("upper", "upper", "top"),
    "lower": ("lower", "lower", "bottom"),
}
_OUTERMOST: dict[Side, tuple[str, ...]] = {
    "left": ("leftmost",),
    "right": ("rightmost",),
    "upper": ("topmost", "highest"),
    "lower": ("lowest", "bottommost"),
}
_EDGES: dict[Side, str] = {"left": "left", "right": "right", "upper": "top", "lower": "bottom"}
_RELATIONS: dict[Side, tuple[str, ...]] = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "upper": ("above", "over"),
    "lower": ("below", "under"),
}
_ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", LAST: "last"}
_CARDINALS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
_THIRDS: dict[PartKind, tuple[str, ...]] = {
    "beginning": ("beginning part", "beginning", "first part", "start", "first third"),
    "middle": ("middle part", "middle part", "middle", "middle third", "central part"),
    "end": ("end part", "end part", "end", "last part", "last third", "far end"),
}
_NARROWINGS = ("narrowing", "narrow spot", "narrow part", "pinched part")
_STRETCHES: dict[PartKind, tuple[str, ...]] = {
    "before": ("before the first branch", "up to the first branch", "before the side branches"),
    "after": ("after the last branch", "beyond the last branch", "past all branches"),
}
_ADJECTIVE_ORDERS: tuple[tuple[Attribute, ...], ...] = (
    ("length", "size", "width", "tone", "orientation"),
    ("tone", "orientation", "size", "length", "width"),
    ("orientation", "width", "size", "tone", "length"),
)


def _pick(rng: Rng, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _adjectives(rng: Rng, description: Description) -> list[str]:
    said = description.attributes
    order = _ADJECTIVE_ORDERS[int(rng.integers(len(_ADJECTIVE_ORDERS)))]
    return [_pick(rng, ADJECTIVES[said[name]]) for name in order if name in said]


def _place(rng: Rng, description: Description) -> list[str]:
    said = (value for value in (description.row, description.column) if value)
    return [_pick(rng, ADJECTIVES[value]) for value in said]


def _place_behind(rng: Rng, description: Description, place: list[str]) -> str:
    if description.row and description.column:
        return _pick(rng, ("in the", "at the")) + f" {place[0]} {place[1]}"
    if description.column:
        return _pick(rng, ("on the", "at the")) + f" {place[0]}"
    edge: Side = "upper" if description.row == "upper" else "lower"
    return f"at the {_EDGES[edge]}"


def _described(rng: Rng, description: Description, noun: str, *, behind: bool) -> str:
    """Put adjectives and place around a noun; the place before or behind it."""
    words = [*_adjectives(rng, description), noun]
    place = _place(rng, description)
    if place and behind:
        return " ".join([*words, _place_behind(rng, description, place)])
    return " ".join([*place, *words])


def _object(rng: Rng, description: Description) -> str:
    noun = _pick(rng, NOUN_WORDS[description.noun])
    text = _described(rng, description, noun, behind=bool(rng.random() < 0.4))
    if description.noun in TUBE_NOUNS and rng.random() < 0.3:
        return _pick(rng, ("whole", "entire")) + f" {text}"
    return text


def _rank(rng: Rng, rank: Rank) -> str:
    base = _described(rng, rank.base, _pick(rng, NOUN_WORDS[rank.base.noun]), behind=False)
    if rank.number == 1 and rng.random() < 0.6:
        return f"{_pick(rng, _OUTERMOST[rank.side])} {base}"
    return f"{_ORDINALS[rank.number]} {base} from the {_EDGES[rank.side]}"


def _relation(rng: Rng, relation: Relation) -> str:
    subject, reference = (
        _described(rng, one, _pick(rng, NOUN_WORDS[one.noun]), behind=False)
        for one in (relation.subject, relation.reference)
    )
    return f"{subject} {_pick(rng, _RELATIONS[relation.side])} the {reference}"


def _owner(rng: Rng, owner: Description, nouns: tuple[str, ...]) -> str:
    """Name the tube that a part belongs to."""
    words = nouns if owner.noun == "branching tube" else NOUN_WORDS[owner.noun]
    return _described(rng, owner, _pick(rng, words), behind=False)


def _of_owner(rng: Rng, part: Part, nouns: tuple[str, ...]) -> str:
    """Return " of the …" where the owner has attributes, else sometimes."""
    if not part.owner.attributes and rng.random() < 0.6:
        return ""
    return f" of the {_owner(rng, part.owner, nouns)}"


def _third(rng: Rng, part: Part) -> str:
    owner = _owner(rng, part.owner, ("trunk", "trunk", "tree"))
    name = _pick(rng, _THIRDS[part.part])
    return f"{owner} {name}" if rng.random() < 0.2 else f"{name} of the {owner}"


def _branch(rng: Rng, part: Part) -> str:
    noun = _pick(rng, ("side branch", "branch"))
    of_owner = _of_owner(rng, part, ("tree", "trunk"))
    if part.side is not None:
        side = _pick(rng, ADJECTIVES[part.side])
        ordinal = "" if part.number == ALL else f"{_ORDINALS[part.number]} "
        if rng.random() < 0.5:
            return f"{ordinal}{noun} on the {side} side{of_owner}"
        return f"{ordinal}{side} side branch{of_owner}"
    if part.number == ALL:
        return _pick(rng, ("side branch", "any side branch", "every side branch")) + of_owner
    if part.number in _CARDINALS and rng.random() < 0.2:
        number = _pick(rng, ("", "number ")) + _CARDINALS[part.number]
        return f"{noun} {number}{of_owner}"
    return f"{_ORDINALS[part.number]} {noun}{of_owner}"


def _fork(rng: Rng, part: Part) -> str:
    of_owner = _of_owner(rng, part, ("tree", "trunk"))
    if part.part == "fork":
        return _pick(rng, ("fork", "fork", "forking place")) + of_owner
    side = f"{_pick(rng, ADJECTIVES[part.side])} " if part.side else ""
    return side + _pick(rng, ("arm of the fork", "fork arm")) + of_owner


def _trunk(rng: Rng, owner: Description) -> str:
    if owner.noun == "branching tube":
        return _pick(rng, ("", "main ")) + _owner(rng, owner, ("trunk",))
    return f"trunk of the {_owner(rng, owner, ())}"


def _stretch(rng: Rng, part: Part) -> str:
    owner = _owner(rng, part.owner, ("trunk",))
    if part.part in _STRETCHES:
        return f"{owner} {_pick(rng, _STRETCHES[part.part])}"
    first, second = _ORDINALS[part.number], _ORDINALS[part.number + 1]
    joined = _pick(rng, ("the first and", "first and")).replace("first", first)
    return f"{owner} between {joined} {second} branch"


def _part(rng: Rng, part: Part) -> str:
    if part.part in _THIRDS:
        return _third(rng, part)
    if part.part == "branch":
        return _branch(rng, part)
    if part.part in ("fork", "arm"):
        return _fork(rng, part)
    if part.part == "narrowing":
        return _pick(rng, _NARROWINGS) + _of_owner(rng, part, ("trunk", "tree"))
    return _trunk(rng, part.owner) if part.part == "trunk" else _stretch(rng, part)


def wording(phrase: Phrase, rng: Rng) -> str:
    """Put a phrase into words.

    Examples
    --------
    >>> wording(Description(noun="triangle"), np.random.default_rng(0))
    'triangle'
    """
    if isinstance(phrase, Part):
        return _part(rng, phrase)
    if isinstance(phrase, Rank):
        return _rank(rng, phrase)
    if isinstance(phrase, Relation):
        return _relation(rng, phrase)
    return _object(rng, phrase)
