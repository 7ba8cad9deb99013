"""What is true of a scene: nouns, attributes and places of figures, by rule and with margins.

Conventions
-----------
Every statement is true, false, or neither (None): a figure near the midline is neither left nor
right, a faint dark one neither dark nor not dark. Statements are joined by Kleene's rules: one
false part makes the whole false, else one undecided part leaves it undecided. Places are relative
to the picture. Limits in pixels hold at 384 px and grow with the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np

from sam3_angio.scenes.scene import STROKE_KINDS, Scene, Thing
from sam3_angio.scenes.shapes import SHAPE_KINDS
from sam3_angio.scenes.tubes import REFERENCE_SIZE_PX, Branch, Course, Tree, heading_at

Truth = bool | None
Noun = Literal[
    "disc", "ring", "square", "triangle", "bar", "cross", "ellipse", "shape",
    "straight line", "curve", "wavy line", "line",
    "tube", "branching tube", "plain tube", "forked tube",
]  # fmt: skip
Attribute = Literal["tone", "size", "width", "length", "orientation", "column", "row"]
Side = Literal["left", "right", "upper", "lower"]

SHAPE_NOUNS: tuple[Noun, ...] = (*SHAPE_KINDS, "shape")
LINE_NOUNS: tuple[Noun, ...] = ("straight line", "curve", "wavy line", "line")
TUBE_NOUNS: tuple[Noun, ...] = ("tube", "branching tube", "plain tube", "forked tube")

VALUES: dict[Attribute, tuple[str, ...]] = {
    "tone": ("dark", "bright", "faint"),
    "size": ("small", "large"),
    "width": ("thin", "thick"),
    "length": ("short", "long"),
    "orientation": ("horizontal", "vertical", "diagonal"),
    "column": ("left", "right"),
    "row": ("upper", "lower"),
}

_SMALL, _LARGE = 0.08, 0.15
_SHORT, _LONG = 0.33, 0.48
_THIN_LINE_PX, _THICK_LINE_PX = 3.4, 6.0
_THIN_TUBE_PX, _THICK_TUBE_PX = 6.5, 9.5
_TUBE_LIKE_PX = 4.5
_BAR_LIKE_LENGTH = 0.36
_MIDLINE_MARGIN = 0.06
_SIDE_SHARE = 0.65
_RELATION_MARGIN = 0.1
_BRANCH_MARGIN = 0.04


def all_of(truths: Iterable[Truth]) -> Truth:
    """Join statements with *and*.

    Examples
    --------
    >>> all_of([True, None]), all_of([False, None]), all_of([])
    (None, False, True)
    """
    result: Truth = True
    for truth in truths:
        if truth is False:
            return False
        if truth is None:
            result = None
    return result


def attributes_of(noun: Noun) -> tuple[Attribute, ...]:
    """Return the attributes that can be said of whatever a noun names."""
    if noun in ("bar", "ellipse"):
        return ("tone", "size", "orientation", "column", "row")
    if noun in SHAPE_NOUNS:
        return ("tone", "size", "column", "row")
    if noun == "straight line":
        return ("tone", "width", "length", "orientation", "column", "row")
    if noun in LINE_NOUNS:
        return ("tone", "width", "length", "column", "row")
    return ("tone", "width", "column", "row")


def noun_fits(scene: Scene, thing: Thing, noun: Noun) -> Truth:
    """Say whether a noun names a figure.

    A thick line might pass for a tube, a tube without branches for a line, a short thick straight
    line for a bar, a wavy line for a curve: these are undecided.
    """
    if thing.tree is not None:
        return _tube_fits(thing.tree, noun)
    if thing.kind in STROKE_KINDS:
        return _stroke_fits(scene, thing, noun)
    return noun in ("shape", thing.kind)


def _tube_fits(tree: Tree, noun: Noun) -> Truth:
    plain = not tree.branches
    if noun in LINE_NOUNS:
        return None if plain else False
    if noun in TUBE_NOUNS:
        return {
            "tube": True,
            "branching tube": not plain,
            "plain tube": plain,
            "forked tube": bool(tree.fork),
        }[noun]
    return False


def _stroke_fits(scene: Scene, thing: Thing, noun: Noun) -> Truth:
    scale = scene.size_px / REFERENCE_SIZE_PX
    if noun in ("tube", "plain tube"):
        return None if thing.width_px >= _TUBE_LIKE_PX * scale else False
    if noun == "bar":
        short = thing.extent_px <= _BAR_LIKE_LENGTH * scene.size_px
        thick = thing.width_px >= _TUBE_LIKE_PX * scale
        return None if thing.kind == "straight" and short and thick else False
    if noun == "curve":
        return {"curved": True, "wavy": None}.get(thing.kind, False)
    return noun in ("line", f"{thing.kind} line")


def _between(value: float, low: float, high: float, *, asked_low: bool) -> Truth:
    """Compare a value with two limits that leave undecided ground between them."""
    if low < value < high:
        return None
    return (value <= low) == asked_low


def _tone(_: Scene, thing: Thing, value: str) -> Truth:
    if thing.tone == "faint" and value != "faint":
        return None
    return thing.tone == value


def _size(scene: Scene, thing: Thing, value: str) -> Truth:
    return _between(
        thing.extent_px / scene.size_px, _SMALL, _LARGE, asked_low=value == VALUES["size"][0]
    )


def _width(scene: Scene, thing: Thing, value: str) -> Truth:
    limits = (
        (_THIN_LINE_PX, _THICK_LINE_PX) if thing.tree is None else (_THIN_TUBE_PX, _THICK_TUBE_PX)
    )
    width_px = thing.width_px * REFERENCE_SIZE_PX / scene.size_px
    return _between(width_px, *limits, asked_low=value == VALUES["width"][0])


def _length(scene: Scene, thing: Thing, value: str) -> Truth:
    return _between(
        thing.extent_px / scene.size_px, _SHORT, _LONG, asked_low=value == VALUES["length"][0]
    )


def _orientation(_: Scene, thing: Thing, value: str) -> Truth:
    if thing.angle_deg is None:
        return None
    from_horizontal = min(thing.angle_deg, 180.0 - thing.angle_deg)
    wanted = {"horizontal": 0.0, "diagonal": 45.0, "vertical": 90.0}[value]
    return _between(abs(from_horizontal - wanted), 15.0, 30.0, asked_low=True)


def _half(centre: float, low: float, high: float, size: float) -> float | None:
    """Return -1 or 1 for the half of the picture that a figure lies in, None when in neither."""
    share = min(max((size / 2.0 - low) / max(high - low, 1e-6), 0.0), 1.0)
    distance = (centre - size / 2.0) / size
    if distance <= -_MIDLINE_MARGIN and share >= _SIDE_SHARE:
        return -1.0
    if distance >= _MIDLINE_MARGIN and share <= 1.0 - _SIDE_SHARE:
        return 1.0
    return None


def _column(scene: Scene, thing: Thing, value: str) -> Truth:
    x0, _, x1, _ = thing.box_px
    half = _half(thing.centre_px[0], x0, x1, scene.size_px)
    return None if half is None else (half < 0) == (value == "left")


def _row(scene: Scene, thing: Thing, value: str) -> Truth:
    _, y0, _, y1 = thing.box_px
    half = _half(thing.centre_px[1], y0, y1, scene.size_px)
    return None if half is None else (half < 0) == (value == "upper")


_RULES: dict[Attribute, Callable[[Scene, Thing, str], Truth]] = {
    "tone": _tone,
    "size": _size,
    "width": _width,
    "length": _length,
    "orientation": _orientation,
    "column": _column,
    "row": _row,
}


def has(scene: Scene, thing: Thing, attribute: Attribute, value: str) -> Truth:
    """Say whether a figure has an attribute's value."""
    return _RULES[attribute](scene, thing, value)


