"""Phrases to ask of a scene: some that may well be true of it, some that probably are not.

Three kinds of false phrases: *hard* ones differ in one attribute, number, side or noun from a
phrase of the kind that is asked of this scene; *easy* ones are drawn without looking at it; and
*absent* ones name a class that the scene lacks. What is drawn here is only likely: whoever asks
checks it with `sam3_angio.scenes.phrases.answer`.

Conventions
-----------
Tubes are asked about most. A false phrase should not be told from a true one by its words alone,
so both are drawn with as many attributes and from the same words as far as that goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from sam3_angio.scenes.phrases import (
    ALL,
    LAST,
    Description,
    Part,
    PartKind,
    Phrase,
    Rank,
    Relation,
    describing,
    fits,
)
from sam3_angio.scenes.scene import Scene, Thing
from sam3_angio.scenes.truth import (
    LINE_NOUNS,
    SHAPE_NOUNS,
    TUBE_NOUNS,
    VALUES,
    Attribute,
    Noun,
    Side,
    attributes_of,
    has,
    lies,
    noun_fits,
)
from sam3_angio.scenes.wording import MAX_NUMBER

Rng = np.random.Generator
T = TypeVar("T")

SIDES: tuple[Side, ...] = ("left", "right", "upper", "lower")
_NOUN_GROUPS = (SHAPE_NOUNS, LINE_NOUNS, TUBE_NOUNS)
# what is asked of a tube, and how often
_WHOLE_SHARE = 0.24
_PART_SHARES: dict[PartKind, float] = {
    "beginning": 7,
    "middle": 7,
    "end": 7,
    "trunk": 4,
    "branch": 20,
    "fork": 10,
    "arm": 12,
    "narrowing": 12,
    "before": 3,
    "between": 5,
    "after": 3,
}
_PARTS = tuple(_PART_SHARES)
_PART_LIMITS = np.cumsum(list(_PART_SHARES.values())) / sum(_PART_SHARES.values())
_EVERY_TUBE_HAS: tuple[PartKind, ...] = ("beginning", "middle", "end", "trunk")
_TUBE_OWNERS: tuple[Noun, ...] = ("tube", "branching tube")


def _pick(rng: Rng, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


def _other(rng: Rng, options: Sequence[T], current: T | None) -> T:
    return _pick(rng, [option for option in options if option != current])


def _describe(rng: Rng, scene: Scene, thing: Thing, nouns: Sequence[Noun]) -> Description:
    """Describe a figure by a true noun and up to three of its true attributes."""
    fitting = [noun for noun in nouns if noun_fits(scene, thing, noun)]
    noun = _pick(rng, fitting or nouns)
    said: dict[Attribute, str] = {}
    attributes = attributes_of(noun)
    for index in rng.permutation(len(attributes)):
        if len(said) == 3 or rng.random() > 0.4:
            continue
        name = attributes[index]
        true = [value for value in VALUES[name] if has(scene, thing, name, value)]
        if true:
            said[name] = true[0]
    return describing(noun, said)


def _nouns_of(thing: Thing) -> tuple[Noun, ...]:
    if thing.tree is not None:
        return TUBE_NOUNS
    if thing.course is not None:
        return LINE_NOUNS
    # the hypernym is asked less often than the names
    return (*SHAPE_NOUNS[:-1], *SHAPE_NOUNS[:-1], *SHAPE_NOUNS)


def _tube_phrase(rng: Rng, scene: Scene, thing: Thing) -> Phrase:
    if rng.random() < _WHOLE_SHARE:
        return _describe(rng, scene, thing, TUBE_NOUNS)
    part = _PARTS[int(np.searchsorted(_PART_LIMITS[:-1], rng.random(), side="right"))]
    if part in ("fork", "arm", "narrowing") and not _has_part(thing, part):
        part = "branch"
    tubes = sum(other.tree is not None for other in scene.things)
    owner = Description(noun="branching tube" if rng.random() < 0.8 else "tube")
    if tubes > 1 or rng.random() < 0.6:
        owner = _describe(rng, scene, thing, [owner.noun])
    branches = len(thing.tree.branches) if thing.tree else 0
    return _numbered(rng, part, owner, max(branches, 1))


def _has_part(thing: Thing, part: PartKind) -> bool:
    tree = thing.tree
    return tree is not None and bool(tree.narrowings if part == "narrowing" else tree.fork)


def _numbered(rng: Rng, part: PartKind, owner: Description, branches: int) -> Part:
    """Make a part with a number and a side where it takes them."""
    number, side = ALL, None
    if part == "between":
        number = int(rng.integers(1, max(branches, 2)))
    elif part == "branch":
        numbers = [*range(1, branches + 1), *range(1, branches + 1), ALL, ALL, LAST]
        number = _pick(rng, numbers)
        if number != LAST and rng.random() < 0.35:
            side = _pick(rng, SIDES)
    elif part == "arm" and rng.random() < 0.7:
        side = _pick(rng, SIDES)
    return Part(part=part, owner=owner, number=number, side=side)


def _figure_phrase(rng: Rng, scene: Scene, thing: Thing) -> Phrase:
    description = _describe(rng, scene, thing, _nouns_of(thing))
    chance = rng.random()
    if chance < 0.6:
        return description
    if chance < 0.78:
        base = _brief(description)
        alike = sum(fits(scene, other, base) is True for other in scene.things)
        if alike > 1:
            number = int(rng.integers(1, min(alike, MAX_NUMBER) + 1))
            return Rank(base=base, number=number, side=_pick(rng, SIDES))
    neighbours = [
        (side, other)
        for other in _figures(scene)
        for side in SIDES
        if lies(scene, thing, side, other)
    ]
    if not neighbours:
        return description
    side, other = _pick(rng, neighbours)
    reference = _describe(rng, scene, other, _nouns_of(other))
    return Relation(
        subject=_brief(description),
        side=side,
        reference=replace(_brief(reference), tone=other.tone),
    )


def _figures(scene: Scene) -> list[Thing]:
    return [thing for thing in scene.things if thing.tree is None]


def _brief(description: Description) -> Description:
    """Keep what fits into one half of a relation: the noun and its tone."""
    return Description(noun=description.noun, tone=description.tone)


def phrase_about(rng: Rng, scene: Scene) -> Phrase:
    """Draw a phrase that may well be true; tubes are asked about most."""
    tubes = [thing for thing in scene.things if thing.tree is not None]
    figures = _figures(scene)
    if tubes and (not figures or rng.random() < 0.68):
        return _tube_phrase(rng, scene, _pick(rng, tubes))
    return _figure_phrase(rng, scene, _pick(rng, figures))


def _changed_description(rng: Rng, description: Description) -> Description:
    """Change one attribute, add one, or change the noun for another of its group."""
    said = description.attributes
    chance = rng.random()
    if said and chance < 0.6:
        name = _pick(rng, list(said))
        return describing(description.noun, {**said, name: _other(rng, VALUES[name], said[name])})
    if chance < 0.75:
        name = _pick(rng, attributes_of(description.noun))
        return describing(description.noun, {**said, name: _pick(rng, VALUES[name])})
    group = next(group for group in _NOUN_GROUPS if description.noun in group)
    noun = _other(rng, group, description.noun)
    kept = {name: value for name, value in said.items() if name in attributes_of(noun)}
    return describing(noun, kept)


def _changed_part(rng: Rng, part: Part) -> Phrase:
    """Change the number, the side, the owner, or the part."""
    chance = rng.random()
    if part.part == "branch" and chance < 0.65:
        if part.side is not None and chance < 0.35:
            return replace(part, side=_other(rng, SIDES, part.side))
        return replace(part, number=_other(rng, (1, 1, 2, 2, 2, 3, 3, 4, 5, ALL), part.number))
    if part.part == "between" and chance < 0.6:
        return replace(part, number=_other(rng, (1, 2, 3, 4), part.number))
    if chance < 0.8 or part.part in _EVERY_TUBE_HAS:
        # of these only those of a tube that is not there are false
        return replace(part, owner=_changed_owner(rng, part.owner))
    return _numbered(rng, _other(rng, _PARTS, part.part), part.owner, 4)


def _changed_owner(rng: Rng, owner: Description) -> Description:
    said = owner.attributes
    # a false phrase must not give itself away by having more attributes than the true ones
    name = _pick(rng, list(said) or attributes_of(owner.noun))
    return describing(owner.noun, {**said, name: _other(rng, VALUES[name], said.get(name))})


def _changed(rng: Rng, phrase: Phrase) -> Phrase:
    """Return a phrase that differs in one thing."""
    if isinstance(phrase, Description):
        return _changed_description(rng, phrase)
    if isinstance(phrase, Part):
        return _changed_part(rng, phrase)
    if isinstance(phrase, Relation):
        return _changed_relation(rng, phrase)
    if rng.random() < 0.5:
        return replace(phrase, number=_other(rng, (1, 2, 3, 3, 4, 5), phrase.number))
    return replace(phrase, base=_changed_description(rng, phrase.base))


def _changed_relation(rng: Rng, relation: Relation) -> Relation:
    """Change the side, the roles, or what is related."""
    chance = rng.random()
    if chance < 0.5:
        return replace(relation, side=_other(rng, SIDES, relation.side))
    if chance < 0.7:
        return Relation(subject=relation.reference, side=relation.side, reference=relation.subject)
    return replace(relation, subject=_brief(_changed_description(rng, relation.subject)))


def _any_description(rng: Rng, nouns: Sequence[Noun]) -> Description:
    noun = _pick(rng, nouns)
    said = {
        name: _pick(rng, VALUES[name])
        for name in attributes_of(noun)
        if rng.random() < 1.3 / len(attributes_of(noun))
    }
    return describing(noun, said)


def _any_phrase(rng: Rng) -> Phrase:
    """Draw a phrase without looking at any scene."""
    chance = rng.random()
    if chance < 0.45:
        return _any_description(rng, _pick(rng, _NOUN_GROUPS))
    if chance < 0.85:
        owner = Description(noun=_pick(rng, _TUBE_OWNERS))
        if rng.random() < 0.4:
            owner = _any_description(rng, [owner.noun])
        return _numbered(rng, _pick(rng, _PARTS), owner, 4)
    base, other = (_brief(_any_description(rng, SHAPE_NOUNS)) for _ in range(2))
    if chance < 0.92:
        return Rank(base=base, number=int(rng.integers(1, 4)), side=_pick(rng, SIDES))
    return Relation(subject=base, side=_pick(rng, SIDES), reference=other)


def _absent_class(rng: Rng, scene: Scene) -> Phrase:
    nouns = [
        noun
        for group in _NOUN_GROUPS
        for noun in group
        if all(noun_fits(scene, thing, noun) is False for thing in scene.things)
    ]
    return _any_description(rng, nouns or SHAPE_NOUNS)


def false_phrase(rng: Rng, scene: Scene) -> Phrase:
    """Draw a phrase that is probably false: hard, easy, or of an absent class."""
    chance = rng.random()
    if chance < 0.62:
        return _changed(rng, phrase_about(rng, scene))
    return _any_phrase(rng) if chance < 0.88 else _absent_class(rng, scene)
