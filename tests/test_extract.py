"""The extract stage: pictures, geometry, and every broken file by name."""

import csv
import hashlib
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEGLosslessSV1
from xa_files import pictures, write_run

from sam3_angio import extraction
from sam3_angio.dicom import read_frame
from sam3_angio.dicom.display import display_8bit
from sam3_angio.errors import DataError
from sam3_angio.extraction import ExtractionSettings, extract_frames
from sam3_angio.geometry_table import read_geometry
from sam3_angio.manifest import ManifestRow, write_manifest
from sam3_angio.pictures import read_picture

ROOT = Path(__file__).parents[1]


def _row(root, number, run, frame_index, **changes):
    content = (root / run).read_bytes()
    row = ManifestRow(
        frame_id=f"p{number:010x}-{frame_index:08x}",
        patient=f"p{number:010x}",
        patient_id=f"PLANTED-{number}",
        vessel_pattern="MID RCA",
        phase="BASELINE",
        artery="RCA",
        cass_segment=2,
        cass_segment_original="",
        frame_index=frame_index,
        primary_deg=30.0,
        secondary_deg=0.0,
        dicom=run,
        dicom_bytes=len(content),
        dicom_sha256=hashlib.sha256(content).hexdigest(),
        pseudo_label="",
        contour="",
        mask="",
        row=number + 2,
    )
    return replace(row, **changes)


@pytest.fixture
def site(tmp_path):
    """Three runs under a folder named after a patient; two rows share the first run."""
    root = tmp_path / "Planted Name" / "Angios"
    root.mkdir(parents=True)
    geometry = {
        "PositionerPrimaryAngle": "31",
        "PositionerSecondaryAngle": "-1",
        "ImagerPixelSpacing": ["0.9", "0.9"],
        "DistanceSourceToDetector": "1000",
        "DistanceSourceToPatient": "750",
    }
    write_run(root / "a.dcm", pictures(bits=12), 12, JPEGLosslessSV1, **geometry)
    turned = geometry | {"PositionerPrimaryAngle": "-30"}
    write_run(root / "b.dcm", pictures(seed=1), 8, WindowCenter="128", WindowWidth="256", **turned)
    write_run(root / "c.dcm", pictures(seed=2), 8, ExplicitVRLittleEndian)
    rows = [_row(root, 0, "a.dcm", 1), _row(root, 0, "a.dcm", 4), _row(root, 1, "b.dcm", 2)]
    rows.append(_row(root, 2, "c.dcm", 3))
    return root, rows


def _settings(root):
    return ExtractionSettings(
        dicom_root=root, data_folder=root.parent, percentile_low=0.5, percentile_high=99.5
    )


def _contour(root, row, scale):
    path = root.parent / "labels" / "contours" / f"{row.frame_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"calibration": {"scale_factor": scale}}), encoding="utf-8")
    return replace(row, contour=f"labels/contours/{row.frame_id}.json")


def test_pictures_and_geometry_are_those_of_the_runs(site, tmp_path):
    root, rows = site
    found = extract_frames(rows, tmp_path / "frames", _settings(root), 2)
    assert (found.frames, found.runs) == (4, 3)
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == sorted(
        ["geometry.csv", *(f"{row.frame_id}.png" for row in rows)]
    )
    for row in rows:
        with Image.open(tmp_path / "frames" / f"{row.frame_id}.png") as picture:
            assert (picture.mode, picture.info) == ("L", {})
            expected = display_8bit(
                read_frame(root / row.dicom, row.frame_index, name=""), 0.5, 99.5
            )
            assert np.array_equal(np.asarray(picture), expected)
    geometry = read_geometry(tmp_path / "frames" / "geometry.csv")
    first = geometry[rows[0].frame_id]
    assert (first.rows, first.columns, first.frames) == (96, 128, 6)
    assert (first.view.primary_deg, first.angle_source) == (31, "header")
    assert (first.spacing.row_mm, first.spacing.source) == (pytest.approx(0.675), "sod_sid")
    assert (first.bits_stored, first.display) == (12, "percentile")
    last = geometry[rows[3].frame_id]
    assert (last.view, last.angle_source) == (rows[3].view, "table")
    assert last.spacing.source == "none"
    assert geometry[rows[2].frame_id].display == "window"


def test_angles_of_table_and_header_that_differ_are_counted(site, tmp_path):
    root, rows = site
    found = extract_frames(rows, tmp_path / "frames", _settings(root), 1)
    assert (found.compared_angles, found.different_angles) == (3, 1)


def test_the_same_input_gives_the_same_bytes(site, tmp_path):
    root, rows = site
    extract_frames(rows, tmp_path / "one", _settings(root), 2)
    extract_frames(rows[::-1], tmp_path / "two", _settings(root), 1)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_calibration_of_the_contour_goes_before_the_header(site, tmp_path):
    root, rows = site
    rows = [_contour(root, rows[0], 4 / 3), *rows[1:]]
    found = extract_frames(rows, tmp_path / "frames", _settings(root), 1)
    spacing = read_geometry(tmp_path / "frames" / "geometry.csv")[rows[0].frame_id].spacing
    assert (spacing.row_mm, spacing.source) == (pytest.approx(0.75), "calibration")
    assert found.warnings == ()


