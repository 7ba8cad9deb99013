"""Collimator blades and wedge filter: where they stand and what they do to a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sam3_angio.acquisition import ViewAngle
from sam3_angio.phantom.beat import best_frames
from sam3_angio.phantom.collimator import collimated, transmission
from sam3_angio.phantom.heart import grow_heart
from sam3_angio.phantom.run import RunPlan, simulate_run
from sam3_angio.phantom.xray import Field, ProjectionGeometry, aimed, project

SIZE = 256
HEART = grow_heart(2)
BLADES = Field(left_px=40, top_px=30, right_px=SIZE, bottom_px=220)


@pytest.fixture(scope="module")
def geometry():
    wide = ProjectionGeometry(
        view=ViewAngle(primary_deg=-25.0, secondary_deg=-22.0),
        sid_mm=1050.0,
        sod_mm=770.0,
        detector_spacing_mm=0.62,
        size_px=SIZE,
    )
    return aimed(wide, HEART, "LCA")


@pytest.fixture(scope="module")
def run(geometry):
    plan = RunPlan(
        heart=HEART,
        artery="LCA",
        geometry=replace(geometry, collimated=BLADES),
        bits=8,
        n_frames=10,
        analysed=((best_frames(10, 7)[0], 12),),
        seed=7,
    )
    return simulate_run(plan)


def drawn(geometry, seed):
    return collimated(geometry, HEART, "LCA", 12, np.random.default_rng(seed))


def test_without_blades_the_field_is_the_picture(geometry):
    assert geometry.field.mask(SIZE).all()


def test_blades_keep_away_from_the_segment_and_stay_in_the_picture(geometry):
    points_px, _ = project(HEART.segment(12).centreline_mm, geometry)
    gap_px = 8 / geometry.object_spacing_mm
    for seed in range(30):
        field = drawn(geometry, seed).field
        assert 0 <= field.left_px < field.right_px <= SIZE
        assert 0 <= field.top_px < field.bottom_px <= SIZE
        assert field.contains(points_px, gap_px - 1).all()


def test_the_same_draw_places_the_same_blades(geometry):
    assert drawn(geometry, 3) == drawn(geometry, 3)
    assert len({drawn(geometry, seed).field for seed in range(20)}) > 15


def test_the_beam_is_halved_at_a_blades_edge_and_free_away_from_it(geometry):
    for seed in range(8):
        passed = transmission(
            replace(geometry, collimated=BLADES), np.random.default_rng(seed)
        ) / transmission(geometry, np.random.default_rng(seed))
        edge = (passed[125, 39] + passed[125, 40]) / 2
        assert edge == pytest.approx(0.5, abs=0.01)
        # the penumbra is 1.2 mm wide: two pixels
        np.testing.assert_allclose(passed[32:218, 42:], 1, atol=1e-12)
        np.testing.assert_allclose(passed[:28], 0, atol=1e-12)


def test_a_wedge_filter_dims_a_corner_in_some_runs(geometry):
    pictures = [transmission(geometry, np.random.default_rng(seed)) for seed in range(40)]
    dimmed = [picture for picture in pictures if picture.min() < 1]
    assert 8 <= len(dimmed) <= 24
    for picture in dimmed:
        corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.min() == picture.min() > 0.6
        assert picture[SIZE // 2, SIZE // 2] == 1


def test_what_the_blades_cover_is_black_in_every_frame(run):
    covered = ~BLADES.mask(SIZE)
    assert not run.pixels[:, covered].any()
    assert (run.pixels[:, ~covered] > 0).mean() > 0.999


def test_the_window_is_that_of_the_field(run):
    shown = run.pixels[-1][BLADES.mask(SIZE)]
    low = run.window_centre - run.window_width / 2
    assert low > 10
    assert low == pytest.approx(np.percentile(shown, 0.5), abs=1)


def test_covered_pixels_cost_nothing_when_compressed(run):
    from sam3_angio.phantom.xa_file import JPEG_LS, encode_frame

    frame = run.pixels[5]
    inside = frame[BLADES.top_px : BLADES.bottom_px, BLADES.left_px : BLADES.right_px]
    whole, part = (len(encode_frame(picture, 8, JPEG_LS)) for picture in (frame, inside.copy()))
    assert whole < 1.05 * part
