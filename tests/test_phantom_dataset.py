"""The phantom's data set: the shape of a user's data, the same bytes everywhere, and the truth."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path, PureWindowsPath

import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array
from ruamel.yaml import YAML

from sam3_angio.coco import decode_mask, load_document
from sam3_angio.errors import ConfigError
from sam3_angio.label_mask import read_mask, resize_nearest
from sam3_angio.manifest import read_manifest
from sam3_angio.medis import read_contour
from sam3_angio.phantom.cases import plan_patient
from sam3_angio.phantom.dataset import write_phantom
from sam3_angio.phantom.identity import planted_dates, planted_names
from sam3_angio.phantom.patient_files import write_patient
from sam3_angio.phantom.run import RunPlan, simulate_run
from sam3_angio.phantom.site import COLUMNS, TABLE_NAME, run_path
from sam3_angio.phantom.xa_file import RLE, UNCOMPRESSED

SEED = 24  # three patients with few runs
RECORDED = Path(__file__).with_name("phantom_recorded.json")
DATA_DVC = Path(__file__).parents[1] / "data.dvc"


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "data"
    write_phantom(out, patients=3, seed=SEED, processes=1)
    return out


@pytest.fixture(scope="module")
def table(data) -> list[dict[str, str]]:
    with (data / "export" / TABLE_NAME).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def local(data: Path, windows_path: str) -> Path:
    return data / "export" / Path(*PureWindowsPath(windows_path).parts[1:])


def test_two_processes_write_the_same_bytes_as_one(data, tmp_path):
    write_phantom(tmp_path / "data", patients=3, seed=SEED, processes=2)
    assert hashes(tmp_path / "data") == hashes(data)


def test_the_data_are_those_that_were_recorded_with_the_data_set_of_dvc(data):
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    (committed,) = YAML(typ="safe").load(DATA_DVC.read_text(encoding="utf-8"))["outs"]
    written = "".join(f"{digest}  {name}\n" for name, digest in hashes(data).items())
    assert {
        "three patients, SHA-256": hashlib.sha256(written.encode()).hexdigest(),
        "data.dvc, MD5": committed["md5"],
    } == recorded, "after `sam3-angio phantom --out data --force` and `dvc add data`, record both"


def test_a_patient_is_the_same_whatever_the_number_of_patients(data, tmp_path):
    write_patient(tmp_path, SEED, 2)
    alone = hashes(tmp_path)
    together = {name: digest for name, digest in hashes(data / "export").items() if name in alone}
    assert alone
    assert together == alone


def test_another_seed_gives_other_runs(data, tmp_path):
    write_patient(tmp_path, SEED + 1, 1)
    assert not set(hashes(tmp_path).values()) & set(hashes(data / "export").values())


def test_a_processor_without_vector_extensions_writes_the_same_bytes(data, tmp_path):
    program = (
        "from pathlib import Path; from sam3_angio.phantom.patient_files import write_patient; "
        f"write_patient(Path({str(tmp_path)!r}), {SEED}, 3)"
    )
    features = "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "NPY_DISABLE_CPU_FEATURES": features, "OPENBLAS_CORETYPE": "Nehalem"},
        check=True,
    )
    alone = hashes(tmp_path)
    assert alone == {name: hashes(data / "export")[name] for name in alone}


def test_the_table_has_the_users_columns_and_windows_paths(table):
    assert tuple(table[0]) == COLUMNS
    assert len(COLUMNS) == 12
    for row in table:
        assert row["dicom_path"].startswith("E:\\Angios\\ALL RISE 101-")
        assert row["medis_contour_path"].startswith("E:\\AngioMLDL_data\\")
        assert row["phase"] in ("INDEX BASELINE", "INDEX FINAL")
        assert row["cass_segment_original"] != row["cass_segment"]


def test_every_path_of_the_table_leads_to_a_file(data, table):
    for row in table:
        for column in ("dicom_path", "medis_contour_path", "medis_mask_path"):
            assert local(data, row[column]).is_file()


def test_exactly_one_row_has_no_pseudo_label(data, table):
    without = [row for row in table if not row["deepsa_pseudo_label_path"]]
    assert len(without) == 1
    rows = read_manifest(data / "manifest.csv")
    assert sum(not row.pseudo_label for row in rows) == 1


def test_the_table_has_the_opposite_sign_of_the_header(data, table):
    compared = 0
    for row in table:
        header = pydicom.dcmread(local(data, row["dicom_path"]), stop_before_pixels=True)
        if header.PositionerPrimaryAngle is not None:
            assert float(row["primary_angle"]) == -float(header.PositionerPrimaryAngle)
            assert float(row["secondary_angle"]) == float(header.PositionerSecondaryAngle)
            compared += 1
    assert compared


def test_stored_pixels_are_the_simulated_ones(data):
    case = plan_patient(SEED, 1)
    run = case.runs[0]
    plan = RunPlan(
        heart=case.before,
        artery=run.artery,
        geometry=run.geometry,
        bits=run.bits,
        n_frames=run.frames,
        analysed=(),
        seed=run.seed,
    )
    path = data / "export" / run_path("ALL RISE 101-0001", run.phase, run.name)
    np.testing.assert_array_equal(pixel_array(path, raw=True), simulate_run(plan).pixels)


def test_dciodvfy_finds_no_error_in_any_run(data):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    for path in (data / "export").rglob("*.dcm"):
        report = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        assert "Error" not in report.stdout + report.stderr


def test_runs_are_small_enough_for_the_whole_data_set(data):
    for path in (data / "export").rglob("*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        assert 9 <= int(header.NumberOfFrames) <= 11
        assert header.Rows == 512
        raw = header.file_meta.TransferSyntaxUID in (RLE, UNCOMPRESSED)
        # 410 runs in 600 MB are 1.46 MB each on average, the large ones among them
        assert path.stat().st_size < (3.0e6 if raw else 1.3e6)


def test_no_label_reaches_under_a_blade(data):
    truths = [
        load_document(data / "truth" / f"{name}.json") for name in ("vessel_tree", "segments")
    ]
    rows = {row.frame_id: row for row in read_manifest(data / "manifest.csv")}
    collimated = 0
    for truth in truths:
        images = {image.id: image for image in truth.images}
        for mark in truth.annotations:
            row = rows[images[mark.image_id].frame_id]
            field = field_of(data, row)
            collimated += not field.all()
            assert not (decode_mask(mark.segmentation) & ~field).any()
            for label in (row.pseudo_label, row.mask):
                if label:
                    mask = read_mask(data / label).mask
                    assert not (mask & ~resize_nearest(field, mask.shape)).any()
    assert collimated


def field_of(data: Path, row) -> np.ndarray:
    """Return what the header says that the blades leave free."""
    header = pydicom.dcmread(data / "export" / "Angios" / row.dicom, stop_before_pixels=True)
    field = np.zeros((header.Rows, header.Columns), dtype=bool)
    if "CollimatorShape" not in header:
        return ~field
    assert header.CollimatorShape == header.ShutterShape == "RECTANGULAR"
    first_column, first_row = (
        header.CollimatorLeftVerticalEdge,
        header.CollimatorUpperHorizontalEdge,
    )
    field[
        first_row : header.CollimatorLowerHorizontalEdge - 1,
        first_column : header.CollimatorRightVerticalEdge - 1,
    ] = True
    return field


def test_unique_identifiers_are_unique_and_studies_are_patients(data):
    headers = {
        path: pydicom.dcmread(path, stop_before_pixels=True)
        for path in (data / "export").rglob("*.dcm")
    }
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({header[keyword].value for header in headers.values()}) == len(headers)
    studies = {(header.StudyInstanceUID, header.PatientID) for header in headers.values()}
    assert len(studies) == 3


def test_contours_name_the_frame_of_the_table(data, table):
    for row in table:
        contour = read_contour(local(data, row["medis_contour_path"]))
        assert contour.frame_num == int(row["frame_index"])
        assert 100 <= len(contour.left_edge) == len(contour.right_edge) <= 400


def test_expert_masks_are_near_the_true_segments(data):
    segments = load_document(data / "truth" / "segments.json")
    rows = {row.frame_id: row for row in read_manifest(data / "manifest.csv")}
    marks = {(mark.image_id, mark.category_id): mark for mark in segments.annotations}
    for image in segments.images:
        row = rows[image.frame_id]
        true = decode_mask(marks[image.id, row.cass_segment].segmentation)
        drawn = read_mask(data / row.mask).mask
        assert (true & drawn).sum() / (true | drawn).sum() > 0.8


def test_pseudo_labels_resemble_the_true_tree(data):
    tree = load_document(data / "truth" / "vessel_tree.json")
    rows = {row.frame_id: row for row in read_manifest(data / "manifest.csv")}
    scores = []
    for image, mark in zip(tree.images, tree.annotations, strict=True):
        label = rows[image.frame_id].pseudo_label
        if label:
            true = decode_mask(mark.segmentation)
            drawn = resize_nearest(read_mask(data / label).mask, true.shape)
            scores.append(2 * (true & drawn).sum() / (true.sum() + drawn.sum()))
    assert 0.6 < min(scores) <= max(scores) < 0.97


def test_the_truth_is_that_of_the_manifests_frames(data):
    rows = read_manifest(data / "manifest.csv")
    assert json.loads((data / "truth" / "truth.json").read_text()) == {"kind": "phantom"}
    ids = [row.frame_id for row in rows]
    for name in ("vessel_tree.json", "segments.json"):
        document = load_document(data / "truth" / name)
        assert [image.frame_id for image in document.images] == ids
        assert [image.cass_segment for image in document.images] == [
            row.cass_segment for row in rows
        ]
    with (data / "truth" / "diameters.csv").open(encoding="utf-8", newline="") as stream:
        assert {line["frame_id"] for line in csv.DictReader(stream)} == set(ids)
    with (data / "truth" / "lesions.csv").open(encoding="utf-8", newline="") as stream:
        for lesion in csv.DictReader(stream):
            assert lesion["frame_id"] in ids
            narrowing = 100 * (1 - float(lesion["mld_mm"]) / float(lesion["rvd_mm"]))
            assert float(lesion["stenosis_pct"]) == pytest.approx(narrowing, abs=0.2)


def test_invented_people_stay_in_export_and_manifest(data):
    planted = [
        name.encode(code) for name in planted_names(SEED, 3) for code in ("utf-8", "latin-1")
    ]
    planted += [date.encode() for date in planted_dates(SEED, 3)]
    for path in data.rglob("*"):
        outside = not path.is_relative_to(data / "export") and path.name != "manifest.csv"
        if path.is_file() and outside:
            content = path.read_bytes()
            assert not [name for name in planted if name in content], path.name


def test_invented_people_are_in_the_headers(data):
    content = b"".join(path.read_bytes() for path in (data / "export").rglob("*.dcm"))
    for name in planted_names(SEED, 3):
        if "101-" not in name:
            assert name.encode("latin-1") in content


def test_an_existing_phantom_is_replaced_only_by_force(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "stale").touch()
    with pytest.raises(ConfigError, match="--force"):
        write_phantom(tmp_path / "data", patients=3, seed=SEED)
    write_phantom(tmp_path / "data", patients=1, seed=SEED, processes=1, force=True)
    assert not (tmp_path / "data" / "stale").exists()


def test_data_of_somebody_else_is_never_replaced(tmp_path):
    truth = tmp_path / "data" / "truth" / "truth.json"
    truth.parent.mkdir(parents=True)
    truth.write_text('{"kind": "none"}')
    with pytest.raises(ConfigError, match="no phantom"):
        write_phantom(tmp_path / "data", patients=1, force=True)
    assert truth.exists()


def test_a_full_disk_is_noticed_before_work_begins(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**40, 2**40 - 2**20, 2**20))
    with pytest.raises(ConfigError, match="1 MiB left"):
        write_phantom(tmp_path / "data", patients=120)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"seed": -1}, {"processes": -1}])
def test_numbers_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError):
        write_phantom(tmp_path / "data", **wrong)
