"""A simulated run: contrast, heartbeat, noise, determinism."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sam3_angio.acquisition import ViewAngle
from sam3_angio.phantom.beat import draw_beat, moved
from sam3_angio.phantom.film import Exposure, stored_frames
from sam3_angio.phantom.heart import grow_heart
from sam3_angio.phantom.run import RunPlan, analysable, best_frames, simulate_run
from sam3_angio.phantom.xray import ProjectionGeometry, aimed

HEART = grow_heart(2)


def geometry(primary_deg=-25.0, secondary_deg=-22.0, size_px=256, artery="LCA"):
    view = ViewAngle(primary_deg=primary_deg, secondary_deg=secondary_deg)
    wide = ProjectionGeometry(
        view=view,
        sid_mm=1050.0,
        sod_mm=770.0,
        detector_spacing_mm=0.31 * 512 / size_px,
        size_px=size_px,
    )
    return aimed(wide, HEART, artery)


def plan(**changes):
    values = {
        "heart": HEART,
        "artery": "LCA",
        "geometry": geometry(),
        "bits": 8,
        "n_frames": 10,
        "analysed": ((best_frames(10, 7)[0], 12),),
        "seed": 7,
    }
    return RunPlan(**(values | changes))


def dispatched_features():
    """Return the vector instructions that NumPy chooses at run time on this machine."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]


@pytest.fixture(scope="module")
def run():
    return simulate_run(plan())


def test_the_same_plan_gives_the_same_bytes(run):
    again = simulate_run(plan())
    assert again.pixels.tobytes() == run.pixels.tobytes()
    np.testing.assert_array_equal(again.truths[0].tree_mask, run.truths[0].tree_mask)


@pytest.mark.skipif(not dispatched_features(), reason="this build of NumPy chooses nothing")
def test_another_processor_gives_the_same_bytes():
    """Without its vector instructions NumPy's exp, sin and cos differ in their last digits."""
    script = (
        "import hashlib, tests.test_phantom_run as t\n"
        "run = t.simulate_run(t.plan())\n"
        "masks = run.truths[0].tree_mask.tobytes() + run.truths[0].catheter_mask.tobytes()\n"
        "print(hashlib.sha256(run.pixels.tobytes() + masks).hexdigest())\n"
    )
    plain = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    other = plain | {
        "NPY_DISABLE_CPU_FEATURES": " ".join(dispatched_features()),
        "OPENBLAS_CORETYPE": "Nehalem",
    }
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
        ).stdout
        for env in (plain, other)
    ]
    assert outputs[0] == outputs[1]


def test_another_seed_gives_another_run(run):
    other = simulate_run(plan(seed=8, analysed=()))
    assert (other.pixels != run.pixels).mean() > 0.5


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (12, np.uint16)])
def test_stored_values_use_their_bits(bits, dtype):
    pixels = simulate_run(plan(bits=bits, n_frames=4, analysed=())).pixels
    assert pixels.dtype == dtype
    assert pixels.shape == (4, 256, 256)
    assert 2**bits * 0.7 < pixels.max() < 2**bits
    assert len(np.unique(pixels)) > 2**bits * 0.3


def test_vessels_are_darker_than_what_is_beside_them(run):
    truth = run.truths[0]
    frame = run.pixels[truth.frame_index].astype(float)
    empty = run.pixels[0].astype(float)
    proximal = truth.segment_masks[12]
    assert frame[proximal].mean() < 0.8 * empty[proximal].mean()
    beside = ~truth.tree_mask & ~truth.catheter_mask
    assert frame[beside].mean() > 0.9 * empty[beside].mean()


def test_contrast_comes_in_proximal_first(run):
    truth = run.truths[0]
    lower = [
        run.pixels[:, truth.segment_masks[cass]].astype(float).mean(axis=1) for cass in (11, 14)
    ]
    begun = [int(np.argmax(values < (values.max() + values.min()) / 2)) for values in lower]
    assert begun[0] <= begun[1]
    assert begun[1] <= truth.frame_index


def test_the_tree_is_filled_in_an_analysed_frame():
    for seed in range(200):
        beat = draw_beat(10, seed)
        frames = best_frames(10, seed)
        assert len(frames) >= 1
        for frame in frames:
            assert frame > 0
            assert beat.contraction(frame) <= 0.05
            assert beat.contrast(frame, np.linspace(0, 240, 25)).min() >= 0.9
        assert frames[0] == beat.end_diastole
        assert 60 <= beat.heart_rate_bpm <= 90


def test_contrast_washes_out_again():
    beat = draw_beat(10, 1)
    full, gone = (beat.contrast(frame, np.zeros(1))[0] for frame in (beat.end_diastole, 40))
    assert full == 1
    assert gone < 0.2


def test_the_heart_contracts_by_several_millimetres_and_comes_back():
    beat = draw_beat(30, 3)
    points = HEART.segment(2).centreline_mm
    still = np.array([moved(points, HEART.axes, beat, frame) for frame in range(30)])
    travel = np.sqrt(((still - still[beat.end_diastole]) ** 2).sum(axis=2)).mean(axis=1)
    assert 5 < travel.max() < 20
    period = 15 * 60 / beat.heart_rate_bpm
    cycle = beat.end_diastole - round(period)
    if cycle > 0:
        assert travel[cycle] < 6  # what is left is breathing


