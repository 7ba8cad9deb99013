"""What phrases mean, in scenes that can be drawn by hand. Pictures are 400 px wide."""

from __future__ import annotations

import numpy as np
import pytest

from sam3_angio.scenes.phrases import ALL, LAST, Description, Part, Rank, Relation, answer
from sam3_angio.scenes.raster import mask_of
from sam3_angio.scenes.scene import Scene, make_shape, make_stroke, make_tube
from sam3_angio.scenes.tubes import Branch, Course, Tree, straight

SIZE = 400
DARK, BRIGHT, FAINT = 0.5, -0.5, 0.12


def scene_of(*things, striped=False):
    return Scene(
        size_px=SIZE, things=things, striped=striped, image=np.zeros((SIZE, SIZE), np.uint8)
    )


def shape(kind, x, y, extent_px=40.0, absorption=DARK, angle_deg=0.0):
    return make_shape(
        kind, (x, y), extent_px, size_px=SIZE, absorption=absorption, angle_deg=angle_deg
    )


def line(start, end, width_px, absorption=DARK, kind="straight"):
    return make_stroke(kind, straight(start, end, width_px), size_px=SIZE, absorption=absorption)


def tapered(start, end, wide_px, narrow_px):
    course = straight(start, end, wide_px, points=101)
    return Course(points_px=course.points_px, width_px=np.linspace(wide_px, narrow_px, 101))


def upright_tree(x=200.0, *, branches=(), fork=False, narrowings=()):
    """Trunk from (x, 40), 12 px wide, down to (x, 340); branches as (y, x of the far end)."""
    sides = tuple(
        Branch(
            origin=(y - 40.0) / 300.0,
            course=straight((x + np.sign(end - x) * 6.0, y), (end, y + 20.0), 4.0),
        )
        for y, end in branches
    )
    arms = (
        (straight((x, 340), (x - 50, 390), 4.0), straight((x, 340), (x + 50, 390), 4.0))
        if fork
        else ()
    )
    trunk = tapered((x, 40.0), (x, 340.0), 12.0, 5.0)
    return Tree(trunk=trunk, branches=sides, fork=arms, narrowings=tuple(narrowings))


def tube(tree, absorption=DARK):
    return make_tube(tree, size_px=SIZE, absorption=absorption)


def centres(scene, phrase):
    """Return the (x, y) centre of each instance, rounded."""
    found = answer(scene, phrase)
    if found is None:
        return None
    masks = [mask_of(patches, SIZE) for patches in found]
    return [tuple(np.rint(np.argwhere(mask).mean(axis=0)[::-1]).astype(int)) for mask in masks]


TREE = Description(noun="branching tube")


def test_tone_and_noun_pick_the_right_figures():
    scene = scene_of(
        shape("disc", 80, 80), shape("disc", 300, 90, absorption=BRIGHT), shape("square", 90, 300)
    )
    assert centres(scene, Description(noun="disc")) == [(80, 80), (300, 90)]
    assert centres(scene, Description(noun="disc", tone="dark")) == [(80, 80)]
    assert centres(scene, Description(noun="square", tone="bright")) == []
    assert centres(scene, Description(noun="ring")) == []
    assert len(answer(scene, Description(noun="shape"))) == 3


def test_a_faint_figure_is_neither_dark_nor_not_dark():
    scene = scene_of(shape("disc", 80, 80, absorption=FAINT))
    assert answer(scene, Description(noun="disc", tone="dark")) is None
    assert answer(scene, Description(noun="disc", tone="bright")) is None
    assert len(answer(scene, Description(noun="disc", tone="faint"))) == 1
    assert answer(scene, Description(noun="square", tone="dark")) == ()


@pytest.mark.parametrize(
    ("extent_px", "small", "large"),
    [(30.0, 1, 0), (45.0, None, None), (80.0, 0, 1)],
)
def test_a_figure_of_middling_size_is_neither_small_nor_large(extent_px, small, large):
    scene = scene_of(shape("disc", 100, 100, extent_px))
    for size, count in (("small", small), ("large", large)):
        found = answer(scene, Description(noun="disc", size=size))
        assert (found if found is None else len(found)) == count