@pytest.mark.parametrize(("scale", "source"), [(2.5, "calibration"), (0.25, "sod_sid")])
def test_calibration_that_contradicts_the_header_is_a_warning(site, tmp_path, scale, source):
    root, rows = site
    rows = [_contour(root, rows[0], scale)]
    found = extract_frames(rows, tmp_path / "frames", _settings(root), 1)
    (warning,) = found.warnings
    assert warning.field == "calibration.scale_factor"
    spacing = read_geometry(tmp_path / "frames" / "geometry.csv")[rows[0].frame_id].spacing
    assert spacing.source == source


def test_all_broken_files_are_named_at_once_and_nothing_is_written(site, tmp_path):
    root, rows = site
    (root / "b.dcm").write_bytes(b"changed")
    (root / "c.dcm").unlink()
    rows = [replace(rows[0], frame_index=99), *rows[1:]]
    with pytest.raises(DataError) as caught:
        extract_frames(rows, tmp_path / "frames", _settings(root), 2)
    faults = {fault.file: fault for fault in caught.value.faults}
    assert sorted(fault.field for fault in faults.values()) == [
        "NumberOfFrames (0028,0008)",
        "dicom",
        "dicom_sha256",
    ]
    assert any("row 3 of the site's table" in name for name in faults)
    assert "lanted" not in str(caught.value)
    assert "PLANTED" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["Planted Name"]


def test_pictures_of_before_stay_when_a_file_is_broken(site, tmp_path):
    root, rows = site
    extract_frames(rows, tmp_path / "frames", _settings(root), 1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "frames").iterdir()}
    (root / "a.dcm").write_bytes(b"changed")
    with pytest.raises(DataError):
        extract_frames(rows, tmp_path / "frames", _settings(root), 1)
    assert {path.name: path.read_bytes() for path in (tmp_path / "frames").iterdir()} == before


def test_a_frame_without_any_view_angle_is_a_fault_of_its_row(site, tmp_path):
    root, rows = site
    row = replace(rows[3], primary_deg=math.nan)
    with pytest.raises(DataError, match=f"{row.frame_id}.*primary_deg"):
        extract_frames([row], tmp_path / "frames", _settings(root), 1)


def test_a_broken_contour_file_is_a_fault_of_its_row(site, tmp_path):
    root, rows = site
    row = _contour(root, rows[0], 4.0)
    (root.parent / row.contour).write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=row.frame_id):
        extract_frames([row], tmp_path / "frames", _settings(root), 1)


def test_a_child_that_dies_costs_only_its_own_frame(site, tmp_path, monkeypatch):
    """A limit of no time at all ends every child that reads a frame, like a decoder's crash."""
    root, rows = site
    monkeypatch.setattr(extraction, "_pool", _pool_with_a_crash)
    with pytest.raises(DataError) as caught:
        extract_frames(rows, tmp_path / "frames", _settings(root), 2)
    (fault,) = caught.value.faults
    assert rows[2].frame_id in fault.file
    assert "crashed" in fault.message


def _pool_with_a_crash(processes):
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_crash_on_b)


def _crash_on_b():
    import os

    read = extraction.read_frame

    def reading(path, frame_index, *, name):
        if path.name == "b.dcm":
            os.abort()
        return read(path, frame_index, name=name)

    extraction.read_frame = reading


def test_the_stage_writes_frames_and_says_what_it_found(site, tmp_path):
    root, rows = site
    work = tmp_path / "repository"
    (work / "data" / "labels").mkdir(parents=True)
    write_manifest(work / "data" / "manifest.csv", rows)
    parameters = (ROOT / "params.yaml").read_text(encoding="utf-8")
    changed = [
        f"  dicom_root: {json.dumps(str(root))}" if line.startswith("  dicom_root:") else line
        for line in parameters.splitlines()
    ]
    (work / "params.yaml").write_text("\n".join(changed), encoding="utf-8")
    paths = ["--manifest", "data/manifest.csv", "--labels", "data/labels", "--out", "frames"]
    paths += ["--findings", "checks/extract.csv"]
    done = subprocess.run(
        [sys.executable, "-m", "stages.extract", *paths],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert "4 frames of 3 runs" in done.stdout
    assert "in 1 of 3 view angles" in done.stdout
    with (work / "frames" / "geometry.csv").open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 4
    assert "lanted" not in done.stdout + done.stderr


def test_archives_hold_the_bytes_that_files_would(site, tmp_path):
    root, rows = site
    extract_frames(rows, tmp_path / "frames", _settings(root), 1)
    extract_frames(rows, tmp_path / "packed", replace(_settings(root), shards=2), 1)
    assert {path.suffix for path in (tmp_path / "packed").iterdir()} == {".csv", ".zip"}
    for name in (f"{row.frame_id}.png" for row in rows):
        assert read_picture(tmp_path / "packed" / name) == (tmp_path / "frames" / name).read_bytes()
    assert read_geometry(tmp_path / "packed" / "geometry.csv") == read_geometry(
        tmp_path / "frames" / "geometry.csv"
    )
