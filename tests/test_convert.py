"""Labels to COCO documents."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from small_site import COLUMNS_PX, ROWS, SmallSite, contour_content, segment_mask, write_png

from sam3_angio.acquisition import PixelSpacing, ViewAngle
from sam3_angio.coco import decode_mask, load_document
from sam3_angio.conversion import Conversion, LabelRules, convert
from sam3_angio.errors import DataError
from sam3_angio.geometry_table import FrameGeometry, read_geometry, write_geometry
from sam3_angio.manifest import ManifestRow, read_manifest
from stages.convert import main as convert_stage


def geometry_of(row: ManifestRow) -> FrameGeometry:
    return FrameGeometry(
        frame_id=row.frame_id,
        patient=row.patient,
        rows=ROWS,
        columns=COLUMNS_PX,
        frame_index=row.frame_index,
        frames=5,
        view=ViewAngle(primary_deg=row.primary_deg, secondary_deg=row.secondary_deg),
        angle_source="header",
        spacing=PixelSpacing(row_mm=0.21, column_mm=0.22, source="sod_sid"),
        transfer_syntax="1.2.840.10008.1.2.1",
        bits_stored=8,
        display="window",
    )


class Converted:
    """An imported site and where its documents go."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.site = SmallSite(folder)
        self.out = folder / "converted"

    def load(self) -> None:
        self.site.write()
        self.site.run()
        self.rows = read_manifest(self.site.out / "manifest.csv")
        self.geometry = {row.frame_id: geometry_of(row) for row in self.rows}

    def run(self, segment_source: str = "contour", min_mask_iou: float = 0.7) -> Conversion:
        return convert(
            self.rows,
            self.geometry,
            self.site.out,
            self.out,
            rules=LabelRules(
                segment_source=segment_source,  # type: ignore[arg-type]
                min_stenosis_pct=20,
            ),
            min_mask_iou=min_mask_iou,
            processes=2,
        )

    def row_of(self, line: int) -> ManifestRow:
        return next(row for row in self.rows if row.row == line)


@pytest.fixture
def work(tmp_path: Path) -> Converted:
    return Converted(tmp_path / "site")


def test_every_frame_gets_its_tree_and_its_segment(work: Converted) -> None:
    work.load()
    conversion = work.run()
    assert (conversion.frames, conversion.trees, conversion.segments) == (6, 6, 6)
    segments = COCO(str(work.out / "segments.json"))
    for mark in segments.anns.values():
        image = segments.imgs[mark["image_id"]]
        assert mark["category_id"] == image["cass_segment"]
        assert (segments.annToMask(mark) == segment_mask()).all()
    assert len(segments.cats) == 14
    assert {m["noun_phrase"] for m in segments.anns.values()} == {"mid RCA", "mid LAD"}


def test_the_pseudo_label_is_resized_where_it_belongs(work: Converted) -> None:
    work.load()
    work.run()
    tree = COCO(str(work.out / "vessel_tree.json"))
    # Rows 192 to 287 of 512 are 18 to 26.9 of 48; columns 48 to 403 are 6 to 50.4 of 64.
    expected = np.zeros((ROWS, COLUMNS_PX), np.uint8)
    expected[18:27, 6:51] = 1
    # The centre of row 26 lies at 282.2, that of column 50 at 403.5, on the border of the label.
    expected[:, 50] = tree.annToMask(tree.anns[1])[:, 50]
    assert all((tree.annToMask(mark) == expected).all() for mark in tree.anns.values())
    assert {m["noun_phrase"] for m in tree.anns.values()} == {"coronary artery"}


def test_image_ids_count_from_one_in_the_order_of_frames(work: Converted) -> None:
    work.load()
    work.rows = work.rows[::-1]
    work.run()
    for name in ("vessel_tree", "segments"):
        images = load_document(work.out / f"{name}.json").images
        assert [image.id for image in images] == [1, 2, 3, 4, 5, 6]
        assert [image.frame_id for image in images] == sorted(work.geometry)