def lies(scene: Scene, thing: Thing, side: Side, other: Thing) -> Truth:
    """Say whether a figure lies left of, right of, above (upper) or below (lower) another.

    True where the boxes are apart in that direction and the other direction's offset is the
    smaller one; false where they are apart in the opposite direction or at the same place in this
    one; undecided in between.
    """
    axis = 0 if side in ("left", "right") else 1
    sign = 1.0 if side in ("right", "lower") else -1.0
    offset = sign * (thing.centre_px[axis] - other.centre_px[axis])
    across = abs(thing.centre_px[1 - axis] - other.centre_px[1 - axis])
    near, far = (other, thing) if sign > 0 else (thing, other)
    apart = far.box_px[axis] > near.box_px[axis + 2]
    if apart and offset >= max(across, _RELATION_MARGIN * scene.size_px):
        return True
    return False if offset <= -_RELATION_MARGIN * scene.size_px else None


def branch_side(tree: Tree, branch: Branch, size_px: int) -> Side | None:
    """Return the side of the trunk that a branch leaves to, as seen in the picture.

    The trunk must clearly stand (left, right) or lie (upper, lower); the branch must leave to that
    side of the trunk's own direction, and its middle and its end must lie beyond its origin.
    """
    chord = tree.trunk.points_px[-1] - tree.trunk.points_px[0]
    if max(abs(chord)) < 1.3 * min(abs(chord)):
        return None
    axis = 0 if abs(chord[1]) > abs(chord[0]) else 1
    origin = tree.trunk.points_px[tree.trunk.index(branch.origin)]
    points = branch.course.points_px
    offsets = (points[[len(points) // 2, -1]] - origin)[:, axis]
    heading = heading_at(tree.trunk, branch.origin)
    leaving = points[min(5, len(points) - 1)] - origin
    # the component of the branch's first steps across the trunk, along the asked axis
    normal = np.array([-np.sin(heading), np.cos(heading)])
    across = float((leaving @ normal) * normal[axis])
    margin_px = _BRANCH_MARGIN * size_px
    if across > 0 and (offsets > margin_px).all():
        return "right" if axis == 0 else "lower"
    if across < 0 and (offsets < -margin_px).all():
        return "left" if axis == 0 else "upper"
    return None


def arm_side(arms: tuple[Course, ...], index: int, side: Side, size_px: int) -> Truth:
    """Say whether one of a fork's two arms is the left, right, upper or lower one."""
    axis = 0 if side in ("left", "right") else 1
    sign = 1.0 if side in ("right", "lower") else -1.0
    ends = [arm.points_px[[len(arm.points_px) // 2, -1], axis] for arm in arms]
    difference = sign * (ends[index] - ends[1 - index])
    if (difference > _RELATION_MARGIN / 2.0 * size_px).all():
        return True
    return False if (difference < -_RELATION_MARGIN / 2.0 * size_px).all() else None
