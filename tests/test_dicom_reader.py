"""Reading one frame: the right pixels, of the right frame, in every transfer syntax."""

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from xa_files import (
    LOSSLESS,
    LOSSY,
    NATIVE,
    encode,
    encode_jpeg_lossless,
    pictures,
    with_codes,
    with_extended_table,
    write_run,
    xa_bytes,
    xa_dataset,
)

from sam3_angio.dicom import intact, read_frame, read_run_header
from sam3_angio.errors import DataError

ENCAPSULATED = [syntax for syntax in LOSSLESS if syntax not in NATIVE]


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name)
def test_the_pixels_of_a_frame_are_those_that_were_stored(tmp_path, syntax, bits):
    run = pictures(bits=bits)
    path = write_run(tmp_path / "run.dcm", run, bits, syntax)
    for index in (0, 3, len(run) - 1):
        frame = read_frame(path, index, name="run")
        assert frame.pixels.dtype == run.dtype
        assert np.array_equal(frame.pixels, run[index])


@pytest.mark.parametrize("syntax", LOSSY, ids=lambda uid: uid.name)
def test_a_frame_coded_with_loss_is_close_to_what_was_stored(tmp_path, syntax):
    run = pictures(bits=12)
    path = write_run(tmp_path / "run.dcm", run, 12, syntax)
    difference = read_frame(path, 2, name="run").pixels.astype(int) - run[2]
    assert 0 < np.abs(difference).mean() < 60


def test_a_frame_of_another_encoder_is_not_encoded_again(tmp_path, monkeypatch):
    path = write_run(tmp_path / "run.dcm", pictures(bits=12), 12, JPEG2000)  # with other parameters
    encoded, encode_again = [], intact._encoded

    def noted(pixels, bits_stored):
        encoded.append(pixels.shape)
        return encode_again(pixels, bits_stored)

    monkeypatch.setattr(intact, "_encoded", noted)
    read_frame(path, 2, name="run")
    assert set(encoded) <= {(64, 64)}


@pytest.mark.parametrize("syntax", [*LOSSLESS, *LOSSY], ids=lambda uid: uid.name)
def test_pixels_equal_those_of_pydicom(tmp_path, syntax):
    path = write_run(tmp_path / "run.dcm", pictures(bits=12, seed=1), 12, syntax)
    expected = pydicom.dcmread(path).pixel_array
    for index in (0, 5):
        assert np.array_equal(read_frame(path, index, name="run").pixels, expected[index])


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("restart_rows", [0, 1, 16, 40])
def test_all_predictors_and_restart_intervals_of_lossless_jpeg_are_read(
    tmp_path, predictor, restart_rows
):
    run = pictures(frames=2, bits=12)
    codes = [encode_jpeg_lossless(frame, 12, predictor, restart_rows) for frame in run]
    dataset = with_codes(xa_dataset(run, 12, JPEGLossless), codes)
    path = tmp_path / "run.dcm"
    path.write_bytes(xa_bytes(dataset))
    assert np.array_equal(read_frame(path, 1, name="run").pixels, run[1])


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless])
def test_a_codestream_may_be_as_wide_as_bits_allocated(tmp_path, syntax):
    run = pictures(frames=2, bits=12)
    dataset = with_codes(xa_dataset(run, 12, syntax), [encode(frame, 16, syntax) for frame in run])
    path = tmp_path / "run.dcm"
    path.write_bytes(xa_bytes(dataset))
    assert np.array_equal(read_frame(path, 0, name="run").pixels, run[0])


@pytest.mark.parametrize("syntax", ENCAPSULATED, ids=lambda uid: uid.name)
def test_a_frame_is_found_without_an_offset_table_and_with_an_extended_one(tmp_path, syntax):
    run = pictures()
    codes = [encode(frame, 8, syntax) for frame in run]
    path = tmp_path / "run.dcm"
    path.write_bytes(xa_bytes(with_codes(xa_dataset(run, 8, syntax), codes, has_table=False)))
    assert np.array_equal(read_frame(path, 4, name="run").pixels, run[4])
    path.write_bytes(xa_bytes(with_extended_table(xa_dataset(run, 8, syntax), codes)))
    assert np.array_equal(read_frame(path, 4, name="run").pixels, run[4])


