"""Frames whose edges an electronic shutter blanks: judged inside, at no loss of what is found."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless
from xa_files import pictures, write_run

from sam3_angio.dicom import read_frame, read_run_header
from sam3_angio.dicom.header import Shutter
from sam3_angio.dicom.plausibility import require_like_neighbours, require_no_zeroed_bytes
from sam3_angio.dicom.shutter import WHOLE, opening_of
from sam3_angio.errors import DataError

# Free are rows 16 to 79 and columns 21 to 103, counted from 0.
FREE = np.s_[16:80, 21:104]
COVERED_LINES = Shutter(left=21, right=105, upper=16, lower=81)
FREE_LINES = Shutter(left=22, right=104, upper=17, lower=80)
HEADER = {
    "ShutterShape": "RECTANGULAR",
    "ShutterLeftVerticalEdge": "21",
    "ShutterRightVerticalEdge": "105",
    "ShutterUpperHorizontalEdge": "16",
    "ShutterLowerHorizontalEdge": "81",
}


def shuttered(bits=12, *, penumbra=True):
    """Return a run that is blanked beyond its blades, whose penumbra is two rows wide, if any."""
    run = pictures(3, bits=bits)
    for row, passes in ((16, 0.5), (17, 0.9), (78, 0.9), (79, 0.5)) if penumbra else ():
        run[:, row] = run[:, row] * passes
    free = np.zeros(run.shape[1:], dtype=bool)
    free[FREE] = True
    run[:, ~free] = 0
    return run


@pytest.mark.parametrize("shutter", [COVERED_LINES, FREE_LINES])
def test_the_opening_is_found_where_header_and_picture_agree(shutter):
    assert opening_of(shuttered()[0], shutter) == (slice(16, 80), slice(21, 104))


def test_a_blade_that_is_not_in_the_picture_has_its_edge_beyond_it():
    frame = pictures(1, bits=12)[0]
    frame[:16] = 0
    shutter = Shutter(left=0, right=129, upper=16, lower=97)
    assert opening_of(frame, shutter) == (slice(16, 96), slice(0, 128))
    beyond = Shutter(left=-3, right=900, upper=16, lower=200)
    assert opening_of(frame, beyond) == (slice(16, 96), slice(0, 128))


def _last_row_lost(frame):
    frame[79] = 0


def _first_column_lost(frame):
    frame[:, 21] = 0


def _something_beyond(frame):
    frame[90, 5:9] = 77


@pytest.mark.parametrize("change", [_last_row_lost, _first_column_lost, _something_beyond])
def test_the_whole_frame_is_looked_at_where_they_differ(change):
    frame = shuttered()[0]
    change(frame)
    assert opening_of(frame, COVERED_LINES) == WHOLE
    assert opening_of(frame, FREE_LINES) == WHOLE


def test_no_shutter_and_a_frame_of_one_value_leave_the_whole():
    assert opening_of(shuttered()[0], None) == WHOLE
    assert opening_of(np.zeros((96, 128), np.uint8), COVERED_LINES) == WHOLE


@pytest.mark.parametrize("penumbra", [True, False])
@pytest.mark.parametrize("bits", [8, 12])
def test_the_edge_of_the_shutter_costs_no_look_at_the_neighbours(bits, penumbra):
    def neighbours():
        raise AssertionError("neighbours were asked for")

    frame = shuttered(bits, penumbra=penumbra)[1]
    require_like_neighbours(frame, neighbours, opening_of(frame, COVERED_LINES))
    require_no_zeroed_bytes(frame, neighbours, opening_of(frame, COVERED_LINES))
    with pytest.raises(AssertionError, match="neighbours"):
        require_like_neighbours(frame, neighbours)


def _zeros_inside(frame):
    frame[40, 50:70] = 0


def _zeros_at_the_upper_edge(frame):
    frame[16, 21:80] = 0


def _zeros_up_to_the_lower_edge(frame):
    frame[60:80] = 0


def _noise_inside(frame):
    random = np.random.default_rng(0)
    frame[50, 40:72] = random.integers(0, int(frame.max()) + 1, 32)


def _noise_where_nothing_is(frame):
    random = np.random.default_rng(0)
    frame[5, 40:72] = random.integers(0, int(frame.max()) + 1, 32)


def _noise_at_the_last_row(frame):
    random = np.random.default_rng(0)
    frame[79, 40:72] = random.integers(0, int(frame.max()) + 1, 32)


def _zeros_beside_the_right_blade(frame):
    frame[40, 98:104] = 0


INSIDE = [
    _zeros_beside_the_right_blade,
    _zeros_inside,
    _zeros_up_to_the_lower_edge,
    _noise_inside,
    _noise_where_nothing_is,
]
AT_THE_EDGE = [_zeros_at_the_upper_edge, _noise_at_the_last_row]
CASES = [(damage, True) for damage in INSIDE]
CASES += [(damage, False) for damage in INSIDE + AT_THE_EDGE]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless])
@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize(("damage", "penumbra"), CASES)
def test_damage_is_found_within_beyond_and_at_sharp_edges(tmp_path, damage, penumbra, bits, syntax):
    run = shuttered(bits, penumbra=penumbra)
    intact = write_run(tmp_path / "intact.dcm", run, bits, syntax, **HEADER)
    assert np.array_equal(read_frame(intact, 1, name="run").pixels, run[1])
    damage(run[1])
    path = write_run(tmp_path / "run.dcm", run, bits, syntax, **HEADER)
    with pytest.raises(DataError, match="rows"):
        read_frame(path, 1, name="run")


def test_rows_are_named_as_those_of_the_frame(tmp_path):
    run = shuttered()
    _zeros_inside(run[1])
    path = write_run(tmp_path / "run.dcm", run, 12, **HEADER)
    with pytest.raises(DataError, match=r"rows (39|40) to (40|41)"):
        read_frame(path, 1, name="run")


def test_the_header_gives_the_four_edges(tmp_path):
    path = write_run(tmp_path / "run.dcm", shuttered(), 12, **HEADER)
    assert read_run_header(path, name="run").shutter == COVERED_LINES


@pytest.mark.parametrize(
    "changes",
    [
        {"ShutterShape": "CIRCULAR"},
        {"ShutterShape": ["RECTANGULAR", "CIRCULAR"]},
        {"ShutterLeftVerticalEdge": ""},
        {"ShutterLowerHorizontalEdge": ["81", "82"]},
    ],
)
def test_a_shutter_that_is_not_one_rectangle_is_none(tmp_path, changes):
    path = write_run(tmp_path / "run.dcm", shuttered(), 12, **(HEADER | changes))
    assert read_run_header(path, name="run").shutter is None
