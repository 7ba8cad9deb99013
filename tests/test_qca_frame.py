"""Diameters on a frame's own pixels: blurred, noisy tubes of known diameter under coarse masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.errors import DataError
from sam3_angio.qca import measure, profile_from_frame
from sam3_angio.qca.frame import BLUR_MM, _doubt
from sam3_angio.qca.parts import one_vessel
from sam3_angio.qca.smooth_path import adapted, cheapest_path, smoothed
from sam3_angio.qca.tube_model import Darkness, background, candidates, misfit

SIDE = 120
MM = 0.25
SPACING = PixelSpacing(row_mm=MM, column_mm=MM, source="none")
FINER = 4


def vessel(
    healthy_mm: float, stenosis: float, angle_deg: float = 0.0, lesion_mm: float = 8.0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return path length of contrast and mask of a straight round tube with a lesion at its middle.

    The tube is 22 mm long and lies across the middle of a picture of `SIDE` pixels.
    """
    fine = (np.arange(SIDE * FINER) + 0.5) / FINER - 0.5 - (SIDE - 1) / 2
    x, y = np.meshgrid(fine * MM, fine * MM)
    turn = np.radians(angle_deg)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    bump = np.where(
        np.abs(along) < lesion_mm / 2, (1 + np.cos(2 * np.pi * along / lesion_mm)) / 2, 0.0
    )
    diameter = healthy_mm * (1 - stenosis * bump)
    chord = 2 * np.sqrt(np.maximum((diameter / 2) ** 2 - across**2, 0.0))
    inside = (np.abs(across) < diameter / 2) & (np.abs(along) < 11)
    return _coarser(chord), _coarser(inside.astype(float)) > 0.5


def _coarser(fine: NDArray[np.float64]) -> NDArray[np.float64]:
    return fine.reshape(SIDE, FINER, SIDE, FINER).mean(axis=(1, 3))


def picture(chord: NDArray[np.float64], noise: float = 3.0, seed: int = 0) -> NDArray[np.float64]:
    """Return grey values on a slanting background, blurred, with noise."""
    seen = np.exp(-0.12 * chord)
    blurred = ndimage.gaussian_filter(seen, BLUR_MM / MM)
    rows, columns = np.indices(chord.shape)
    behind = 130 + 0.2 * columns - 0.1 * rows
    generator = np.random.default_rng(seed)
    return behind * (0.2 + 0.8 * blurred) + noise * generator.standard_normal(chord.shape)


