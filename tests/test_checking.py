"""``sam3-angio check``: a clean phantom is clean, and each fault of a data set is found."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from phantom_site import PhantomSite, found
from PIL import Image
from typer.testing import CliRunner

from sam3_angio.checking import data_set
from sam3_angio.checking.listing import COLUMNS, finding_table, write_csv, write_report
from sam3_angio.checking.overlap import best_shift, symmetries
from sam3_angio.cli import _commands
from sam3_angio.errors import ConfigError
from sam3_angio.phantom.dataset import write_phantom

DICOM, CONTOUR, MASK, TREE = (
    "dicom_path",
    "medis_contour_path",
    "medis_mask_path",
    "deepsa_pseudo_label_path",
)
#: What a clean phantom is warned of: a missing pseudo-label, and French sizes as in real exports.
DOCUMENTED = {(TREE, 6), (CONTOUR, None)}
SECRETS = ("ALL RISE", "101-00", "Angios", ".dcm", ".png")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "data"
    write_phantom(folder, patients=3, processes=1)
    return folder


@pytest.fixture
def site(clean: Path, tmp_path: Path) -> Iterator[PhantomSite]:
    shutil.copytree(clean, tmp_path / "data")
    site = PhantomSite(tmp_path / "data")
    site.keep(7)
    yield site


# ---------------------------------------------------------------- nothing is wrong


def test_a_clean_phantom_has_no_error_and_only_documented_warnings(clean: Path) -> None:
    report = PhantomSite(clean).check(decode=True)
    assert report.errors == 0
    assert {(one.field, one.row) for one in report.findings} == DOCUMENTED


def test_an_imported_phantom_has_no_error_and_only_documented_warnings(clean: Path) -> None:
    report = PhantomSite(clean).check_data(decode=True)
    assert report.errors == 0
    assert sorted(one.field for one in report.findings) == ["contour", "pseudo_label"]


def test_every_finding_says_what_was_expected_and_how_to_mend_it(site: PhantomSite) -> None:
    site.set(0, frame_index="99", cass_segment="77", primary_angle="x")
    for one in site.check().findings:
        assert one.found and one.expected and one.fix
        assert not any(secret in f"{one.found}{one.expected}{one.fix}" for secret in SECRETS)


# ---------------------------------------------------------------- fields of the table

Fields = dict[str, str]


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"cass_segment": "17"}, "cass_segment", "not a segment"),
        ({"cass_segment": "2"}, "vessel_pattern", "another vessel"),
        ({"cass_segment": "19"}, "vessel_pattern", "another part"),
        ({"cass_segment": "2"}, CONTOUR, "segment_name"),
        ({"frame_index": "500"}, "frame_index", "frames (0-based)"),
        ({"frame_index": "9"}, "frame_index", "drawn on frame 8"),
        ({"frame_index": "7.5"}, "frame_index", "whole number"),
        ({"primary_angle": "-24.5"}, "primary_angle", "opposite"),
        ({"primary_angle": "400"}, "primary_angle", "outside"),
        ({"secondary_angle": "25.3"}, "secondary_angle", "opposite"),
        ({"secondary_angle": "31"}, "secondary_angle", "differs from the DICOM header"),
        ({"patient_id": "ALL RISE 101-OOO1"}, "patient_id", "spelled otherwise"),
        ({"patient_id": "101-0001"}, "patient_id", "spelled otherwise"),
        ({"patient_id": "All Rise 101\u20130001"}, "patient_id", "another spelling"),
        ({"patient_id": "ALL RISE 101-0003"}, DICOM, "belongs to another patient"),
        ({"phase": "INDEX FINAL"}, "phase", "not in agreement"),
        ({"vessel_pattern": "PROX LCX PRE 2"}, "vessel_pattern", "not in agreement"),
        ({"dicom_path": r"E:\Angios\..\export\x.dcm"}, DICOM, "climbs out"),
        ({"medis_mask_path": r"E:\AngioMLDL_data\..\m.png"}, MASK, "climbs out"),
        ({"dicom_path": r"E:\Angios\nothing.dcm"}, DICOM, "does not exist"),
    ],
)
def test_a_wrong_field_is_found_in_its_row(
    site: PhantomSite, fields: Fields, field: str, text: str
) -> None:
    site.set(0, **fields)
    report = site.check()
    rows = {2, 3, 4, 5, 6, 7} if "patient_id" in fields else {2}
    assert {one.row for one in found(report, field, text)} & rows


def test_a_wrong_frame_index_says_nothing_of_the_header(site: PhantomSite) -> None:
    site.set(0, frame_index="500")
    assert not found(site.check(), DICOM, "no view angle", 2)


def test_swapped_cass_numbers_are_found_in_both_rows(site: PhantomSite) -> None:
    site.rows[0]["cass_segment"], site.rows[2]["cass_segment"] = "21", "18"
    site.write()
    assert {one.row for one in found(site.check(), CONTOUR, "segment_name")} >= {2, 4}


def test_a_table_with_the_other_sign_is_one_error(site: PhantomSite) -> None:
    assert found(site.check(sign="LAO+"), "primary_angle", "--primary-sign RAO+")


def _header(site: PhantomSite, change: Callable[[str], str]) -> None:
    first, rest = site.table.read_text().split("\n", 1)
    site.table.write_text(f"{change(first)}\n{rest}")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda line: line.replace("phase", "fase"), "missing"),
        (lambda line: line.replace("phase", "patient_id"), "missing"),
        (lambda line: line.replace("primary_angle", "Primary_Angle"), "rename it"),
        (lambda line: line.replace("patient_id,vessel", "vessel_pattern,vessel"), "twice"),
    ],
)
def test_a_wrong_header_is_found(
    site: PhantomSite, change: Callable[[str], str], text: str
) -> None:
    _header(site, change)
    report = site.check()
    assert report.rows == 0 and report.errors
    assert any(text in f"{one.found} {one.fix}" for one in report.findings)


def test_a_surplus_column_is_a_warning(site: PhantomSite) -> None:
    lines = site.table.read_text().splitlines()
    site.table.write_text("\n".join([f"{lines[0]},note", *(f"{line},x" for line in lines[1:])]))
    report = site.check()
    assert not report.errors and found(report, "", "column 13", 1)


def test_unquoted_decimal_commas_are_an_error(site: PhantomSite) -> None:
    site.table.write_text(site.table.read_text().replace(",24.5,", ",24,5,"))
    report = site.check()
    assert report.rows == 0 and found(report, "", "13 fields", 2)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings_that_are_marked_are_read(site: PhantomSite, encoding: str) -> None:
    site.table.write_bytes(site.table.read_text().encode(encoding))
    assert site.check().errors == 0


def test_another_separator_is_read(site: PhantomSite) -> None:
    site.table.write_text(site.table.read_text().replace(",", ";"))
    assert site.check().errors == 0


def test_the_same_frame_in_two_rows_is_found(site: PhantomSite) -> None:
    site.rows.append(dict(site.rows[3]))
    site.write()
    assert found(site.check(), DICOM, "the same frame and segment as in row 5", 9)


def test_a_copied_run_is_found(site: PhantomSite) -> None:
    path = site.file(0, DICOM)
    shutil.copy(path, path.with_name("copy.dcm"))
    site.rows.append({**site.rows[0], "frame_index": "3"})
    site.rows[-1][DICOM] = site.rows[0][DICOM].replace("PROX LCX PRE.dcm", "copy.dcm")
    site.write()
    assert found(site.check(), DICOM, "copy of the run in row 2", 9)


# ---------------------------------------------------------------- contours


def _swap(content: dict[str, Any]) -> None:
    content["left_edge"], content["right_edge"] = content["right_edge"], content["left_edge"]


def _swap_half(content: dict[str, Any]) -> None:
    left, right = content["left_edge"], content["right_edge"]
    half = len(left) // 2
    left[half:], right[half:] = right[half:], left[half:]


def _set(part: str, name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        (content[part] if part else content)[name] = value

    return change


def _scaled(part: str, name: str, factor: float) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content[part][name] *= factor

    return change


def _moved(name: str, by: float) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content[name] = [[x + by, y] for x, y in content[name]]

    return change


def _outlier(content: dict[str, Any]) -> None:
    content["left_edge"][40][0] += 60


def _reversed(content: dict[str, Any]) -> None:
    content["centerline"].reverse()


def _inverse(content: dict[str, Any]) -> None:
    content["calibration"]["scale_factor"] = 1 / content["calibration"]["scale_factor"]


def _halved(name: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        del content[name][len(content[name]) // 2 :]

    return change


def _without_first_half(content: dict[str, Any]) -> None:
    del content["centerline"][: len(content["centerline"]) // 2]


def _narrowed(content: dict[str, Any]) -> None:
    """Move the left edge inward by a quarter of the width."""
    left, right = np.array(content["left_edge"]), np.array(content["right_edge"])
    content["left_edge"] = ((3 * left + right) / 4).tolist()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_swap, "swapped"),
        (_halved("centerline"), "the centre line ends"),
        (_without_first_half, "the centre line begins"),
        (_halved("left_edge"), "px from the centre line"),
        (_narrowed, "px from the centre line"),
        (_set("", "centerline", None), "no centerline"),
        (_set("", "measurements", None), "no measurements"),
        (_set("", "ideal_left_edge", None), "no ideal edges"),
        (_swap_half, "crosses itself"),
        (_outlier, "jumps"),
        (_reversed, "runs against"),
        (_moved("left_edge", 5000), "outside the frame"),
        (_moved("centerline", 40), "outside the edges"),
        (_moved("ideal_left_edge", 200), "ideal_left_edge"),
        (_set("", "left_edge", [[float("nan"), 1.0]]), "NaN"),
        (_set("", "frame_num", None), "no frame_num"),
        (_set("", "segment_name", "Mid RCA"), "segment_name"),
        (_set("measurements", "diameter_stenosis_pct", 96.0), "diameter_stenosis_pct"),
        (_set("measurements", "area_stenosis_pct", 99.0), "area_stenosis_pct"),
        (_set("measurements", "MLD_mm", 5.5), "MLD"),
        (_set("measurements", "MLD_mm", -1.0), "mld_mm"),
        (_set("measurements", "MLD_x_coord", 3.0), "beside the centre line"),
        (_set("measurements", "MLD_y_coord", None), "lacks the other"),
        (_set("measurements", "MLD_centerline_index", 4000), "MLD_centerline_index"),
        (_set("measurements", "segment_length_mm", 0.2), "segment_length_mm"),
        (_set("measurements", "lesion_length_mm", 140.0), "lesion is 140"),
        (_scaled("calibration", "scale_factor", 1 / 3), "French"),
        (_scaled("calibration", "scale_factor", 1.5), "within a quarter"),
        (_inverse, "inverse"),
        (_set("calibration", "catheter_diameter_mm", 80), "catheter_diameter_mm is 80"),
        (_set("calibration", "imager_pixel_spacing_mm", [0.9, 0.9]), "another run"),
        (_set("view_angles", "secondary_angle", 40.0), "view angles"),
    ],
)
def test_a_wrong_contour_is_found_in_its_row(
    site: PhantomSite, change: Callable[[dict[str, Any]], None], text: str
) -> None:
    site.edit_contour(0, change)
    assert found(site.check(), CONTOUR, text, 2)


def test_a_figure_that_all_other_contours_have_is_missed(site: PhantomSite) -> None:
    site.edit_contour(0, _set("calibration", "scale_factor", None))
    assert found(site.check(), CONTOUR, "the contour has no scale_px_per_mm", 2)


def test_a_part_that_many_contours_lack_is_told_once(site: PhantomSite) -> None:
    for number in range(7):
        site.edit_contour(number, _set("", "measurements", None))
    (one,) = found(site.check(), CONTOUR, "no measurements")
    assert (one.row, one.found) == (None, "7 of 7 contours have no measurements.")


def test_a_mask_that_is_wider_than_its_polygon_is_found(site: PhantomSite) -> None:
    site.edit_contour(0, _narrowed)
    assert found(site.check(), MASK, "another shape than the polygon", 2)


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (np.fliplr, "mirrored left to right"),
        (np.flipud, "mirrored top to bottom"),
        (np.rot90, "turned by 90° to the left"),
        (np.transpose, "mirrored along a diagonal"),
        (lambda mask: 1 - mask, "inverted"),
        (lambda mask: np.roll(mask, (-3, 4), (0, 1)), "shifted by (4, -3)"),
        (lambda mask: np.roll(mask, 1, 1), "shifted by (1, 0)"),
        (np.zeros_like, "empty"),
        (np.ones_like, "whole frame"),
        (lambda mask: mask * 255, "0 and 255"),
        (lambda mask: mask * 7, "0 and 1"),
        (lambda mask: np.stack([mask] * 3, axis=2), "RGB"),
        (lambda mask: mask[:-2], "size"),
    ],
)
def test_a_wrong_mask_is_found_in_its_row(
    site: PhantomSite, change: Callable[[np.ndarray], np.ndarray], text: str
) -> None:
    site.edit_mask(0, change)
    assert found(site.check(), MASK, text, 2)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (np.fliplr, "looks mirrored left to right"),
        (lambda mask: 1 - mask, "covers 9"),
        (np.zeros_like, "empty"),
        (lambda mask: mask[::2, ::2], "512"),
    ],
)
def test_a_wrong_pseudo_label_is_found_in_its_row(
    site: PhantomSite, change: Callable[[np.ndarray], np.ndarray], text: str
) -> None:
    site.edit_mask(0, change, TREE)
    assert found(site.check(), TREE, text, 2)


def test_a_mask_of_another_frame_is_found(site: PhantomSite) -> None:
    rows = site.rows
    rows[0][MASK], rows[1][MASK] = rows[1][MASK], rows[0][MASK]
    site.write()
    assert {one.row for one in found(site.check(), MASK, "")} == {2, 3}


def test_a_pseudo_label_of_another_patient_is_found_in_its_frame(site: PhantomSite) -> None:
    rows = site.rows
    rows[0][TREE], rows[6][TREE] = rows[6][TREE], rows[0][TREE]
    site.write()
    report = site.check(decode=True)
    assert {one.row for one in found(report, TREE, "pseudo-label")} >= {2, 8}


def test_shifts_are_those_that_were_made() -> None:
    random = np.random.default_rng(3)
    drawn = np.zeros((60, 90), bool)
    drawn[20:26, 30:70] = random.random((6, 40)) > 0.2
    for down, right in ((0, 0), (5, -7), (-12, 9)):
        assert best_shift(np.roll(drawn, (down, right), (0, 1)), drawn) == ((right, down), 1.0)


def test_symmetries_undo_what_they_are_named_after() -> None:
    drawn = np.random.default_rng(1).random((7, 7)) > 0.5
    made = {"turned by 90° to the left": np.rot90(drawn), "turned by 180°": drawn[::-1, ::-1]}
    for name, mask in made.items():
        assert (dict(symmetries(mask))[name] == drawn).all()


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize(
    ("elements", "text"),
    [
        ({"Modality": "CT"}, "Modality"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
        ({"NumberOfFrames": 3}, "NumberOfFrames"),
        ({"BitsStored": 5}, "BitsStored"),
        ({"DistanceSourceToPatient": 5000}, "DistanceSourceToPatient"),
        ({"ImagerPixelSpacing": [0.3, 0.1]}, "ImagerPixelSpacing is"),
        ({"ImagerPixelSpacing": [1.2, 1.2]}, "wide at the detector"),
        ({"EstimatedRadiographicMagnificationFactor": 3}, "magnification"),
        ({"PositionerPrimaryAngle": None}, "no view angle"),
    ],
)
def test_a_wrong_header_of_a_run_is_found(
    site: PhantomSite, elements: dict[str, Any], text: str
) -> None:
    site.edit_run(0, **elements)
    assert found(site.check(), DICOM, text, 2)


def test_a_run_without_scale_is_found_where_the_contour_has_none(site: PhantomSite) -> None:
    site.edit_run(0, ImagerPixelSpacing=None)
    site.edit_contour(0, lambda content: content.pop("calibration"))
    assert found(site.check(), CONTOUR, "no scale", 2)


@pytest.mark.parametrize("factor", [1 / 3, 0.45, 2.1, 3])
def test_a_scale_that_is_wrong_by_more_than_twice_is_an_error(
    site: PhantomSite, factor: float
) -> None:
    site.edit_contour(0, _scaled("calibration", "scale_factor", factor))
    (one,) = found(site.check(), CONTOUR, "within a quarter", 2)
    assert one.severity == "error"


def _spacing(site: PhantomSite, factor: float) -> None:
    """Give the first row's run another spacing."""
    run = pydicom.dcmread(site.file(0, DICOM))
    spacing = [factor * float(value) for value in run.ImagerPixelSpacing]
    site.edit_run(0, ImagerPixelSpacing=spacing)


