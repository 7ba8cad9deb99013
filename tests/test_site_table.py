"""The site's table under random damage: a table, or one error, never a shifted field."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sam3_angio.anatomy import analysed_segments
from sam3_angio.errors import DataError
from sam3_angio.intake.paths import PathMapping, SitePaths
from sam3_angio.intake.table import COLUMNS, read_site_table

LINE = (
    "ALL RISE 101-0025,MID LAD FINAL,INDEX,20,13,7,8.9,24.3,"
    "E:\\d\\a.png,E:\\a b.dcm,E:\\c.json,E:\\m.png"
)
TABLE = "\n".join([",".join(COLUMNS), LINE, LINE.replace("20", "21"), ""]).encode()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table") / "table.csv"


@given(place=st.integers(0, len(TABLE)), removed=st.integers(0, 20), added=st.binary(max_size=12))
@settings(max_examples=400)
@example(place=0, removed=0, added=b"\xff\xfe")
@example(place=300, removed=0, added=b'"')
def test_damage_ends_in_a_data_error_or_in_a_table(
    path: Path, place: int, removed: int, added: bytes
) -> None:
    path.write_bytes(TABLE[:place] + added + TABLE[place + removed :])
    try:
        table = read_site_table(path, "RAO+")
    except DataError as error:
        assert "101-0025" not in str(error)
        return
    assert all(row.frame_index >= 0 or table.faults for row in table.rows)
    assert all(row.cass_segment in analysed_segments() or table.faults for row in table.rows)


@given(st.binary(max_size=300))
def test_noise_is_no_table(path: Path, noise: bytes) -> None:
    path.write_bytes(noise)
    with pytest.raises(DataError):
        read_site_table(path, "RAO+")


@given(st.floats(-180, 180).map(lambda value: round(value, 2)))
def test_the_sign_is_turned_for_a_table_that_is_positive_towards_rao(
    path: Path, angle: float
) -> None:
    path.write_bytes(TABLE.replace(b",8.9,", f",{angle},".encode()))
    assert read_site_table(path, "RAO+").rows[0].primary_deg == -angle
    assert read_site_table(path, "LAO+").rows[0].primary_deg == angle


@given(st.text())
def test_no_path_ends_in_anything_but_a_file_or_none(text: str) -> None:
    paths = SitePaths([PathMapping(prefix=("e:",), folder=Path("/nonexistent"))], Path("/nowhere"))
    for form in (text, f"E:\\{text}", f"\\\\server\\{text}", f"\\\\?\\UNC\\{text}"):
        assert paths.find(form) is None or ".." not in form


def test_names_that_are_too_long_are_not_found() -> None:
    paths = SitePaths([], Path("/"))
    assert paths.find("a" * 300) is None
    assert paths.find("/" + "a" * 5000) is None
