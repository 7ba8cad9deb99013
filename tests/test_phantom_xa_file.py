"""XA files of the phantom: conforming, lossless, the same every time."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import get_decoder, pixel_array

from sam3_angio.acquisition import ViewAngle
from sam3_angio.phantom.xa_file import (
    JPEG_2000,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    TRANSFER_SYNTAXES,
    UNCOMPRESSED,
    Identity,
    Pixels,
    XARun,
    encode_frame,
    uid,
    write_xa,
)
from sam3_angio.phantom.xray import Field

IDENTITY = Identity(
    name="Vélmorrow^Ilse",
    hospital_id="HX-004821",
    birth=date(1951, 3, 9),
    sex="F",
    examined=date(2022, 5, 17),
    accession="ACC0001",
    institution="St Quillon Hospital",
    station="LAB2",
    physician="Ostrand^Piet",
    operator="Brannick^Una",
    remark="asked for by Ostrand",
)


BLADES = Field(left_px=5, top_px=0, right_px=60, bottom_px=44)  # of 64 × 48 pixels


def noise(bits: int, shape: tuple[int, int, int] = (3, 48, 64)) -> Pixels:
    generator = np.random.default_rng(bits)
    values = generator.integers(0, 2**bits, size=shape)
    return values.astype(np.uint8 if bits == 8 else np.uint16)


def run_of(pixels: Pixels, bits: int, transfer_syntax: str) -> XARun:
    return XARun(
        identity=IDENTITY,
        study="study",
        run="run",
        number=3,
        pixels=pixels,
        bits=bits,
        view=ViewAngle(primary_deg=-29.8, secondary_deg=20.4),
        collimated=None,
        detector_spacing_mm=0.308,
        sid_mm=1060.0,
        sod_mm=765.0,
        magnification=1060 / 765,
        window=(128.0, 256.0),
        frame_time_ms=66.667,
        transfer_syntax=transfer_syntax,
        offset_table=True,
    )


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("transfer_syntax", TRANSFER_SYNTAXES)
def test_decoded_pixels_are_the_stored_ones(tmp_path, transfer_syntax, bits):
    pixels = noise(bits)
    write_xa(tmp_path / "run.dcm", run_of(pixels, bits, transfer_syntax))
    np.testing.assert_array_equal(pixel_array(tmp_path / "run.dcm", raw=True), pixels)


DECODERS = [
    (syntax, plugin)
    for syntax in (JPEG_LOSSLESS, JPEG_LS, JPEG_2000, RLE)
    for plugin in get_decoder(syntax).available_plugins
]


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize(("transfer_syntax", "plugin"), DECODERS)
def test_every_installed_decoder_reads_the_same_pixels(tmp_path, transfer_syntax, plugin, bits):
    pixels = noise(bits)
    write_xa(tmp_path / "run.dcm", run_of(pixels, bits, transfer_syntax))
    decoded = pixel_array(tmp_path / "run.dcm", raw=True, decoding_plugin=plugin)
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("offset_table", [True, False])
@pytest.mark.parametrize("transfer_syntax", TRANSFER_SYNTAXES)
def test_dciodvfy_reports_no_error(tmp_path, transfer_syntax, offset_table):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    for bits in (8, 12):
        run = replace(
            run_of(noise(bits), bits, transfer_syntax), offset_table=offset_table, collimated=BLADES
        )
        write_xa(tmp_path / "run.dcm", run)
        report = subprocess.run(
            ["dciodvfy", str(tmp_path / "run.dcm")], capture_output=True, text=True, check=False
        )
        assert report.returncode == 0
        assert "Error" not in report.stdout + report.stderr
        assert "XAImage" in report.stdout + report.stderr


def test_dciodvfy_accepts_a_run_without_optional_geometry(tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    bare = replace(
        run_of(noise(8), 8, JPEG_LOSSLESS), view=None, sod_mm=None, magnification=None, window=None
    )
    write_xa(tmp_path / "run.dcm", bare)
    report = subprocess.run(
        ["dciodvfy", str(tmp_path / "run.dcm")], capture_output=True, text=True, check=False
    )
    assert "Error" not in report.stdout + report.stderr


def test_the_header_says_how_the_run_was_taken(tmp_path):
    write_xa(tmp_path / "run.dcm", run_of(noise(12), 12, JPEG_LOSSLESS))
    header = pydicom.dcmread(tmp_path / "run.dcm")
    assert header.PositionerPrimaryAngle == pytest.approx(-29.8)
    assert header.PositionerSecondaryAngle == pytest.approx(20.4)
    assert header.PositionerMotion == "STATIC"
    assert list(header.ImagerPixelSpacing) == pytest.approx([0.308, 0.308])
    assert header.DistanceSourceToDetector / header.DistanceSourceToPatient == pytest.approx(
        header.EstimatedRadiographicMagnificationFactor, abs=1e-4
    )
    assert header.NumberOfFrames == 3
    assert (header.BitsAllocated, header.BitsStored, header.HighBit) == (16, 12, 11)
    assert header.PhotometricInterpretation == "MONOCHROME2"
    assert (header.WindowCenter, header.WindowWidth) == (128, 256)


def test_runs_of_a_study_differ_in_everything_but_the_study(tmp_path):
    run = run_of(noise(8), 8, RLE)
    write_xa(tmp_path / "one.dcm", run)
    write_xa(tmp_path / "two.dcm", replace(run, run="other"))
    one, two = pydicom.dcmread(tmp_path / "one.dcm"), pydicom.dcmread(tmp_path / "two.dcm")
    assert one.StudyInstanceUID == two.StudyInstanceUID
    assert one.SeriesInstanceUID != two.SeriesInstanceUID
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert len({one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID}) == 3


@pytest.mark.parametrize("transfer_syntax", TRANSFER_SYNTAXES)
def test_the_same_run_gives_the_same_bytes(tmp_path, transfer_syntax):
    run = run_of(noise(12), 12, transfer_syntax)
    write_xa(tmp_path / "one.dcm", run)
    write_xa(tmp_path / "two.dcm", run)
    assert (tmp_path / "one.dcm").read_bytes() == (tmp_path / "two.dcm").read_bytes()


def test_a_unique_identifier_is_a_valid_one():
    for name in ("a", "b", "run 101-0001"):
        assert pydicom.uid.UID(uid(name)).is_valid
        assert len(uid(name)) <= 64
    assert uid("a") != uid("b")


def test_a_syntax_without_encoder_is_refused():
    with pytest.raises(ValueError, match="no compressed transfer syntax"):
        encode_frame(noise(8)[0], 8, UNCOMPRESSED)


def test_the_identity_is_in_the_header(tmp_path):
    write_xa(tmp_path / "run.dcm", run_of(noise(8), 8, JPEG_LS))
    content = Path(tmp_path / "run.dcm").read_bytes()
    for planted in ("Vélmorrow", "HX-004821", "19510309", "ACC0001", "asked for by Ostrand"):
        assert planted.encode("latin-1") in content


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize(
    ("transfer_syntax", "program"),
    [(JPEG_LOSSLESS, "dcmdjpeg"), (JPEG_LS, "dcmdjpls"), (RLE, "dcmdrle")],
)
def test_dcmtk_reads_the_same_pixels(tmp_path, transfer_syntax, program, bits):
    if shutil.which(program) is None:
        pytest.skip(f"{program} (Debian package dcmtk) is not installed")
    pixels = noise(bits)
    write_xa(tmp_path / "run.dcm", run_of(pixels, bits, transfer_syntax))
    subprocess.run([program, str(tmp_path / "run.dcm"), str(tmp_path / "raw.dcm")], check=True)
    np.testing.assert_array_equal(pixel_array(tmp_path / "raw.dcm", raw=True), pixels)