@pytest.mark.parametrize("has_table", [True, False])
@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_a_frame_may_lie_in_several_fragments(tmp_path, syntax, has_table):
    run = pictures()
    codes = [encode(frame, 8, syntax) for frame in run]
    dataset = with_codes(
        xa_dataset(run, 8, syntax), codes, has_table=has_table, fragments_per_frame=3
    )
    path = tmp_path / "run.dcm"
    path.write_bytes(xa_bytes(dataset))
    assert np.array_equal(read_frame(path, 3, name="run").pixels, run[3])


@pytest.mark.parametrize("syntax", ENCAPSULATED, ids=lambda uid: uid.name)
def test_only_the_wanted_frame_is_decoded(tmp_path, syntax):
    run = pictures()
    codes = [encode(frame, 8, syntax) for frame in run]
    for other in (0, 1, 3, 4, 5):
        codes[other] = codes[other][:2] + bytes(len(codes[other]) - 2)
    path = tmp_path / "run.dcm"
    path.write_bytes(xa_bytes(with_codes(xa_dataset(run, 8, syntax), codes)))
    assert np.array_equal(read_frame(path, 2, name="run").pixels, run[2])


def test_a_large_run_takes_little_memory(tmp_path):
    import tracemalloc

    run = np.tile(pictures(frames=1, rows=512, columns=512, bits=12), (40, 1, 1))
    run += np.arange(40, dtype=np.uint16)[:, None, None]
    path = write_run(tmp_path / "run.dcm", run, 16)
    tracemalloc.start()
    read_frame(path, 30, name="run")
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * run[0].nbytes < run.nbytes / 3


def test_frames_that_pydicom_finds_are_those_of_the_frame_map(tmp_path):
    from sam3_angio.dicom.reader import opened_run

    run = pictures()
    path = write_run(tmp_path / "run.dcm", run, 8, RLELossless)
    dataset = pydicom.dcmread(path)
    with opened_run(path) as opened:
        found = [opened.code(index) for index in range(len(run))]
    assert found == list(generate_frames(dataset.PixelData, number_of_frames=len(run)))


@pytest.mark.parametrize("tail", [bytes(500), b"\xfc\xff\xfc\xffOB\0\0\x04\0\0\0abcd"])
def test_padding_after_the_pixels_is_let_pass(tmp_path, tail):
    run = pictures()
    for syntax in (ExplicitVRLittleEndian, JPEGLosslessSV1):
        path = write_run(tmp_path / "run.dcm", run, 8, syntax)
        path.write_bytes(path.read_bytes() + tail)
        assert np.array_equal(read_frame(path, 1, name="run").pixels, run[1])


def _text(run):
    run[:, 20:28, 40:70:3] = run.max()


def _edge(run):
    run[:, :16] = 0
    run[:, :, :24] = 0


def _circle(run):
    y, x = np.mgrid[: run.shape[1], : run.shape[2]]
    run[:, (y - 48) ** 2 + (x - 64) ** 2 > 45**2] = 0


def _saturation(run):
    run[:, 60:, 80:] = run.max()


def _round_values(run):
    run[:, 30:50] &= run.dtype.type(0xF00 % (1 << 8 * run.itemsize))


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("marked", [_text, _edge, _circle, _saturation, _round_values])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1])
def test_what_real_pictures_have_is_not_taken_for_damage(tmp_path, syntax, marked, bits):
    run = pictures(bits=bits)
    marked(run)
    path = write_run(tmp_path / "run.dcm", run, bits, syntax)
    for index in range(len(run)):
        assert np.array_equal(read_frame(path, index, name="run").pixels, run[index])


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("brightness", [0.5, 0.7, 1.6])
def test_contrast_that_moves_along_a_blade_is_not_taken_for_damage(tmp_path, bits, brightness):
    run = pictures(3, bits=bits) // 2
    run[1, :, 40:64] = run[1, :, 40:64] * brightness
    run[:, :20] = 0
    run[:, 20] = run[:, 20] * 0.7  # the blade's edge is blurred
    path = write_run(tmp_path / "run.dcm", run, bits)
    for index in range(len(run)):
        assert np.array_equal(read_frame(path, index, name="run").pixels, run[index])


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_a_frame_of_which_most_is_noise_is_refused(tmp_path, syntax, bits):
    run = pictures(3, bits=bits)
    lost = run[1, 40:]
    run[1, 40:] = np.random.default_rng(0).integers(1, 1 << bits, lost.shape)
    path = write_run(tmp_path / "run.dcm", run, bits, syntax)
    with pytest.raises(DataError, match="noise"):
        read_frame(path, 1, name="run")


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name)
@pytest.mark.parametrize(("place", "of"), [(2, 3), (2, 0), (5, 1), (5, 4)])
def test_a_frame_that_is_a_copy_of_another_is_refused(tmp_path, place, of, syntax):
    run = pictures(bits=12)
    run[place] = run[of]
    path = write_run(tmp_path / "run.dcm", run, 12, syntax)
    with pytest.raises(DataError, match="same picture"):
        read_frame(path, 2, name="run")


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name)
def test_black_frames_before_and_after_the_beam_may_be_alike(tmp_path, syntax, bits):
    run = pictures(7, bits=bits)
    run[[0, 1, 6]] = 0
    path = write_run(tmp_path / "run.dcm", run, bits, syntax)
    for index in range(2, 6):
        assert np.array_equal(read_frame(path, index, name="run").pixels, run[index])