@pytest.mark.parametrize("factor", [1 / 3, 3])
def test_a_spacing_that_no_heart_fits_is_an_error_where_nothing_else_gives_the_scale(
    site: PhantomSite, factor: float
) -> None:
    site.edit_contour(0, lambda content: content.pop("calibration"))
    _spacing(site, factor)
    (one,) = found(site.check(), DICOM, "of the patient", 2)
    assert one.severity == "error"


@pytest.mark.parametrize("factor", [1 / 3, 3])
def test_a_scale_is_compared_with_a_heart_where_the_header_has_none(
    site: PhantomSite, factor: float
) -> None:
    site.edit_contour(0, _scaled("calibration", "scale_factor", factor))
    site.edit_run(0, ImagerPixelSpacing=None)
    (one,) = found(site.check(), CONTOUR, "of the patient", 2)
    assert one.severity == "error"


def test_a_view_that_nobody_takes_of_the_artery_is_found(site: PhantomSite) -> None:
    site.edit_run(6, PositionerSecondaryAngle=-40)
    site.set(6, secondary_angle="-40")
    assert found(site.check(), "secondary_angle", "no view of the RCA", 8)


def test_a_truncated_run_is_found(site: PhantomSite) -> None:
    path = site.file(0, DICOM)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert found(site.check(), DICOM, "", 2)


