"""The manifest and the pseudonyms in it."""

from __future__ import annotations

import hashlib
import hmac
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam3_angio.errors import DataError
from sam3_angio.manifest import (
    COLUMNS,
    ManifestRow,
    fold_patient_id,
    frame_id,
    pseudonym,
    read_manifest,
    write_manifest,
)

SALT = "ab" * 32


def manifest_row(patient_id: str = "ALL RISE 101-0025", index: int = 20) -> ManifestRow:
    dicom = "ALL RISE/INDEX/MID LAD.dcm"
    frame = frame_id(patient_id, dicom, index, 13, SALT)
    return ManifestRow(
        frame_id=frame,
        patient=pseudonym(patient_id, SALT),
        patient_id=patient_id,
        vessel_pattern="MID LAD FINAL",
        phase="INDEX",
        artery="LCA",
        cass_segment=13,
        cass_segment_original="",
        frame_index=index,
        primary_deg=-8.9,
        secondary_deg=math.nan,
        dicom=dicom,
        dicom_bytes=10,
        dicom_sha256="0f" * 32,
        pseudo_label="",
        contour=f"labels/contours/{frame}.json",
        mask="",
        row=2,
    )


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = [manifest_row(), manifest_row(index=21), manifest_row("Müller, „Q“", 3)]
    write_manifest(tmp_path / "manifest.csv", rows)
    read = read_manifest(tmp_path / "manifest.csv")
    assert [repr(row) for row in read] == [
        repr(row) for row in sorted(rows, key=lambda r: r.frame_id)
    ]
    assert b"\r" not in (tmp_path / "manifest.csv").read_bytes()


def test_a_pseudonym_is_the_keyed_hash_of_the_contract() -> None:
    key = hmac.new(bytes.fromhex(SALT), b"ALL-RISE-101-0025", hashlib.sha256).hexdigest()
    assert pseudonym("all rise 101\u20130025", SALT) == f"p{key[:10]}"


@pytest.mark.parametrize(
    "spelling",
    [
        "ALL RISE 101-0025",
        " all rise  101-0025\t",
        "ALL\u00a0RISE 101\u20110025",
        "All_Rise 101 \u2013 0025",
        "ALL RISE 101\u22120025",
        "\ufeffALL RISE \uff11\uff10\uff11-0025",
        "ALL RI\u00adSE 101-0025",
    ],
)
def test_spellings_of_one_patient_fold_to_one(spelling: str) -> None:
    assert fold_patient_id(spelling) == "ALL-RISE-101-0025"


@pytest.mark.parametrize("other", ["101-0026", "1010-025", "1010025", "101-025"])
def test_other_patients_stay_others(other: str) -> None:
    assert fold_patient_id(other) != fold_patient_id("101-0025")


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold_patient_id(fold_patient_id(text)) == fold_patient_id(text)


@given(st.integers(0, 500), st.integers(0, 500))
def test_frames_of_a_run_have_their_own_names(first: int, second: int) -> None:
    names = {frame_id("a", "run.dcm", index, 1, SALT) for index in (first, second)}
    assert len(names) == len({first, second})


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("frame_id", "p0000000000-12345678", "a frame of the patient"),
        ("patient", "ALL RISE", "a pseudonym"),
        ("artery", "LAD", "expected one of RCA, LCA"),
        ("artery", "RCA", "segment 13 does not belong to the RCA"),
        ("cass_segment", "17", "17 is not a segment of this data set"),
        ("cass_segment", "", "the field is empty"),
        ("frame_index", "-1", "-1 is outside 0 to 99999"),
        ("frame_index", "2.5", "not a whole number"),
        ("frame_index", "nan", "not a number"),
        ("primary_deg", "1e999", "outside -180 to 180"),
        ("primary_deg", "8,9", "not a number"),
        ("secondary_deg", "91", "outside -90 to 90"),
        ("dicom", "../x.dcm", "leaves its folder"),
        ("dicom", "C:/x.dcm", "not relative"),
        ("mask", "/etc/passwd", "not relative"),
        ("dicom_sha256", "0F" * 32, "a SHA-256"),
        ("patient_id", "", "the field is empty"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, column: str, value: str, message: str) -> None:
    path = tmp_path / "manifest.csv"
    write_manifest(path, [manifest_row()])
    header, line = path.read_text().splitlines()
    fields = line.split(",")
    fields[COLUMNS.index(column)] = f'"{value}"'
    path.write_text("\n".join([header, ",".join(fields), ""]))
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(path)
    assert all(fault.row == 2 for fault in caught.value.faults)
    assert "ALL RISE" not in str(caught.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    rows = [replace(manifest_row(index=i), cass_segment=17, dicom_bytes=-4) for i in range(3)]
    write_manifest(path, rows)
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    assert len(caught.value.faults) == 6


def test_an_extra_comma_is_a_wrong_count_not_a_shift(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    write_manifest(path, [manifest_row()])
    path.write_text(path.read_text().replace("-8.9", "-8,9"))
    with pytest.raises(DataError, match="19 fields, expected 18"):
        read_manifest(path)


def test_a_frame_twice_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.csv", [manifest_row(), manifest_row()])
    with pytest.raises(DataError, match="the same frame as row 2"):
        read_manifest(tmp_path / "manifest.csv")


def test_a_pseudonym_of_two_patients_is_refused(tmp_path: Path) -> None:
    stranger = replace(manifest_row(index=5), patient_id="102-0001")
    write_manifest(tmp_path / "manifest.csv", [manifest_row(), stranger])
    with pytest.raises(DataError, match="one pseudonym for two patients"):
        read_manifest(tmp_path / "manifest.csv")


def test_two_pseudonyms_of_a_patient_are_refused(tmp_path: Path) -> None:
    double = replace(manifest_row("OTHER", 5), patient_id="All Rise 101 0025")
    write_manifest(tmp_path / "manifest.csv", [manifest_row(), double])
    with pytest.raises(DataError, match="one patient under two pseudonyms"):
        read_manifest(tmp_path / "manifest.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the header is not"),
        (b"a,b\n1,2\n", "the header is not"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (",".join(COLUMNS).encode() + b"\n", "there is no row"),
        (b'"a\n', "not a valid CSV file"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path / "manifest.csv")


def test_a_missing_manifest_is_a_data_error_without_the_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing") as caught:
        read_manifest(tmp_path / "manifest.csv")
    assert str(tmp_path) not in str(caught.value)