@pytest.mark.parametrize(
    ("x", "left", "right"),
    [(60, 1, 0), (174, 1, 0), (180, None, None), (220, None, None), (226, 0, 1), (340, 0, 1)],
)
def test_a_figure_near_the_midline_is_neither_left_nor_right(x, left, right):
    scene = scene_of(shape("square", x, 100, 30.0))
    for column, count in (("left", left), ("right", right)):
        found = answer(scene, Description(noun="square", column=column))
        assert (found if found is None else len(found)) == count


def test_a_line_across_the_picture_is_in_neither_half():
    scene = scene_of(line((10, 80), (330, 80), 3.0))
    assert answer(scene, Description(noun="line", column="left")) is None
    assert len(answer(scene, Description(noun="line", row="upper"))) == 1


def test_rows_count_downwards():
    scene = scene_of(shape("cross", 200, 60), shape("cross", 200, 340))
    assert centres(scene, Description(noun="cross", row="upper")) == [(200, 60)]
    assert centres(scene, Description(noun="cross", row="lower")) == [(200, 340)]


@pytest.mark.parametrize(
    ("angle_deg", "value"),
    [
        (5.0, "horizontal"),
        (172.0, "horizontal"),
        (95.0, "vertical"),
        (50.0, "diagonal"),
        (135.0, "diagonal"),
    ],
)
def test_orientation_of_a_bar(angle_deg, value):
    scene = scene_of(shape("bar", 200, 200, 80.0, angle_deg=angle_deg))
    for asked in ("horizontal", "vertical", "diagonal"):
        found = answer(scene, Description(noun="bar", orientation=asked))
        assert found is not None
        assert bool(found) == (asked == value)


def test_a_slightly_slanted_bar_has_no_orientation():
    scene = scene_of(shape("bar", 200, 200, 80.0, angle_deg=22.0))
    assert answer(scene, Description(noun="bar", orientation="horizontal")) is None
    assert answer(scene, Description(noun="bar", orientation="diagonal")) is None
    assert answer(scene, Description(noun="bar", orientation="vertical")) == ()


def test_width_and_length_of_lines():
    scene = scene_of(line((20, 50), (380, 50), 3.0), line((20, 300), (130, 300), 8.0))
    assert centres(scene, Description(noun="line", width="thin")) == [(200, 50)]
    assert centres(scene, Description(noun="line", length="short")) == [(75, 300)]
    assert centres(scene, Description(noun="line", width="thick", length="long")) == []


def test_a_thick_line_may_pass_for_a_tube_and_a_thin_one_may_not():
    thick, thin = line((20, 50), (380, 50), 8.0), line((20, 50), (380, 50), 2.0)
    assert answer(scene_of(thick), Description(noun="tube")) is None
    assert answer(scene_of(thick), TREE) == ()
    assert answer(scene_of(thin), Description(noun="tube")) == ()


def test_a_wavy_line_is_a_line_and_perhaps_a_curve():
    scene = scene_of(line((20, 50), (380, 50), 3.0, kind="wavy"))
    assert len(answer(scene, Description(noun="line"))) == 1
    assert answer(scene, Description(noun="curve")) is None
    assert answer(scene, Description(noun="straight line")) == ()


def test_stripes_leave_faint_lines_undecided():
    scene = scene_of(shape("disc", 80, 80), striped=True)
    assert answer(scene, Description(noun="line")) is None
    assert answer(scene, Description(noun="line", tone="faint")) is None
    assert answer(scene, Description(noun="line", tone="dark")) == ()


def test_ranks_count_from_the_side_that_is_named():
    scene = scene_of(*(shape("ring", x, y) for x, y in ((60, 300), (200, 100), (330, 200))))
    ring = Description(noun="ring")
    assert centres(scene, Rank(base=ring, number=1, side="left")) == [(60, 300)]
    assert centres(scene, Rank(base=ring, number=1, side="right")) == [(330, 200)]
    assert centres(scene, Rank(base=ring, number=2, side="upper")) == [(330, 200)]
    assert centres(scene, Rank(base=ring, number=3, side="lower")) == [(200, 100)]
    assert centres(scene, Rank(base=ring, number=4, side="left")) == []