def test_an_encrypted_run_is_found(site: PhantomSite) -> None:
    site.file(0, DICOM).write_bytes(b"\x30\x82" + bytes(5000))
    assert found(site.check(), DICOM, "encrypted", 2)


def test_damage_inside_the_analysed_frame_is_found_by_decoding(site: PhantomSite) -> None:
    path, number = site.file(0, DICOM), int(site.rows[0]["frame_index"])
    content = bytearray(path.read_bytes())
    items = _frames(content)
    start, size = items[number]
    content[start + size // 2 : start + size // 2 + 16] = bytes(16)
    path.write_bytes(content)
    assert found(site.check(decode=True), DICOM, "", 2)


def _frames(content: bytes) -> list[tuple[int, int]]:
    """Return place and size of the frames' items behind the offset table."""
    at = content.rindex(b"\xe0\x7f\x10\x00") + 12
    items = []
    while content[at : at + 4] == b"\xfe\xff\x00\xe0":
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        items.append((at + 8, size))
        at += 8 + size
    return items[1:]


# ---------------------------------------------------------------- files and folders


def test_links_are_told(site: PhantomSite, tmp_path: Path) -> None:
    for column in (MASK, DICOM):
        path = site.file(0, column)
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    report = site.check()
    assert found(report, MASK, "symbolic link", 2)
    assert found(report, DICOM, "outside the DICOM root", 2)


def test_names_with_umlauts_and_250_characters_are_no_fault(site: PhantomSite) -> None:
    path = site.file(0, MASK)
    name = "Ü ß  é" + "x" * 200 + ".png"
    path.rename(path.with_name(name))
    site.set(0, medis_mask_path=site.rows[0][MASK].rsplit("\\", 1)[0] + "\\" + name)
    assert site.check().errors == 0


def test_a_folder_in_the_place_of_a_file_is_found(site: PhantomSite) -> None:
    path = site.file(0, CONTOUR)
    path.unlink()
    path.mkdir()
    assert found(site.check(), CONTOUR, "does not exist", 2)


# ---------------------------------------------------------------- after the import


def _edit_manifest(site: PhantomSite, column: str, value: str) -> None:
    path = site.data / "manifest.csv"
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    rows[0][column] = value
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("column", "value", "field"),
    [
        ("patient_id", "ALL RISE 101-0099", "patient"),
        ("frame_index", "2", "frame_id"),
        ("dicom_bytes", "12", "dicom_bytes"),
        ("dicom_sha256", "0" * 64, "dicom_sha256"),
        ("dicom", "nothing.dcm", "dicom"),
        ("mask", "", "mask"),
        ("mask", "labels/masks/nothing.png", "mask"),
        ("mask", "labels/masks/" + "x" * 300, "mask"),
        ("dicom", "x" * 300, "dicom"),
        ("row", "3", "row"),
        ("primary_deg", "-3", "primary_deg"),
    ],
)
def test_an_edited_manifest_is_found(
    site: PhantomSite, column: str, value: str, field: str
) -> None:
    _edit_manifest(site, column, value)
    assert any(one.field == field for one in site.check_data().findings if one.field != "contour")