@pytest.mark.parametrize("bits", [14, 16])
def test_frames_of_different_brightness_are_compared_on_one_scale(tmp_path, bits):
    run = pictures(bits=bits) // 2
    _text(run)
    run[::2, 0, 0] = (1 << bits) - 1  # one bright pixel in the neighbours
    path = write_run(tmp_path / "run.dcm", run, bits)
    assert np.array_equal(read_frame(path, 3, name="run").pixels, run[3])


@pytest.mark.parametrize("shape", [(40, 5), (1, 64), (64, 1), (65, 9), (129, 512)])
def test_frames_of_any_shape_are_read(tmp_path, shape):
    run = np.random.default_rng(0).integers(1, 255, (3, *shape)).astype(np.uint8)
    path = write_run(tmp_path / "run.dcm", run, 8, JPEGLosslessSV1)
    assert np.array_equal(read_frame(path, 1, name="run").pixels, run[1])


@pytest.mark.parametrize("size", [(512, 512), (480, 508), (508, 480)])
@pytest.mark.parametrize("contrast", [1.0, 0.1, 0.0])
def test_pictures_of_little_contrast_are_not_taken_for_damage(tmp_path, size, contrast):
    random = np.random.default_rng(1)
    noise = random.normal(2000, 60, (3, *size))
    shapes = contrast * (pictures(3, *size, bits=12).astype(float) - 2000)
    run = np.clip(noise + shapes, 1, 4094).astype(np.uint16)
    path = write_run(tmp_path / "run.dcm", run, 12)
    for index in range(3):
        assert np.array_equal(read_frame(path, index, name="run").pixels, run[index])


def test_a_header_is_read_without_pixels(tmp_path):
    run = pictures(bits=12)
    header = read_run_header(write_run(tmp_path / "run.dcm", run, 12), name="run")
    assert (header.frames, header.rows, header.columns) == run.shape
    assert (header.bits_allocated, header.bits_stored) == (16, 12)
    assert header.photometric == "MONOCHROME2"
    assert header.transfer_syntax == ExplicitVRLittleEndian


@pytest.mark.parametrize("index", [-1, 6, 99_999])
def test_a_frame_that_is_not_there_is_a_fault(tmp_path, index):
    path = write_run(tmp_path / "run.dcm", pictures(), 8)
    with pytest.raises(DataError, match="the run has 6"):
        read_frame(path, index, name="run")


def test_a_fault_has_the_callers_name_and_neither_path_nor_patient(tmp_path):
    path = write_run(tmp_path / "Planted Name.dcm", pictures(), 8, Rows=90)
    with pytest.raises(DataError) as caught:
        read_frame(path, 4, name="row 17")
    (fault,) = caught.value.faults
    assert (fault.file, fault.row) == ("row 17", 4)
    assert "lanted" not in str(caught.value)
    assert "PLANTED" not in str(caught.value)


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_a_file_that_cannot_be_read_is_a_fault_without_its_path(tmp_path, what):
    path = tmp_path / "Planted Name.dcm"
    if what == "folder":
        path.mkdir()
    with pytest.raises(DataError) as caught:
        read_frame(path, 0, name="row 17")
    assert "Planted" not in str(caught.value)