def test_no_rank_is_told_of_one_figure_or_of_figures_at_the_same_height():
    ring = Description(noun="ring")
    alone = scene_of(shape("ring", 60, 300))
    level = scene_of(shape("ring", 60, 300), shape("ring", 200, 305))
    assert answer(alone, Rank(base=ring, number=1, side="left")) is None
    assert answer(alone, Rank(base=ring, number=2, side="left")) == ()
    assert answer(level, Rank(base=ring, number=1, side="upper")) is None
    assert centres(level, Rank(base=ring, number=1, side="left")) == [(60, 300)]


def test_a_relation_holds_in_its_direction_only():
    scene = scene_of(shape("ring", 300, 120), shape("square", 100, 100))
    ring, square = Description(noun="ring"), Description(noun="square")

    def is_ring(side):
        return centres(scene, Relation(subject=ring, side=side, reference=square))

    assert is_ring("right") == [(300, 120)]
    assert is_ring("left") == []
    assert is_ring("lower") is None
    assert centres(scene, Relation(subject=square, side="left", reference=ring)) == [(100, 100)]


def test_a_relation_needs_one_reference():
    ring, square = Description(noun="ring"), Description(noun="square")
    two = scene_of(shape("ring", 300, 120), shape("square", 100, 100), shape("square", 100, 300))
    none = scene_of(shape("ring", 300, 120))
    assert answer(two, Relation(subject=ring, side="right", reference=square)) is None
    assert answer(none, Relation(subject=ring, side="right", reference=square)) == ()


def test_thirds_of_the_trunk_start_at_its_wide_end():
    scene = scene_of(tube(upright_tree(branches=[(100, 300)])))
    ys = [
        centres(scene, Part(part=part, owner=TREE))[0][1] for part in ("beginning", "middle", "end")
    ]
    np.testing.assert_allclose(ys, [90, 190, 290], atol=6)


def test_a_trunk_drawn_upwards_begins_below():
    tree = Tree(
        trunk=tapered((200.0, 340.0), (200.0, 40.0), 12.0, 5.0),
        branches=(Branch(origin=0.5, course=straight((206, 190), (300, 160), 4.0)),),
    )
    assert centres(scene_of(tube(tree)), Part(part="beginning", owner=TREE))[0][1] > 280


def test_branches_are_counted_from_the_beginning():
    scene = scene_of(tube(upright_tree(branches=[(100, 300), (180, 100), (260, 320)])))
    assert centres(scene, Part(part="branch", owner=TREE, number=1)) == [(253, 110)]
    assert centres(scene, Part(part="branch", owner=TREE, number=2)) == [(147, 190)]
    assert centres(scene, Part(part="branch", owner=TREE, number=4)) == []
    assert centres(scene, Part(part="branch", owner=TREE, number=LAST)) == [(263, 270)]
    assert len(answer(scene, Part(part="branch", owner=TREE, number=ALL))) == 3


def test_branches_of_one_side_are_counted_alone():
    scene = scene_of(tube(upright_tree(branches=[(100, 300), (180, 100), (260, 320)])))
    right2 = Part(part="branch", owner=TREE, number=2, side="right")
    left1 = Part(part="branch", owner=TREE, number=1, side="left")
    left2 = Part(part="branch", owner=TREE, number=2, side="left")
    upper = Part(part="branch", owner=TREE, number=1, side="upper")
    assert centres(scene, right2) == [(263, 270)]
    assert centres(scene, left1) == [(147, 190)]
    assert centres(scene, left2) == []
    assert answer(scene, upper) is None


def test_a_fork_leaves_the_next_branch_undecided():
    scene = scene_of(tube(upright_tree(branches=[(100, 300), (180, 100)], fork=True)))
    assert len(answer(scene, Part(part="branch", owner=TREE, number=2))) == 1
    assert answer(scene, Part(part="branch", owner=TREE, number=3)) is None
    assert answer(scene, Part(part="branch", owner=TREE, number=LAST)) is None