def test_a_lost_row_and_a_stray_label_are_found(site: PhantomSite) -> None:
    path = site.data / "manifest.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    files = {(one.file, one.severity) for one in site.check_data().findings}
    assert {("import.json", "error"), ("labels", "warning")} <= files


def test_another_salt_is_found(site: PhantomSite) -> None:
    (site.data / "salt").write_text("ab" * 32)
    assert len(found(site.check_data(), "patient", "HMAC")) == 14


def test_a_run_that_was_replaced_is_found(site: PhantomSite) -> None:
    site.edit_run(0, WindowCenter=100)
    assert found(site.check_data(), "dicom_sha256", "not the one that was imported")


# ---------------------------------------------------------------- how it is told


def test_the_command_leaves_with_1_on_an_error_and_lists_all(
    site: PhantomSite, tmp_path: Path
) -> None:
    out = [tmp_path / "findings.json", tmp_path / "findings.csv"]
    options = [str(site.data), "--dicom-root", str(site.angios), "--no-decode"]
    options += ["--json", str(out[0]), "--csv", str(out[1])]
    assert CliRunner().invoke(_commands, ["check", *options]).exit_code == 0
    (site.data / "salt").write_text("ab" * 32)
    result = CliRunner().invoke(_commands, ["check", *options])
    assert result.exit_code == 1
    content = json.loads(out[0].read_text())
    assert content["errors"] == 28
    assert len(list(csv.DictReader(out[1].open()))) == len(content["findings"])
    assert set(content["findings"][0]) == set(COLUMNS)


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_a_list_that_could_not_be_written_is_refused_before_the_check(
    site: PhantomSite, tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_set, "check_data", pytest.fail)
    options = ["check", str(site.data), "--dicom-root", str(site.angios), option]
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "a" / "b", "does not exist")):
        result = CliRunner().invoke(_commands, [*options, str(path)])
        assert isinstance(result.exception, ConfigError)
        assert message in str(result.exception)
        assert str(tmp_path) not in str(result.exception)
    assert not (tmp_path / "a").exists()


def test_a_table_needs_its_convention_of_signs(site: PhantomSite) -> None:
    options = ["check", str(site.table), "--dicom-root", str(site.angios)]
    assert CliRunner().invoke(_commands, options).exit_code == 1


def test_reports_are_written_for_people_and_programs(site: PhantomSite, tmp_path: Path) -> None:
    report = site.check()
    write_csv(tmp_path / "f.csv", report)
    write_report(tmp_path / "f.json", report)
    assert (tmp_path / "f.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    assert json.loads((tmp_path / "f.json").read_text())["rows"] == 7
    assert finding_table(report, most=1).caption == "1 more: list them with --csv or --json"


def test_a_palette_picture_is_refused(site: PhantomSite) -> None:
    path = site.file(0, MASK)
    Image.open(path).convert("P").save(path, "PNG")
    assert found(site.check(), MASK, "greyscale", 2)