def test_an_image_entry_carries_what_the_contract_says(work: Converted) -> None:
    work.load()
    work.run()
    entry = json.loads((work.out / "segments.json").read_text())["images"][0]
    row = next(row for row in work.rows if row.frame_id == entry["frame_id"])
    assert entry == {
        "id": 1,
        "file_name": f"{row.frame_id}.png",
        "width": COLUMNS_PX,
        "height": ROWS,
        "frame_id": row.frame_id,
        "patient": row.patient,
        "artery": row.artery,
        "cass_segment": row.cass_segment,
        "primary_deg": row.primary_deg,
        "secondary_deg": row.secondary_deg,
        "spacing_row_mm": 0.21,
        "spacing_column_mm": 0.22,
        "spacing_source": "sod_sid",
    }


def test_an_unknown_spacing_is_null_and_its_source_none(work: Converted) -> None:
    work.load()
    unknown = PixelSpacing(row_mm=math.nan, column_mm=math.nan, source="none")
    work.geometry = {
        frame: replace(known, spacing=unknown) for frame, known in work.geometry.items()
    }
    work.run()
    entry = json.loads((work.out / "vessel_tree.json").read_text())["images"][0]
    assert (entry["spacing_row_mm"], entry["spacing_column_mm"]) == (None, None)
    assert entry["spacing_source"] == "none"


def test_the_order_of_rows_changes_nothing(work: Converted) -> None:
    work.load()
    work.run()
    before = {path.name: path.read_bytes() for path in work.out.iterdir()}
    work.rows = work.rows[::-1]
    work.run()
    assert {path.name: path.read_bytes() for path in work.out.iterdir()} == before


def test_nothing_personal_is_in_what_is_written(work: Converted) -> None:
    work.load()
    work.run()
    for path in work.out.iterdir():
        assert "ALL RISE" not in path.read_text()


def test_frames_without_labels_have_no_annotation(work: Converted) -> None:
    work.site.rows[0]["deepsa_pseudo_label_path"] = ""
    work.site.rows[1] |= {"medis_contour_path": "", "medis_mask_path": ""}
    work.load()
    conversion = work.run()
    assert (conversion.trees, conversion.segments, conversion.empty_labels) == (5, 5, 0)
    assert len(load_document(work.out / "vessel_tree.json").images) == 6


def test_an_empty_label_is_counted_and_annotates_nothing(work: Converted) -> None:
    write_png(work.site.file(0, "deepsa_pseudo_label_path"), np.zeros((512, 512), np.uint8))
    work.load()
    conversion = work.run()
    assert (conversion.trees, conversion.empty_labels) == (5, 1)


def _segment_area(work: Converted, line: int) -> float:
    frame = work.row_of(line).frame_id
    document = load_document(work.out / "segments.json")
    image = next(image for image in document.images if image.frame_id == frame)
    mark = next(mark for mark in document.annotations if mark.image_id == image.id)
    return float(decode_mask(mark.segmentation).sum())


@pytest.mark.parametrize(
    ("missing", "source", "expected"),
    [("", "contour", 1), ("", "mask", 2), ("contour", "contour", 2), ("mask", "mask", 1)],
)
def test_the_segment_is_made_from_what_was_asked_for_or_from_the_other(
    work: Converted, missing: str, source: str, expected: int
) -> None:
    doubled = segment_mask() | np.roll(segment_mask(), 8, axis=0)
    write_png(work.site.file(0, "medis_mask_path"), doubled)
    if missing:
        work.site.rows[0][f"medis_{missing}_path"] = ""
    work.load()
    work.run(segment_source=source)
    assert _segment_area(work, 2) == expected * segment_mask().sum()


def test_a_mask_that_fits_its_polygon_is_not_listed(work: Converted) -> None:
    work.load()
    conversion = work.run(min_mask_iou=1.0)
    assert [overlap.iou for overlap in conversion.overlaps] == [1.0] * 6
    assert conversion.low_overlaps == ()