@pytest.mark.parametrize("quanta", [100, 400])
def test_noise_is_that_of_counted_quanta(quanta):
    flat = Exposure(
        intensity=np.ones((256, 256)), quanta=quanta, bits=12, field=np.ones((256, 256), bool)
    )
    rng = np.random.default_rng(5)
    frame = stored_frames([np.zeros((256, 256))], flat, rng)[0].astype(float)
    # stored = 4095 · 0.6 · intensity ** 0.8; (1 2 1) / 4 both ways leaves 6/16 of the deviation
    relative = (frame / (4095 * 0.6)) ** (1 / 0.8)
    assert relative.mean() == pytest.approx(1, abs=0.003)
    assert relative.std() == pytest.approx(0.375 / np.sqrt(quanta), rel=0.03)


def test_noise_is_as_coarse_in_large_pictures_as_in_small_ones():
    deviations = []
    for size, quanta in ((512, 400), (1024, 100)):  # the same dose
        everything = np.ones((size, size))
        flat = Exposure(intensity=everything, quanta=quanta, bits=12, field=everything > 0)
        frame = stored_frames([0 * everything], flat, np.random.default_rng(5))[0].astype(float)
        step = size // 512
        deviations.append([frame.std(), (frame[:, step:] - frame[:, :-step]).std()])
    # a binomial of order 8 passes 12870/65536 of the variance each way: 0.196 / √100 against
    # 0.375 / √400 of the deviation
    np.testing.assert_allclose(deviations[0], deviations[1], rtol=0.1)


def test_beer_lambert_with_scatter_gives_the_mean():
    dark = Exposure(
        intensity=np.full((64, 64), 0.9), quanta=400, bits=12, field=np.ones((64, 64), bool)
    )
    frame = stored_frames([np.full((64, 64), 0.5)], dark, np.random.default_rng(5))[0]
    relative = (frame.astype(float) / (4095 * 0.6)) ** (1 / 0.8)
    assert relative.mean() == pytest.approx(0.9 * (0.72 * np.exp(-0.5) + 0.28), rel=0.01)


def test_masks_and_frames_have_the_same_size(run):
    truth = run.truths[0]
    shape = run.pixels.shape[1:]
    assert truth.tree_mask.shape == truth.catheter_mask.shape == shape
    assert all(mask.shape == shape for mask in truth.segment_masks.values())


def test_the_catheters_tip_lies_in_the_ostium(run):
    truth = run.truths[0]
    assert (truth.catheter_mask & truth.segment_masks[11]).any()
    edge = np.concatenate([truth.catheter_mask[0], truth.catheter_mask[-1]])
    assert edge.any()  # its shaft leaves the picture


def test_truths_come_in_the_order_of_the_plan():
    frames = best_frames(10, 7)
    wanted = ((frames[1], 19), (frames[0], 12), (frames[0], 19))
    truths = simulate_run(plan(analysed=wanted)).truths
    assert tuple((truth.frame_index, truth.analysed_cass) for truth in truths) == wanted


def test_the_window_shows_the_run(run):
    low = run.window_centre - run.window_width / 2
    high = run.window_centre + run.window_width / 2
    inside = (run.pixels >= low) & (run.pixels <= high)
    assert inside.mean() > 0.9


def test_analysable_segments_are_those_that_the_view_shows():
    from_below = dict(analysable(HEART, "LCA", geometry(-25, -22)))
    assert set(from_below) == set(HEART.cass) & {12, 13, 14, 15, 16, 18, 19, 20, 21, 28}
    assert all(0 <= quality <= 1 for quality in from_below.values())
    assert list(from_below.values()) == sorted(from_below.values(), reverse=True)
    right = dict(analysable(HEART, "RCA", geometry(40, 0, artery="RCA")))
    assert right[2] > 0.5  # the mid right coronary artery in LAO


def test_the_usual_views_show_what_they_are_used_for():
    shown = dict.fromkeys((2, 12, 13, 15, 18, 19), 0)
    for seed in range(15):
        heart = grow_heart(seed)
        for artery, primary, secondary, cass in (
            ("RCA", 40, 0, 2),
            ("LCA", -25, -22, 19),
            ("LCA", -25, -22, 12),
            ("LCA", -5, 35, 13),
            ("LCA", 35, 25, 15),
            ("LCA", 0, -28, 18),
        ):
            placed = aimed(geometry(primary, secondary), heart, artery)
            shown[cass] += dict(analysable(heart, artery, placed))[cass] >= 0.5
    assert all(count >= 8 for count in shown.values()), shown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 10}, "8 or 12"),
        ({"analysed": ((0, 12),)}, "Frame 0"),
        ({"analysed": ((10, 12),)}, "Frame 10"),
        ({"analysed": ((5, 2),)}, "no segment 2"),
    ],
)
def test_an_impossible_plan_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        plan(**change)


def test_a_run_of_three_frames_has_no_room_for_contrast():
    with pytest.raises(ValueError, match="4 at least"):
        best_frames(3, 0)
