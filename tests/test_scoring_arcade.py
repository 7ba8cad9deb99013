"""The ARCADE challenge's scores: hand-derived values, one for each peculiarity."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam3_angio.errors import DataError
from sam3_angio.scoring.arcade import (
    Outline,
    found_stenoses,
    official_segments,
    official_stenoses,
    sane_segments,
    sane_stenoses,
)

# A square of 10 pixels and the same moved by half of its width: Dice 0.5, IoU 1/3.
SQUARE = ((0, 0), (10, 0), (10, 10), (0, 10))
MOVED = ((5, 0), (15, 0), (15, 10), (5, 10))
FAR = ((50, 50), (60, 50), (60, 60), (50, 60))
#: Two triangles that meet in the middle; their signed areas cancel.
BOW_TIE = ((0, 0), (10, 10), (10, 0), (0, 10))


def mark(*polygons, category=1, image="1.png"):
    return Outline(image=image, category_id=category, polygons=polygons)


def test_a_perfect_prediction_scores_one_everywhere():
    marks = [mark(SQUARE), mark(FAR, category=5)]
    for score in (official_segments, official_stenoses, sane_segments, sane_stenoses):
        assert score(["1.png"], marks, marks).mean == pytest.approx(1)


def test_the_score_is_the_mean_over_images_of_the_mean_over_classes():
    wanted = [mark(SQUARE), mark(FAR, category=5), mark(SQUARE, image="2.png")]
    answer = [mark(MOVED), mark(SQUARE, image="2.png")]
    score = official_segments(["1.png", "2.png"], wanted, answer)
    assert score.per_image == {"1.png": pytest.approx(0.25), "2.png": pytest.approx(1)}
    assert score.mean == pytest.approx(0.625)
    assert sane_segments(["1.png", "2.png"], wanted, answer).mean == pytest.approx(0.625)


def test_only_the_first_polygon_of_an_annotation_counts_officially():
    wanted, answer = [mark(SQUARE, FAR)], [mark(SQUARE)]
    assert official_segments(["1.png"], wanted, answer).mean == pytest.approx(1)
    assert sane_segments(["1.png"], wanted, answer).mean == pytest.approx(2 / 3)


def test_a_class_is_scored_on_its_first_prediction_officially():
    wanted, answer = [mark(SQUARE)], [mark(MOVED), mark(SQUARE)]
    assert official_segments(["1.png"], wanted, answer).mean == pytest.approx(0.5)
    assert official_segments(["1.png"], wanted, answer[::-1]).mean == pytest.approx(1)
    # All of it: 150 pixels against 100, 100 of them common.
    assert sane_segments(["1.png"], wanted, answer).mean == pytest.approx(0.8)


@pytest.mark.parametrize("place", [0, 1])
def test_one_surplus_class_sets_the_image_to_zero_officially(place):
    answer = [mark(SQUARE)]
    answer.insert(place, mark(FAR, category=9))
    assert official_segments(["1.png"], [mark(SQUARE)], answer).mean == 0
    assert sane_segments(["1.png"], [mark(SQUARE)], answer).mean == pytest.approx(0.5)


def test_two_predictions_of_one_stenosis_both_count_officially():
    wanted, answer = [mark(SQUARE), mark(FAR)], [mark(SQUARE), mark(SQUARE)]
    assert official_stenoses(["1.png"], wanted, answer).mean == pytest.approx(1)
    assert sane_stenoses(["1.png"], wanted, answer).mean == pytest.approx(0.5)
    found = found_stenoses(["1.png"], wanted, answer)
    assert (found.true_positives, found.false_positives, found.false_negatives) == (1, 1, 1)
    assert found.f1 == pytest.approx(0.5)


def test_a_missed_stenosis_is_a_zero_in_the_mean():
    wanted = [mark(SQUARE), mark(FAR)]
    assert official_stenoses(["1.png"], wanted, [mark(MOVED)]).mean == pytest.approx(0.25)
    assert official_stenoses(["1.png"], wanted, []).mean == 0


def test_a_stenosis_counts_as_found_from_an_iou_of_one_half():
    just = ((0, 0), (10, 0), (10, 5), (0, 5))
    below = ((0, 0), (10, 0), (10, 4.9), (0, 4.9))
    assert found_stenoses(["1.png"], [mark(SQUARE)], [mark(just)]).true_positives == 1
    assert found_stenoses(["1.png"], [mark(SQUARE)], [mark(below)]).true_positives == 0


def test_matching_finds_as_many_stenoses_as_can_be():
    # The greedy pair (first, both) would leave the second reference without a partner.
    wanted = [
        mark(((0, 0), (10, 0), (10, 10), (0, 10))),
        mark(((4, 0), (14, 0), (14, 10), (4, 10))),
    ]
    answer = [
        mark(((1, 0), (11, 0), (11, 10), (1, 10))),
        mark(((-2, 0), (8, 0), (8, 10), (-2, 10))),
    ]
    assert found_stenoses(["1.png"], wanted, answer).true_positives == 2


def test_outlines_that_cannot_be_drawn_score_zero_officially():
    line = ((0, 0), (10, 10))
    assert official_segments(["1.png"], [mark(SQUARE)], [mark(line)]).mean == 0
    assert sane_segments(["1.png"], [mark(SQUARE)], [mark(line)]).mean == 0


def test_repair_drops_a_part_of_an_outline_that_crosses_itself():
    score = official_segments(["1.png"], [mark(SQUARE)], [mark(BOW_TIE)]).mean
    # One triangle of 25 pixels is left of two: 2·25 / (25 + 100), or both: 2·50 / (50 + 100).
    assert score == pytest.approx(0.4) or score == pytest.approx(2 / 3)
    sane = sane_segments(["1.png"], [mark(SQUARE)], [mark(BOW_TIE)]).mean
    assert sane == pytest.approx(2 / 3)


def test_images_without_any_outline_end_the_official_score_and_are_counted_by_the_sane():
    images, marks = ["1.png", "2.png", "3.png"], [mark(SQUARE)]
    with pytest.raises(DataError) as error:
        official_segments(images, marks, marks)
    assert [fault.file for fault in error.value.faults] == ["2.png", "3.png"]
    score = sane_segments(images, marks, marks)
    assert score.undefined == 2
    assert score.mean == pytest.approx(1)
    assert math.isnan(found_stenoses(["1.png"], [], []).f1)


boxes = st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 30)] * 2).map(
    lambda b: ((b[0], b[1]), (b[0] + b[2], b[1]), (b[0] + b[2], b[1] + b[3]), (b[0], b[1] + b[3]))
)


@given(
    st.lists(st.builds(mark, boxes, category=st.integers(1, 3)), min_size=1, max_size=4),
    st.lists(st.builds(mark, boxes, category=st.integers(1, 3)), max_size=4),
)
def test_scores_lie_between_zero_and_one_and_the_sane_ones_are_symmetric(wanted, answer):
    for score in (official_segments, official_stenoses, sane_segments, sane_stenoses):
        assert 0 <= score(["1.png"], wanted, answer).mean <= 1 + 1e-9
    for score in (sane_segments, sane_stenoses):
        there, back = score(["1.png"], wanted, answer), score(["1.png"], answer, wanted)
        assert there.mean == pytest.approx(back.mean)
