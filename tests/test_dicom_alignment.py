"""Uncompressed pixels that lie elsewhere than the header says are refused; intact ones are not."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian
from xa_files import pictures, write_run, xa_bytes, xa_dataset

from sam3_angio.dicom import read_frame
from sam3_angio.errors import DataError

ROWS, COLUMNS = 96, 128
HEADER = {
    "ShutterShape": "RECTANGULAR",
    "ShutterLeftVerticalEdge": "12",
    "ShutterRightVerticalEdge": "110",
    "ShutterUpperHorizontalEdge": "8",
    "ShutterLowerHorizontalEdge": "78",
}
#: A byte that is no DICOM, and where bytes are added or lost: behind the first 300 of the pixels.
JUNK, EARLY = b"\x07", 300


def run_of(bits, *, shutter):
    """Return six pictures and the header of their shutter, which leaves rows and columns blank."""
    run = pictures(bits=bits)
    if shutter:
        run[:, :8] = run[:, 77:] = 0
        run[:, :, :12] = run[:, :, 109:] = 0
    return run, HEADER if shutter else {}


def written(tmp_path, run, bits, header, change, syntax=ExplicitVRLittleEndian):
    """Write a run of which `change` makes other bytes, given those before and of the pixels."""
    data = xa_bytes(xa_dataset(run, bits, syntax, **header))
    start = len(data) - run.nbytes
    path = tmp_path / "run.dcm"
    path.write_bytes(data[:start] + change(data[start:]))
    return path


def added(count):
    return lambda pixels: pixels[:EARLY] + JUNK * count + pixels[EARLY:]


def lost(count):
    return lambda pixels: pixels[:EARLY] + pixels[EARLY + count :] + bytes(count)


def moved(count):
    return lambda pixels: pixels[:EARLY] + JUNK * count + pixels[EARLY:-count]


def refuses(path, index=3):
    with pytest.raises(DataError):
        read_frame(path, index, name="run")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("shutter", [True, False])
@pytest.mark.parametrize("change", [added, lost, moved])
@pytest.mark.parametrize("count", [4, 16, 100, 512, 1000, 2048])
def test_shifted_pixels_are_refused(tmp_path, count, change, shutter, bits, syntax):
    run, header = run_of(bits, shutter=shutter)
    path = written(tmp_path, run, bits, header, change(count), syntax)
    for index in (1, 3, 5):
        refuses(path, index)


def test_bytes_lost_in_the_wanted_frame_are_told_by_the_last(tmp_path):
    run, header = run_of(8, shutter=False)
    place = 3 * run[0].size + 40 * COLUMNS + 77
    path = written(tmp_path, run, 8, header, lambda p: p[:place] + p[place + 30 :] + bytes(30))
    refuses(path, 3)


@pytest.mark.parametrize("bits", [8, 12])
def test_a_shift_by_one_column_is_a_warning_where_it_may_be_a_way_of_counting(tmp_path, bits):
    run, header = run_of(bits, shutter=True)
    path = written(tmp_path, run, bits, header, lost(run.itemsize))
    (warning,) = read_frame(path, 3, name="run").warnings
    assert "shutter" in warning.message
    intact = write_run(tmp_path / "intact.dcm", run, bits, **header)
    assert not read_frame(intact, 3, name="run").warnings


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("shutter", [True, False])
def test_zeros_behind_the_pixels_are_let_pass_where_nothing_is_shifted(tmp_path, shutter, bits):
    run, header = run_of(bits, shutter=shutter)
    path = written(tmp_path, run, bits, header, lambda pixels: pixels + bytes(500))
    for index in (0, 3, 5):
        assert np.array_equal(read_frame(path, index, name="run").pixels, run[index])


def test_zeros_behind_blank_rows_that_no_shutter_explains_are_refused(tmp_path):
    run, _header = run_of(8, shutter=True)
    refuses(written(tmp_path, run, 8, {}, lambda pixels: pixels + bytes(500)))


def test_a_picture_that_was_mirrored_under_its_shutter_is_read(tmp_path):
    run, header = run_of(8, shutter=True)
    mirrored = np.ascontiguousarray(run[:, :, ::-1])
    path = write_run(tmp_path / "run.dcm", mirrored, 8, **header)
    assert np.array_equal(read_frame(path, 3, name="run").pixels, mirrored[3])


def test_a_shutter_that_nothing_blanks_is_no_fault(tmp_path):
    run, _header = run_of(8, shutter=False)
    path = write_run(tmp_path / "run.dcm", run, 8, **HEADER)
    assert np.array_equal(read_frame(path, 3, name="run").pixels, run[3])


def _dark_borders(run):
    random = np.random.default_rng(0)
    for part in np.s_[:, :, :20], np.s_[:, :, 108:]:
        run[part] = run[part] // 20 + random.integers(0, 6, run[part].shape)


def _alike_borders(run):
    run[:] = run // 2 + run[:, :, ::-1] // 2
    run[:] = run // 2 + run[:, ::-1] // 2


def _bar(run):
    run[:, :, 60:64] = 1


def _text_on_a_background_that_is_alike_above_and_below(run):
    random = np.random.default_rng(0)
    top = int(run.max())
    background = 0.6 + 0.2 * np.sin(np.arange(COLUMNS) / 40)
    run[:] = top * (background + random.normal(0, 0.02, run.shape))
    run[:, 70:78, 40:72:3] = top


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize(
    "mark",
    [
        _dark_borders,
        _alike_borders,
        _bar,
        _text_on_a_background_that_is_alike_above_and_below,
    ],
)
def test_what_may_look_wrapped_is_read(tmp_path, mark, bits):
    run = pictures(bits=bits)
    mark(run)
    path = write_run(tmp_path / "run.dcm", run, bits)
    for index in range(len(run)):
        assert np.array_equal(read_frame(path, index, name="run").pixels, run[index])


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("shutter", [True, False])
@pytest.mark.parametrize(("frames", "rows"), [(2, 3 * ROWS), (3, 2 * ROWS), (1, 6 * ROWS)])
def test_a_frame_of_several_pictures_is_refused(tmp_path, frames, rows, shutter, bits):
    run, header = run_of(bits, shutter=shutter)
    changes = {"NumberOfFrames": frames, "Rows": rows}
    path = write_run(tmp_path / "run.dcm", run, bits, **header, **changes)
    with pytest.raises(DataError, match=r"pictures of (96|192|288) rows"):
        read_frame(path, 0, name="run")


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("shutter", [True, False])
@pytest.mark.parametrize(("frames", "rows"), [(12, 48), (9, 64)])
def test_parts_of_pictures_are_refused(tmp_path, frames, rows, shutter, bits):
    run, header = run_of(bits, shutter=shutter)
    changes = {"NumberOfFrames": frames, "Rows": rows}
    path = write_run(tmp_path / "run.dcm", run, bits, **header, **changes)
    for index in (2, 4, 5):
        refuses(path, index)
