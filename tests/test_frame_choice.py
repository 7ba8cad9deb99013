"""Which frame of a run is chosen: runs drawn for the purpose, hand-derived phases."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import dcmread
from xa_files import pictures, write_run

from sam3_angio.errors import DataError
from sam3_angio.frame_choice import choose_frame, frame_phases, header_phases, read_run

# Contrast fills until frame 4; the vessel stands still in frames 6 to 8 and then moves on.
CONTRAST = (0, 0.2, 0.5, 0.8, 1, 1, 1, 1, 1, 1, 1, 1)
PLACE_PX = (0, 6, 12, 18, 24, 30, 36, 36, 36, 42, 48, 54)
LAST_STILL = 8


def _run(seed=0):
    rng = np.random.default_rng(seed)
    rows = np.arange(256)[:, None]
    return [
        180 - 90 * contrast * np.exp(-(((rows - 60 - place) / 3.0) ** 2))
        + rng.normal(0, 3, (256, 256))
        for contrast, place in zip(CONTRAST, PLACE_PX, strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_the_last_still_frame_with_contrast_is_chosen(seed):
    assert choose_frame(_run(seed)).frame_index == LAST_STILL


def test_an_explicit_frame_overrides_the_pixels():
    choice = choose_frame(_run(), wanted=2, phase=np.linspace(0, 1, 12))
    assert (choice.frame_index, choice.reason) == (2, "given")


def test_a_known_phase_passes_over_frames_away_from_end_diastole():
    phase = np.full(12, 0.5)
    phase[5] = 0.02
    assert choose_frame(_run(), phase=phase).frame_index == 5


def test_a_phase_without_any_filled_frame_leaves_the_choice_to_the_pixels():
    phase = np.full(12, 0.5)
    phase[0] = 0.0
    assert choose_frame(_run(), phase=phase).frame_index == LAST_STILL


def test_a_run_without_contrast_or_of_one_frame_has_a_choice():
    blank = [np.full((64, 64), 100)] * 4
    assert 0 <= choose_frame(blank).frame_index < 4
    assert choose_frame(blank[:1]).frame_index == 0


@pytest.mark.parametrize("wanted", [-1, 12])
def test_a_frame_that_does_not_exist_is_refused(wanted):
    with pytest.raises(DataError, match="the run has 12"):
        choose_frame(_run(), wanted=wanted)


def _ecg(beats_s, hz, seconds):
    """Return a lead with an R wave of 40 ms at each beat and a slow T wave after it."""
    time = np.arange(round(hz * seconds)) / hz
    waves = [np.exp(-(((time - beat) / 0.012) ** 2)) for beat in beats_s]
    return np.sum(waves, 0) + 0.2 * np.sum(
        [np.exp(-(((time - beat - 0.3) / 0.06) ** 2)) for beat in beats_s], 0
    )


def test_phases_run_from_one_r_wave_to_the_next():
    ecg = _ecg((0.5, 1.3, 2.1), 500, 2.6)
    found = frame_phases(ecg, 500, np.array([0.5, 0.9, 1.3, 1.7, 2.3, 0.1]))
    wrapped = (found - np.array([0.0, 0.5, 0.0, 0.5, 0.25, 0.5]) + 0.5) % 1 - 0.5
    np.testing.assert_allclose(wrapped, 0, atol=0.02)


def test_an_ecg_curve_in_the_header_gives_phases(tmp_path):
    path = write_run(tmp_path / "run.dcm", pictures(frames=6), 8, FrameTime="400")
    header = dcmread(path, stop_before_pixels=True)
    assert header_phases(header) is None
    curve = np.rint(1000 * _ecg((0.5, 1.3, 2.1), 500, 2.4)).astype("<i2")
    header.add_new((0x5000, 0x0020), "CS", "ECG")
    header.add_new((0x5000, 0x0103), "US", 1)
    header.add_new((0x5000, 0x3000), "OW", curve.tobytes())
    found = header_phases(header)
    assert found is not None
    wrapped = (found - ((np.arange(6) * 0.4 - 0.5) / 0.8) + 0.5) % 1 - 0.5
    np.testing.assert_allclose(wrapped, 0, atol=0.02)


def test_all_frames_of_a_run_are_read(tmp_path):
    pixels = pictures(frames=4)
    found = read_run(write_run(tmp_path / "run.dcm", pixels, 8), name="run-0001")
    np.testing.assert_array_equal(np.stack(found), pixels)


def test_a_file_that_is_no_run_is_refused_by_its_given_name(tmp_path):
    path = tmp_path / "Planted^Name.dcm"
    path.write_bytes(b"nothing" * 100)
    with pytest.raises(DataError) as raised:
        read_run(path, name="run-0001")
    assert "run-0001" in str(raised.value)
    assert "Planted" not in str(raised.value)