@pytest.mark.parametrize("move", [lambda m: m[::-1], lambda m: np.roll(m, 5, axis=0)])
def test_a_mirrored_or_shifted_mask_is_listed(work: Converted, move: object) -> None:
    write_png(work.site.file(1, "medis_mask_path"), np.ascontiguousarray(move(segment_mask())))  # type: ignore[operator]
    work.load()
    conversion = work.run()
    frame = work.row_of(3).frame_id
    assert [overlap.frame_id for overlap in conversion.low_overlaps] == [frame]
    report = json.loads((work.out / "report.json").read_text())["mask_against_polygon"]
    assert (report["n"], report["below_minimum"], report["median_iou"]) == (6, 1, 1.0)
    with (work.out / "mask_against_polygon.csv").open(newline="") as stream:
        listed = {row["frame_id"]: float(row["iou"]) for row in csv.DictReader(stream)}
    assert listed[frame] == conversion.low_overlaps[0].iou < 0.7
    assert len(listed) == 6


def test_labels_that_cannot_be_read_are_told_all_at_once(work: Converted) -> None:
    work.load()
    (work.site.out / work.row_of(2).pseudo_label).unlink()
    (work.site.out / work.row_of(3).contour).write_text("{")
    (work.site.out / work.row_of(4).mask).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        work.run()
    assert {fault.file.split("/")[1] for fault in caught.value.faults} == {
        "pseudo",
        "contours",
        "masks",
    }
    assert not work.out.exists()


def test_a_mask_of_another_size_than_the_frame_is_refused(work: Converted) -> None:
    work.load()
    frame = work.row_of(2).frame_id
    work.geometry[frame] = replace(work.geometry[frame], columns=65)
    with pytest.raises(DataError, match="64×48 pixels, the frame has 65×48"):
        work.run()


@pytest.mark.parametrize("which", ["manifest", "geometry"])
def test_frames_of_another_extraction_are_refused(work: Converted, which: str) -> None:
    work.load()
    if which == "manifest":
        work.rows = work.rows[1:]
    else:
        work.geometry.pop(work.rows[0].frame_id)
    with pytest.raises(DataError, match="Run extract again"):
        work.run()


def test_geometry_is_read_as_it_was_written(tmp_path: Path, work: Converted) -> None:
    work.load()
    write_geometry(tmp_path / "geometry.csv", work.geometry.values())
    assert repr(read_geometry(tmp_path / "geometry.csv")) == repr(
        dict(sorted(work.geometry.items()))
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("header", "guess", "expected one of header, table"),
        (",48,64,", ",0,64,", "0 is outside"),
        ("0.21", "21", "21 is outside"),
        ("sod_sid", "ruler", "expected one of calibration"),
        ("window", "", "expected one of window"),
        ("primary_deg", "primary", "the header is not"),
    ],
)
def test_a_faulty_geometry_is_refused(
    tmp_path: Path, work: Converted, old: str, new: str, message: str
) -> None:
    work.load()
    path = tmp_path / "geometry.csv"
    write_geometry(path, work.geometry.values())
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        read_geometry(path)


def test_a_contour_without_edges_leaves_the_mask(work: Converted) -> None:
    content = contour_content(2, 2) | {"left_edge": []}
    work.site.file(0, "medis_contour_path").write_text(json.dumps(content))
    work.load()
    conversion = work.run()
    assert (conversion.segments, len(conversion.overlaps)) == (6, 5)


def test_the_stage_lists_low_overlaps(
    work: Converted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    part = segment_mask()
    part[:, :36] = 0  # another shape, as no shift or symmetry makes it
    write_png(work.site.file(1, "medis_mask_path"), part)
    work.load()
    geometry = work.site.folder / "frames" / "geometry.csv"
    write_geometry(geometry, work.geometry.values())
    parameters = Path(__file__).parents[1] / "params.yaml"
    monkeypatch.chdir(work.site.folder)
    Path("params.yaml").write_bytes(parameters.read_bytes())
    manifest, labels = work.site.out / "manifest.csv", work.site.out / "labels"
    convert_stage(manifest, labels, geometry, work.out, Path("checks/convert.csv"))
    shown = capsys.readouterr().out
    assert work.row_of(3).frame_id in shown
    assert "6 frames: 6 vessel trees, 6 segments, 0 empty labels, 1 low overlaps" in shown
    assert (work.out / "segments.json").exists()
