"""The rest of a row that is offset by a flipped bit of lossless JPEG is refused."""

from __future__ import annotations

import jpeg_ls
import numpy as np
import pytest
from pydicom.uid import JPEGLosslessSV1, JPEGLSLossless
from scipy.ndimage import gaussian_filter1d
from xa_files import (
    encode,
    encode_jpeg_lossless,
    pictures,
    with_codes,
    write_run,
    xa_bytes,
    xa_dataset,
)

from sam3_angio.dicom import read_frame
from sam3_angio.errors import DataError


def _written(tmp_path, run, codes, bits):
    dataset = xa_dataset(run, bits)
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    path = tmp_path / "run.dcm"
    path.write_bytes(xa_bytes(with_codes(dataset, codes)))
    return path


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize(
    ("margin", "column", "share"),
    [(0, 0, 0.06), (0, 60, 0.06), (24, 0, 0.01), (24, 30, 0.01), (24, 90, 0.02)],
)
def test_the_rest_of_a_row_that_is_offset_is_refused(tmp_path, share, column, margin, bits):
    run = pictures(bits=bits)
    run[:, :, run.shape[2] - margin :] = 0
    codes = [encode_jpeg_lossless(frame, bits) for frame in run]
    frame = run[2].copy()
    frame[50, column:] += frame.dtype.type(share * (1 << bits))
    codes[2] = encode_jpeg_lossless(frame, bits)
    path = _written(tmp_path, run, codes, bits)
    with pytest.raises(DataError, match="rows 50 to 50"):
        read_frame(path, 2, name="run")
    assert np.array_equal(read_frame(path, 1, name="run").pixels, run[1])


def test_a_flipped_bit_that_leaves_the_number_of_bits_is_refused_or_small(tmp_path):
    run = pictures()
    run[:, :, 100:] = 0
    codes = [encode_jpeg_lossless(frame, 8) for frame in run]
    random, passed = np.random.default_rng(3), []
    for _ in range(80):
        code = bytearray(codes[2])
        code[int(random.integers(90, len(code) - 4))] ^= 1 << int(random.integers(8))
        path = _written(tmp_path, run, [*codes[:2], bytes(code), *codes[3:]], 8)
        try:
            pixels = read_frame(path, 2, name="run").pixels
        except DataError:
            continue
        passed.append(int(np.abs(pixels.astype(int) - run[2]).max()))
    assert len(passed) <= 2
    assert max(passed, default=0) <= 4


def _line(run):
    run[:, 50] += 20


def _moving_wire(run):
    for k, frame in enumerate(run):
        profile = gaussian_filter1d(np.eye(len(frame))[40 + 5 * k], 1.0)
        frame[:, 60:] -= (100 * profile[:, None]).astype(frame.dtype)


@pytest.mark.parametrize("mark", [_line, _moving_wire])
def test_lines_that_are_in_the_picture_are_read(tmp_path, mark):
    run = pictures() // 2 + 60
    mark(run)
    path = write_run(tmp_path / "run.dcm", run, 8, JPEGLosslessSV1)
    for index in range(len(run)):
        assert np.array_equal(read_frame(path, index, name="run").pixels, run[index])


def test_damaged_jpeg_ls_that_can_be_decoded_is_what_its_picture_is_encoded_to():
    """Why encoding again tells nothing of JPEG-LS."""
    frame = pictures(1)[0]
    code, random, passed = encode(frame, 8, JPEGLSLossless), np.random.default_rng(0), 0
    for _ in range(200):
        damaged = bytearray(code)
        damaged[len(code) - 4 - int(random.integers(120))] ^= 1 << int(random.integers(8))
        try:
            pixels = np.frombuffer(jpeg_ls.decode_from_buffer(bytes(damaged)), np.uint8)
        except RuntimeError:
            continue
        pixels = pixels.reshape(frame.shape)
        if not np.array_equal(pixels, frame):
            passed += 1
            assert encode(pixels, 8, JPEGLSLossless).rstrip(b"\0") == bytes(damaged).rstrip(b"\0")
    assert passed > 10