def on_raster(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Return a mask as a model of coarse resolution gives it."""
    shape = (SIDE // pixels, pixels, SIDE // pixels, pixels)
    part = mask.reshape(shape).mean(axis=(1, 3))
    return np.kron(part > 0.35, np.ones((pixels, pixels))) > 0


@settings(max_examples=6, deadline=None)
@given(
    healthy_mm=st.floats(2.0, 4.0),
    stenosis=st.floats(0.3, 0.8),
    angle_deg=st.floats(0, 180),
    seed=st.integers(0, 1000),
)
def test_a_coarse_mask_on_a_noisy_frame_gives_the_known_diameters(
    healthy_mm: float, stenosis: float, angle_deg: float, seed: int
) -> None:
    chord, mask = vessel(healthy_mm, stenosis, angle_deg)
    profile = profile_from_frame(picture(chord, seed=seed), on_raster(mask, 4), SPACING)
    result = measure(profile)
    assert result.mld_mm == pytest.approx((1 - stenosis) * healthy_mm, abs=0.3)
    assert result.rvd_mm == pytest.approx(healthy_mm, abs=0.3)
    assert result.mld_px == pytest.approx(((SIDE - 1) / 2, (SIDE - 1) / 2), abs=6)


@pytest.mark.parametrize(("healthy_mm", "lesion_mm"), [(3.0, 4.0), (3.0, 6.0), (4.0, 4.0)])
def test_a_lesion_hardly_longer_than_the_vessel_is_wide_keeps_its_depth(
    healthy_mm: float, lesion_mm: float
) -> None:
    errors = []
    for seed in range(3):
        chord, mask = vessel(healthy_mm, 0.6, 20.0 + 50 * seed, lesion_mm)
        frame = picture(chord, noise=2.0, seed=seed)
        result = measure(profile_from_frame(frame, on_raster(mask, 4), SPACING))
        errors.append(result.mld_mm - 0.4 * healthy_mm)
        assert len(result.lesions) == 1
    assert np.mean(errors) == pytest.approx(0, abs=0.15)


def test_a_healthy_vessel_is_as_smooth_as_the_noise_allows() -> None:
    chord, mask = vessel(3.0, 0.0, 33.0)
    profile = profile_from_frame(picture(chord, seed=4), on_raster(mask, 4), SPACING)
    assert np.nanstd(profile.diameter_mm) < 0.08
    assert np.nanmean(profile.diameter_mm) == pytest.approx(3.0, abs=0.06)


def test_a_lumen_narrower_than_the_blur_is_told_by_its_darkness() -> None:
    chord, mask = vessel(3.0, 0.88)
    result = measure(profile_from_frame(picture(chord, noise=1.0), mask, SPACING))
    assert result.mld_mm == pytest.approx(0.36, abs=0.15)  # the blur alone is 0.47 mm wide


def test_a_mask_torn_at_the_lesion_still_gives_the_lesion() -> None:
    chord, mask = vessel(3.0, 0.7)
    mask[:, 55:65] = False
    result = measure(profile_from_frame(picture(chord), mask, SPACING))
    assert result.diameter_stenosis_pct == pytest.approx(70, abs=8)


def test_a_crossing_vessel_does_not_widen_the_profile() -> None:
    chord, mask = vessel(3.0, 0.0)
    crossing, _ = vessel(2.0, 0.0, angle_deg=70)
    profile = profile_from_frame(picture(chord + crossing), mask, SPACING)
    assert np.nanmax(np.abs(profile.diameter_mm - 3.0)) < 0.6


def test_a_row_that_one_tube_explains_badly_is_doubted_and_others_are_not() -> None:
    residual = np.ones((60, 11))
    residual[30] = 10.0
    doubt = _doubt(residual, np.ones_like(residual), variance=1.0)
    assert doubt[30] > 10
    assert doubt[[0, 10, 50, 59]] == pytest.approx(1)
    assert _doubt(0.5 * residual[:10], np.ones((10, 11)), variance=1.0) == pytest.approx(1)


def test_the_ends_have_no_diameter() -> None:
    chord, mask = vessel(3.0, 0.0)
    profile = profile_from_frame(picture(chord), mask, SPACING)
    unseen = np.isnan(profile.diameter_mm)
    half = profile.arc_mm[-1] / 2
    assert profile.arc_mm[~unseen][0] == pytest.approx(1.5, abs=0.4)
    assert unseen[[0, -1]].all()
    assert not unseen[np.abs(profile.arc_mm - half) < half - 2].any()


def test_the_widths_of_another_pixel_size_are_in_its_millimetres() -> None:
    chord, mask = vessel(3.0, 0.5)
    once = measure(profile_from_frame(picture(chord, noise=0.0), mask, SPACING))
    twice = measure(
        profile_from_frame(
            np.kron(picture(chord, noise=0.0), np.ones((2, 2))),
            np.kron(mask, np.ones((2, 2))),
            PixelSpacing(row_mm=MM / 2, column_mm=MM / 2, source="none"),
        )
    )
    assert twice.mld_mm == pytest.approx(once.mld_mm, abs=0.1)


def test_a_vessel_without_a_lesion_has_little_false_stenosis() -> None:
    chord, mask = vessel(3.0, 0.0)
    result = measure(profile_from_frame(picture(chord), on_raster(mask, 4), SPACING))
    assert abs(result.diameter_stenosis_pct) < 15


def test_a_frame_without_contrast_is_refused() -> None:
    _, mask = vessel(3.0, 0.0)
    bright = 100.0 + 50.0 * mask
    with pytest.raises(DataError, match="darker"):
        profile_from_frame(bright, mask, SPACING)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="pixels"):
        profile_from_frame(np.zeros((20, 20)), np.ones((10, 10)), SPACING)


def test_parts_that_lie_on_are_joined_and_specks_are_not() -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[18:22, 2:25] = True
    mask[18:22, 30:55] = True
    mask[2:3, 2:4] = True
    vessel_mask, parts = one_vessel(mask, np.array([0.25, 0.25]))
    assert parts == 3
    assert vessel_mask[18:22, 27].any()
    assert not vessel_mask[2, 2]
    assert ndimage.label(vessel_mask, np.ones((3, 3)))[1] == 1


def test_parts_far_apart_are_not_joined() -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[18:22, 2:25] = True
    mask[18:22, 45:55] = True
    vessel_mask, _ = one_vessel(mask, np.array([1.0, 1.0]))
    assert not vessel_mask[20, 50]


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        one_vessel(np.zeros((5, 5), dtype=bool), np.ones(2))


def test_a_row_drawn_from_the_model_is_explained_by_its_own_tube() -> None:
    tubes = candidates(np.array([1.0, 2.0, 3.0]), (4, 30), 0.1, 0.2, 0.1)
    own = 1 * len(tubes.offset_mm) + 6  # 2 mm, 0.2 mm off
    line = 100 + 3 * tubes.across_mm
    row = (line - 9 * tubes.shadow_mm[own])[None]
    nothing = Darkness(expected=np.zeros(1), trust=np.zeros(1))
    squares, found = misfit(row, np.ones_like(row), tubes, nothing)
    assert squares[0].argmin() == own
    assert squares[0, own] == pytest.approx(0, abs=1e-6)
    assert found[0, own] == pytest.approx(9)
    shade = 9 * tubes.shadow_mm[[own]]
    behind = background(row, np.ones_like(row), tubes.across_mm, shade)
    assert behind[0] == pytest.approx(line)


def test_the_squares_are_those_of_a_least_squares_fit_with_a_prior() -> None:
    generator = np.random.default_rng(1)
    tubes = candidates(np.array([2.0]), (0, 20), 0.1, 0.2, 0.0)
    row, weight = generator.normal(50, 5, (1, 41)), generator.uniform(0.1, 1, (1, 41))
    squares, found = misfit(
        row, weight, tubes, Darkness(expected=np.array([3.0]), trust=np.ones(1))
    )
    columns = np.stack([np.ones(41), tubes.across_mm, -tubes.shadow_mm[0]], axis=1)
    root = np.sqrt(weight[0])
    matrix = np.vstack([root[:, None] * columns, [[0, 0, 1.0]]])
    wanted = np.concatenate([root * row[0], [3.0]])
    solution, residual, *_ = np.linalg.lstsq(matrix, wanted)
    if solution[2] > 0:
        assert found[0, 0] == pytest.approx(solution[2])
        assert squares[0, 0] == pytest.approx(residual[0])


@pytest.mark.parametrize("steps", [(1, 1), (6, 1), (0, 3)])  # also more than there are states
def test_the_cheapest_path_is_that_of_all_paths(steps: tuple[int, int]) -> None:
    cost = np.random.default_rng(2).uniform(size=(4, 3, 2))
    path = cheapest_path(cost, steps, (0.2, 0.2))

    def price(way: NDArray[np.intp]) -> float:
        moves = np.diff(way, axis=0)
        if (np.abs(moves) > steps).any():
            return np.inf
        return float(sum(cost[i, a, b] for i, (a, b) in enumerate(way)) + 0.2 * (moves**2).sum())

    states = np.array([(a, b) for a in range(3) for b in range(2)])
    every = np.stack(np.meshgrid(*[np.arange(6)] * 4), axis=-1).reshape(-1, 4)
    assert price(path) == pytest.approx(min(price(states[way]) for way in every))


def test_smoothing_keeps_a_straight_line() -> None:
    line = np.linspace(1, 4, 20)
    assert smoothed(line, np.linspace(0.1, 2, 20), 1e4) == pytest.approx(line)
    assert adapted(line, np.linspace(0.1, 2, 20), (1.0, 1e4), (0.01, 2.0)) == pytest.approx(line)


def test_smoothing_solves_its_normal_equations() -> None:
    generator = np.random.default_rng(3)
    values, precision = generator.normal(size=9), generator.uniform(0.5, 2, 9)
    stiffness = generator.uniform(1, 5, 7)
    bend = np.diff(np.eye(9), 2, axis=0)
    matrix = np.diag(precision) + bend.T @ np.diag(stiffness) @ bend
    expected = np.linalg.solve(matrix, precision * values)
    assert smoothed(values, precision, stiffness) == pytest.approx(expected)


def test_adapting_smooths_noise_and_keeps_a_dip() -> None:
    place = np.arange(200.0)
    noise = 0.02 * np.random.default_rng(0).standard_normal(200)
    dip = np.where(np.abs(place - 100) < 9, (1 + np.cos(np.pi * (place - 100) / 9)) / 2, 0.0)
    values, ones = 3 - 1.8 * dip + noise, np.ones(200)
    curve = adapted(values, ones, (1.0, 1000.0), (0.005, 2.0))
    assert curve.min() == pytest.approx(1.2, abs=0.06)
    assert smoothed(values, ones, 1000.0).min() > 1.4
    assert np.std(curve[:80] - 3) < 0.01
