"""Generic scenes: figures, lines, curves and branching tubes on an X-ray-like background.

They teach a small detector what a phrase and a mask are before it sees any patient data. A scene
is its picture and a symbolic description of all that was drawn into it; masks are made from the
outlines on demand. Figures absorb, as in a radiograph: where two of them overlap both remain
visible, and each keeps its whole mask.

Conventions
-----------
Scene k of a size is the same for ever (with one numpy and one OpenCV). Lengths are in pixels;
widths and sizes are given below at 384 px and grow with the picture. *Dark* and *bright* figures
differ from their surroundings by at least 0.28 in absorption, *faint* ones by at most 0.14.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from sam3_angio.scenes.background import Picture, background, exposed
from sam3_angio.scenes.raster import Box, Patches, box_of, fill, mask_of
from sam3_angio.scenes.shapes import SHAPE_KINDS, ShapeKind, shape_patches
from sam3_angio.scenes.tubes import (
    REFERENCE_SIZE_PX,
    Course,
    Points,
    Tree,
    course_patches,
    grow_tree,
    straight,
    tree_patches,
    turned,
)

Rng = np.random.Generator
StrokeKind = Literal["straight", "curved", "wavy"]
Kind = ShapeKind | StrokeKind | Literal["tube"]
Tone = Literal["dark", "bright", "faint"]
STROKE_KINDS: tuple[StrokeKind, ...] = get_args(StrokeKind)

MIN_SIZE_PX = 96
# (share of the width that is drawn, absorption there): the chord of a round tube, in three steps
_ROUND = ((1.0, 0.5), (0.72, 0.82), (0.4, 1.0))
# no course has more patches
_STEPS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One figure of a scene.

    Attributes
    ----------
    kind : Kind
    tone : {"dark", "bright", "faint"}
        Against what lies around it.
    absorption : float
        Dark is positive.
    patches : tuple of patches
        Outline.
    centre_px : (x, y)
    box_px : (x0, y0, x1, y1)
        Of what lies in the picture.
    extent_px : float
        Diameter or longest side of a shape; length of a line or a trunk.
    width_px : float
        Of a line; of a trunk at its beginning; a shape's extent.
    angle_deg : float or None
        Of a bar, an ellipse, a straight line: 0 lies, 90 stands, modulo 180. None elsewhere.
    course : Course or None
        Of a line or curve.
    tree : Tree or None
        Of a tube.
    """

    kind: Kind
    tone: Tone
    absorption: float
    patches: Patches
    centre_px: tuple[float, float]
    box_px: Box
    extent_px: float
    width_px: float
    angle_deg: float | None = None
    course: Course | None = None
    tree: Tree | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A picture and what was drawn into it.

    Attributes
    ----------
    size_px : int
    things : tuple of Thing
    striped : bool
        Whether the background has a grating that could pass for faint lines.
    image : (S, S) ndarray of uint8
    """

    size_px: int
    things: tuple[Thing, ...]
    striped: bool
    image: NDArray[np.uint8]

    def mask(self, thing: Thing) -> NDArray[np.bool_]:
        """Return the mask of a figure, also where others overlap it."""
        return mask_of(thing.patches, self.size_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mix:
    """How many of what are drawn."""

    tubes: int
    shapes: int
    strokes: int
    ribs: bool
    striped: bool


def make_shape(
    kind: ShapeKind,
    centre_px: tuple[float, float],
    extent_px: float,
    *,
    size_px: int,
    absorption: float,
    angle_deg: float = 0.0,
) -> Thing:
    """Describe a simple figure."""
    patches = shape_patches(kind, centre_px, extent_px, angle_deg)
    return Thing(
        kind=kind,
        tone=tone_of(absorption),
        absorption=absorption,
        patches=patches,
        centre_px=centre_px,
        box_px=box_of(patches, size_px),
        extent_px=extent_px,
        width_px=extent_px,
        angle_deg=angle_deg % 180.0 if kind in ("bar", "ellipse") else None,
    )


def make_stroke(kind: StrokeKind, course: Course, *, size_px: int, absorption: float) -> Thing:
    """Describe a line or curve."""
    patches = course_patches(course)
    start, end = course.points_px[0], course.points_px[-1]
    angle_deg = math.degrees(math.atan2(end[1] - start[1], end[0] - start[0])) % 180.0
    x, y = np.clip(course.points_px, 0, size_px).mean(axis=0)
    return Thing(
        kind=kind,
        tone=tone_of(absorption),
        absorption=absorption,
        patches=patches,
        centre_px=(float(x), float(y)),
        box_px=box_of(patches, size_px),
        extent_px=course.length_px,
        width_px=float(course.width_px[0]),
        angle_deg=angle_deg if kind == "straight" else None,
        course=course,
    )


def make_tube(tree: Tree, *, size_px: int, absorption: float) -> Thing:
    """Describe a tube with all its branches."""
    patches = tree_patches(tree)
    x, y = np.concatenate([course.points_px for course in tree.courses]).mean(axis=0)
    return Thing(
        kind="tube",
        tone=tone_of(absorption),
        absorption=absorption,
        patches=patches,
        centre_px=(float(x), float(y)),
        box_px=box_of(patches, size_px),
        extent_px=tree.trunk.length_px,
        width_px=float(tree.trunk.width_px[0]),
        tree=tree,
    )


def tone_of(absorption: float) -> Tone:
    """Name the tone of an absorption."""
    if abs(absorption) < 0.2:
        return "faint"
    return "dark" if absorption > 0 else "bright"


def _draw_absorption(rng: Rng, *, dark: float, faint: float) -> float:
    """Draw an absorption: faint with one probability, else dark with another."""
    sign = 1.0 if rng.random() < dark else -1.0
    if rng.random() < faint:
        return sign * float(rng.uniform(0.1, 0.14))
    return sign * float(rng.uniform(0.28, 0.85 if sign > 0 else 0.6))


def _tubes(rng: Rng, count: int, size_px: int) -> list[Thing]:
    boxes = _boxes(rng, count)
    common = _draw_absorption(rng, dark=0.85, faint=0.08)
    things = []
    for box in boxes:
        alike = rng.random() < 0.6
        absorption = common if alike else _draw_absorption(rng, dark=0.7, faint=0.25)
        branches = int(rng.choice([0, 1, 2, 3, 4, 5], p=[0.14, 0.14, 0.24, 0.26, 0.16, 0.06]))
        x0, y0, x1, y1 = (float(size_px * side) for side in box)
        tree = grow_tree(rng, (x0, y0, x1, y1), size_px, branches)
        things.append(make_tube(tree, size_px=size_px, absorption=absorption))
    return things


def _boxes(rng: Rng, count: int) -> list[Box]:
    """Return room for each trunk, as shares of the picture; two lie more or less apart."""
    if count == 1:
        width, height = rng.uniform(0.42, 0.86, 2)
        x0 = rng.uniform(0.05, 0.95 - width)
        y0 = rng.uniform(0.05, 0.95 - height)
        return [(x0, y0, x0 + width, y0 + height)]
    beside = rng.random() < 0.6
    boxes: list[Box] = []
    for near in (0.06, 0.52):
        start = near + rng.uniform(-0.03, 0.03)
        end = start + rng.uniform(0.28, 0.46)
        low, high = rng.uniform(0.05, 0.25), rng.uniform(0.7, 0.95)
        end = min(end, 0.95)
        boxes.append((start, low, end, high) if beside else (low, start, high, end))
    return boxes[:count]


def _stroke_line(rng: Rng, kind: StrokeKind) -> Points:
    """Return the centreline of a line or curve about the origin, of length 1."""
    points = 64
    along = np.linspace(-0.5, 0.5, points)
    if kind == "straight":
        return straight((-0.5, 0.0), (0.5, 0.0), 1.0, points=points).points_px
    if kind == "curved":
        heading = rng.uniform(1.2, 2.8) * along * (1.0 + 0.6 * rng.uniform(-1.0, 1.0) * along)
    else:
        periods = rng.uniform(2.0, 4.0)
        heading = rng.uniform(0.7, 1.1) * np.cos(
            2.0 * np.pi * periods * along + rng.uniform(0, 2.0 * np.pi)
        )
    line = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0) / points
    centred: Points = line - line.mean(axis=0)
    return centred


def _stroke(rng: Rng, size_px: int, *, striped: bool) -> Thing:
    kind: StrokeKind = STROKE_KINDS[int(rng.integers(3))]
    low, high = ((2.0, 3.2), (3.6, 5.4), (6.5, 10.0))[int(rng.choice(3, p=[0.45, 0.15, 0.4]))]
    width_px = rng.uniform(low, high) * size_px / REFERENCE_SIZE_PX
    length_px = size_px * rng.uniform(*((0.25, 0.32) if rng.random() < 0.4 else (0.4, 0.9)))
    snapped = kind == "straight" and rng.random() < 0.5
    turn = np.deg2rad(90.0 * rng.integers(2) + rng.uniform(-8.0, 8.0))
    line = turned(_stroke_line(rng, kind), turn if snapped else rng.uniform(0.0, np.pi)) * length_px
    room_low = 3.0 - line.min(axis=0)
    room_high = size_px - 3.0 - line.max(axis=0)
    centre = rng.uniform(np.minimum(room_low, room_high), np.maximum(room_low, room_high))
    # thin faint lines would drown in the noise
    faint = 0.0 if striped or low < 3.0 else 0.3
    absorption = _draw_absorption(rng, dark=0.6, faint=faint)
    course = Course(points_px=line + centre, width_px=np.full(len(line), width_px))
    return make_stroke(kind, course, size_px=size_px, absorption=absorption)


def _overlap(one: Box, other: Box, gap_px: float) -> bool:
    return (
        one[0] < other[2] + gap_px
        and other[0] < one[2] + gap_px
        and one[1] < other[3] + gap_px
        and other[1] < one[3] + gap_px
    )


def _shapes(rng: Rng, count: int, size_px: int) -> list[Thing]:
    """Draw shapes of few kinds that differ in tone, size and place; none touches another."""
    kinds = rng.choice(SHAPE_KINDS, size=int(rng.integers(1, 4)), replace=False)
    things: list[Thing] = []
    for _ in range(4 * count):
        if len(things) == count:
            break
        kind: ShapeKind = str(rng.choice(kinds))  # type: ignore[assignment]  # numpy's own str
        lowest = {"bar": 0.11, "ellipse": 0.06, "ring": 0.055}.get(kind, 0.05)
        low, high = ((lowest, 0.078), (0.09, 0.14), (0.16, 0.28))[int(rng.integers(3))]
        extent_px = size_px * rng.uniform(low, max(high, low + 0.02))
        margin = 0.6 * extent_px + 2.0
        x, y = rng.uniform(margin, size_px - margin, 2)
        lying = rng.random() < 0.6
        turn = 90.0 * rng.integers(2) + rng.uniform(-8, 8) if lying else rng.uniform(0, 180)
        thing = make_shape(
            kind,
            (float(x), float(y)),
            float(extent_px),
            size_px=size_px,
            absorption=_draw_absorption(rng, dark=0.55, faint=0.28),
            angle_deg=float(turn),
        )
        if not any(_overlap(thing.box_px, other.box_px, 5.0) for other in things):
            things.append(thing)
    return things


def _mix(rng: Rng) -> _Mix:
    """Draw the kind of scene: mostly tubes as in an angiogram, else shapes, else all together."""
    kind = rng.random()
    if kind < 0.62:
        tubes = 1 if rng.random() < 0.62 else 2
        counts = (tubes, int(rng.integers(0, 2)), int(rng.integers(0, 3)))
    elif kind < 0.8:
        counts = (0, int(rng.integers(3, 8)), int(rng.integers(0, 3)))
    else:
        counts = (1, int(rng.integers(2, 5)), int(rng.integers(1, 4)))
    return _Mix(
        tubes=counts[0],
        shapes=counts[1],
        strokes=counts[2],
        ribs=bool(rng.random() < (0.5 if counts[0] else 0.25)),
        striped=bool(rng.random() < 0.12),
    )


def _strengths(rng: Rng, *, broken: bool) -> NDArray[np.float64]:
    """Return how contrast comes and goes along a course, a step a patch."""
    if not broken:
        return np.ones(_STEPS)
    phase = rng.uniform(0.0, 2.0 * np.pi)
    waves = np.sin(phase + np.linspace(0.0, rng.uniform(3.0, 12.0), _STEPS))
    depth = rng.uniform(0.2, 0.5)
    result: NDArray[np.float64] = 1.0 - depth * (1.0 + waves) / 2.0
    return result


def _fill_tree(rng: Rng, canvas: NDArray[np.uint8], tree: Tree) -> None:
    """Paint a tree from its border to its core, so that where courses join no core is cut."""
    broken = rng.random() < 0.4
    steps = [_strengths(rng, broken=broken) for _ in tree.courses]
    for share, level in _ROUND:
        for course, strengths in zip(tree.courses, steps, strict=True):
            for strength, patch in zip(strengths, course_patches(course, share), strict=False):
                fill(canvas, (patch,), round(255 * level * strength))


def _absorb(rng: Rng, total: Picture, scratch: NDArray[np.uint8], thing: Thing) -> None:
    """Add a figure's absorption; `scratch` is all 0 before and after."""
    if thing.tree is not None:
        _fill_tree(rng, scratch, thing.tree)
    else:
        fill(scratch, thing.patches, 255)
    x0, y0 = (max(math.floor(low) - 2, 0) for low in thing.box_px[:2])
    x1, y1 = (math.ceil(high) + 3 for high in thing.box_px[2:])
    region = scratch[y0:y1, x0:x1]
    total[y0:y1, x0:x1] += region * np.float32(thing.absorption / 255.0)
    region[:] = 0


