"""What is written of an analysed frame, read back by other readers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from highdicom.seg import segread
from PIL import Image
from pydicom import dcmread
from results_case import PLANTED, SPACING, analysis_case, run_file

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.errors import DataError
from sam3_angio.results import NOTICE, read_source, write_analysis

PERSONAL = tuple(
    value
    for keyword, value in PLANTED.items()
    if not keyword.endswith("UID") and keyword != "PatientSex"
)


def _program(name):
    """Return the path of a program, of this environment or the system, or skip."""
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def _masks(analysis):
    found = [analysis.tree, *analysis.segments, *analysis.lesions]
    return [finding.mask for finding in found]


def _values(report):
    """Return every number of a report: concept, derivation or method, and value."""
    numbers = []

    def walk(items):
        for item in items:
            if item.ValueType == "NUM":
                below = [
                    part.ConceptCodeSequence[0].CodeMeaning
                    for part in item.get("ContentSequence", ())
                    if part.ValueType == "CODE"
                ]
                value = float(item.MeasuredValueSequence[0].NumericValue)
                numbers.append((item.ConceptNameCodeSequence[0].CodeMeaning, *below, value))
            walk(item.get("ContentSequence", ()))

    walk(report.ContentSequence)
    return numbers


@pytest.mark.parametrize("geometry", ["nominal", "strict"])
@pytest.mark.parametrize("identified", [False, True])
def test_dciodvfy_finds_no_error(tmp_path, geometry, identified):
    checker = _program("dciodvfy")
    write_analysis(
        analysis_case(tmp_path), tmp_path / "out", identified=identified, geometry=geometry
    )
    for name in ("segmentation.dcm", "measurements.dcm"):
        said = subprocess.run(
            [checker, tmp_path / "out" / name], capture_output=True, text=True, check=False
        )
        errors = [line for line in said.stderr.splitlines() if line.startswith("Error")]
        assert errors == []


@pytest.mark.parametrize("geometry", ["nominal", "strict"])
def test_every_mask_is_read_back_on_its_frame(tmp_path, geometry):
    analysis = analysis_case(tmp_path)
    write_analysis(analysis, tmp_path / "out", geometry=geometry)
    found = segread(tmp_path / "out" / "segmentation.dcm")
    read = found.pixel_array.astype(bool)
    assert len(read) == 4
    for mask, back in zip(_masks(analysis), read, strict=True):
        np.testing.assert_array_equal(mask, back)
    assert [segment.SegmentLabel for segment in found.SegmentSequence] == [
        "coronary tree", "CASS 12 Proximal LAD", "CASS 9 Inferior septals", "stenosis 1",
    ]  # fmt: skip
    kinds = [item.SegmentedPropertyTypeCodeSequence[0].CodeValue for item in found.SegmentSequence]
    assert kinds == ["41801008", "68787002", "41801008", "415582006"]
    for number, group in enumerate(found.PerFrameFunctionalGroupsSequence, 1):
        assert group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert image.ReferencedSOPInstanceUID == analysis.source.SOPInstanceUID
        assert image.ReferencedFrameNumber == 4
    assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == PLANTED["SeriesInstanceUID"]


def test_the_nominal_plane_has_the_scale_at_the_object(tmp_path):
    write_analysis(analysis_case(tmp_path), tmp_path / "out")
    found = dcmread(tmp_path / "out" / "segmentation.dcm")
    measures = found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert list(measures.PixelSpacing) == [SPACING.row_mm, SPACING.column_mm]
    assert "nominal plane" in found.SeriesDescription


def test_dcmqi_reads_every_mask_back(tmp_path):
    program = _program("segimage2itkimage")
    analysis = analysis_case(tmp_path)
    write_analysis(analysis, tmp_path / "out")
    arguments = ["--inputDICOM", tmp_path / "out" / "segmentation.dcm", "-t", "nrrd"]
    (tmp_path / "read").mkdir()
    subprocess.run(
        [program, *arguments, "--outputDirectory", tmp_path / "read"],
        check=True, capture_output=True,
    )  # fmt: skip
    for number, mask in enumerate(_masks(analysis), 1):
        np.testing.assert_array_equal(_nrrd(tmp_path / "read" / f"{number}.nrrd") > 0, mask)


def _nrrd(path):
    """Return the one plane of a NRRD file with attached data."""
    import gzip

    head, _, data = path.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    content = gzip.decompress(data) if fields["encoding"] in ("gzip", "gz") else data
    kinds = {"short": "<i2", "unsigned char": "u1", "uint8": "u1", "unsigned short": "<u2"}
    columns, rows, _ = (int(size) for size in fields["sizes"].split())
    return np.frombuffer(content, kinds[fields["type"]]).reshape(rows, columns)


@pytest.mark.slow
def test_the_viewers_parser_places_every_mask_on_the_analysed_frame(tmp_path):
    node, npm = _program("node"), _program("npm")
    packages = ["@cornerstonejs/adapters@5.14.0", "@babel/runtime@7", "ndarray@1"]
    (tmp_path / "package.json").write_text('{"type": "module"}')
    installed = subprocess.run(
        [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", *packages],
        cwd=tmp_path, capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    if installed.returncode != 0:
        pytest.skip("npm cannot install @cornerstonejs/adapters")
    analysis = analysis_case(tmp_path)
    write_analysis(analysis, tmp_path / "out")
    shutil.copy(Path(__file__).with_name("viewer_reader.mjs"), tmp_path)
    run = analysis.source
    sizes = [str(size) for size in (run.Rows, run.Columns, run.NumberOfFrames)]
    said = subprocess.run(
        [node, "viewer_reader.mjs", "out/segmentation.dcm", *sizes, run.SOPInstanceUID],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = json.loads(said.stdout.splitlines()[-1])
    assert found["labels"][:2] == ["coronary tree", "CASS 12 Proximal LAD"]
    assert {part["frame"] for part in found["pixels"]} == {analysis.frame_index}
    counts = dict.fromkeys(range(1, 5), 0)
    for part in found["pixels"]:
        counts[part["segment"]] += part["count"]
    assert list(counts.values()) == [int(mask.sum()) for mask in _masks(analysis)]


def test_every_measurement_is_in_the_report(tmp_path):
    analysis = analysis_case(tmp_path)
    write_analysis(analysis, tmp_path / "out")
    report = dcmread(tmp_path / "out" / "measurements.dcm")
    assert (report.CompletionFlag, report.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    qca = analysis.segments[0].qca
    expected = [("Probability", 0.97), ("Probability", 0.91)]
    places = [(qca, ("Length Luminal Segment", qca.segment_length_mm))]
    places += [(lesion, ("Stenotic Lesion Length", lesion.length_mm)) for lesion in qca.lesions]
    for place, length in places:
        expected += [
            ("Vessel lumen diameter", "Minimum", place.mld_mm),
            ("Vessel lumen diameter", "Interpolated Local Reference", place.rvd_mm),
            ("Lumen Diameter Stenosis", place.diameter_stenosis_pct),
            ("Lumen Area Stenosis", place.area_stenosis_pct),
            length,
        ]
    expected += [("Probability", 0.55), ("Probability", 0.6)]
    found = _values(report)
    assert [item[:-1] for item in found] == [item[:-1] for item in expected]
    np.testing.assert_allclose(
        [item[-1] for item in found], [item[-1] for item in expected], atol=1e-4
    )
    assert len(qca.lesions) == 1


def test_tid1500reader_reads_every_value_back(tmp_path):
    program = _program("tid1500reader")
    analysis = analysis_case(tmp_path)
    write_analysis(analysis, tmp_path / "out")
    read = tmp_path / "read.json"
    subprocess.run(
        [program, "--inputDICOM", tmp_path / "out" / "measurements.dcm", "--outputMetadata", read],
        check=True, capture_output=True,
    )  # fmt: skip
    groups = json.loads(read.read_text())["Measurements"]
    assert [group["TrackingIdentifier"] for group in groups] == [
        "coronary tree", "CASS 12 Proximal LAD", "CASS 12 Proximal LAD, lesion 1",
        "CASS 9 Inferior septals", "stenosis 1",
    ]  # fmt: skip
    values = [float(item["value"]) for group in groups for item in group["measurementItems"]]
    report = dcmread(tmp_path / "out" / "measurements.dcm")
    np.testing.assert_allclose(values, [item[-1] for item in _values(report)])
    parameter = groups[0]["measurementAlgorithmIdentification"]["AlgorithmParameters"][0]
    assert "sod_sid" in parameter
    assert NOTICE in parameter


def test_the_json_has_every_number_and_the_scales_source(tmp_path):
    analysis = analysis_case(tmp_path)
    write_analysis(analysis, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert found["scale"] == {"row_mm": 0.2, "column_mm": 0.25, "source": "sod_sid"}
    assert found["frame_index"] == 3
    qca, written = analysis.segments[0].qca, found["segments"][0]["qca"]
    assert written["scale_source"] == "sod_sid"
    assert written["mld_mm"] == pytest.approx(qca.mld_mm)
    assert written["lesions"][0]["length_mm"] == pytest.approx(qca.lesions[0].length_mm)
    assert found["segments"][1]["qca"] is None


def test_nothing_personal_is_written_unless_asked_for(tmp_path):
    paths = write_analysis(analysis_case(tmp_path), tmp_path / "out")
    for path in paths:
        content = path.read_bytes()
        assert [value for value in PERSONAL if value.encode() in content] == []
    for name in ("segmentation.dcm", "measurements.dcm"):
        written = dcmread(tmp_path / "out" / name)
        assert (written.PatientID, written.PatientIdentityRemoved) == ("run-0001", "YES")


def test_identity_on_request_stays_within_dicom(tmp_path):
    write_analysis(analysis_case(tmp_path), tmp_path / "out", identified=True)
    for name in ("segmentation.dcm", "measurements.dcm"):
        written = dcmread(tmp_path / "out" / name)
        assert str(written.PatientName) == PLANTED["PatientName"]
        assert written.StudyInstanceUID == PLANTED["StudyInstanceUID"]
    for name in ("analysis.json", "overlay.png", "index.html"):
        content = (tmp_path / "out" / name).read_bytes()
        assert [value for value in PERSONAL if value.encode() in content] == []


def test_each_output_says_that_it_is_for_research(tmp_path):
    write_analysis(analysis_case(tmp_path), tmp_path / "out")
    assert NOTICE in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out" / "analysis.json").read_text())["notice"] == NOTICE
    assert dcmread(tmp_path / "out" / "segmentation.dcm").ContentDescription == NOTICE
    assert dcmread(tmp_path / "out" / "measurements.dcm").SeriesDescription == NOTICE


def test_the_page_needs_no_other_file_and_escapes_what_it_is_given(tmp_path):
    analysis = analysis_case(tmp_path, frame_reason="<script>alert(1)</script>")
    write_analysis(analysis, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert "prefers-color-scheme: dark" in page


def test_other_names_of_a_vessel_are_said(tmp_path):
    analysis = analysis_case(tmp_path)
    first, other = analysis.segments
    rivalled = replace(first, rivals=(13, 28))
    write_analysis(replace(analysis, segments=(rivalled, other)), tmp_path / "out")
    found = json.loads((tmp_path / "out" / "analysis.json").read_text(encoding="utf-8"))
    assert [segment["rivals"] for segment in found["segments"]] == [[13, 28], []]
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "these names too: Mid LAD, Ramus intermedius." in page
    with pytest.raises(DataError, match=r"\[30\] are no CASS numbers"):
        replace(analysis, segments=(replace(first, rivals=(30,)),))


def test_the_page_shows_what_a_scale_is_from_and_lists_outlined_stenoses(tmp_path):
    spacing = replace(SPACING, source="detector")
    write_analysis(analysis_case(tmp_path, spacing=spacing), tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "not corrected for magnification" in page
    outlined = page.split("Stenoses outlined by the model")[1]
    assert "Proximal LAD" in outlined
    assert "0.60" in outlined


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_the_page_without_a_complaint_or_sideways_scrolling(
    tmp_path, scheme, width
):
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = _program("chromium")
    write_analysis(analysis_case(tmp_path), tmp_path / "out")
    complaints = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 740}, color_scheme=scheme)
        page.on("console", lambda message: complaints.append(message.text))
        page.goto((tmp_path / "out" / "index.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        shown = page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        browser.close()
    assert complaints == []
    assert shown


def test_the_overlay_shows_the_frame_unchanged_beside_the_findings(tmp_path):
    analysis = analysis_case(tmp_path)
    write_analysis(analysis, tmp_path / "out")
    with Image.open(tmp_path / "out" / "overlay.png") as picture:
        pixels, info = np.asarray(picture), picture.info
    rows, columns = analysis.picture.shape
    np.testing.assert_array_equal(pixels[:rows, :columns, 0], analysis.picture)
    assert tuple(pixels[20:30, columns:].reshape(-1, 3).std(axis=1)) == (0,) * 10 * columns
    assert info == {}


def test_without_a_scale_masks_are_written_and_nothing_is_measured(tmp_path):
    unknown = PixelSpacing(row_mm=float("nan"), column_mm=float("nan"), source="none")
    analysis = analysis_case(tmp_path)
    bare = tuple(replace(found, qca=None) for found in analysis.segments)
    write_analysis(replace(analysis, spacing=unknown, segments=bare), tmp_path / "out")
    assert "scale unknown" in dcmread(tmp_path / "out" / "segmentation.dcm").SeriesDescription
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert found["scale"] == {"row_mm": None, "column_mm": None, "source": "none"}


def test_what_does_not_fit_together_is_refused_with_every_fault(tmp_path):
    analysis = analysis_case(tmp_path)
    wrong = replace(analysis.lesions[0], mask=np.zeros((5, 5), dtype=bool), cass=30)
    with pytest.raises(DataError) as raised:
        replace(analysis, lesions=(wrong,), segments=(analysis.segments[0],) * 2)
    said = str(raised.value)
    assert "shape (5, 5)" in said
    assert "[30] are no CASS numbers" in said
    assert "there twice" in said


def test_a_run_without_identifiers_is_refused_without_naming_anybody(tmp_path):
    path = run_file(tmp_path, StudyInstanceUID="", SeriesInstanceUID="")
    with pytest.raises(DataError) as raised:
        read_source(path, name="run-0001")
    said = str(raised.value)
    assert "StudyInstanceUID" in said
    assert "SeriesInstanceUID" in said
    assert "Planted" not in said


def test_other_files_of_the_folder_stay(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    write_analysis(analysis_case(tmp_path), tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
