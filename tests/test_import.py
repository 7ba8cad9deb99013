"""Taking a site's table into a data folder: what is accepted, and how each fault is told."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_site import (
    COLUMNS_PX,
    ROWS,
    VIEWS,
    SmallSite,
    contour_content,
    segment_mask,
    tree_mask,
    write_png,
    write_run,
)

from sam3_angio.errors import ConfigError, DataError, Fault
from sam3_angio.intake.table import COLUMNS
from sam3_angio.label_mask import read_mask
from sam3_angio.manifest import read_manifest

#: What must never be told: identifiers, names of the runs' headers, paths.
SECRETS = ("ALL RISE", "101-0025", "0026", "Gerda", "Geheim", "Angios", ".dcm", ".png", "/", "\\")


STUDY = {"StudyInstanceUID": "1.2.826.0.1.3680043.8.498.1"}


@pytest.fixture
def site(tmp_path: Path) -> SmallSite:
    return SmallSite(tmp_path / "a site")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    (tmp_path / "a site").mkdir()


def faults_of(site: SmallSite, **options: object) -> tuple[Fault, ...]:
    """Return what an import finds wrong, whether it stops or not; nothing secret is among it."""
    try:
        found = site.run(**options).warnings
    except DataError as error:
        found = error.faults
        assert not site.out.exists(), "a refused import wrote something"
        assert not any(secret in error.headline for secret in SECRETS[:5])
    for fault in found:
        text = f"{fault.field} {fault.message} {fault.fix}"
        assert not any(secret in text for secret in SECRETS), text
    return found


# ---------------------------------------------------------------- what is written


def test_a_sound_site_is_imported_without_a_warning(site: SmallSite) -> None:
    site.write()
    summary = site.run()
    assert summary.warnings == ()
    assert (summary.rows, summary.patients, summary.runs) == (6, 3, 6)
    assert summary.segments == ((2, 3), (13, 3))
    assert summary.arteries == (("LCA", 3), ("RCA", 3))
    assert summary.angles.agreeing == 6


def test_the_manifest_holds_dicom_signs_and_relative_paths(site: SmallSite) -> None:
    site.write()
    site.run()
    rows = {(row.row, row.cass_segment): row for row in read_manifest(site.out / "manifest.csv")}
    row = rows[3, 13]
    assert (row.primary_deg, row.secondary_deg) == (-8.9, 24.3)
    assert row.patient_id == "ALL RISE 101-0025"
    assert (site.angios / row.dicom).stat().st_size == row.dicom_bytes
    assert row.artery == "LCA"
    assert row.cass_segment_original == "7"
    assert row.contour == f"labels/contours/{row.frame_id}.json"


def test_labels_are_copied_as_they_are(site: SmallSite) -> None:
    site.write()
    site.run()
    for row in read_manifest(site.out / "manifest.csv"):
        assert (read_mask(site.out / row.pseudo_label).mask == tree_mask()).all()
        assert (read_mask(site.out / row.mask).mask == segment_mask()).all()
        copied = json.loads((site.out / row.contour).read_text())
        assert copied == contour_content(row.cass_segment, row.frame_index)


def test_text_inside_a_mask_picture_does_not_survive(site: SmallSite) -> None:
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Author", "Geheim^Gerda")
    write_png(site.file(0, "medis_mask_path"), segment_mask(), pnginfo=text)
    site.write()
    site.run()
    assert not [p for p in site.out.rglob("*.png") if b"Geheim" in p.read_bytes()]


def test_the_report_holds_nothing_personal(site: SmallSite) -> None:
    site.write()
    site.run()
    text = (site.out / "import.json").read_text()
    assert not any(secret in text for secret in SECRETS)
    assert json.loads(text)["segments"] == {"2": 3, "13": 3}


def test_a_site_has_no_whole_truth(site: SmallSite) -> None:
    site.write()
    site.run()
    assert json.loads((site.out / "truth" / "truth.json").read_text()) == {"kind": "none"}


def test_a_truth_that_is_there_is_left_alone(site: SmallSite) -> None:
    (site.out / "truth").mkdir(parents=True)
    site.write()
    site.run()
    assert list((site.out / "truth").iterdir()) == []


def test_a_phantoms_folder_does_not_take_a_sites_table(site: SmallSite) -> None:
    (site.out / "truth").mkdir(parents=True)
    (site.out / "truth" / "vessel_tree.json").touch()
    site.write()
    with pytest.raises(ConfigError, match="phantom"):
        site.run()


def test_the_order_of_rows_changes_nothing_but_their_numbers(site: SmallSite) -> None:
    site.write()
    site.run()
    before = {row.frame_id: row.dicom for row in read_manifest(site.out / "manifest.csv")}
    random.Random(3).shuffle(site.rows)
    site.write()
    site.run()
    after = {row.frame_id: row.dicom for row in read_manifest(site.out / "manifest.csv")}
    assert before == after


def test_two_imports_are_equal_byte_by_byte(site: SmallSite) -> None:
    site.write()
    site.run()
    first = {p.name: p.read_bytes() for p in site.out.rglob("*") if p.is_file()}
    shutil.rmtree(site.out)
    site.run(processes=1)
    assert {p.name: p.read_bytes() for p in site.out.rglob("*") if p.is_file()} == first


def test_the_salt_of_a_folder_is_kept(site: SmallSite) -> None:
    site.write()
    site.run(salt="")
    salt = (site.out / "salt").read_text()
    names = {row.frame_id for row in read_manifest(site.out / "manifest.csv")}
    site.run(salt="00" * 32)
    assert (site.out / "salt").read_text() == salt
    assert {row.frame_id for row in read_manifest(site.out / "manifest.csv")} == names
    assert len(salt.strip()) == 64


def test_another_salt_gives_other_pseudonyms(site: SmallSite) -> None:
    site.write()
    site.run()
    first = {row.patient for row in read_manifest(site.out / "manifest.csv")}
    shutil.rmtree(site.out)
    site.run(salt="00" * 32)
    assert not first & {row.patient for row in read_manifest(site.out / "manifest.csv")}


@pytest.mark.parametrize("salt", ["secret", "00", "Z" * 64])
def test_a_weak_salt_is_refused(site: SmallSite, salt: str) -> None:
    site.write()
    with pytest.raises(ConfigError, match="16 bytes"):
        site.run(salt=salt)


def test_an_earlier_import_is_replaced_and_its_labels_go(site: SmallSite) -> None:
    site.write()
    site.run()
    del site.rows[2:]
    site.write()
    site.run()
    assert len(read_manifest(site.out / "manifest.csv")) == 2
    assert len(list((site.out / "labels" / "masks").iterdir())) == 2


def test_a_refused_import_leaves_the_earlier_one(site: SmallSite) -> None:
    site.write()
    site.run()
    before = {p: p.read_bytes() for p in site.out.rglob("*") if p.is_file()}
    site.rows[0]["frame_index"] = "99"
    site.write()
    with pytest.raises(DataError):
        site.run()
    assert {p: p.read_bytes() for p in site.out.rglob("*") if p.is_file()} == before


# ---------------------------------------------------------------- paths


def test_windows_paths_are_mapped_whatever_their_case_and_slashes(site: SmallSite) -> None:
    site.rows[0]["dicom_path"] = site.rows[0]["dicom_path"].replace("\\", "/").upper()
    site.rows[1]["medis_mask_path"] = "e:" + site.rows[1]["medis_mask_path"][2:].lower()
    site.rows[2]["dicom_path"] = "\\\\?\\" + site.rows[2]["dicom_path"]
    site.rows[3]["dicom_path"] = site.rows[3]["dicom_path"].replace("\\Analysis", "\\.\\\\Analysis")
    site.write()
    assert site.run().without_mask == 0


def test_unc_paths_are_mapped(site: SmallSite) -> None:
    for row in site.rows:
        row["dicom_path"] = row["dicom_path"].replace("E:\\Angios", "\\\\nas-1\\cath\\Angios")
    site.write()
    maps = [f"//NAS-1/cath={site.folder}", site.maps[1]]
    assert site.run(path_maps=maps).runs == 6
    for row in site.rows:
        row["dicom_path"] = "\\\\?\\UNC" + row["dicom_path"][1:]
    site.write()
    assert site.run(path_maps=maps).runs == 6


def test_the_longest_prefix_wins_and_ends_between_parts(site: SmallSite) -> None:
    empty = site.folder / "empty"
    empty.mkdir()
    site.write()
    assert site.run(path_maps=[f"E:={empty}", *site.maps]).runs == 6
    with pytest.raises(DataError, match="do not exist"):
        site.run(path_maps=[f"E:\\Angio={site.angios}", site.maps[1]])


def test_paths_of_this_machine_need_no_mapping(site: SmallSite) -> None:
    for number, row in enumerate(site.rows):
        for column in COLUMNS[8:]:
            row[column] = str(site.file(number, column))
    site.write()
    assert site.run(path_maps=()).without_contour == 0


def test_relative_paths_start_at_the_table(site: SmallSite) -> None:
    for row in site.rows:
        for column in COLUMNS[8:]:
            row[column] = row[column].removeprefix("E:\\")
    site.write()
    assert site.run(path_maps=()).runs == 6


def test_names_with_umlauts_in_either_unicode_form_are_found(site: SmallSite) -> None:
    old = site.file(0, "dicom_path")
    old.rename(old.with_name("MID RCA Mu\u0308ller.dcm"))
    site.rows[0]["dicom_path"] = site.rows[0]["dicom_path"].replace("FINAL", "M\u00fcller")
    site.write()
    assert site.run().runs == 6


@pytest.mark.parametrize("text", ["E:\\Angios", "=x", "E:\\Angios=", "E:\\Angios=/no/such/folder"])
def test_a_mapping_that_is_none_is_refused(site: SmallSite, text: str) -> None:
    site.write()
    with pytest.raises(ConfigError, match="--map"):
        site.run(path_maps=[text])


def test_a_folder_that_is_not_mapped_is_one_error_a_column(site: SmallSite) -> None:
    site.write()
    found = faults_of(site, path_maps=site.maps[:1])
    assert {fault.field for fault in found} == set(COLUMNS[8:]) - {"dicom_path"}
    assert {fault.message for fault in found} == {"6 of 6 files do not exist."}
    assert [f.field for f in faults_of(site, path_maps=site.maps[1:])] == ["dicom_path"]


# ---------------------------------------------------------------- the file of the table


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_any_spreadsheets_csv_is_read(
    site: SmallSite, separator: str, encoding: str, newline: str
) -> None:
    site.rows[0]["phase"] = "INDEX \u2013 \u00fc"
    site.write(site.text(separator).replace("\n", newline).encode(encoding))
    assert site.run().warnings == ()
    phases = {row.phase for row in read_manifest(site.out / "manifest.csv")}
    assert phases == {"INDEX", "INDEX \u2013 \u00fc"}


def test_windows_1252_is_read_and_reported(site: SmallSite) -> None:
    site.rows[0]["phase"] = "INDEX \u2013 \u00fc"
    site.write(site.text().encode("cp1252"))
    assert [fault.message for fault in faults_of(site)] == ["not UTF-8; read as Windows-1252."]


def test_columns_may_stand_in_any_order(site: SmallSite) -> None:
    site.write(site.text(columns=COLUMNS[::-1]))
    assert site.run().warnings == ()


def test_blank_lines_and_excels_separator_line_are_passed_over(site: SmallSite) -> None:
    site.write("sep=;\n" + site.text(";").replace("\n", "\n\n", 2))
    assert site.run().rows == 6


def test_decimal_commas_in_whole_fields_are_read_and_reported(site: SmallSite) -> None:
    for row in site.rows:
        row["primary_angle"] = row["primary_angle"].replace(".", ",").replace("-", "\u2212")
    site.write()
    assert "3 angles are written with a decimal comma" in faults_of(site)[0].message
    degrees = {row.primary_deg for row in read_manifest(site.out / "manifest.csv")}
    assert degrees == {35.0, -8.9}


def test_unquoted_decimal_commas_are_refused_not_shifted(site: SmallSite) -> None:
    site.write(site.text().replace(",8.9,24.3,", ",8,9,24,3,"))
    found = faults_of(site)
    assert [fault.row for fault in found] == [3, 5, 7]
    assert all(fault.message == "14 fields, expected 12." for fault in found)


def test_decimal_commas_of_every_row_are_refused_not_shifted(site: SmallSite) -> None:
    for row in site.rows:
        row["primary_angle"] = "8.5"
    site.write(site.text().replace(",8.5,", ",8,5,"))
    assert len(faults_of(site)) == 6


def _rename(text: str, old: str, new: str) -> str:
    header, rest = text.split("\n", 1)
    return header.replace(old, new) + "\n" + rest


def _with_column(text: str, name: str, value: str = "x") -> str:
    header, *lines = text.rstrip("\n").split("\n")
    return "\n".join([f"{header},{name}", *(f"{line},{value}" for line in lines), ""])


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        (lambda t: _rename(t, "cass_segment,", "cass_segmnt,"), "cass_segment", "Column 5 is prob"),
        (lambda t: _rename(t, "phase,", "Phase,"), "phase", "Column 3 is probably meant"),
        (lambda t: _rename(t, "phase,", "x,"), "phase", "the column is missing"),
        (lambda t: _with_column(t, "phase"), "phase", "the column occurs twice"),
        (lambda t: t.split("\n", 1)[1], "", "no known column"),
        (lambda t: t.split("\n", 1)[0], "", "the table has no row"),
        (lambda t: t.replace(",INDEX", ',"INDEX'), "", "not a valid CSV file"),
        (lambda t: t.replace("INDEX,", '"IN\nDEX",'), "phase", "the field holds a line break"),
        (lambda t: t.replace("INDEX,", "IN\0DEX,"), "", "not a text file"),
        (lambda t: b"\x81\x8d\xff" + t.encode(), "", "neither UTF-8 nor Windows-1252"),
        (lambda t: "", "", "no known column"),
    ],
)
def test_a_broken_table_is_refused(
    site: SmallSite, change: Callable[[str], str | bytes], field: str, message: str
) -> None:
    site.write(change(site.text()))
    found = faults_of(site)
    assert all(fault.severity == "error" for fault in found)
    assert any(message in str(fault) and fault.field == field for fault in found), found


def test_a_line_break_in_a_field_hides_no_other_fault(site: SmallSite) -> None:
    site.rows[0]["phase"] = "IN\r\nDEX"
    site.rows[2]["frame_index"] = "99"
    site.write()
    found = {(f.row, f.field) for f in faults_of(site) if f.severity == "error"}
    assert found == {(3, "phase"), (5, "frame_index")}


def test_a_line_break_in_a_column_that_is_not_used_is_let_pass(site: SmallSite) -> None:
    site.write(_with_column(site.text(), "note", '"two\nlines"'))
    assert {fault.severity for fault in faults_of(site)} == {"warning"}


def test_a_wrong_frame_index_is_no_fault_of_the_angles(site: SmallSite) -> None:
    site.rows[0] |= {"frame_index": "99", "primary_angle": ""}
    site.write()
    assert [(f.row, f.field) for f in faults_of(site) if f.severity == "error"] == [
        (2, "frame_index"),
        (2, "frame_index"),
    ]


def test_a_surplus_column_is_reported_and_not_used(site: SmallSite) -> None:
    site.write(_with_column(site.text(), "Geheim^Gerda"))
    assert [fault.message for fault in faults_of(site)] == [
        "column 13 is none of the twelve and is not used."
    ]


def test_a_missing_table_is_a_data_error(site: SmallSite) -> None:
    with pytest.raises(DataError, match="the file is missing"):
        site.run()


# ---------------------------------------------------------------- single rows


@pytest.mark.parametrize(
    ("column", "value", "message", "severity"),
    [
        ("patient_id", "", "the field is empty", "error"),
        ("patient_id", "NaN", "the field is empty", "error"),
        ("vessel_pattern", "", "the field is empty", "error"),
        ("phase", " ", "the field is empty", "error"),
        ("frame_index", "", "the field is empty", "error"),
        ("frame_index", "two", "this is not a number", "error"),
        ("frame_index", "-1", "-1 is outside", "error"),
        ("frame_index", "1.5", "1.5 is not a whole number", "error"),
        ("frame_index", "5", "5, but the run has 5 frames", "error"),
        ("frame_index", "3", "the contour was drawn on frame 2", "error"),
        ("frame_index", "\u0662", "this is not a number", "error"),
        ("cass_segment", "17", "17 (First septal) is not a segment of this data set", "error"),
        ("cass_segment", "0", "0 is outside 1 to 29", "error"),
        ("cass_segment", "RCA", "this is not a number", "error"),
        ("primary_angle", "200", "200 is outside", "error"),
        ("primary_angle", "8,9,1", "this is not a number", "error"),
        ("primary_angle", "1e3", "1000 is outside", "error"),
        ("secondary_angle", "-91", "-91 is outside", "error"),
        ("secondary_angle", "inf", "this is not a number", "error"),
        ("dicom_path", "", "the field is empty", "error"),
        ("dicom_path", "E:\\Angios\\nothing.dcm", "the file does not exist", "error"),
        ("dicom_path", "E:\\Angios\\..\\x.dcm", "the file does not exist", "error"),
    ],
)
def test_a_wrong_field_is_told_with_its_row(
    site: SmallSite, column: str, value: str, message: str, severity: str
) -> None:
    site.rows[2][column] = value
    site.write()
    found = [fault for fault in faults_of(site) if fault.row == 4]
    assert any(message in f.message and f.field == column for f in found), found
    assert any(fault.severity == severity for fault in found)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("frame_index", "2.0"),
        ("cass_segment", " 2 "),
        ("primary_angle", "-35"),
        ("phase", "x" * 250),
    ],
)
def test_harmless_spellings_are_accepted(site: SmallSite, column: str, value: str) -> None:
    site.rows[2][column] = value
    site.write()
    assert faults_of(site) == ()


@pytest.mark.parametrize(
    ("name", "cass", "severity"),
    [
        ("MID RCA FINAL", "13", "error"),
        ("PROX LCX", "13", "error"),
        ("D1 FINAL", "13", "error"),
        ("PROX LAD BASELINE", "13", "warning"),
        ("LAD FINAL", "13", ""),
        ("MID LAD/D1", "13", ""),
        ("SEGMENT 7", "13", ""),
    ],
)
def test_a_segment_is_compared_with_the_vessels_name(
    site: SmallSite, name: str, cass: str, severity: str
) -> None:
    site.rows[1] |= {"vessel_pattern": name, "cass_segment": cass}
    site.write()
    found = [fault for fault in faults_of(site) if fault.field == "vessel_pattern"]
    assert [fault.severity for fault in found] == ([severity] if severity else [])


def test_all_faults_of_table_and_files_are_told_at_once(site: SmallSite) -> None:
    site.rows[0]["frame_index"] = "77"
    site.rows[1]["cass_segment"] = "17"
    site.rows[2]["primary_angle"] = "300"
    site.rows[3]["dicom_path"] = "E:\\nowhere.dcm"
    site.file(4, "medis_contour_path").write_text("{")
    site.file(5, "deepsa_pseudo_label_path").write_bytes(b"no picture")
    site.write()
    found = faults_of(site)
    assert {fault.row for fault in found if fault.severity == "error"} == {2, 3, 4, 5, 6, 7}


# ---------------------------------------------------------------- runs


def test_a_run_outside_the_root_is_refused(site: SmallSite) -> None:
    inside = site.angios / "ALL RISE 101-0025"
    site.write()
    found = faults_of(site, dicom_root=inside)
    assert [f.row for f in found if "outside the DICOM root" in f.message] == [4, 5, 6, 7]


def test_a_link_out_of_the_root_is_refused(site: SmallSite) -> None:
    run = site.file(0, "dicom_path")
    run.rename(site.folder / "elsewhere.dcm")
    run.symlink_to(site.folder / "elsewhere.dcm")
    site.write()
    assert [f.row for f in faults_of(site) if "outside the DICOM root" in f.message] == [2]


def test_a_root_that_is_no_folder_is_refused(site: SmallSite) -> None:
    site.write()
    with pytest.raises(ConfigError, match="--dicom-root"):
        site.run(dicom_root=site.folder / "nothing")


@pytest.mark.parametrize("changes", [{"Modality": "CT"}, {"Rows": None}, {"SamplesPerPixel": 3}])
def test_what_is_no_angiogram_is_refused(site: SmallSite, changes: dict[str, object]) -> None:
    write_run(site.file(0, "dicom_path"), 35.0, 0.4, **changes)
    site.write()
    found = faults_of(site)
    assert [(f.row, f.field, f.severity) for f in found] == [(2, "dicom_path", "error")]


def test_what_is_no_dicom_is_refused(site: SmallSite) -> None:
    site.file(0, "dicom_path").write_bytes(b"Geheim^Gerda" * 99)
    site.write()
    assert [(f.row, f.field) for f in faults_of(site)] == [(2, "dicom_path")]


def test_a_truncated_run_is_refused(site: SmallSite) -> None:
    run = site.file(0, "dicom_path")
    run.write_bytes(run.read_bytes()[:-700])
    site.write()
    assert [(f.row, f.field, f.severity) for f in faults_of(site)] == [(2, "dicom_path", "error")]


# ---------------------------------------------------------------- angles


def test_a_table_with_the_other_sign_is_refused_with_the_setting_that_fits(
    site: SmallSite,
) -> None:
    site.write()
    with pytest.raises(DataError, match="0 agreeing, 6 opposite") as caught:
        site.run(primary_sign="LAO+")
    assert "Import with --primary-sign RAO+." in str(caught.value)
    assert len(caught.value.faults) == 1


def test_a_table_in_dicoms_sign_is_imported_as_such(site: SmallSite) -> None:
    for row in site.rows:
        row["primary_angle"] = str(-float(row["primary_angle"]))
    site.write()
    assert site.run(primary_sign="LAO+").angles.agreeing == 6
    assert {r.primary_deg for r in read_manifest(site.out / "manifest.csv")} == {35.0, -8.9}


def test_one_row_with_the_other_sign_is_told(site: SmallSite) -> None:
    site.rows[2]["primary_angle"] = "35"
    site.write()
    found = [fault for fault in faults_of(site) if fault.severity == "error"]
    assert [(fault.row, fault.field) for fault in found] == [(4, "primary_angle")]


def test_angles_that_differ_from_the_header_are_warnings(site: SmallSite) -> None:
    site.rows[2] |= {"primary_angle": "-20", "secondary_angle": "9"}
    site.write()
    found = [(f.row, f.field, f.severity) for f in faults_of(site)]
    assert (4, "primary_angle", "warning") in found
    assert (4, "secondary_angle", "warning") in found


def test_runs_without_angles_count_as_missing_and_near_zero_as_neutral(site: SmallSite) -> None:
    write_run(site.file(0, "dicom_path"), None, None)
    write_run(site.file(2, "dicom_path"), 1.5, 0.4)
    site.rows[2]["primary_angle"] = "1.4"
    site.write()
    angles = site.run().angles
    assert (angles.agreeing, angles.neutral, angles.missing) == (4, 1, 1)


def test_an_angle_that_neither_table_nor_header_has_is_an_error(site: SmallSite) -> None:
    write_run(site.file(0, "dicom_path"), None, None)
    site.rows[0]["primary_angle"] = ""
    site.rows[1]["primary_angle"] = ""
    site.write()
    found = [fault for fault in faults_of(site) if fault.severity == "error"]
    assert [(fault.row, fault.field) for fault in found] == [(2, "primary_angle")]


def _errors(site: SmallSite) -> list[Fault]:
    return [fault for fault in faults_of(site) if fault.severity == "error"]


def _tilted(site: SmallSite) -> None:
    """Give all runs other views, of either sign, and the table the same.

    In four of the six the two angles differ in size.
    """
    for number, row in enumerate(site.rows):
        primary, secondary = (30.0 - 11 * number, (-1) ** number * (12.0 + 3 * number))
        write_run(site.file(number, "dicom_path"), primary, secondary)
        row |= {"primary_angle": str(-primary), "secondary_angle": str(secondary)}
        site.file(number, "medis_contour_path").unlink()
        row["medis_contour_path"] = ""


def test_a_secondary_angle_of_the_other_sign_is_refused(site: SmallSite) -> None:
    _tilted(site)
    for row in site.rows:
        row["secondary_angle"] = str(-float(row["secondary_angle"]))
    site.write()
    (one,) = _errors(site)
    assert (one.row, one.field) == (None, "secondary_angle")
    assert "0 agreeing, 6 opposite" in one.message
    assert "cranial is positive" in one.fix


def test_one_secondary_angle_of_the_other_sign_is_told(site: SmallSite) -> None:
    _tilted(site)
    site.rows[2]["secondary_angle"] = str(-float(site.rows[2]["secondary_angle"]))
    site.write()
    assert [(f.row, f.field) for f in _errors(site)] == [(4, "secondary_angle")]


def test_exchanged_angle_columns_are_refused_and_no_sign_is_advised(site: SmallSite) -> None:
    _tilted(site)
    for row in site.rows:
        row["primary_angle"], row["secondary_angle"] = row["secondary_angle"], row["primary_angle"]
    site.write()
    for sign in ("RAO+", "LAO+"):
        with pytest.raises(DataError) as caught:
            site.run(primary_sign=sign)
        (one,) = (fault for fault in caught.value.faults if fault.severity == "error")
        assert one.message == "4 of 4 rows have the header's angles in each other's column."
        assert "--primary-sign" not in str(caught.value)


@pytest.mark.parametrize("column", ["primary_angle", "secondary_angle"])
def test_a_column_of_which_most_angles_differ_is_refused(site: SmallSite, column: str) -> None:
    _tilted(site)
    for number, row in enumerate(site.rows[:4]):
        row[column] = str(5.0 + 17 * number)
    site.write()
    (one,) = _errors(site)
    assert (one.row, one.field) == (None, column)
    assert "4 different" in one.message and "--primary-sign" not in one.fix


def test_a_wrong_primary_sign_hides_no_secondary_angle(site: SmallSite) -> None:
    _tilted(site)
    site.rows[2]["secondary_angle"] = "60"
    site.write()
    with pytest.raises(DataError, match="Import with --primary-sign RAO") as caught:
        site.run(primary_sign="LAO+")
    assert (4, "secondary_angle") in [(fault.row, fault.field) for fault in caught.value.faults]


def test_a_moving_positioner_is_followed_to_the_frame(site: SmallSite) -> None:
    run = site.file(0, "dicom_path")
    turning = [0.0, 5.0, 10.0, 15.0, 20.0]
    write_run(
        run,
        25.0,
        0.4,
        PositionerMotion="DYNAMIC",
        PositionerPrimaryAngleIncrement=turning,
        PositionerSecondaryAngleIncrement=[0.0] * 5,
    )
    site.write()
    assert site.run().angles.agreeing == 6


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("column", "count"),
    [
        ("deepsa_pseudo_label_path", "without_pseudo_label"),
        ("medis_contour_path", "without_contour"),
        ("medis_mask_path", "without_mask"),
    ],
)
@pytest.mark.parametrize("how", ["empty", "nan", "file"])
def test_a_missing_label_keeps_its_row(site: SmallSite, column: str, count: str, how: str) -> None:
    if how == "file":
        site.file(3, column).unlink()
    else:
        site.rows[3][column] = "" if how == "empty" else "nan"
    site.write()
    summary = site.run()
    assert (summary.rows, getattr(summary, count)) == (6, 1)
    assert [(f.row, f.field, f.severity) for f in summary.warnings] == [(5, column, "warning")]


def _rgb(mask: np.ndarray) -> np.ndarray:
    return np.stack([mask * 255] * 3, axis=2)


@pytest.mark.parametrize(
    ("pixels", "message", "severity"),
    [
        (tree_mask() * 255, "it holds 0 and 255", "warning"),
        (tree_mask() * 0, "the mask is empty", "warning"),
        (tree_mask() * 0 + 1, "the mask covers the whole frame", "error"),
        (tree_mask() * 2, "this one holds 0, 2", "error"),
        (np.arange(512 * 512).reshape(512, 512).astype(np.uint8), "0, 1, 2, 3, 4 \u2026", "error"),
        (_rgb(tree_mask()), "this one is RGB", "error"),
        (tree_mask().astype(np.uint16) * 9, "greyscale picture was expected", "error"),
        (tree_mask()[:100], "its size is 512×100", "warning"),
        (np.zeros((1, 9000), np.uint8), "1 to 8192 pixels", "error"),
    ],
)
def test_a_faulty_pseudo_label_is_told(
    site: SmallSite, pixels: np.ndarray, message: str, severity: str
) -> None:
    write_png(site.file(1, "deepsa_pseudo_label_path"), pixels)
    site.write()
    found = [f for f in faults_of(site) if f.field == "deepsa_pseudo_label_path"]
    assert any(message in f.message and f.severity == severity for f in found), found
    assert {f.row for f in found} == {3}


def test_a_pseudo_label_of_0_and_255_is_taken_in_as_0_and_1(site: SmallSite) -> None:
    write_png(site.file(1, "deepsa_pseudo_label_path"), tree_mask() * 255)
    site.write()
    site.run()
    for row in read_manifest(site.out / "manifest.csv"):
        assert read_mask(site.out / row.pseudo_label).inside == 1


def test_an_array_file_is_taken_in_as_a_picture(site: SmallSite) -> None:
    path = site.file(1, "deepsa_pseudo_label_path").with_suffix(".npy")
    np.save(path, tree_mask())
    site.rows[1]["deepsa_pseudo_label_path"] = str(path)
    site.write()
    assert site.run().warnings == ()
    rows = {row.row: row for row in read_manifest(site.out / "manifest.csv")}
    assert (read_mask(site.out / rows[3].pseudo_label).mask == tree_mask()).all()


def test_an_array_file_with_objects_is_refused(site: SmallSite) -> None:
    path = site.file(1, "deepsa_pseudo_label_path").with_suffix(".npy")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    site.rows[1]["deepsa_pseudo_label_path"] = str(path)
    site.write()
    assert "array of numbers" in faults_of(site)[0].message


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (segment_mask()[:, :-1], f"its size is {COLUMNS_PX - 1}×{ROWS}"),
        (segment_mask().T, f"its size is {ROWS}×{COLUMNS_PX}"),
        (_rgb(segment_mask()), "this one is RGB"),
    ],
)
def test_a_faulty_segment_mask_is_told(site: SmallSite, pixels: np.ndarray, message: str) -> None:
    write_png(site.file(1, "medis_mask_path"), np.ascontiguousarray(pixels))
    site.write()
    found = faults_of(site)
    assert [(f.row, f.field) for f in found] == [(3, "medis_mask_path")]
    assert message in found[0].message


@pytest.mark.parametrize(
    ("change", "field", "message", "severity"),
    [
        ({"frame_num": 3}, "frame_index", "drawn on frame 3", "error"),
        ({"segment_name": "Mid RCA"}, "medis_contour_path", "not that of 13 (Mid LAD)", "error"),
        ({"segment_name": "Prox LAD"}, "medis_contour_path", "not that of 13", "warning"),
        ({"left_edge": [[1, 2], [90, 2]]}, "medis_contour_path", "outside the frame", "error"),
        ({"left_edge": []}, "medis_contour_path", "fewer than two points", "warning"),
        ({"left_edge": "Gerda"}, "medis_contour_path", "left_edge: ", "error"),
        (
            {"view_angles": {"primary_angle": 40, "secondary_angle": 0}},
            "medis_contour_path",
            "may belong to another run",
            "warning",
        ),
    ],
)
def test_a_faulty_contour_is_told(
    site: SmallSite, change: dict[str, object], field: str, message: str, severity: str
) -> None:
    content = contour_content(13, 2) | change
    site.file(1, "medis_contour_path").write_text(json.dumps(content))
    site.write()
    found = faults_of(site)
    assert [(f.row, f.field, f.severity) for f in found] == [(3, field, severity)]
    assert message in found[0].message


def test_any_field_of_a_contour_may_be_missing(site: SmallSite) -> None:
    whole = contour_content(13, 2)
    for name in whole:
        less = {key: value for key, value in whole.items() if key != name}
        site.file(1, "medis_contour_path").write_text(json.dumps(less))
        site.write()
        assert not [fault for fault in faults_of(site) if fault.severity == "error"], name


def test_edges_that_run_in_opposite_directions_are_told(site: SmallSite) -> None:
    content = contour_content(13, 2)
    content["right_edge"].reverse()
    site.file(1, "medis_contour_path").write_text(json.dumps(content))
    site.write()
    assert "opposite directions" in faults_of(site)[0].message


def test_edges_that_are_swapped_against_all_others_are_told(site: SmallSite) -> None:
    content = contour_content(13, 2)
    swapped = content | {"left_edge": content["right_edge"], "right_edge": content["left_edge"]}
    site.file(1, "medis_contour_path").write_text(json.dumps(swapped))
    site.write()
    assert [(f.row, f.severity) for f in faults_of(site)] == [(3, "warning")]


# ---------------------------------------------------------------- between rows


def test_a_row_twice_is_refused(site: SmallSite) -> None:
    site.rows.append(dict(site.rows[1]))
    site.write()
    found = faults_of(site)
    assert [(f.row, f.message) for f in found] == [(8, "the same frame and segment as in row 3.")]


def test_a_run_of_two_patients_is_refused(site: SmallSite) -> None:
    shutil.copy(site.file(0, "dicom_path"), site.file(2, "dicom_path"))
    site.write()
    found = faults_of(site)
    assert [(f.row, f.field, f.severity) for f in found] == [(4, "dicom_path", "error")]


def test_a_run_in_another_patients_folder_is_reported(site: SmallSite) -> None:
    site.rows[0]["patient_id"] = "ALL RISE 102-0001"
    site.write()
    found = faults_of(site)
    assert [(f.row, f.field, f.severity) for f in found] == [(2, "dicom_path", "warning")]
    assert "does not hold patient_id" in found[0].message


def test_folders_that_are_not_named_by_patient_say_nothing(site: SmallSite) -> None:
    for number, row in enumerate(site.rows):
        row["patient_id"] = f"case {number // 2}"
    site.write()
    assert faults_of(site) == ()


def test_a_study_of_two_patients_is_refused(site: SmallSite) -> None:
    for number in (1, 2):
        write_run(site.file(number, "dicom_path"), *VIEWS[(13, 2)[number - 1]], **STUDY)
    site.write()
    found = faults_of(site)
    assert [(f.row, f.field, f.severity) for f in found] == [(4, "dicom_path", "error")]
    assert "the same study as in row 3" in found[0].message


def test_a_study_of_all_patients_is_no_study(site: SmallSite) -> None:
    for number in range(6):
        write_run(site.file(number, "dicom_path"), *VIEWS[(2, 13)[number % 2]], **STUDY)
    site.write()
    assert [(f.row, f.severity) for f in faults_of(site)] == [(None, "warning")]


@pytest.mark.parametrize(
    "column", ["deepsa_pseudo_label_path", "medis_contour_path", "medis_mask_path"]
)
def test_a_label_of_two_frames_is_refused(site: SmallSite, column: str) -> None:
    site.rows[3][column] = site.rows[1][column]
    site.write()
    found = faults_of(site)
    assert [(f.row, f.field, f.severity) for f in found] == [(5, column, "error")]


def test_two_segments_of_a_frame_share_the_pseudo_label(site: SmallSite) -> None:
    second = site.rows[1] | {"cass_segment": "12", "vessel_pattern": "PROX LAD BASELINE"}
    site.rows.append(second | {"medis_contour_path": "", "medis_mask_path": ""})
    site.write()
    assert {f.severity for f in faults_of(site)} == {"warning"}
    assert len(read_manifest(site.out / "manifest.csv")) == 7


def test_two_spellings_of_a_patient_are_merged_and_reported(site: SmallSite) -> None:
    site.rows[1]["patient_id"] = "all rise 101\u20130025"
    site.write()
    summary = site.run()
    assert summary.patients == 3
    assert [(f.row, f.field) for f in summary.warnings] == [(3, "patient_id")]


def test_identifiers_that_differ_in_leading_zeros_are_reported(site: SmallSite) -> None:
    site.rows[1]["patient_id"] = "ALL RISE 101-25"
    site.write()
    summary = site.run()
    assert summary.patients == 4
    assert any("leading zeros" in fault.message for fault in summary.warnings)


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device", "/mnt/Geheim")


def test_a_folder_that_cannot_be_written_is_told_without_its_path(
    site: SmallSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sam3_angio.intake.importing.copy_labels", _full)
    site.write()
    with pytest.raises(ConfigError, match="No space left") as caught:
        site.run()
    assert "Geheim" not in str(caught.value)
    assert not site.out.exists()


def _state(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("step", ["copy_labels", "write_json", "write_manifest", "read_manifest"])
def test_a_failure_in_any_step_leaves_the_earlier_import(
    site: SmallSite, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    site.write()
    site.run()
    (site.out / "notes.txt").write_text("of the user")
    before = _state(site.out)
    del site.rows[2:]
    site.write()
    with monkeypatch.context() as patch:
        patch.setattr(f"sam3_angio.intake.importing.{step}", _full)
        with pytest.raises(ConfigError, match="No space left"):
            site.run()
    assert _state(site.out) == before
    site.run()
    assert len(read_manifest(site.out / "manifest.csv")) == 2
    assert _state(site.out)["salt"] == before["salt"]
    assert not [path.name for path in site.out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("failing", range(7))
def test_a_failure_of_any_move_leaves_the_earlier_import(
    site: SmallSite, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    site.write()
    site.run()
    before = _state(site.out)
    moves, move = [], Path.replace

    def replace(path: Path, target: Path) -> Path:
        if path.parent != target.parent:
            moves.append(path)
            if len(moves) == failing + 1:
                _full()
        return move(path, target)

    del site.rows[2:]
    site.write()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        if failing < 6:  # three entries go and come: labels, import.json, manifest.csv
            with pytest.raises(ConfigError, match="No space left"):
                site.run()
            assert _state(site.out) == before
        else:
            site.run()
            assert len(moves) == 6


def test_an_import_that_was_killed_between_its_moves_is_undone_by_the_next(
    site: SmallSite,
) -> None:
    site.write()
    site.run()
    salt = (site.out / "salt").read_bytes()
    (site.out / ".going").mkdir()
    for name in ("manifest.csv", "labels"):
        (site.out / name).rename(site.out / ".going" / name)
    (site.out / ".coming").mkdir()
    (site.out / ".coming" / "manifest.csv").write_text("half of it")
    site.run(salt="00" * 32)
    assert (site.out / "salt").read_bytes() == salt
    assert len(read_manifest(site.out / "manifest.csv")) == 6
    assert not [path.name for path in site.out.iterdir() if path.name.startswith(".")]


def _damaged(value: str, rng: random.Random) -> str:
    """Return a field as a slip of the keyboard leaves it."""
    place = rng.randrange(len(value) or 1)
    return rng.choice(
        [
            value[:place] + value[place + 1 :],
            value[:place] + rng.choice("0123456789") + value[place + 1 :],
            value[:place] + rng.choice("ABCX _") + value[place + 1 :],
            value[:place] + value[place : place + 2][::-1] + value[place + 2 :],
            value[1:] if value.startswith("-") else f"-{value}",
            "",
        ]
    )


def _contents(folder: Path, *paths: str) -> tuple[bytes, ...]:
    return tuple((folder / path).read_bytes() for path in paths)


def _used(site: SmallSite) -> list[tuple[object, ...]]:
    """Return what the pipeline uses of a manifest; angles are the headers'."""
    return [
        (
            *(r.row, r.patient, r.artery, r.cass_segment, r.frame_index, r.dicom_sha256),
            *_contents(site.out, r.pseudo_label, r.contour, r.mask),
        )
        for r in sorted(read_manifest(site.out / "manifest.csv"), key=lambda r: r.row)
    ]


def test_a_damaged_field_is_told_or_changes_nothing(site: SmallSite) -> None:
    site.write()
    site.run()
    before, sound = _used(site), [dict(row) for row in site.rows]
    rng = random.Random(0)
    for _ in range(80):
        site.rows = [dict(row) for row in sound]
        row, column = rng.choice(site.rows), rng.choice(COLUMNS)
        row[column] = _damaged(row[column], rng)
        site.write()
        try:
            told = site.run().warnings
        except DataError:
            continue
        assert told or _used(site) == before, (column, row[column])
