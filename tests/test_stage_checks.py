"""Stages look at what they are going to read, and refuse what would give a wrong result."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from ruamel.yaml import YAML

from sam3_angio.conversion import LabelRules, convert
from sam3_angio.errors import DataError
from sam3_angio.extraction import ExtractionSettings, extract_frames
from sam3_angio.geometry_table import read_geometry
from sam3_angio.manifest import ManifestRow, read_manifest, write_manifest
from sam3_angio.phantom.dataset import write_phantom
from stages.convert import main as convert_stage
from stages.extract import extract as extract_stage

ROOT = Path(__file__).parents[1]
ROWS = 4
DATA, FRAMES, LISTING = Path("data"), Path("frames"), Path("checks/found.csv")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository's data folder with four analysed frames, extracted."""
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder / "data", patients=1, processes=1)
    manifest = folder / "data" / "manifest.csv"
    lines = manifest.read_text(encoding="utf-8").splitlines()[: ROWS + 1]
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = ExtractionSettings(
        dicom_root=folder / "data" / "export" / "Angios",
        data_folder=folder / "data",
        percentile_low=0.5,
        percentile_high=99.5,
    )
    extract_frames(read_manifest(manifest), folder / "frames", settings, 1)
    return folder


@pytest.fixture
def repository(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    shutil.copytree(phantom, tmp_path, dirs_exist_ok=True)
    yaml = YAML()
    parameters = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    parameters["data"]["dicom_root"] = "data/export/Angios"
    parameters["extract"].update(percentile_low=0.5, percentile_high=99.5)
    parameters["machine"]["processes"] = 1
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as stream:
        yaml.dump(parameters, stream)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def _extract(out: Path = Path("again")) -> None:
    extract_stage(DATA / "manifest.csv", DATA / "labels", out, LISTING)


def _convert(out: Path = Path("converted")) -> None:
    convert_stage(DATA / "manifest.csv", DATA / "labels", FRAMES / "geometry.csv", out, LISTING)


def _rows() -> tuple[ManifestRow, ...]:
    return read_manifest(DATA / "manifest.csv")


def _edit_contour(row: ManifestRow, change: Callable[[dict[str, Any]], None]) -> None:
    path = DATA / row.contour
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def _listed() -> list[tuple[str, str, str]]:
    with LISTING.open(encoding="utf-8", newline="") as stream:
        return [(row["severity"], row["row"], row["field"]) for row in csv.DictReader(stream)]


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.usefixtures("repository")
def test_the_checks_change_nothing_of_what_is_made_of_clean_data() -> None:
    _extract()
    assert _contents(Path("again")) == _contents(FRAMES)
    _convert()
    rules = LabelRules(segment_source="contour", min_stenosis_pct=20)
    geometry = read_geometry(FRAMES / "geometry.csv")
    convert(_rows(), geometry, DATA, Path("bare"), rules=rules, min_mask_iou=0.7, processes=1)
    assert _contents(Path("converted")) == _contents(Path("bare"))
    assert not [entry for entry in _listed() if entry[0] == "error"]


@pytest.mark.usefixtures("repository")
def test_extract_refuses_all_wrong_scales_at_once_and_writes_nothing() -> None:
    rows = _rows()
    _edit_contour(rows[0], lambda c: c["calibration"].update(scale_factor=0.2))
    scale = json.loads((DATA / rows[1].contour).read_text())["calibration"]["scale_factor"]
    _edit_contour(rows[1], lambda c: c["calibration"].update(scale_factor=scale / 3))
    with pytest.raises(DataError, match="nothing is written") as caught:
        _extract()
    assert [(fault.row, fault.field) for fault in caught.value.faults] == [
        (2, "contour"),
        (3, "contour"),
    ]
    assert "French was taken for millimetres" in str(caught.value)
    assert not Path("again").exists()
    assert {("error", "2", "contour"), ("error", "3", "contour")} <= set(_listed())


@pytest.mark.usefixtures("repository")
def test_extract_names_a_run_that_is_none_by_its_row() -> None:
    row = _rows()[2]
    Path("data/export/Angios", row.dicom).write_bytes(b"no run")
    with pytest.raises(DataError) as caught:
        _extract()
    told = {fault.row for fault in caught.value.faults}
    assert 4 in told
    assert row.patient_id not in str(caught.value) and ".dcm" not in str(caught.value)


@pytest.mark.usefixtures("repository")
def test_extract_warns_of_text_that_is_burned_into_the_pictures() -> None:
    rows = _rows()
    path = Path("data/export/Angios", rows[0].dicom)
    run = pydicom.dcmread(path)
    run.BurnedInAnnotation = "YES"
    run.save_as(path)
    pinned = {r.dicom: path.stat().st_size for r in rows[:1]}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    write_manifest(
        DATA / "manifest.csv",
        [
            replace(r, dicom_bytes=pinned[r.dicom], dicom_sha256=digest) if r.dicom in pinned else r
            for r in rows
        ],
    )
    _extract()
    assert ("warning", "2", "dicom") in _listed()
    assert "BurnedInAnnotation" in LISTING.read_text()


@pytest.mark.usefixtures("repository")
def test_convert_refuses_a_mirrored_mask_and_impossible_measurements_at_once() -> None:
    rows = _rows()
    path = DATA / rows[0].mask
    mask = np.asarray(Image.open(path))
    Image.fromarray(np.ascontiguousarray(mask[:, ::-1])).save(path)
    _edit_contour(rows[1], lambda c: c["measurements"].update(diameter_stenosis_pct=99.0))
    with pytest.raises(DataError) as caught:
        _convert()
    assert {(fault.row, fault.field) for fault in caught.value.faults} >= {
        (2, "mask"),
        (3, "contour"),
    }
    assert "mirrored left to right" in str(caught.value)
    assert not Path("converted").exists()


@pytest.mark.usefixtures("repository")
def test_a_warning_is_listed_and_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    _edit_contour(_rows()[0], lambda c: c.pop("frame_num"))
    _convert()
    assert ("warning", "2", "contour") in _listed()
    assert "1 warnings in checks/found.csv" in capsys.readouterr().out
    assert Path("converted/segments.json").exists()


@pytest.mark.usefixtures("repository")
def test_an_old_list_of_findings_is_replaced() -> None:
    LISTING.parent.mkdir()
    LISTING.write_text("old")
    _convert()
    assert _listed() == []