def test_a_fork_has_a_left_and_a_right_arm():
    scene = scene_of(tube(upright_tree(branches=[(100, 300)], fork=True)))
    fork = centres(scene, Part(part="fork", owner=TREE))
    assert len(fork) == 1
    assert fork[0][1] == pytest.approx(340, abs=8)
    assert centres(scene, Part(part="arm", owner=TREE, side="left"))[0][0] < 200
    assert centres(scene, Part(part="arm", owner=TREE, side="right"))[0][0] > 200
    unforked = scene_of(tube(upright_tree(branches=[(100, 300)])))
    assert answer(unforked, Part(part="fork", owner=TREE)) == ()
    assert answer(unforked, Part(part="arm", owner=TREE, side="left")) == ()


def test_stretches_of_the_trunk_lie_between_its_branches():
    scene = scene_of(tube(upright_tree(branches=[(100, 300), (220, 100)])))
    ys = {
        part: centres(scene, Part(part=part, owner=TREE, number=1))[0][1]
        for part in ("before", "between", "after")
    }
    assert ys == {
        "before": pytest.approx(70, abs=4),
        "between": pytest.approx(160, abs=4),
        "after": pytest.approx(280, abs=4),
    }
    assert answer(scene, Part(part="between", owner=TREE, number=2)) == ()


def test_a_narrowing_is_found_where_it_is_and_only_there():
    with_one = scene_of(tube(upright_tree(branches=[(100, 300)], narrowings=[(0.45, 0.55)])))
    without = scene_of(tube(upright_tree(branches=[(100, 300)])))
    phrase = Part(part="narrowing", owner=TREE)
    assert centres(with_one, phrase) == [(200, 190)]
    assert answer(without, phrase) == ()


def test_a_narrowed_plain_tube_leaves_the_trunks_narrowing_undecided():
    plain = tube(upright_tree(90.0, narrowings=[(0.45, 0.55)]))
    scene = scene_of(plain, tube(upright_tree(310.0, branches=[(100, 380)])))
    assert answer(scene, Part(part="narrowing", owner=TREE)) is None
    assert centres(scene, Part(part="narrowing", owner=Description(noun="tube"))) == [(90, 190)]


def test_a_part_belongs_to_the_tube_that_is_named():
    left = tube(upright_tree(90.0, branches=[(100, 160), (200, 30)]))
    right = tube(upright_tree(310.0, branches=[(120, 380)]), absorption=BRIGHT)
    scene = scene_of(left, right)
    second = Part(part="branch", owner=TREE, number=2)
    bright = Description(noun="branching tube", tone="bright")
    on_left = Description(noun="branching tube", column="left")
    assert len(answer(scene, Part(part="branch", owner=TREE, number=1))) == 2
    assert len(answer(scene, second)) == 1
    assert answer(scene, Part(part="branch", owner=bright, number=2)) == ()
    assert centres(scene, Part(part="end", owner=on_left))[0][0] == pytest.approx(90, abs=2)
    faint = Description(noun="branching tube", tone="faint")
    assert answer(scene, Part(part="end", owner=faint)) == ()


def test_a_plain_tube_has_thirds_but_perhaps_no_trunk_and_no_branch():
    scene = scene_of(tube(upright_tree()))
    anything = Description(noun="tube")
    assert len(answer(scene, Part(part="middle", owner=anything))) == 1
    assert answer(scene, Part(part="middle", owner=TREE)) is None
    assert answer(scene, Part(part="trunk", owner=TREE)) is None
    assert answer(scene, Part(part="branch", owner=anything, number=1)) == ()
    assert answer(scene, Description(noun="branching tube")) == ()
    assert len(answer(scene, Description(noun="plain tube"))) == 1


def test_the_whole_tree_is_one_instance_of_all_its_branches():
    tree = upright_tree(branches=[(100, 300), (180, 100)], fork=True)
    whole = answer(scene_of(tube(tree)), TREE)
    assert len(whole) == 1
    mask = mask_of(whole[0], SIZE)
    for x, y in ((200, 60), (260, 111), (140, 191), (160, 380), (240, 380)):
        assert mask[y, x]
