"""What can be said of a scene: descriptions of figures and of tubes' parts.

A phrase is kept as a record of what it means; `answer` finds the figures that it names in a scene,
or None where the scene leaves that to taste. `sam3_angio.scenes.wording` puts it into words.

Conventions
-----------
Places are relative to the picture. Branches are counted from the trunk's wide end; a fork's arms
and branches of branches are no side branches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sam3_angio.scenes.raster import Patches
from sam3_angio.scenes.scene import Scene, Thing
from sam3_angio.scenes.truth import (
    LINE_NOUNS,
    SHAPE_NOUNS,
    Attribute,
    Noun,
    Side,
    Truth,
    all_of,
    arm_side,
    branch_side,
    has,
    lies,
    noun_fits,
)
from sam3_angio.scenes.tubes import Course, Tree, course_patches

Rng = np.random.Generator
Answer = tuple[Patches, ...] | None
PartKind = Literal[
    "beginning", "middle", "end", "trunk", "branch", "fork", "arm", "narrowing",
    "before", "between", "after",
]  # fmt: skip
Family = Literal[
    "shape", "line", "tube", "rank", "relation",
    "third", "trunk", "branch", "fork", "narrowing", "stretch",
]  # fmt: skip

ALL, LAST = 0, -1
_RANK_MARGIN = 0.05
_SHORTEST_STRETCH = 0.04
_ALONG_TRUNK: dict[PartKind, tuple[float, float]] = {
    "trunk": (0.0, 1.0),
    "beginning": (0.0, 1 / 3),
    "middle": (1 / 3, 2 / 3),
    "end": (2 / 3, 1.0),
}
_PLAIN_TUBES_HAVE: tuple[PartKind, ...] = (*_ALONG_TRUNK, "narrowing")
_FAMILIES: dict[PartKind, Family] = {
    "beginning": "third",
    "middle": "third",
    "end": "third",
    "trunk": "trunk",
    "branch": "branch",
    "fork": "fork",
    "arm": "fork",
    "narrowing": "narrowing",
    "before": "stretch",
    "between": "stretch",
    "after": "stretch",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A noun with attributes: "small dark disc in the upper left"."""

    noun: Noun
    tone: str | None = None
    size: str | None = None
    width: str | None = None
    length: str | None = None
    orientation: str | None = None
    column: str | None = None
    row: str | None = None

    @property
    def attributes(self) -> dict[Attribute, str]:
        """The attributes that are said."""
        said: dict[Attribute, str | None] = {
            "tone": self.tone,
            "size": self.size,
            "width": self.width,
            "length": self.length,
            "orientation": self.orientation,
            "column": self.column,
            "row": self.row,
        }
        return {name: value for name, value in said.items() if value is not None}


