"""Which epoch is kept, and when a training ends before its last one."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from sam3_angio.detector.keeping import (  # noqa: E402
    SCORES,
    best_epoch,
    is_exhausted,
    is_out_of_time,
    mean_score,
)


def history(*scores):
    """Return epochs; None is one without a validation."""
    return [{"train/loss": 1.0} | dict.fromkeys(SCORES if s is not None else (), s) for s in scores]


def test_an_epoch_s_score_is_the_mean_of_its_three():
    assert mean_score(dict(zip(SCORES, (0.25, 0.5, 0.75), strict=True))) == 0.5


def test_the_best_epoch_is_the_first_of_equals_among_those_that_were_validated():
    assert best_epoch([]) is None
    assert best_epoch(history(None, None)) is None
    assert best_epoch(history(None, 0.3, None, 0.5, None, 0.5, None, 0.4)) == 3


@pytest.mark.parametrize(
    ("scores", "patience", "ends"),
    [
        ((0.5, 0.4, 0.3, 0.2), 0, False),
        ((0.5, 0.4), 2, False),
        ((0.5, 0.4, 0.45), 2, True),
        ((0.5, None, 0.4, None), 2, False),
        ((0.5, 0.4, 0.6), 2, False),
        ((0.5, 0.5, 0.5), 2, True),
        ((None, None, None), 1, False),
        ((), 1, False),
    ],
)
def test_a_training_ends_after_so_many_validations_that_brought_nothing_better(
    scores, patience, ends
):
    assert is_exhausted(history(*scores), patience) is ends


@pytest.mark.parametrize(
    ("scores", "max_minutes", "ends"),
    [
        ((0.5, 0.5), 0, False),
        ((0.5, 0.5), 2.5, False),
        ((0.5, 0.5), 2, True),
        ((0.5, None), 2, False),  # the next validation ends it
        ((), 1, False),
    ],
)
def test_a_training_ends_with_the_first_validation_after_its_time(scores, max_minutes, ends):
    timed = [record | {"minutes": k} for k, record in enumerate(history(*scores), start=1)]
    assert is_out_of_time(timed, max_minutes) is ends
