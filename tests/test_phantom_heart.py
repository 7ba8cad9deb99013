"""The coronary tree: anatomy, calibres, segment borders."""

import numpy as np
import pytest

from sam3_angio.anatomy import analysed_segments, segments
from sam3_angio.phantom.heart import grow_heart

HEARTS = 120


@pytest.fixture(scope="module")
def hearts():
    return [grow_heart(seed) for seed in range(HEARTS)]


def right_dominant(hearts):
    return [heart for heart in hearts if heart.dominance == "right"]


def starts_mm(hearts, cass):
    found = [heart.segment(cass) for heart in hearts]
    return np.array([2 * branch.radius_mm[0] for branch in found if branch is not None])


def test_a_seed_gives_one_heart_and_another_seed_another():
    one, same, other = grow_heart(5), grow_heart(5), grow_heart(6)
    assert len(one.branches) == len(same.branches)
    for a, b in zip(one.branches, same.branches, strict=True):
        np.testing.assert_array_equal(a.centreline_mm, b.centreline_mm)
        np.testing.assert_array_equal(a.radius_mm, b.radius_mm)
    first, second = one.segment(1), other.segment(1)
    assert abs(first.centreline_mm[5] - second.centreline_mm[5]).max() > 0.1


def test_dominance_is_mostly_right(hearts):
    share = np.mean([heart.dominance == "right" for heart in hearts])
    assert 0.75 < share < 0.95
    assert {heart.dominance for heart in hearts} == {"right", "left", "balanced"}


def test_every_analysed_segment_occurs_and_only_some_are_optional(hearts):
    always = set.intersection(*(set(heart.cass) for heart in right_dominant(hearts)))
    ever = set.union(*(set(heart.cass) for heart in hearts))
    assert set(analysed_segments()) <= ever
    assert set(analysed_segments()) - always == {16, 21, 28}


def test_the_posterior_descending_artery_comes_from_the_dominant_side(hearts):
    for heart in hearts:
        assert (4 in heart.cass) == (heart.dominance != "left")
        assert (27 in heart.cass) == (heart.dominance == "left")


def test_artery_of_each_segment_is_that_of_the_anatomical_table(hearts):
    for heart in hearts[:20]:
        for branch in heart.branches:
            if branch.cass is not None:
                assert branch.artery == segments()[branch.cass].artery


@pytest.mark.parametrize(
    ("cass", "mean_mm", "sd_mm"),
    [(11, 4.5, 0.5), (12, 3.7, 0.4), (1, 3.9, 0.6), (18, 3.4, 0.5)],
)
def test_calibres_are_those_of_dodge(hearts, cass, mean_mm, sd_mm):
    men = [heart for heart in right_dominant(hearts) if heart.sex == "male"]
    found = starts_mm(men, cass)
    error_of_mean = sd_mm / np.sqrt(len(found))
    assert abs(found.mean() - mean_mm) < 3.5 * error_of_mean
    assert 0.6 * sd_mm < found.std() < 1.4 * sd_mm


def test_distal_lad_is_about_nineteen_tenths(hearts):
    assert abs(starts_mm(hearts, 14).mean() - 1.9) < 0.25


def test_womens_arteries_are_smaller(hearts):
    women = [heart for heart in right_dominant(hearts) if heart.sex == "female"]
    men = [heart for heart in right_dominant(hearts) if heart.sex == "male"]
    ratio = starts_mm(women, 12).mean() / starts_mm(men, 12).mean()
    assert 0.85 < ratio < 0.98


def test_left_main_divides_by_murrays_law(hearts):
    for heart in hearts[:30]:
        index = next(i for i, branch in enumerate(heart.branches) if branch.cass == 11)
        children = [branch for branch in heart.branches if branch.parent == index]
        cubes = sum(branch.radius_mm[0] ** 3 for branch in children)
        assert len(children) in (2, 3)
        assert cubes == pytest.approx(heart.branches[index].radius_mm[-1] ** 3, rel=1e-9)


def test_lad_narrows_at_the_first_diagonal_by_murrays_law(hearts):
    for heart in hearts[:30]:
        diagonal = heart.segment(15)
        trunk = [heart.segment(cass) for cass in (12, 13, 14)]
        points = np.concatenate([branch.centreline_mm for branch in trunk])
        radius = np.concatenate([branch.radius_mm for branch in trunk])
        at = int(((points - diagonal.centreline_mm[0]) ** 2).sum(axis=1).argmin())
        # 4 mm on the step is complete; the taper over that length is a few per cent
        after = radius[at + 8]
        assert after**3 + diagonal.radius_mm[0] ** 3 == pytest.approx(radius[at] ** 3, rel=0.15)


def test_right_coronary_is_as_long_as_in_life(hearts):
    lengths = [
        sum(heart.segment(cass).arc_mm[-1] for cass in (1, 2, 3))
        for heart in right_dominant(hearts)
    ]
    assert 115 < np.mean(lengths) < 140


def test_segments_follow_one_another_without_a_gap(hearts):
    for heart in hearts[:30]:
        for before, after in ((1, 2), (2, 3), (12, 13), (13, 14), (18, 19)):
            first, second = heart.segment(before), heart.segment(after)
            np.testing.assert_array_equal(first.centreline_mm[-1], second.centreline_mm[0])
            assert first.path_mm[-1] == second.path_mm[0]
            assert first.radius_mm[-1] == second.radius_mm[0]


def test_every_branch_begins_on_its_parent(hearts):
    for heart in hearts[:30]:
        for index, branch in enumerate(heart.branches):
            if branch.parent is None:
                assert branch.cass in (1, 11)
                continue
            assert branch.parent < index
            parent = heart.branches[branch.parent]
            gap = np.sqrt(((parent.centreline_mm - branch.centreline_mm[0]) ** 2).sum(axis=1))
            assert gap.min() < 0.01
            assert parent.path_mm[gap.argmin()] == pytest.approx(branch.path_mm[0])


def test_proximal_lad_ends_at_its_first_branch(hearts):
    for heart in hearts[:30]:
        ends = heart.segment(12).path_mm[-1]
        first = min(heart.segment(cass).path_mm[0] for cass in (15, 17))
        assert ends == pytest.approx(first, abs=1.0)


def test_arc_length_is_that_of_the_points(hearts):
    branch = hearts[0].segment(2)
    steps = np.sqrt((np.diff(branch.centreline_mm, axis=0) ** 2).sum(axis=1))
    np.testing.assert_allclose(np.diff(branch.arc_mm), steps)
    assert branch.arc_mm[0] == 0


def test_a_side_branch_begins_inside_its_parent_and_leaves_it(hearts):
    heart = hearts[0]
    shares = dict(
        zip((branch.name for branch in heart.tree("LCA")), heart.outside("LCA"), strict=True)
    )
    assert shares["first diagonal"][0] < 0.2
    assert shares["first diagonal"][-1] == 1
    assert (shares["left main"] == 1).all()


def test_vessels_lie_round_the_heart_and_taper(hearts):
    for heart in hearts[:30]:
        for branch in heart.branches:
            distance = np.sqrt((branch.centreline_mm**2).sum(axis=1))
            assert distance.max() < 110
            assert (branch.radius_mm >= 0.35).all()
            assert (np.diff(branch.radius_mm) < 1e-9).all()
            np.testing.assert_array_equal(branch.radius_mm, branch.reference_radius_mm)