def describing(noun: Noun, said: Mapping[Attribute, str]) -> Description:
    """Make a description of a noun and attributes."""
    return Description(
        noun=noun,
        tone=said.get("tone"),
        size=said.get("size"),
        width=said.get("width"),
        length=said.get("length"),
        orientation=said.get("orientation"),
        column=said.get("column"),
        row=said.get("row"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """A figure by its order from one side of the picture: "second disc from the left"."""

    base: Description
    number: int
    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A figure by where it lies from another: "ring right of the square"."""

    subject: Description
    side: Side
    reference: Description


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Part of a tube: "second side branch", "end part of the left tree".

    Attributes
    ----------
    part : PartKind
        *before* the first, *between* the numbered and the next, *after* the last side branch are
        stretches of the trunk.
    owner : Description
        Of the tube; where it names several, the part of each is meant.
    number : int
        Of a branch, from 1 at the trunk's beginning; `ALL` for every branch, `LAST` for the last.
    side : Side or None
        Of a branch or an arm; the branches of that side are then counted alone.
    """

    part: PartKind
    owner: Description
    number: int = ALL
    side: Side | None = None


Phrase = Description | Rank | Relation | Part


def family_of(phrase: Phrase) -> Family:
    """Return what kind of thing a phrase asks for."""
    if isinstance(phrase, Part):
        return _FAMILIES[phrase.part]
    if isinstance(phrase, Rank):
        return "rank"
    if isinstance(phrase, Relation):
        return "relation"
    if phrase.noun in SHAPE_NOUNS:
        return "shape"
    return "line" if phrase.noun in LINE_NOUNS else "tube"


def fits(scene: Scene, thing: Thing, description: Description) -> Truth:
    """Say whether a description fits a figure."""
    noun = noun_fits(scene, thing, description.noun)
    if noun is False:
        return False
    rest = (has(scene, thing, name, value) for name, value in description.attributes.items())
    return all_of((noun, *rest))


def _named(scene: Scene, description: Description) -> tuple[Thing, ...] | None:
    """Return the figures that a description names, or None where that is undecided."""
    faint_lines = description.noun in LINE_NOUNS and description.tone in (None, "faint")
    if scene.striped and faint_lines:
        return None
    truths = [fits(scene, thing, description) for thing in scene.things]
    if None in truths:
        return None
    return tuple(thing for thing, truth in zip(scene.things, truths, strict=True) if truth)


def answer(scene: Scene, phrase: Phrase) -> Answer:
    """Find what a phrase names in a scene.

    Returns
    -------
    tuple of patches or None
        One entry an instance, none when the phrase is false of the scene; None when it is neither
        true nor false.
    """
    if isinstance(phrase, Part):
        return _parts(scene, phrase)
    if isinstance(phrase, Rank):
        things = _ranked(scene, phrase)
    elif isinstance(phrase, Relation):
        things = _related(scene, phrase)
    else:
        things = _named(scene, phrase)
    return None if things is None else tuple(thing.patches for thing in things)


def _ranked(scene: Scene, rank: Rank) -> tuple[Thing, ...] | None:
    things = _named(scene, rank.base)
    if not things:
        return things
    if len(things) == 1 and rank.number == 1:
        return None
    axis = 0 if rank.side in ("left", "right") else 1
    sign = 1.0 if rank.side in ("left", "upper") else -1.0
    ordered = sorted(things, key=lambda thing: sign * thing.centre_px[axis])
    places = np.array([thing.centre_px[axis] for thing in ordered])
    if (np.abs(np.diff(places)) < _RANK_MARGIN * scene.size_px).any():
        return None
    return tuple(ordered[rank.number - 1 : rank.number])


def _related(scene: Scene, relation: Relation) -> tuple[Thing, ...] | None:
    references = _named(scene, relation.reference)
    if not references:
        return references
    subjects = _named(scene, relation.subject)
    if not subjects:
        return subjects
    if len(references) > 1 or references[0] in subjects:
        return None
    truths = [lies(scene, thing, relation.side, references[0]) for thing in subjects]
    if None in truths:
        return None
    return tuple(thing for thing, truth in zip(subjects, truths, strict=True) if truth)


def _parts(scene: Scene, phrase: Part) -> Answer:
    owners = _named(scene, phrase.owner)
    if owners is None:
        return None
    says_trunk = phrase.part == "trunk" or phrase.owner.noun != "tube"
    if says_trunk and phrase.part in _PLAIN_TUBES_HAVE and _has_plain_tube(scene):
        # a tube without branches might or might not be called a trunk
        return None
    parts = [_part_of(thing.tree, phrase, scene.size_px) for thing in owners if thing.tree]
    found: list[Patches] = []
    for instances in parts:
        if instances is None:
            return None
        found.extend(instances)
    return tuple(found)


def _has_plain_tube(scene: Scene) -> bool:
    return any(thing.tree is not None and not thing.tree.branches for thing in scene.things)


def _part_of(tree: Tree, phrase: Part, size_px: int) -> Answer:
    if phrase.part in _ALONG_TRUNK:
        return (course_patches(tree.trunk.part(*_ALONG_TRUNK[phrase.part])),)
    if phrase.part == "narrowing":
        return tuple(course_patches(tree.trunk.part(*ends)) for ends in tree.narrowings)
    if phrase.part == "fork":
        return (_fork_patches(tree),) if tree.fork else ()
    if phrase.part == "arm":
        return _arms(tree, phrase.side, size_px)
    if phrase.part == "branch":
        return _branches(tree, phrase, size_px)
    return _stretch(tree, phrase, size_px)


def _fork_patches(tree: Tree) -> Patches:
    """Return the surroundings of a fork: three widths of the trunk and of both arms."""
    reach_px = 3.0 * float(tree.trunk.width_px[-1])
    trunk = tree.trunk.part(1.0 - min(reach_px / tree.trunk.length_px, 1.0), 1.0)
    arms = [arm.part(0.0, min(reach_px / arm.length_px, 1.0)) for arm in tree.fork]
    return tuple(patch for course in (trunk, *arms) for patch in course_patches(course))


def _arms(tree: Tree, side: Side | None, size_px: int) -> Answer:
    arms: tuple[Course, ...] = tree.fork
    if side is not None:
        truths = [arm_side(arms, index, side, size_px) for index in range(len(arms))]
        if None in truths:
            return None
        arms = tuple(arm for arm, truth in zip(arms, truths, strict=True) if truth)
    return tuple(course_patches(arm) for arm in arms)


def _branches(tree: Tree, phrase: Part, size_px: int) -> Answer:
    branches = tree.branches
    if phrase.side is not None:
        sides = [branch_side(tree, branch, size_px) for branch in branches]
        if None in sides or (branches and not _askable(sides, phrase.side)):
            return None
        branches = tuple(
            branch for branch, side in zip(branches, sides, strict=True) if side == phrase.side
        )
    if tree.fork and (phrase.number == LAST or phrase.number > len(branches)):
        # whether an arm of the fork is the next branch is a matter of taste
        return None
    if phrase.number == LAST:
        # the only branch is hardly "the last"
        branches = branches[-1:]
        if len(tree.branches) == 1:
            return None
    elif phrase.number != ALL:
        branches = branches[phrase.number - 1 : phrase.number]
    return tuple(course_patches(branch.course) for branch in branches)


def _askable(sides: list[Side | None], side: Side) -> bool:
    """Say whether a trunk has the asked pair of sides at all: left and right, or up and down."""
    columns: tuple[Side, ...] = ("left", "right")
    return (sides[0] in columns) == (side in columns)


def _stretch(tree: Tree, phrase: Part, size_px: int) -> Answer:
    """Return the trunk before, between or after side branches."""
    origins = [branch.origin for branch in tree.branches]
    if not origins:
        return ()
    if phrase.part == "before":
        ends = (0.0, origins[0])
    elif phrase.part == "after":
        ends = (origins[-1], 1.0)
    elif phrase.number < len(origins):
        ends = (origins[phrase.number - 1], origins[phrase.number])
    else:
        return None if tree.fork else ()
    length_px = (ends[1] - ends[0]) * tree.trunk.length_px
    if length_px < _SHORTEST_STRETCH * size_px:
        return None
    return (course_patches(tree.trunk.part(*ends)),)