def _sharpened(thing: Thing, blur_px: float) -> Thing:
    """Raise a thin line's absorption by what the blur will take from its centre."""
    if thing.course is None:
        return thing
    kept = math.erf(thing.width_px / (2.0 * math.sqrt(2.0) * blur_px))
    return replace(thing, absorption=thing.absorption / max(kept, 0.5))


def draw_things(rng: Rng, size_px: int, things: tuple[Thing, ...]) -> Picture:
    """Return the blurred absorption map of figures."""
    blur_px = rng.uniform(0.5, 1.2) * size_px / REFERENCE_SIZE_PX
    total = np.zeros((size_px, size_px), np.float32)
    scratch = np.zeros((size_px, size_px), np.uint8)
    for thing in things:
        _absorb(rng, total, scratch, _sharpened(thing, blur_px))
    blurred: Picture = cv2.GaussianBlur(total, (0, 0), blur_px)
    return blurred


def draw_scene(seed: int, size_px: int) -> Scene:
    """Draw the scene of a number.

    Parameters
    ----------
    seed : int
        Not negative.
    size_px : int
        Side of the picture, at least 96.

    Raises
    ------
    ValueError
        If the seed is negative or the picture too small for the thinnest tubes.
    """
    if seed < 0 or size_px < MIN_SIZE_PX:
        raise ValueError(
            f"seed {seed}, size_px {size_px}: the seed must not be negative and the side must be "
            f"at least {MIN_SIZE_PX} px"
        )
    rng = np.random.default_rng(seed)
    mix = _mix(rng)
    things = (
        *_tubes(rng, mix.tubes, size_px),
        *_shapes(rng, mix.shapes, size_px),
        *(_stroke(rng, size_px, striped=mix.striped) for _ in range(mix.strokes)),
    )
    absorption = draw_things(rng, size_px, things)
    absorption += background(rng, size_px, ribs=mix.ribs, striped=mix.striped)
    return Scene(
        size_px=size_px, things=things, striped=mix.striped, image=exposed(rng, absorption)
    )
