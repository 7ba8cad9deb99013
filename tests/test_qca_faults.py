"""What cannot be measured is refused by name, and never answered with a number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.errors import DataError
from sam3_angio.qca import measure, profile_from_edges, profile_from_mask

PIXELS = PixelSpacing(row_mm=1.0, column_mm=1.0, source="none")


def bar() -> np.ndarray:
    mask = np.zeros((40, 100), dtype=np.uint8)
    mask[15:22, 10:90] = 1
    return mask


def ring() -> np.ndarray:
    rows, columns = np.indices((80, 80))
    return np.abs(np.hypot(rows - 40, columns - 40) - 25) < 4


def two_bars() -> np.ndarray:
    mask = bar()
    mask[:, 50] = 0
    return mask


def disc() -> np.ndarray:
    rows, columns = np.indices((80, 80))
    return np.hypot(rows - 40, columns - 40) < 20


def square_speck() -> np.ndarray:
    mask = np.zeros((20, 20), dtype=bool)
    mask[8:11, 8:11] = True
    return mask


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: np.zeros((20, 20), dtype=bool), "empty"),
        (lambda: np.zeros((0, 0), dtype=bool), "empty"),
        (lambda: np.zeros((20, 20)), "empty"),
        (two_bars, "2 separate parts"),
        (ring, "ring"),
        (disc, "too short|lack a border"),
        (square_speck, "too short"),
        (lambda: np.ones((30, 60), dtype=bool), "lack a border"),
        (lambda: bar()[None], "3 axes"),
        (lambda: bar() * np.arange(100, dtype=np.uint8), "whole numbers"),
        (lambda: np.where(bar() > 0, np.nan, 0), "NaN"),
        (lambda: bar() * 255.0, "outside 0…1"),
        (lambda: bar() - 0.5, "outside 0…1"),
    ],
)
def test_a_mask_without_one_vessel_is_refused(make: Callable[[], np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        measure(profile_from_mask(make(), PIXELS))
    assert caught.value.faults


@pytest.mark.parametrize("value", [np.nan, 0.0, -0.3, np.inf])
@pytest.mark.parametrize("side", ["row", "column"])
def test_an_unknown_spacing_is_refused(value: float, side: str) -> None:
    row, column = (value, 0.3) if side == "row" else (0.3, value)
    spacing = PixelSpacing(row_mm=row, column_mm=column, source="none")
    x = np.arange(50.0)
    with pytest.raises(DataError, match="spacing"):
        profile_from_mask(bar(), spacing)
    with pytest.raises(DataError, match="spacing"):
        profile_from_edges(np.column_stack([x, x * 0]), np.column_stack([x, x * 0 + 8]), spacing)


def line(height: float, count: int = 60) -> np.ndarray:
    x = np.linspace(0, 60, count)
    return np.column_stack([x, np.full_like(x, height)])


@pytest.mark.parametrize(
    ("left", "right", "centre", "message"),
    [
        (line(0), np.column_stack([np.linspace(0, 60, 60), np.linspace(-5, 5, 60)]), None, "cross"),
        (line(0), line(0), None, "coincide"),
        (line(0)[:2], line(8), None, "fewer than 3"),
        (np.repeat(line(0)[:1], 9, axis=0), line(8), None, "fewer than 3"),
        (line(0), line(8).ravel(), None, "shape"),
        (line(0), line(8) * [1, np.nan], None, "finite"),
        (line(0), line(8), line(4)[:1], "fewer than 3"),
        (line(0), line(8), line(400), "lack a border"),
        (line(0), line(8), line(4) + np.array([200, 0]), "lack a border"),
    ],
)
def test_borders_that_bound_no_vessel_are_refused(
    left: np.ndarray, right: np.ndarray, centre: np.ndarray | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        profile_from_edges(left, right, PIXELS, centreline_px=centre)


def test_every_fault_of_a_contour_is_named_at_once() -> None:
    with pytest.raises(DataError) as caught:
        profile_from_edges(line(0)[:2], line(8) * np.nan, PIXELS, centreline_px=line(4).ravel())
    assert [fault.field for fault in caught.value.faults] == [
        "left_edge",
        "right_edge",
        "centerline",
    ]


def test_integers_and_probabilities_of_one_mask_agree() -> None:
    expected = profile_from_mask(bar() > 0, PIXELS).diameter_mm
    for mask in (bar(), bar() * np.uint8(255), bar().astype(np.float32)):
        np.testing.assert_array_equal(profile_from_mask(mask, PIXELS).diameter_mm, expected)


@settings(max_examples=80, deadline=None)
@given(
    noise=arrays(
        np.float64,
        st.tuples(st.integers(3, 40), st.integers(3, 40)),
        elements=st.floats(0, 1),
        fill=st.nothing(),
    ),
    sigma=st.floats(0.3, 4),
    share=st.floats(0.2, 0.95),
)
def test_any_blob_gives_finite_numbers_or_a_refusal(
    noise: np.ndarray, sigma: float, share: float
) -> None:
    smooth = ndimage.gaussian_filter(noise, sigma)
    try:
        result = measure(profile_from_mask(smooth > np.quantile(smooth, share), PIXELS))
    except DataError:
        return
    assert np.isfinite([result.mld_mm, result.rvd_mm, result.segment_length_mm]).all()
    assert 0 <= result.mld_mm <= max(noise.shape) * 2
    assert result.diameter_stenosis_pct <= 100
