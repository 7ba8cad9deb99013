"""Masks against a lesion, drawn so that every figure can be counted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sam3_angio.coco import encode_mask, mask_box
from sam3_angio.scoring.lesion_masks import PointedLesion, middle_third, point, pointing_figures
from sam3_angio.scoring.masks import BoolArray
from sam3_angio.scoring.predictions import Instance, Query

SIDE = 40


def bar(row: int, start: int, end: int, rows: int = 2) -> BoolArray:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[row : row + rows, start:end] = True
    return mask


def answer(*masks: BoolArray) -> Query:
    """Return an answer with the masks as instances, the best first."""
    instances = tuple(
        Instance(score=0.4 - 0.1 * place, mask=encode_mask(mask), bbox=mask_box(mask))
        for place, mask in enumerate(masks)
    )
    return Query(
        query_id=1,
        frame_id="p0000000001-00000001",
        category_id=113,
        phrase="mid LAD stenosis",
        presence=0.1,
        instances=instances,
        semantic=None,
    )


def pointed(prompt: Query, segment: Query | None = None) -> PointedLesion:
    """Hold answers against the last third of a segment from 5 to 35."""
    lesion, whole = encode_mask(bar(10, 25, 35)), encode_mask(bar(10, 5, 35))
    return point("p0000000001", lesion, whole, prompt, segment)


def test_iou_and_share_are_counted_in_pixels() -> None:
    # The prompt draws columns 20 to 40: 20 of them, of which 15 in the segment and 10 the lesion's.
    found = pointed(answer(bar(10, 20, 40), bar(10, 25, 35)), answer(bar(10, 5, 25)))
    assert found.iou == pytest.approx({"prompt": 10 / 20, "segment": 0, "annotated": 10 / 30})
    assert found.share == pytest.approx(
        {"prompt": 10 / 15, "segment": 0, "annotated": 1 / 3, "middle": 0}
    )


def test_what_is_drawn_outside_the_segment_lowers_the_iou_and_not_the_share() -> None:
    inside, spread = bar(10, 25, 35), bar(10, 25, 35) | bar(30, 0, 40, rows=5)
    assert pointed(answer(spread)).iou["prompt"] == pytest.approx(20 / 220)
    assert pointed(answer(inside)).iou["prompt"] == 1
    assert pointed(answer(spread)).share["prompt"] == pointed(answer(inside)).share["prompt"] == 1


def test_no_answer_covers_nothing_and_says_nothing_of_where() -> None:
    found = pointed(answer())
    assert found.iou["prompt"] == found.iou["segment"] == 0
    assert math.isnan(found.share["prompt"])
    assert math.isnan(found.share["segment"])


@pytest.mark.parametrize("turned", [False, True])
def test_the_middle_third_is_that_of_the_longest_direction(turned: bool) -> None:
    segment, middle = bar(10, 5, 35), bar(10, 15, 25)
    if turned:
        segment, middle = segment.T, middle.T
    np.testing.assert_array_equal(middle_third(segment), middle)
    assert not middle_third(np.zeros_like(segment)).any()


def test_differences_are_paired_by_lesion_and_undefined_ones_are_counted() -> None:
    lesions = [
        pointed(answer(bar(10, 20, 40)), answer(bar(10, 5, 25))),
        pointed(answer(bar(10, 25, 35)), answer(bar(10, 5, 35))),
        pointed(answer(), answer(bar(10, 5, 35))),
    ]
    figures = pointing_figures(lesions)
    ones = np.ones((1, 1))
    share = figures["share", "prompt_less_segment", "mean"]
    assert (share.n, share.undefined) == (2, 1)
    assert share.of_weights(ones)[0] == pytest.approx((10 / 15 + (1 - 1 / 3)) / 2)
    assert figures["iou", "prompt", "median"].of_weights(ones)[0] == pytest.approx(0.5)
    assert figures["iou", "prompt_less_annotated", "mean"].of_weights(ones)[0] == pytest.approx(
        (0.5 + 1 + 0) / 3 - 1 / 3
    )
