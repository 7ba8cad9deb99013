"""Lesions and measurements of contour files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_site import SmallSite, contour_content
from test_convert import Converted

from sam3_angio.coco import decode_mask, load_document
from sam3_angio.errors import DataError
from sam3_angio.lesion_labels import (
    LESION_CATEGORY,
    lesion_mask,
    measured,
    read_measurements,
    write_measurements,
)
from sam3_angio.medis import contour_polygon, polygon_mask, read_contour
from sam3_angio.split import Split, group_by_patient, write_dataset

FRAME = ("p0123456789-0a1b2c3d", "p0123456789", 13)
LESION = {
    "diameter_stenosis_pct": 55.0,
    "area_stenosis_pct": 79.8,
    "MLD_mm": 0.9,
    "interpolated_RVD_mm": 2.0,
    "lesion_length_mm": 4.0,
    "lesion_start_x_coord": 20.0,
    "lesion_start_y_coord": 21.5,
    "lesion_end_x_coord": 30.0,
    "lesion_end_y_coord": 21.5,
}


def contour(folder: Path, measurements: dict[str, Any] | None) -> Any:
    content = contour_content(13, 2)
    if measurements is not None:
        content["measurements"] = measurements
    path = folder / "contour.json"
    path.write_text(json.dumps(content))
    return read_contour(path)


def test_a_lesion_is_the_contour_between_its_start_and_end(tmp_path: Path) -> None:
    read = contour(tmp_path, LESION)
    mask = lesion_mask(read, (48, 64))
    whole = polygon_mask(contour_polygon(read), (48, 64))
    columns = np.flatnonzero(mask.any(axis=0))
    assert (columns[0], columns[-1]) == (20, 30)
    assert np.array_equal(mask[:, 20:31], whole[:, 20:31])


def test_start_and_end_may_be_exchanged(tmp_path: Path) -> None:
    turned = LESION | {"lesion_start_x_coord": 30.0, "lesion_end_x_coord": 20.0}
    masks = [lesion_mask(contour(tmp_path, said), (48, 64)) for said in (LESION, turned)]
    assert np.array_equal(*masks)


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({}, "lesion"),
        ({"diameter_stenosis_pct": 20.0}, "lesion"),
        ({"diameter_stenosis_pct": 19.9}, "free"),
        ({"diameter_stenosis_pct": None}, "lesion"),  # 1 - 0.9 / 2.0 is 55 %
        ({"lesion_end_x_coord": None}, "unknown"),
        ({"diameter_stenosis_pct": None, "MLD_mm": None}, "unknown"),
    ],
)
def test_what_a_file_says_decides_whether_there_is_a_lesion(
    tmp_path: Path, changes: dict[str, Any], finding: str
) -> None:
    assert measured(contour(tmp_path, LESION | changes), FRAME, 20).finding == finding


def test_a_measured_segment_without_any_lesion_is_free_of_lesions(tmp_path: Path) -> None:
    assert measured(contour(tmp_path, {"segment_length_mm": 12.0}), FRAME, 20).finding == "free"
    assert measured(contour(tmp_path, None), FRAME, 20).finding == "unknown"


def test_measurements_are_read_as_they_were_written(tmp_path: Path) -> None:
    row = measured(contour(tmp_path, LESION), FRAME, 20)
    write_measurements(tmp_path / "measurements.csv", [row])
    read = read_measurements(tmp_path / "measurements.csv")[FRAME[0]]
    assert (read.mld_mm, read.stenosis_pct, read.extent_px) == (0.9, 55.0, ((20, 21.5), (30, 21.5)))
    assert math.isnan(read.mld_x_px)


def test_a_frame_that_is_measured_twice_is_refused(tmp_path: Path) -> None:
    row = measured(contour(tmp_path, LESION), FRAME, 20)
    write_measurements(tmp_path / "measurements.csv", [row, row])
    with pytest.raises(DataError, match="twice"):
        read_measurements(tmp_path / "measurements.csv")


@pytest.fixture
def work(tmp_path: Path) -> Converted:
    """A site with a lesion, a frame without one, and frames that say nothing of lesions."""
    case = Converted(tmp_path / "site")
    case.load()
    with_measurements(case.site, 0, LESION)
    with_measurements(case.site, 1, LESION | {"diameter_stenosis_pct": 5.0})
    case.load()
    return case


def with_measurements(site: SmallSite, line: int, measurements: dict[str, Any]) -> None:
    path = site.file(line, "medis_contour_path")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"measurements": measurements}))


def test_frames_of_unknown_finding_are_not_in_the_document_of_lesions(work: Converted) -> None:
    conversion = work.run()
    document = load_document(work.out / "lesions.json")
    assert (conversion.lesions, conversion.lesion_free) == (1, 1)
    assert document.categories == (LESION_CATEGORY,)
    assert len(document.images) == 2
    (mark,) = document.annotations
    assert decode_mask(mark.segmentation).any()
    assert mark.image_id in {image.id for image in document.images}
    assert len(read_measurements(work.out / "measurements.csv")) == 6


def test_lesion_free_frames_come_into_the_data_set(work: Converted, tmp_path: Path) -> None:
    work.run()
    frames = tmp_path / "frames"
    frames.mkdir()
    for row in work.rows:
        (frames / f"{row.frame_id}.png").write_bytes(b"a picture")
    groups = group_by_patient(work.rows)
    split = Split(train=groups[:1], val=groups[1:])
    write_dataset(split, work.out, frames, tmp_path / "dataset")
    sides = [
        load_document(tmp_path / "dataset" / side / "lesions" / "annotations.json")
        for side in ("train", "val")
    ]
    assert sum(len(side.images) for side in sides) == 2
    assert sum(len(side.annotations) for side in sides) == 1
    rows = [
        read_measurements(tmp_path / "dataset" / side / "measurements.csv")
        for side in ("train", "val")
    ]
    assert not rows[0].keys() & rows[1].keys()
    assert len(rows[0]) + len(rows[1]) == 6
