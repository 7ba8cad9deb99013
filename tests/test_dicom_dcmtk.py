"""Runs that DCMTK encoded again give the same pixels and the same picture."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from xa_files import pictures, write_run

from sam3_angio.dicom import read_frame
from sam3_angio.dicom.display import display_8bit

COMMANDS = {
    "jpeg lossless sv1": ["dcmcjpeg", "+e1"],
    "jpeg lossless, predictor 1": ["dcmcjpeg", "+el", "+sv", "1"],
    **{f"jpeg lossless, predictor {k}": ["dcmcjpeg", "+el", "+sv", str(k)] for k in range(2, 8)},
    "jpeg-ls": ["dcmcjpls", "+el"],
    "jpeg-ls, fragments": ["dcmcjpls", "+el", "+fs", "8"],
    "rle": ["dcmcrle"],
    "implicit": ["dcmconv", "+ti"],
    "explicit": ["dcmconv", "+te"],
    "big endian": ["dcmconv", "+tb"],
    "deflated": ["dcmconv", "+td"],
    "undefined lengths": ["dcmconv", "-e"],
    "no offset table": ["dcmcjpeg", "+e1", "-ot"],
}


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_an_encoded_run_gives_the_same_picture(tmp_path, command, bits):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} of Debian's package dcmtk is not installed")
    run = pictures(bits=bits)
    original = write_run(
        tmp_path / "original.dcm", run, bits, WindowCenter=str(1 << (bits - 1)), WindowWidth="200"
    )
    encoded = tmp_path / "encoded.dcm"
    subprocess.run([*command, original, encoded], check=True, capture_output=True)
    for index in (0, 4):
        frame = read_frame(encoded, index, name="run")
        assert np.array_equal(frame.pixels, run[index])
        expected = display_8bit(read_frame(original, index, name="run"), 0.5, 99.5)
        assert np.array_equal(display_8bit(frame, 0.5, 99.5), expected)


@pytest.mark.parametrize("bits", [8, 12])
def test_a_near_lossless_run_gives_the_pixels_that_dcmtk_decodes(tmp_path, bits):
    if shutil.which("dcmcjpls") is None:
        pytest.skip("dcmcjpls of Debian's package dcmtk is not installed")
    paths = [tmp_path / name for name in ("original.dcm", "encoded.dcm", "decoded.dcm")]
    write_run(paths[0], pictures(bits=bits), bits)
    subprocess.run(["dcmcjpls", "+en", "+md", "3", *paths[:2]], check=True, capture_output=True)
    subprocess.run(["dcmdjpls", *paths[1:]], check=True, capture_output=True)
    encoded, decoded = (read_frame(path, 3, name="run").pixels for path in paths[1:])
    assert np.array_equal(encoded, decoded)


@pytest.mark.parametrize("relationship", ["LIN", "LOG", "DISP"])
@pytest.mark.parametrize("has_table", [False, True])
def test_the_window_gives_the_grey_levels_of_dcmtk(tmp_path, relationship, has_table):
    if shutil.which("dcmj2pnm") is None:
        pytest.skip("dcmj2pnm of Debian's package dcmtk is not installed")
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 12]
    table["LUTDescriptor"].VR = "US"
    table.LUTData = (np.linspace(1, 0, 4096) ** 2 * 4095).astype("<u2").tobytes()
    table["LUTData"].VR = "OW"
    path = write_run(
        tmp_path / "run.dcm",
        pictures(bits=12),
        12,
        WindowCenter="1800",
        WindowWidth="2500",
        PixelIntensityRelationship=relationship,
        ModalityLUTSequence=Sequence([table] * has_table),
    )
    command = ["dcmj2pnm", "+F", "3", "+Wi", "1", "+op", path, tmp_path / "frame.pgm"]
    subprocess.run(command, check=True, capture_output=True)
    with Image.open(tmp_path / "frame.pgm") as picture:
        theirs = np.asarray(picture)
    ours = display_8bit(read_frame(path, 2, name="run"), 0.5, 99.5)
    assert np.abs(ours.astype(int) - theirs).max() <= 1
