"""No malformed file is silently wrong: it is refused, or the right pixels come out."""

import os
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from malformed_codes import HARMLESS as LEGAL
from malformed_runs import CASES, CODECS, WANTED, good, run
from pydicom.uid import ExplicitVRLittleEndian
from xa_files import xa_bytes

from sam3_angio.dicom import read_frame
from sam3_angio.dicom.quiet import without_messages_of_libjpeg
from sam3_angio.errors import DataError

# A description that is wrong and yet cannot change a pixel.
HARMLESS = {
    "bits_stored_too_large-native",
    "bits_stored_too_large-rle",
} | LEGAL


def _read(tmp_path, content):
    path = tmp_path / "run.dcm"
    path.write_bytes(content)
    return read_frame(path, WANTED, name="run")


@pytest.mark.parametrize("syntax", CODECS.values(), ids=CODECS)
def test_the_good_run_is_read(tmp_path, syntax):
    assert np.array_equal(_read(tmp_path, xa_bytes(good(syntax))).pixels, run()[WANTED])


@pytest.mark.parametrize("name", CASES)
def test_a_malformed_run_is_refused_or_read_rightly(tmp_path, name):
    content = CASES[name]()
    tracemalloc.start()
    started = time.monotonic()
    try:
        frame = _read(tmp_path, content)
    except DataError as error:
        assert name not in HARMLESS
        assert error.faults
        assert "Planted" not in str(error)
    else:
        assert name in HARMLESS, "read without a word"
        assert np.array_equal(frame.pixels, run()[WANTED])
    finally:
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert time.monotonic() - started < 20
    assert peak < 50 * 2**20


def test_a_damaged_jpeg_prints_nothing_and_what_others_print_is_kept(tmp_path, capfd):
    with pytest.raises(DataError):
        _read(tmp_path, CASES["half_a_frame_with_an_end_marker-jpeg"]())
    assert capfd.readouterr().err == ""
    with without_messages_of_libjpeg():
        os.write(2, b"Corrupt JPEG data: 3 extraneous bytes\nkept\n")
    assert capfd.readouterr().err == "kept\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.timeout(60)
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "run.dcm")
    with pytest.raises(DataError, match="no file with content"):
        read_frame(tmp_path / "run.dcm", WANTED, name="run")


def test_there_are_at_least_two_hundred_malformed_runs():
    assert len(CASES) >= 200


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, *CODECS.values()])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1), insert=st.binary(max_size=24), lost=st.integers(0, 24))
def test_random_damage_gives_a_data_error_or_a_frame(tmp_path, syntax, place, insert, lost):
    content = xa_bytes(good(syntax))
    start = int(place**3 * (len(content) - 30))  # more often in the header, which is short
    try:
        frame = _read(tmp_path, content[:start] + insert + content[start + lost :])
    except DataError as error:
        assert "Planted" not in str(error)
    else:
        assert frame.pixels.shape == run()[WANTED].shape
