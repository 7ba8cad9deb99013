"""Outlines of scenes' figures have the area, the width and the parts that their numbers say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from sam3_angio.scenes.raster import box_of, mask_of
from sam3_angio.scenes.shapes import SHAPE_KINDS, shape_patches
from sam3_angio.scenes.tubes import (
    Course,
    course_patches,
    fitted,
    grow_tree,
    straight,
    wander,
)

# share of the square of the extent that a figure covers
AREAS = {
    "disc": np.pi / 4,
    "ring": np.pi / 4 * (1 - 0.55**2),
    "square": 1.0,
    "triangle": np.sqrt(3) / 4,
    "bar": 1 / 4,
    "cross": 1 - 0.7**2,
    "ellipse": np.pi / 8,
}


@pytest.mark.parametrize("kind", SHAPE_KINDS)
@pytest.mark.parametrize("angle_deg", [0.0, 33.0, 90.0])
def test_a_figure_covers_the_area_of_its_formula(kind, angle_deg):
    mask = mask_of(shape_patches(kind, (100.3, 99.1), 120.0, angle_deg), 200)
    assert mask.sum() == pytest.approx(AREAS[kind] * 120.0**2, rel=0.03)


def test_a_bar_of_0_degrees_lies_and_one_of_90_stands():
    lying = box_of(shape_patches("bar", (50.0, 50.0), 40.0, 0.0), 100)
    standing = box_of(shape_patches("bar", (50.0, 50.0), 40.0, 90.0), 100)
    np.testing.assert_allclose(lying, (30, 45, 70, 55), atol=1e-6)
    np.testing.assert_allclose(standing, (45, 30, 55, 70), atol=1e-6)


@pytest.mark.parametrize("width_px", [2.0, 3.0, 5.0, 9.5, 14.0])
@pytest.mark.parametrize("angle_deg", [0.0, 20.0, 45.0, 71.0])
def test_a_straight_course_is_as_wide_as_it_says(width_px, angle_deg):
    direction = np.array([np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))])
    start, end = np.array([30.2, 28.7]), np.array([30.2, 28.7]) + 120.0 * direction
    mask = mask_of(course_patches(straight(tuple(start), tuple(end), width_px)), 200)
    assert mask.sum() / 120.0 == pytest.approx(width_px, abs=0.6)  # whole pixels


def test_a_bent_course_leaves_no_gap():
    for seed in range(20):
        line = fitted(wander(np.random.default_rng(seed), 60, 0.7), (20, 20, 180, 180))
        mask = mask_of(course_patches(Course(points_px=line, width_px=np.full(60, 4.0))), 200)
        _, pieces = ndimage.label(mask, np.ones((3, 3)))
        assert pieces == 1
        assert mask[tuple(np.rint(line[:, ::-1]).astype(int).T)].all()


def test_thirds_of_a_course_share_its_length():
    course = straight((0.0, 0.0), (0.0, 99.0), 4.0, points=100)
    thirds = [course.part(start, start + 1 / 3) for start in (0.0, 1 / 3, 2 / 3)]
    assert [third.length_px for third in thirds] == pytest.approx([33.0, 33.0, 33.0])
    assert thirds[0].points_px[0].tolist() == [0.0, 0.0]
    assert thirds[2].points_px[-1].tolist() == [0.0, 99.0]


def test_what_lies_outside_the_picture_is_cut_off():
    patches = course_patches(straight((-50.0, 20.0), (150.0, 20.0), 6.0))
    assert box_of(patches, 100) == pytest.approx((0.0, 17.0, 100.0, 23.0))
    assert mask_of(patches, 100).sum() == pytest.approx(600, abs=110)


def test_a_tree_tapers_and_counts_its_branches_from_the_wide_end():
    for seed in range(60):
        tree = grow_tree(np.random.default_rng(seed), (60, 60, 330, 330), 384, 4)
        origins = [branch.origin for branch in tree.branches]
        assert origins == sorted(origins)
        assert np.diff(origins).min(initial=1.0) > 0.05
        assert tree.trunk.width_px[0] > 1.5 * tree.trunk.width_px[-1]
        for branch in tree.branches:
            at = tree.trunk.index(branch.origin)
            assert branch.course.width_px[0] <= max(
                0.66 * tree.trunk.width_px[at - 8 : at + 9].max(), 1.5
            )
            away_px = np.hypot(*(branch.course.points_px[0] - tree.trunk.points_px[at]))
            assert away_px < 1.5 * tree.trunk.width_px[max(at - 8, 0) : at + 9].max() + 12


def test_a_plain_tube_has_nothing_but_its_trunk():
    tree = grow_tree(np.random.default_rng(3), (60, 60, 330, 330), 384, 0)
    assert tree.courses == (tree.trunk,)


def test_a_narrowing_is_narrower_than_its_surroundings():
    found = 0
    for seed in range(80):
        tree = grow_tree(np.random.default_rng(seed), (60, 60, 330, 330), 384, 2)
        for start, end in tree.narrowings:
            found += 1
            width = tree.trunk.width_px
            inside = width[tree.trunk.index(start) : tree.trunk.index(end) + 1]
            before = width[max(tree.trunk.index(start) - 3, 0)]
            after = width[min(tree.trunk.index(end) + 3, len(width) - 1)]
            assert inside.min() < 0.75 * min(before, after) or inside.min() == 1.0
    assert found > 5


def test_a_branch_does_not_run_along_its_trunk():
    for seed in range(60):
        tree = grow_tree(np.random.default_rng(seed), (60, 60, 330, 330), 384, 4)
        for branch in tree.branches:
            gap_px = np.hypot(*(tree.trunk.points_px - branch.course.points_px[-1]).T).min()
            assert gap_px > 0.05 * 384
